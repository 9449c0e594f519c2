//! `cargo xtask bench`: ours and the same engine without us, in turn and in one run, so that the machine's mood is the same.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::interrupt;
use crate::process::{command, is_root, output, target};
use crate::provision::{self, Need};

mod by_hand;
mod cold;
mod daily;
mod engine;
mod image;
mod instance;
mod launch;
mod line;
mod machine;
mod memory;
mod page;
mod plot;
mod processes;
mod record;
mod service;
mod twenty;

use engine::Outer;
use line::Line;
pub(crate) use record::Record;

/// As many as the design says.
const ROUNDS: usize = 10;

/// What takes long and hardly varies is done as often as this.
const FEW: usize = 3;

/// What the command line asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    rounds: usize,
    names: Vec<String>,
}

/// What all of them need.
struct Bench {
    /// The program under test: `FROM_SCRATCH_BIN`, of which no document tells, or this tree's, built for release.
    from_scratch: PathBuf,
    /// Where scratch files go.
    scratch: PathBuf,
    rounds: usize,
}

enum Measure {
    /// Brings what it needs itself.
    Alone(fn(&Bench) -> Result<Vec<Line>>),
    /// In service containers of an engine with our image.
    Inside(fn(&Bench, &Outer<'_>) -> Result<Vec<Line>>),
}

use Measure::{Alone, Inside};

/// Those that share the outer engine come last: it is not there while the others are measured.
const MEASURES: &[(&str, Measure)] = &[
    ("start", Alone(launch::start)),
    ("up", Alone(launch::up)),
    ("probes", Alone(launch::probes)),
    ("launcher", Alone(launch::launcher)),
    ("twenty", Alone(twenty::twenty)),
    ("rebuild", Alone(image::rebuild)),
    ("cold", Alone(cold::cold)),
    ("image", Alone(image::weight)),
    ("tls", Inside(service::tls)),
    ("container", Inside(service::container)),
    ("run", Inside(daily::run)),
    ("load", Inside(daily::load)),
    ("pull", Inside(daily::pull)),
    ("build", Inside(daily::build)),
    ("memory", Inside(memory::memory)),
];

impl Options {
    pub(crate) fn parse(words: Vec<String>) -> Result<Self> {
        let mut options = Options { rounds: ROUNDS, names: Vec::new() };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--rounds" {
                let number = words.next().context("`--rounds` needs a number")?;
                options.rounds = number.parse().ok().filter(|rounds| *rounds > 0).with_context(|| {
                    format!("`--rounds {number}`: it must be a number from 1 on, such as {ROUNDS}")
                })?;
            } else if word.starts_with('-') {
                bail!("no option `{word}`: there is `--rounds N`");
            } else if MEASURES.iter().any(|(known, _)| *known == word) {
                options.names.push(word);
            } else {
                bail!("nothing is measured as `{word}`; {}", nearest(&word));
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }

    /// Is it what the documents are to show?
    fn is_whole(&self) -> bool {
        self.rounds >= ROUNDS && MEASURES.iter().all(|(name, _)| self.wants(name))
    }
}

fn nearest(word: &str) -> String {
    let names: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
    let near = names.iter().min_by_key(|name| strsim::osa_distance(word, name)).copied().unwrap_or_default();
    format!("the nearest is `{near}`, and there are {}", names.join(", "))
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !is_root() {
        bail!("nearly all that is measured needs `up`, which needs root");
    }
    if let Some((need, error)) = provision::provide(&[Need::Busybox, Need::Registry]).into_iter().next() {
        return Err(error.context(format!("could not get {}", need.told())));
    }
    let other = std::env::var_os("FROM_SCRATCH_BIN").map(PathBuf::from);
    let from_scratch = match &other {
        Some(program) => program.clone(),
        None => {
            output(&mut command(&["cargo", "build", "--release", "--locked", "--package", "from-scratch"]))?;
            target().join("release/from-scratch")
        }
    };
    let scratch = target().join("bench");
    std::fs::create_dir_all(&scratch)?;
    let bench = Bench { from_scratch, scratch, rounds: options.rounds };
    interrupt::watch(interrupt::ALL)?;
    instance::clear(&bench)?;
    let measured = Record::begin(&bench).and_then(|mut record| {
        let whole = measure(&bench, options, &mut record)?;
        Ok((record, whole))
    });
    // All instances are dropped by now.
    let gone = instance::gone(&bench, instance::NAME);
    std::fs::remove_dir_all(bench.built()?)?;
    if interrupt::happened() {
        gone?;
        eprintln!("interrupted: all that was started is gone again, and no document is changed");
        return Ok(ExitCode::from(interrupt::STATUS));
    }
    let (record, whole) = measured?;
    gone?;
    if whole && options.is_whole() && other.is_none() {
        record.publish()?;
        println!("written: docs/bench.md, docs/bench/");
    } else {
        record.keep(&bench.scratch)?;
        let place = bench.scratch.display();
        println!(
            "not the whole of it in {ROUNDS} rounds, so the documents stay; it is in {place}/bench.json and bench.svg"
        );
    }
    let met = whole && record.lines.iter().all(|line| line.met() != Some(false));
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// True when all that was wanted could be measured.
fn measure(bench: &Bench, options: &Options, record: &mut Record) -> Result<bool> {
    let mut outer = None;
    let mut whole = true;
    for (name, measure) in MEASURES.iter().filter(|(name, _)| options.wants(name)) {
        interrupt::check()?;
        let lines = match measure {
            Alone(measure) => measure(bench),
            Inside(measure) => outer.take().map_or_else(|| Outer::start(bench), Ok).and_then(|started| {
                let lines = measure(bench, &started);
                outer = Some(started);
                lines
            }),
        };
        interrupt::check()?;
        match lines {
            Ok(lines) => {
                for mut line in lines {
                    println!("{}", line.row());
                    line.name = (*name).to_owned();
                    record.lines.push(line);
                }
            }
            // One that cannot be measured here must not hide the others.
            Err(error) => {
                println!("{name}: NOT MEASURED: {}", format!("{error:#}").replace('\n', " "));
                whole = false;
            }
        }
    }
    Ok(whole)
}

impl Bench {
    /// `from-scratch` with these words.
    fn product(&self, words: &[&str]) -> Command {
        let mut command = command(&[&self.from_scratch]);
        command.args(words);
        command
    }

    /// Where the instances are.
    fn state(&self) -> PathBuf {
        self.scratch.join("state")
    }

    /// Where images are built, until the end of the run.
    fn built(&self) -> Result<PathBuf> {
        let place = self.scratch.join("built");
        std::fs::create_dir_all(&place)?;
        Ok(place)
    }

    fn few(&self) -> usize {
        self.rounds.min(FEW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn the_whole_is_all_lines_in_ten_rounds() {
        assert!(parse("").expect("nothing").is_whole());
        assert!(parse("--rounds 12").expect("rounds").is_whole());
        for less in ["--rounds 9", "load", "load pull --rounds 20"] {
            assert!(!parse(less).expect("less").is_whole(), "{less}");
        }
        let all: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
        assert!(parse(&all.join(" ")).expect("all").is_whole());
    }

    #[test]
    fn a_slip_is_told_the_nearest() {
        let error = parse("up laod").expect_err("no such line").to_string();
        assert!(error.contains("`laod`; the nearest is `load`, and there are start, up,"), "{error}");
        for wrong in ["--rounds", "--rounds 0", "--rounds x", "--round 1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_shares_the_outer_engine_comes_last() {
        let first = MEASURES.iter().position(|(_, one)| matches!(one, Inside(_))).expect("one of them");
        assert!(MEASURES[first..].iter().all(|(_, one)| matches!(one, Inside(_))));
    }
}
