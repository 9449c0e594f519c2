//! `cargo xtask prove`: what Docker requires of an image, proved file by file.
//!
//! *Necessary*: without this file alone the scenario that `image/components/*.toml` names fails, and shows the symptom that
//! stands there; with it, it passes. *Sufficient*: the image that all scenarios pass with holds the files of the manifest and
//! nothing else; and while they run, every file that is opened or executed is recorded; what nobody touches must say why it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::environments::{PLACES, scenarios as scenarios_everywhere};
use crate::suite::told;
use crate::{Scenario, interrupt, need, scenarios};

pub mod book;
mod choice;
#[cfg(test)]
mod claims;
mod copy;
mod inventory;
mod opened;
mod page;
pub mod proof;

pub use choice::{Choice, Task};
use copy::Copy;
pub use inventory::{Inventory, Requirement};
use opened::Watch;
pub use proof::Proof;
use proof::{Fate, Trial};

use book::{Recorded, Row};

/// How the proof of a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Without it the scenario fails as it must, with it it passes.
    Proved,
    /// The scenario passes without it: it should not be there, or needs a better scenario.
    PassesWithout,
    /// It fails, and does not show what the data says.
    FailsOtherwise,
    /// The scenario fails with the file too, so that nothing is proved.
    FailsWith,
    /// No scenario of this name can be run.
    NoProof,
}

/// Where a process is started to run one test alone, it does that.
pub fn run_alone() -> Option<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [proof::WORD, name] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] else { return None };
    Some(proof::run_alone(name).unwrap_or_else(|error| {
        eprintln!("error: {}", told(&error));
        ExitCode::FAILURE
    }))
}

/// Does what the command line says.
pub fn run(choice: &Choice) -> Result<ExitCode> {
    match &choice.task {
        Task::Needs => needs(),
        Task::List => {
            for image in images(choice)? {
                for file in image.chosen(choice) {
                    println!("{}  {}  {:?}", file.path, file.proofs.join(", "), file.symptom);
                }
            }
        }
        Task::Run | Task::Record => return prove(choice),
    }
    Ok(ExitCode::SUCCESS)
}

/// For `cargo xtask`, which gets them: all that a scenario under `up` may need.
fn needs() {
    let mut needs: Vec<String> = up_scenarios()
        .flat_map(|scenario| scenario.needs)
        .chain(&[need::Need::Root, need::Need::Busybox, need::Need::Program("script")])
        .map(|need| format!("{need:?}"))
        .collect();
    needs.sort();
    needs.dedup();
    needs.iter().for_each(|need| println!("{need}"));
}

/// An image of its own for what is in no image before: with BuildKit in it `docker build` is another program.
fn images(choice: &Choice) -> Result<Vec<Inventory>> {
    let mut seen = BTreeSet::new();
    let mut images = Vec::new();
    for components in choice.images()? {
        let mut image = Inventory::build(&components)?;
        // A sample may be of another image alone.
        if seen.is_empty() && !components.is_empty() {
            seen = image.usual()?;
        }
        image.files.retain(|file| seen.insert(file.path.clone()));
        images.push(image);
    }
    Ok(images)
}

