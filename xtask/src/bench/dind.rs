//! The image as a service container of an outer engine, which is our own under `up`: what `docker run -d` costs.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;

use super::launch::{self, DEADLINE, Instance, RESIDENT, traced};
use super::{Bench, Line, ROUNDS, median, seconds};
use crate::process::output;

/// Milliseconds from the launcher's start to its exec of dockerd, with TLS: certificates to make, and all there.
const MAKE: f64 = 60.0;
const PRESENT: f64 = 25.0;

/// Milliseconds of `docker stop`, the outer engine's own work in it.
const STOP: f64 = 1000.0;

/// Until a client is answered, as many times what bare dockerd takes.
const FACTOR: f64 = 1.10;

/// Milliseconds of each command that a probe or a hook runs.
const PROBE: f64 = 20.0;

pub(super) const IMAGE: &str = "docker-from-scratch:bench";

/// An engine with our image in it.
pub(super) fn outer(bench: &Bench) -> Result<Instance<'_>> {
    let instance = Instance::new(bench)?;
    instance.up()?;
    let archive = format!("docker:{}", instance.exchange().join("image.tar").display());
    output(bench.product(&["build", "--tag", IMAGE, "-o"]).arg(archive))?;
    docker(&instance, &["load", "--quiet", "-i", "/exchange/image.tar"])?;
    Ok(instance)
}

pub(super) fn docker(instance: &Instance<'_>, words: &[&str]) -> Result<String> {
    output(instance.command("exec").args(["--", "docker"]).args(words))
}

/// A privileged container, from its start, as the outer engine has written it down, to the first answer on its unix socket.
fn answered(instance: &Instance<'_>, options: &[&str], image: &[&str]) -> Result<Duration> {
    let socket = instance.exchange().join("bench.sock");
    let head = ["create", "--name", "service", "--privileged", "-v", "/exchange:/exchange"];
    docker(instance, &[&head, options, image].concat())?;
    let mut start =
        instance.command("exec").args(["--", "docker", "start", "service"]).stdout(Stdio::null()).spawn()?;
    let begun = Instant::now();
    while !version(&socket) {
        ensure!(begun.elapsed() < DEADLINE, "it did not answer within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(1));
    }
    let now = Timestamp::now();
    ensure!(start.wait()?.success(), "docker start failed");
    let started = docker(instance, &["inspect", "--format", "{{.State.StartedAt}}", "service"])?;
    let started: Timestamp = started.trim().parse()?;
    docker(instance, &["rm", "--force", "--volumes", "service"])?;
    let _ = fs::remove_file(&socket);
    now.duration_since(started).try_into().context("it answered before it was started")
}

/// What `docker version` asks the engine.
fn version(socket: &Path) -> bool {
    let ask = || -> Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.contains(" 200 "))
    };
    ask().unwrap_or(false)
}

/// With TLS on, beside dockerd as it is in the same image; they take turns.
pub(super) fn container(bench: &Bench) -> Result<Vec<Line>> {
    let instance = outer(bench)?;
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let socket = ["-e", "DOCKER_HOST=unix:///exchange/bench.sock"];
        ours.push(answered(&instance, &socket, &[IMAGE])?.as_secs_f64() * 1e3);
        let bare = [IMAGE, "-H", "unix:///exchange/bench.sock"];
        bares.push(answered(&instance, &["--entrypoint", "dockerd"], &bare)?.as_secs_f64() * 1e3);
    }
    let (ours, bare) = (median(ours)?, median(bares)?);
    Ok(vec![Line {
        what: "container's start to the first answer, TLS on".to_owned(),
        measured: format!("{ours:.0} ms ({:.2} ×)", ours / bare),
        bar: format!("{:.0} ms (bare dockerd {bare:.0} ms × {FACTOR})", bare * FACTOR),
        met: ours <= bare * FACTOR,
    }])
}

