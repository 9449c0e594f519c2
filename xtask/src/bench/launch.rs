//! How long a start takes, and what PID 1 weighs.

use std::fs;

use anyhow::{Context, Result};

use super::by_hand::ByHand;
use super::instance::{Instance, NAME};
use super::line::{Bar, Line, samples, seconds, turns};
use super::{Bench, processes};
use crate::process::output;

/// Milliseconds from PID 1's start to its exec of dockerd.
const START: f64 = 30.0;

/// `up` may take this many times what bare dockerd takes, and this many milliseconds more.
const UP: Bar = Bar::Times { factor: 1.15, plus: 200.0 };

/// Milliseconds of `up` and `down`, one after the other: a test can have an instance of its own.
const GONE: f64 = 2000.0;

/// MB of the launcher on disk, and of its resident memory as PID 1.
const LAUNCHER: f64 = 2.5;
pub(super) const RESIDENT: f64 = 3.0;

/// Milliseconds of each command that a probe or a hook runs.
const PROBE: f64 = 20.0;

/// The launcher says it itself, from the start time that the kernel has written down.
pub(super) fn start(bench: &Bench) -> Result<Vec<Line>> {
    let instance = Instance::new(bench, NAME)?;
    let rounds = samples(bench.rounds, || {
        instance.up()?;
        let log = output(&mut instance.command("logs"))?;
        instance.down()?;
        traced(&log, "trace: exec of").context("no trace line in the log")
    })?;
    Ok(vec![Line::new("PID 1's start to exec of dockerd", "ms", rounds).bar(Bar::AtMost(START))])
}

/// The milliseconds in the launcher's own line that has these words.
pub(super) fn traced(log: &str, words: &str) -> Option<f64> {
    let line = log.lines().find(|line| line.contains(words))?;
    line.split_once(" ms after")?.0.rsplit(' ').next()?.parse().ok()
}

/// Both start with an empty data root and end when the engine answers.
pub(super) fn up(bench: &Bench) -> Result<Vec<Line>> {
    // The bare one is inside another, which is up all the time and does nothing.
    let (instance, around) = (Instance::new(bench, NAME)?, Instance::new(bench, "bench-around")?);
    around.up()?;
    let mut gone = Vec::new();
    let ours = || {
        let took = seconds(|| instance.up())?;
        let ended = seconds(|| instance.down())?;
        gone.push((took + ended) * 1e3);
        Ok(took * 1e3)
    };
    let bare = || {
        let mut bare = ByHand::new(&around, "bare")?;
        bare.prepared()?;
        let took = seconds(|| bare.go().and_then(|()| bare.answered()))?;
        bare.stop().and_then(|()| bare.ended()).and_then(|()| bare.clear())?;
        Ok(took * 1e3)
    };
    let (ours, bare) = turns(bench.rounds, ours, bare)?;
    Ok(vec![
        Line::new("warm `up` until Docker answers", "ms", ours).beside(bare).bar(UP),
        Line::new("… and `down`, with all that it had", "ms", gone).bar(Bar::AtMost(GONE)),
    ])
}

/// As a probe runs them, in the namespaces of a running instance: entering these is part of the time.
pub(super) fn probes(bench: &Bench) -> Result<Vec<Line>> {
    let instance = Instance::new(bench, NAME)?;
    instance.up()?;
    let pid = instance.pid()?.to_string();
    let line = |word: &str| {
        let probe = ["nsenter", "--all", "--target", &pid, "--", "/usr/bin/dockerlaunch", word];
        let once = || Ok(seconds(|| output(&mut crate::process::command(&probe)).map(drop))? * 1e3);
        let rounds = samples(bench.rounds, once)?;
        Ok(Line::new(format!("`dockerlaunch {word}`"), "ms", rounds).bar(Bar::AtMost(PROBE)))
    };
    ["ready", "healthcheck", "drain", "facts", "explain"].into_iter().map(line).collect()
}

/// The launcher's file, and its memory as PID 1 of a running instance.
pub(super) fn launcher(bench: &Bench) -> Result<Vec<Line>> {
    let instance = Instance::new(bench, NAME)?;
    instance.up()?;
    let pid = instance.pid()?;
    let size = fs::metadata(format!("/proc/{pid}/exe"))?.len() as f64 / 1e6;
    Ok(vec![
        Line::new("launcher, stripped", "MB", vec![size]).bar(Bar::AtMost(LAUNCHER)),
        Line::new("… resident as PID 1", "MB", vec![processes::resident(pid)?]).bar(Bar::AtMost(RESIDENT)),
    ])
}

#[cfg(test)]
mod tests {
    use super::traced;

    #[test]
    fn the_time_stands_before_its_unit() {
        let log = "x\ndockerlaunch: trace: exec of dockerd 13.9 ms after the start\n";
        assert_eq!(traced(log, "trace: exec of"), Some(13.9));
        assert_eq!(traced(log, "trace: the launcher runs"), None);
    }
}
