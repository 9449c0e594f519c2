//! What an idle engine weighs, with the launcher and its containerd, beside dockerd that starts its own.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::dind::{IMAGE, docker, outer};
use super::launch::Instance;
use super::{Bench, Line, ROUNDS, median};

/// MB less than dockerd's own way.
const LESS: f64 = 8.0;

/// After it is ready, an engine still tidies up.
const SETTLED: Duration = Duration::from_secs(5);

/// What counts: the launcher, the engine, and its containerd.
const PROGRAMS: [&str; 3] = ["dockerlaunch", "dockerd", "containerd"];

/// The same image in both cases; they take turns. A launcher that does not stay leaves containerd to dockerd, and weighs nothing.
pub(super) fn idle(bench: &Bench) -> Result<Vec<Line>> {
    let instance = outer(bench)?;
    let (mut ours, mut dockerds) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(weight(&instance, "true", &PROGRAMS)?);
        dockerds.push(weight(&instance, "false", &PROGRAMS[1..])?);
    }
    let (ours, dockerds) = (median(ours)?, median(dockerds)?);
    Ok(vec![Line {
        what: "idle engine, containerd and launcher".to_owned(),
        measured: format!("{ours:.1} MB ({:.1} MB less)", dockerds - ours),
        bar: format!("{LESS} MB less than dockerd and its own containerd, {dockerds:.1} MB"),
        met: dockerds - ours >= LESS,
    }])
}

/// MB of the programs in a container, which must all be there: their own pages, and their share of those that they share.
fn weight(instance: &Instance<'_>, stay: &str, programs: &[&str]) -> Result<f64> {
    let reap = format!("DOCKER_LAUNCH_REAP={stay}");
    docker(
        instance,
        &["run", "-d", "--privileged", "--no-healthcheck", "--name", "service", "-e", &reap, IMAGE],
    )?;
    docker(instance, &["exec", "service", "dockerlaunch", "ready"])?;
    thread::sleep(SETTLED);
    let container = docker(instance, &["inspect", "--format", "{{.Id}}", "service"])?;
    let mut found = Vec::new();
    let mut kilobytes = 0.0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let name = read("comm").trim().to_owned();
        if PROGRAMS.contains(&&*name) && read("cgroup").contains(container.trim()) {
            kilobytes += share(&read("smaps_rollup")).with_context(|| format!("no share of {name}"))?;
            found.push(name);
        }
    }
    docker(instance, &["rm", "--force", "--volumes", "service"])?;
    found.sort();
    let mut wanted = programs.to_vec();
    wanted.sort_unstable();
    ensure!(found == wanted, "{wanted:?} should run there, and {found:?} do");
    Ok(kilobytes * 1024.0 / 1e6)
}

/// kB, from the text of `/proc/PID/smaps_rollup`.
fn share(rollup: &str) -> Option<f64> {
    let field = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    field.trim().trim_end_matches(" kB").parse().ok()
}
