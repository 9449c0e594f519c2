//! `cargo xtask test`: provision, run the tiers, say calmly what happened.

use std::fs;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::count::{self, Count};
use crate::interrupt;
use crate::process::{command, output, show, target, tee};
use crate::provision::{self, Need};
use crate::tiers::{PREFIXES, Step, TIERS, Tier};

/// What the command line asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    ci: bool,
    full: bool,
    verbose: bool,
    only: Vec<String>,
}

impl Options {
    pub(crate) fn parse(words: Vec<String>) -> Result<Self> {
        let mut options = Options::default();
        for word in words {
            match word.as_str() {
                "--ci" => options.ci = true,
                "--full" => options.full = true,
                "--verbose" => options.verbose = true,
                tier if TIERS.iter().any(|known| known.name == tier) => options.only.push(word),
                other => {
                    let names: Vec<&str> = TIERS.iter().map(|tier| tier.name).collect();
                    bail!("no option or tier `{other}`; tiers: {}", names.join(", "))
                }
            }
        }
        Ok(options)
    }

    fn wants(&self, tier: &Tier) -> bool {
        if self.only.is_empty() {
            self.full || !tier.long
        } else {
            self.only.iter().any(|name| name == tier.name)
        }
    }
}

/// How a tier ended.
enum Verdict {
    Ok,
    Failed(String),
    LeftOut(String),
}

struct Line {
    tier: &'static Tier,
    verdict: Verdict,
    count: Count,
    took: Duration,
    /// Which tests failed, and why.
    failures: Vec<String>,
}

/// Runs the tiers; the exit status is a failure if one failed, or was left out under `--ci`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let wanted: Vec<&'static Tier> = TIERS.iter().filter(|tier| options.wants(tier)).collect();
    let needs: Vec<Need> = wanted.iter().flat_map(|tier| tier.needs).copied().collect();
    let runner = Runner::choose(options)?;
    // The tests take down what they have started, and we wait for that.
    interrupt::watch(interrupt::CTRL_C)?;
    // What needs nothing comes first, and runs while the rest is fetched.
    let mut fetching = Some(thread::spawn(move || provision::provide(&needs)));
    let mut lines = Vec::new();
    for together in wanted.chunk_by(|one, next| next.beside == Some(one.name)) {
        if together.iter().any(|tier| !tier.needs.is_empty())
            && let Some(fetched) = fetching.take()
        {
            for (need, error) in fetched.join().map_err(|_| anyhow!("fetching what is needed panicked"))? {
                println!("could not get {}: {error:#}", need.told());
            }
        }
        if interrupt::happened() {
            break;
        }
        for line in run_together(together, options, &runner)? {
            if !options.ci && !options.verbose {
                println!("{}", row(&line));
            }
            lines.push(line);
        }
    }
    let status = summary(&lines, options, start.elapsed());
    if interrupt::happened() {
        println!(
            "interrupted: the tests took down what they had started, unless they say otherwise, and no more were begun"
        );
        return Ok(ExitCode::from(interrupt::STATUS));
    }
    Ok(status)
}

/// Tiers that leave each other room, at the same time.
fn run_together(tiers: &[&'static Tier], options: &Options, runner: &Runner) -> Result<Vec<Line>> {
    let alone = tiers.len() == 1;
    thread::scope(|scope| {
        let run = |tier: &&'static Tier| {
            let tier = *tier;
            scope.spawn(move || run_tier(tier, options, runner, alone))
        };
        let running: Vec<_> = tiers.iter().map(run).collect();
        running.into_iter().map(|tier| tier.join().map_err(|_| anyhow!("a tier panicked"))).collect()
    })
}

/// Where it is not alone each line that it shows has its name in front.
fn run_tier(tier: &'static Tier, options: &Options, runner: &Runner, alone: bool) -> Line {
    let start = Instant::now();
    let mut count = Count::default();
    let mut failures = Vec::new();
    let verdict = match tier.needs.iter().find(|need| !need.met()) {
        Some(need) if options.ci => {
            Verdict::Failed(format!("needs {}, and nothing may be left out here", need.told()))
        }
        Some(need) => Verdict::LeftOut(format!("needs {}", need.told())),
        None => run_steps(tier, options, runner, alone, &mut count, &mut failures),
    };
    let verdict = match verdict {
        Verdict::Ok if tier.has_tests && count.passed == 0 && options.ci => {
            Verdict::Failed("no test ran".to_owned())
        }
        Verdict::Ok if count.ignored > 0 && options.ci => {
            Verdict::Failed(format!("{} tests were ignored, and nothing may be left out here", count.ignored))
        }
        other => other,
    };
    Line { tier, verdict, count, took: start.elapsed(), failures }
}

