//! What a service container of our image costs its users: the start, the stop, the time before the engine.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::engine::{Engine, IMAGE, Outer, Whose};
use super::interrupt::until;
use super::launch::{RESIDENT, traced};
use super::line::{Bar, Line, seconds, turns};
use super::{Bench, interrupt, processes};

/// Milliseconds from the launcher's start to its exec of dockerd, with TLS: certificates to make, and all there.
const MAKE: f64 = 60.0;
const PRESENT: f64 = 25.0;

/// Milliseconds of `docker stop`, the outer engine's own work in it.
const STOP: f64 = 1000.0;

/// Until a client is answered, as many times what bare dockerd takes.
const ANSWER: Bar = Bar::Times { factor: 1.10, plus: 0.0 };

/// Ours makes its certificates in this time; bare dockerd has none.
pub(super) fn container(bench: &Bench, outer: &Outer<'_>) -> Result<Vec<Line>> {
    let round = |whose| {
        let (engine, start) = Engine::start(outer, whose)?;
        let stop = seconds(|| outer.docker(&["stop", engine.name]).map(drop))?;
        Ok((start.as_secs_f64() * 1e3, stop * 1e3))
    };
    let (ours, bare) = turns(bench.rounds, || round(Whose::Ours), || round(Whose::Bare))?;
    let (starts, stops): (Vec<f64>, Vec<f64>) = ours.into_iter().unzip();
    let (bare_starts, bare_stops) = bare.into_iter().unzip();
    Ok(vec![
        Line::new("container's start to the first answer, TLS on", "ms", starts)
            .beside(bare_starts)
            .bar(ANSWER),
        Line::new("`docker stop` of that container, idle", "ms", stops)
            .beside(bare_stops)
            .bar(Bar::AtMost(STOP)),
    ])
}

/// The launcher's own trace, in a container with TLS: the first start makes the certificates, the second finds them.
pub(super) fn tls(bench: &Bench, outer: &Outer<'_>) -> Result<Vec<Line>> {
    let (mut make, mut present, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        for times in [&mut make, &mut present] {
            interrupt::check()?;
            let variables =
                ["-e", "DOCKER_LAUNCH_DEBUG=true", "-e", "DOCKERD_MTU=1450", "-v", "certs:/certs"];
            let run = ["run", "-d", "--privileged", "--name", "service"];
            outer.docker(&[&run, &variables[..], &[IMAGE]].concat())?;
            times.push(trace(outer)?);
            memory.push(resident(outer)?);
            outer.docker(&["rm", "--force", "--volumes", "service"])?;
        }
        outer.docker(&["volume", "rm", "certs"])?;
    }
    let line = |what: &str, times: Vec<f64>, bar: f64| {
        Line::new(format!("launcher's start to exec of dockerd, TLS, certificates {what}"), "ms", times)
            .bar(Bar::AtMost(bar))
    };
    Ok(vec![
        line("to make", make, MAKE),
        line("present", present, PRESENT),
        Line::new("resident as PID 1 of that container", "MB", memory).bar(Bar::AtMost(RESIDENT)),
    ])
}

/// MB of the launcher in the container, once its engine serves.
fn resident(outer: &Outer<'_>) -> Result<f64> {
    outer.docker(&["exec", "service", "dockerlaunch", "ready"])?;
    let container = outer.docker(&["inspect", "--format", "{{.Id}}", "service"])?;
    let all = processes::all()?;
    let launcher = all.iter().find(|one| one.name == "dockerlaunch" && one.cgroup.contains(&container));
    processes::resident(launcher.context("the launcher is nowhere")?.pid)
}

/// Between two lines that count from the same moment: the process was runc's before it became the launcher's.
fn trace(outer: &Outer<'_>) -> Result<f64> {
    let mut found = None;
    until("the launcher's trace", Duration::from_millis(20), || {
        let log = outer.instance.exec(&["docker", "logs", "service"]).output()?;
        let log = String::from_utf8_lossy(&log.stderr).into_owned();
        let times = traced(&log, "trace: the launcher runs").zip(traced(&log, "trace: exec of"));
        found = times.map(|(start, exec)| exec - start);
        Ok(found.is_some())
    })?;
    let Some(found) = found else { bail!("the launcher told no time") };
    Ok(found)
}