fn prove(choice: &Choice) -> Result<ExitCode> {
    interrupt::listen()?;
    let start = Instant::now();
    let mut recorded = Recorded::default();
    let mut fails_with_all = 0;
    let images = images(choice)?;
    for image in &images {
        let files = image.chosen(choice);
        let proved = if files.is_empty() {
            Ok(0)
        } else {
            prove_image(image, &files, choice.is_whole(), &mut recorded)
        };
        if let Some(signal) = interrupt::signal() {
            return Ok(ExitCode::from(u8::try_from(128 + signal)?));
        }
        fails_with_all += proved?;
        recorded.exempt(image);
    }
    let good = recorded.files.iter().filter(|row| row.is_good()).count();
    let bad = recorded.files.len() - good + fails_with_all;
    println!("\n{}", recorded.summary());
    println!("test result: {good} proved, {bad} failed in {:.0} s", start.elapsed().as_secs_f64());
    if choice.task == Task::Record {
        // Of the last run stays what nobody has asked for now, and what is still there.
        if !choice.is_whole() {
            recorded.keep(Recorded::read()?, &images);
        }
        recorded.write()?;
    }
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The number of scenarios that fail with all files, of those that prove none.
fn prove_image(
    image: &Inventory,
    files: &[&Requirement],
    all: bool,
    recorded: &mut Recorded,
) -> Result<usize> {
    let mut trials: BTreeMap<&str, Proof> = BTreeMap::new();
    for name in files.iter().flat_map(|file| &file.proofs) {
        trials.extend(Proof::called(name).map(|proof| (name.as_str(), proof)));
    }
    let needed: Vec<Proof> = trials.values().copied().collect();
    let whole = with_all_files(image, &needed, all)?;
    let copy = Copy::of(&image.root, &image.root.with_extension("copy"))?;
    for file in files {
        let begun = Instant::now();
        let (verdict, shown) = without(file, &copy, &trials, &whole)?;
        if interrupt::signal().is_some() {
            break;
        }
        let row = Row::of(image, file, verdict, &whole);
        let touched = if row.is_touched_or_explained() { "" } else { "  and is not touched" };
        println!(
            "{:60} {verdict:?}{touched}  {:.1} s  {}",
            file.path,
            begun.elapsed().as_secs_f64(),
            row.proof
        );
        if verdict != Verdict::Proved {
            println!("  claimed: {:?}\n{}", file.symptom, excerpt(&shown));
        }
        recorded.files.push(row);
    }
    Ok(whole.failed.iter().filter(|name| needed.iter().all(|proof| proof.name() != **name)).count())
}

/// What came of the unbroken image.
#[derive(Debug, Default)]
struct Whole {
    /// Proofs that fail.
    failed: BTreeSet<&'static str>,
    /// Files that were opened or executed.
    opened: BTreeSet<String>,
    /// When, and with what.
    run: String,
}

/// Runs what proves the files in the image as it is, or all scenarios that it can run, and records what is opened.
fn with_all_files(image: &Inventory, needed: &[Proof], all: bool) -> Result<Whole> {
    let mut proofs: Vec<Proof> = needed.to_vec();
    if all {
        let here = |scenario: &&Scenario| scenarios::components([*scenario].into_iter()) == image.components;
        proofs.extend(up_scenarios().filter(here).map(Proof::Scenario));
    }
    proofs.sort_by_key(|proof| proof.name());
    proofs.dedup_by_key(|proof| proof.name());
    let (mut whole, mut run) = (Whole::default(), String::new());
    let watch = Watch::on(&image.root)?;
    let trial = Trial::at(&image.root);
    trial.shared(
        &proofs,
        |proof, fate, took| {
            whole.opened.extend(watch.opened()?);
            let verdict = match &fate {
                Fate::Failed(why) => format!("FAILED\n{}", excerpt(why)),
                Fate::Passed => "ok".to_owned(),
            };
            println!("with all files: {:50} {:6.1} s  {verdict}", proof.name(), took.as_secs_f64());
            if let Fate::Failed(_) = fate {
                whole.failed.insert(proof.name());
            }
            Ok(())
        },
        |engine| {
            run = book::today_with(engine)?;
            Ok(())
        },
    )?;
    whole.opened.extend(watch.opened()?);
    Ok(Whole { run, ..whole })
}

/// Not what an engine says on each start.
fn excerpt(shown: &str) -> String {
    let lines = shown.lines().filter(|line| !line.contains("level=info")).take(40);
    lines.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Those that need no other kernel than this one.
fn up_scenarios() -> impl Iterator<Item = &'static Scenario> {
    let up = PLACES.iter().find(|place| place.name == "up");
    scenarios_everywhere().filter(move |scenario| up.is_some_and(|up| up.runs(scenario)))
}

fn without(
    file: &Requirement,
    copy: &Copy,
    trials: &BTreeMap<&str, Proof>,
    whole: &Whole,
) -> Result<(Verdict, String)> {
    let Some(proof) = file.proofs.iter().find_map(|name| trials.get(name.as_str())) else {
        return Ok((
            Verdict::NoProof,
            format!("no scenario or test that runs under `up` is called {:?}", file.proofs),
        ));
    };
    if whole.failed.contains(proof.name()) {
        return Ok((Verdict::FailsWith, "see above".to_owned()));
    }
    let Some(symptom) = &file.symptom else {
        return Ok((Verdict::NoProof, "the data names no symptom".to_owned()));
    };
    let missing = copy.without(&file.path)?;
    let fate = Trial::at(&copy.root).alone(*proof);
    missing.put_back()?;
    Ok(judge(&fate?, symptom))
}

/// Some scenarios quote what a program has said.
fn judge(fate: &Fate, symptom: &str) -> (Verdict, String) {
    match fate {
        Fate::Passed => (Verdict::PassesWithout, "it passes without the file".to_owned()),
        Fate::Failed(shown) if shown.replace("\\\"", "\"").contains(symptom) => {
            (Verdict::Proved, String::new())
        }
        Fate::Failed(shown) => (Verdict::FailsOtherwise, shown.clone()),
    }
}

/// Proves these files of an image, as they are given: for the test of the prover.
pub fn verdicts(image: &Inventory, files: &[Requirement]) -> Result<Vec<Verdict>> {
    let mut recorded = Recorded::default();
    prove_image(image, &files.iter().collect::<Vec<_>>(), false, &mut recorded)?;
    Ok(recorded.files.iter().map(|row| row.verdict).collect())
}

/// A sample of the files that changes with the day.
pub fn sample(size: usize) -> Result<()> {
    let choice = Choice::parse(&["--sample".to_owned(), size.to_string()])?;
    let mut recorded = Recorded::default();
    for image in images(&choice)? {
        prove_image(&image, &image.chosen(&choice), false, &mut recorded)?;
    }
    ensure!(!recorded.files.is_empty(), "a sample of nothing");
    let bad: Vec<&Row> = recorded.files.iter().filter(|row| !row.is_good()).collect();
    ensure!(bad.is_empty(), "not proved: {bad:#?}");
    Ok(())
}