/// The launcher's own trace, in a container with TLS: the first start makes the certificates, the second finds them.
pub(super) fn tls(bench: &Bench) -> Result<Vec<Line>> {
    let instance = outer(bench)?;
    let (mut make, mut present, mut memory, mut stops) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for times in [&mut make, &mut present] {
            let options = [
                "--name",
                "service",
                "-e",
                "DOCKER_LAUNCH_DEBUG=true",
                "-e",
                "DOCKERD_MTU=1450",
                "-v",
                "certs:/certs",
            ];
            docker(&instance, &[&["run", "-d", "--privileged"], &options[..], &[IMAGE]].concat())?;
            times.push(trace(&instance)?);
            memory.push(resident(&instance)?);
            stops.push(seconds(|| docker(&instance, &["stop", "service"]).map(drop))? * 1e3);
            docker(&instance, &["rm", "--force", "--volumes", "service"])?;
        }
        docker(&instance, &["volume", "rm", "certs"])?;
    }
    let line = |what: &str, times: Vec<f64>, bar: f64| -> Result<Line> {
        let measured = median(times)?;
        Ok(Line {
            what: format!("launcher's start to exec of dockerd, TLS, certificates {what}"),
            measured: format!("{measured:.1} ms"),
            bar: format!("{bar} ms"),
            met: measured < bar,
        })
    };
    let (resident, measured) = (RESIDENT, median(memory)?);
    let memory = Line {
        what: "resident as PID 1 of that container".to_owned(),
        measured: format!("{measured:.2} MB"),
        bar: format!("{resident} MB"),
        met: measured <= resident,
    };
    let measured = median(stops)?;
    let stop = Line {
        what: "`docker stop` of that container, idle".to_owned(),
        measured: format!("{measured:.0} ms"),
        bar: format!("{STOP} ms"),
        met: measured < STOP,
    };
    Ok(vec![line("to make", make, MAKE)?, line("present", present, PRESENT)?, memory, stop])
}

/// MB of the launcher in the container, once its engine serves.
fn resident(instance: &Instance<'_>) -> Result<f64> {
    docker(instance, &["exec", "service", "dockerlaunch", "ready"])?;
    let container = docker(instance, &["inspect", "--format", "{{.Id}}", "service"])?;
    for entry in fs::read_dir("/proc")?.flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        if read("comm").trim() == "dockerlaunch" && read("cgroup").contains(container.trim()) {
            return launch::resident(&read("status"));
        }
    }
    bail!("the launcher is nowhere")
}

/// Between two lines that count from the same moment: the process was runc's before it became the launcher's.
fn trace(instance: &Instance<'_>) -> Result<f64> {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        let log = instance.command("exec").args(["--", "docker", "logs", "service"]).output()?;
        let log = String::from_utf8_lossy(&log.stderr).into_owned();
        if let Some(exec) = traced(&log, "trace: exec of") {
            return Ok(exec - traced(&log, "trace: the launcher runs").context("no time of the start")?);
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("the launcher told no time")
}

/// As a probe runs them, in the namespaces of a running instance: entering these is part of the time.
pub(super) fn probes(bench: &Bench) -> Result<Vec<Line>> {
    let instance = Instance::new(bench)?;
    instance.up()?;
    let pid = instance.pid()?.to_string();
    ["ready", "healthcheck", "drain", "facts", "explain"]
        .into_iter()
        .map(|word| {
            let once = || {
                let mut enter = Command::new("nsenter");
                enter.args(["--all", "--target", &pid, "--", "/usr/bin/dockerlaunch", word]);
                seconds(|| output(&mut enter).map(drop)).map(|time| time * 1e3)
            };
            let measured = median((0..ROUNDS).map(|_| once()).collect::<Result<_>>()?)?;
            Ok(Line {
                what: format!("`dockerlaunch {word}`"),
                measured: format!("{measured:.1} ms"),
                bar: format!("{PROBE} ms"),
                met: measured < PROBE,
            })
        })
        .collect()
}
