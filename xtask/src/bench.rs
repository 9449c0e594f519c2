//! `cargo xtask bench`: medians of ten beside the bars of the design, in one run, so that the machine's mood is the same.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::process::{command, output, target};

mod dind;
mod image;
mod launch;
mod memory;

/// As many as the design says.
const ROUNDS: usize = 10;

/// One line of the table.
pub(crate) struct Line {
    what: String,
    measured: String,
    bar: String,
    met: bool,
}

/// What all of them need.
pub(crate) struct Bench {
    /// The program under test, built for release.
    from_scratch: PathBuf,
    /// Where scratch files go.
    scratch: PathBuf,
}

type Measure = fn(&Bench) -> Result<Vec<Line>>;

const MEASURES: &[(&str, Measure)] = &[
    ("start", launch::start),
    ("tls", dind::tls),
    ("container", dind::container),
    ("memory", memory::idle),
    ("probes", dind::probes),
    ("up", launch::up),
    ("build", image::rebuild),
    ("launcher", launch::launcher),
    ("image", image::weight),
];

pub(crate) fn run(names: &[String]) -> Result<ExitCode> {
    if let Some(unknown) = names.iter().find(|name| MEASURES.iter().all(|(known, _)| known != name)) {
        let known: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
        bail!("nothing is called `{unknown}`; there are {}", known.join(", "));
    }
    output(&mut command(&["cargo", "build", "--release", "--locked", "--package", "from-scratch"]))?;
    let bench =
        Bench { from_scratch: target().join("release/from-scratch"), scratch: target().join("bench") };
    std::fs::create_dir_all(&bench.scratch)?;
    println!("| what | measured | bar | |\n|---|---|---|---|");
    let mut met = true;
    for (name, measure) in MEASURES {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        // One that cannot be measured here must not hide the others.
        match measure(&bench) {
            Ok(lines) => {
                for line in lines {
                    let verdict = if line.met { "met" } else { "**missed**" };
                    println!("| {} | {} | {} | {verdict} |", line.what, line.measured, line.bar);
                    met &= line.met;
                }
            }
            Err(error) => {
                println!("| {name} | not measured | | **{}** |", format!("{error:#}").replace('\n', " "));
                met = false;
            }
        }
    }
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Bench {
    /// `from-scratch` with these words.
    fn product(&self, words: &[&str]) -> Command {
        let mut command = command(&[&self.from_scratch]);
        command.args(words);
        command
    }
}

/// The middle one, as one slow round says nothing.
fn median(mut values: Vec<f64>) -> Result<f64> {
    ensure!(!values.is_empty(), "nothing was measured");
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    Ok(if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 })
}

/// Seconds that something takes.
fn seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 100.0]).expect("three"), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]).expect("four"), 3.0);
        assert!(median(Vec::new()).is_err());
    }
}