fn run_steps(
    tier: &Tier,
    options: &Options,
    runner: &Runner,
    alone: bool,
    count: &mut Count,
    failures: &mut Vec<String>,
) -> Verdict {
    let before = if alone { String::new() } else { format!("{}: ", tier.name) };
    let mut log = String::new();
    let mut failed = None;
    let mut commands = Vec::new();
    for step in tier.steps {
        match runner.commands(*step, options) {
            Ok(more) => commands.extend(more),
            Err(error) => return Verdict::Failed(format!("{error:#}")),
        }
    }
    for mut command in commands {
        if interrupt::happened() {
            failed.get_or_insert("interrupted".to_owned());
            break;
        }
        if options.ci {
            command.env("FROM_SCRATCH_CI", "1");
        }
        if options.full {
            command.env("FROM_SCRATCH_FULL", "1");
        }
        let name = show(&command);
        let shown = (options.ci || options.verbose).then_some(before.as_str());
        if shown.is_some() {
            println!("\n── {}: {name}", tier.name);
        }
        match tee(&mut command, shown) {
            Ok((ok, text)) => {
                *count += count::read(&text);
                log.push_str(&format!("$ {name}\n{text}\n"));
                if !ok {
                    failures.extend(count::failures(&text).into_iter().map(str::to_owned));
                    failed.get_or_insert(format!("`{name}` failed"));
                }
            }
            Err(error) => {
                failed.get_or_insert(format!("{error:#}"));
            }
        }
    }
    let file = target().join("xtask").join(format!("{}.log", tier.name));
    let _ = fs::create_dir_all(target().join("xtask")).and_then(|()| fs::write(&file, &log));
    match failed {
        None => Verdict::Ok,
        Some(why) => {
            if !options.ci && !options.verbose {
                let lines: Vec<&str> = log.lines().collect();
                println!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
            }
            Verdict::Failed(format!("{why}; all of it is in {}", file.display()))
        }
    }
}

/// How the tests outside itest are run.
struct Runner {
    nextest: bool,
}

impl Runner {
    /// nextest is installed where nothing may be left out: it gives each test a process of its own, which those that make
    /// namespaces want. Elsewhere `cargo test` does.
    fn choose(options: &Options) -> Result<Self> {
        let here = || output(&mut command(&["cargo", "nextest", "--version"])).is_ok();
        if !here() && options.ci {
            println!("cargo-nextest is not here; installing it from crates.io");
            output(&mut command(&["cargo", "install", "cargo-nextest", "--locked", "--quiet"]))?;
        }
        Ok(Runner { nextest: here() })
    }

    /// None when another step has run these tests already. Always of the whole workspace, which decides on the features of
    /// its libraries: chosen one by one, its packages would be compiled anew.
    fn commands(&self, step: Step, options: &Options) -> Result<Vec<Command>> {
        let cargo = |words: &[&str]| {
            let mut cargo = command(&["cargo"]);
            cargo.args(words);
            cargo
        };
        Ok(match step {
            Step::Cargo(words) => vec![cargo(words)],
            Step::Tests(prefix) if self.nextest => {
                let mut nextest = cargo(&["nextest", "run", "--locked", "--workspace", "--no-tests", "pass"]);
                nextest.args(["-E", &filter(prefix)]);
                vec![nextest]
            }
            // Its filters are plain substrings, with which no prefix can be told: all at once, in the first of the tiers.
            Step::Tests("") => vec![
                cargo(&["test", "--locked", "--workspace", "--exclude", "itest"]),
                cargo(&["test", "--locked", "--package", "itest", "--lib"]),
            ],
            Step::Tests(_) => vec![],
            Step::Scenarios(name) => vec![cargo(&["test", "--locked", "--workspace", "--test", name])],
            Step::Fuzz => fuzz(options.full)?,
        })
    }
}

