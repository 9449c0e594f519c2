//! `cargo xtask scenario`: chosen scenarios in chosen environments, one after the other, a line each.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, anyhow};

use crate::environments::{self, PLACES, Place, Started};
use crate::results::{self, Recorded, Verdict};
use crate::scenarios::components;
use crate::suite::told;
use crate::{Need, Scenario, command, interrupt, need, traces};

mod choice;

pub use choice::{Choice, Task};

/// What every environment needs: all test images are made of it.
const ALWAYS: &[Need] = &[Need::Busybox];

/// Does what the command line says.
pub fn run(choice: &Choice) -> Result<ExitCode> {
    match choice.task {
        Task::List => list(choice),
        Task::Needs => needs(choice),
        Task::Run | Task::Record => return run_all(choice),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(choice: &Choice) {
    let width = names(choice);
    for scenario in &choice.scenarios {
        println!("{:width$}  {}", scenario.name, scenario.proves);
    }
    println!("\nenvironments:");
    for place in PLACES {
        println!("  {:9} {}", place.name, place.is);
    }
}

/// For `cargo xtask`, which gets them.
fn needs(choice: &Choice) {
    let places = choice.places.iter().flat_map(|place| place.needs);
    let scenarios = choice.scenarios.iter().flat_map(|scenario| scenario.needs);
    let mut needs: Vec<String> =
        ALWAYS.iter().chain(places).chain(scenarios).map(|need| format!("{need:?}")).collect();
    needs.sort();
    needs.dedup();
    needs.iter().for_each(|need| println!("{need}"));
}

fn names(choice: &Choice) -> usize {
    choice.scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0)
}

/// How one environment fared.
struct Fared {
    place: &'static Place,
    recorded: Recorded,
    left_out: usize,
    took: f64,
}

fn run_all(choice: &Choice) -> Result<ExitCode> {
    interrupt::listen()?;
    let start = Instant::now();
    let mut all = Vec::new();
    let mut not_recorded = 0;
    for place in &choice.places {
        if interrupt::signal().is_some() {
            break;
        }
        let fared = run_in(place, choice);
        // At once: what comes after it may be interrupted.
        if choice.task == Task::Record && interrupt::signal().is_none() {
            let recorded = match fared.left_out {
                0 => results::record(place.name, &fared.recorded, choice.in_part),
                left_out => Err(anyhow!(
                    "{left_out} scenarios were left out, and nothing is recorded of a run in parts"
                )),
            };
            if let Err(error) = recorded {
                println!("{}: not recorded\n  error: {}", place.name, told(&error));
                not_recorded += 1;
            }
        }
        all.push(fared);
    }
    if let Some(signal) = interrupt::signal() {
        return Ok(ExitCode::from(u8::try_from(128 + signal)?));
    }
    println!();
    let (mut passed, mut bad, mut holes) = (0, not_recorded, 0);
    for fared in &all {
        let [ok, hole, failed] = fared.recorded.counts();
        let ran = (ok + hole + failed).max(1);
        let percent = 100.0 * ok as f64 / ran as f64;
        println!(
            "{:9} {ok:3} ok  {hole:2} holes  {failed:2} failed  {:2} left out  {percent:5.1} %  {:6.0} s",
            fared.place.name, fared.left_out, fared.took
        );
        passed += ok;
        holes += hole;
        bad += failed + fared.left_out;
    }
    let took = start.elapsed().as_secs_f64();
    println!("test result: {passed} passed, {bad} failed, {holes} holes in {took:.0} s");
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_in(place: &'static Place, choice: &Choice) -> Fared {
    command::be_patient(place.patience);
    let start = Instant::now();
    let mut fared = Fared { place, recorded: Recorded::default(), left_out: 0, took: 0.0 };
    let lines = Lines { place: place.name, width: names(choice) };
    if let Some(reason) = need::missing(ALWAYS.iter().chain(place.needs)) {
        lines.say("", "left out", 0.0, &reason);
        fared.left_out = choice.scenarios.len();
        return fared;
    }
    let scenarios: Vec<_> =
        choice.scenarios.iter().copied().filter(|scenario| place.runs(scenario)).collect();
    if scenarios.is_empty() {
        let own = PLACES.iter().filter(|place| choice.scenarios.iter().any(|scenario| place.runs(scenario)));
        let names: Vec<&str> = own.map(|place| place.name).collect();
        lines.say(
            "",
            "left out",
            0.0,
            &format!("of these nothing can run here, but in {}", names.join(", ")),
        );
        fared.left_out = choice.scenarios.len();
        return fared;
    }
    // With BuildKit in it `docker build` is another program: what wants more of the image gets an image of its own.
    let (extras, usual): (Vec<_>, Vec<_>) = scenarios.into_iter().partition(|one| !one.image.is_empty());
    for scenarios in [usual, extras] {
        if !scenarios.is_empty() && interrupt::signal().is_none() {
            run_with_one_image(place, &lines, &scenarios, &mut fared);
        }
    }
    fared.took = start.elapsed().as_secs_f64();
    fared
}

fn run_with_one_image(place: &Place, lines: &Lines, scenarios: &[&Scenario], fared: &mut Fared) {
    let start = Instant::now();
    let components = components(scenarios.iter().copied());
    let before = traces::ours();
    let started = (place.start)(&components).and_then(|started| {
        fared.recorded.look(&started)?;
        Ok(started)
    });
    match started {
        Ok(started) => {
            let with = if components.is_empty() { String::new() } else { format!("with {components}") };
            lines.say("is up", "", start.elapsed().as_secs_f64(), &with);
            for scenario in scenarios {
                if interrupt::signal().is_some() {
                    break;
                }
                run_one(lines, scenario, &started, fared);
            }
            let begun = Instant::now();
            let _undoing = interrupt::undoing();
            let down = started.take_down().and_then(|()| traces::none_in_part(&before?, place.name == "vm"));
            lines.say("is down", "", begun.elapsed().as_secs_f64(), "");
            if let Err(error) = down {
                lines.fail("taking it down", 0.0, &told(&error));
                fared.recorded.results.insert("taking it down".to_owned(), Verdict::Failed);
            }
        }
        Err(_) if interrupt::signal().is_some() => {}
        Err(error) => {
            lines.fail("starting it", start.elapsed().as_secs_f64(), &told(&error));
            fared.recorded.results.insert("starting it".to_owned(), Verdict::Failed);
        }
    }
}

fn run_one(lines: &Lines, scenario: &Scenario, started: &Started, fared: &mut Fared) {
    if let Some(reason) = need::missing(scenario.needs) {
        fared.left_out += 1;
        return lines.say(scenario.name, "left out", 0.0, &reason);
    }
    let environment = started.environment();
    let begun = Instant::now();
    let result = scenario.run_in(environment);
    let took = begun.elapsed().as_secs_f64();
    if interrupt::signal().is_some() {
        return lines.say(scenario.name, "", took, "interrupted");
    }
    let hole = environments::hole(fared.place.name, scenario.name);
    let verdict = match (&result, hole) {
        (Ok(()), None) => {
            lines.say(scenario.name, "ok", took, "");
            Verdict::Ok
        }
        (Err(error), Some(hole)) if told(error).contains(hole.says) => {
            lines.say(scenario.name, "hole", took, hole.reason);
            Verdict::Hole
        }
        (Ok(()), Some(hole)) => {
            let told = format!("it passes, so this is no hole any more: {}", hole.reason);
            lines.fail(scenario.name, took, &told);
            Verdict::Failed
        }
        (Err(error), _) => {
            let log = environment.log_tail();
            lines.fail(scenario.name, took, &format!("{}\n--- the engine's last lines\n{log}", told(error)));
            Verdict::Failed
        }
    };
    fared.recorded.results.insert(scenario.name.to_owned(), verdict);
}

/// The lines of one environment, aligned.
struct Lines {
    place: &'static str,
    width: usize,
}

impl Lines {
    fn say(&self, what: &str, verdict: &str, took: f64, note: &str) {
        let width = self.width;
        let line = format!("{:9} {what:width$}  {verdict:8} {took:7.1} s  {note}", self.place);
        println!("{}", line.trim_end());
    }

    fn fail(&self, what: &str, took: f64, error: &str) {
        self.say(what, "FAILED", took, "");
        println!("  error: {}", error.trim_end().replace('\n', "\n  "));
    }
}