/// A run of each fuzz target. The parsers are safe code: without a sanitizer the pinned toolchain does, and is faster.
fn fuzz(full: bool) -> Result<Vec<Command>> {
    const LAUNCHER: &str = "fuzz";
    // Compiling what reads packages and their signatures takes longer than CI has.
    const BUILDER: &str = "crates/dockerlaunch-image/fuzz";
    let (directories, seconds) = if full { (&[LAUNCHER, BUILDER][..], 60) } else { (&[LAUNCHER][..], 5) };
    let mut runs = Vec::new();
    for directory in directories {
        let listed = output(&mut command(&["cargo", "fuzz", "list", "--fuzz-dir", directory]))?;
        runs.extend(listed.lines().map(|target| {
            let mut run = command(&[
                "cargo",
                "fuzz",
                "run",
                "--fuzz-dir",
                directory,
                "--sanitizer",
                "none",
                target,
                "--",
            ]);
            run.arg(format!("-max_total_time={seconds}")).arg("-rss_limit_mb=1024");
            run
        }));
    }
    Ok(runs)
}

/// nextest's filter for a prefix, as `.config/nextest.toml` has it. The programs of itest are suites of their own.
fn filter(prefix: &str) -> String {
    let tests = if prefix.is_empty() {
        let all: Vec<&str> = PREFIXES.iter().map(|prefix| prefix.trim_end_matches('_')).collect();
        format!("not test(/(^|::)({})_/)", all.join("|"))
    } else {
        format!("test(/(^|::){prefix}/)")
    };
    format!("{tests} and (kind(lib) or not package(itest))")
}

fn row(line: &Line) -> String {
    let (verdict, note) = match &line.verdict {
        Verdict::Ok => ("ok", line.tier.proves),
        Verdict::Failed(why) => ("FAILED", why.as_str()),
        Verdict::LeftOut(why) => ("left out", why.as_str()),
    };
    let took = format!("{:.1} s", line.took.as_secs_f64());
    let Count { passed, failed, ignored } = line.count;
    let counts = match (line.tier.has_tests, ignored) {
        (false, _) => String::new(),
        (true, 0) => format!("{passed} passed, {failed} failed"),
        (true, _) => format!("{passed} passed, {failed} failed, {ignored} ignored"),
    };
    format!("{:<9} {verdict:<9} {took:>9}  {counts:<34} {note}", line.tier.name)
}

/// The table, then one line that says it all in the plain form that runners of test suites read.
fn summary(lines: &[Line], options: &Options, took: Duration) -> ExitCode {
    let mut total = Count::default();
    let mut bad = false;
    if options.ci || options.verbose {
        // A long log is often kept by its end alone.
        for line in lines.iter().filter(|line| !line.failures.is_empty()) {
            println!("\n── what failed in {}\n{}", line.tier.name, line.failures.join("\n"));
        }
        println!();
        lines.iter().for_each(|line| println!("{}", row(line)));
    }
    let mut left_out = 0;
    for line in lines {
        total += line.count;
        match line.verdict {
            Verdict::Ok => {}
            Verdict::Failed(_) => bad = true,
            Verdict::LeftOut(_) => left_out += 1,
        }
    }
    let out = if left_out > 0 { format!(", {left_out} tiers left out (see above)") } else { String::new() };
    println!("\n{} tiers in {:.0} s{out}", lines.len(), took.as_secs_f64());
    // A lint that failed is a failure too, though no test is to blame.
    let failed = if bad { total.failed.max(1) } else { total.failed };
    println!("{} passed, {failed} failed, {} skipped", total.passed, total.ignored);
    if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_tiers_are_told_apart() {
        let parse = |words: &[&str]| Options::parse(words.iter().map(ToString::to_string).collect());
        let options = parse(&["--ci", "root"]).expect("both known");
        assert!(options.ci && options.only == ["root"]);
        let error = parse(&["rot"]).expect_err("unknown").to_string();
        assert!(error.contains("`rot`") && error.contains("nested"), "{error}");
    }

    #[test]
    fn prefixes_filter_whole_names_only() {
        let libraries = "and (kind(lib) or not package(itest))";
        assert_eq!(filter("ns_"), format!("test(/(^|::)ns_/) {libraries}"));
        assert_eq!(filter(""), format!("not test(/(^|::)(ns|repro|engine|root|nested|vm)_/) {libraries}"));
    }

    #[test]
    fn a_row_says_what_was_left_out_and_why() {
        let line = Line {
            tier: &TIERS[2],
            verdict: Verdict::LeftOut("needs root".to_owned()),
            count: Count::default(),
            took: Duration::ZERO,
            failures: Vec::new(),
        };
        assert!(row(&line).starts_with("unit      left out"), "{}", row(&line));
        assert!(row(&line).ends_with("needs root"));
    }
}
