//! Limits that bite: read from what happens, not from what is configured.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::eventually;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario("limits::memory_kills", "a memory limit kills who exceeds it, and says so", memory_kills),
    scenario("limits::pids", "a limit on processes is one", pids),
    scenario(
        "limits::cpus",
        "a busy container is held back by its limit on processors, and only by that",
        cpus,
    ),
    scenario("limits::pause", "a paused container stands still, and goes on where it was", pause),
    scenario("limits::update", "new limits of memory and processors hold for a container that runs", update),
    scenario("limits::stats", "`docker stats` has numbers of a running container", stats),
];

/// `dd` fills a buffer of its block size: 64 MB where 16 MB are allowed, and the same where 128 MB are.
fn memory_kills(env: &dyn Environment) -> Result<()> {
    // The shell outlives the kill: where all ends at once, containerd loses the event that tells of it (its issue 8893).
    let hungry = "dd if=/dev/zero of=/dev/null bs=64M count=1; status=$?; sleep 1; exit $status";
    let limited = |name, memory| {
        let limits = ["run", "--name", name, "--memory", memory, "--memory-swap", memory];
        env.try_docker(&[&limits[..], &[BOX, "sh", "-c", hungry]].concat())
    };
    limited("enough", "128m")?.exits(0)?;
    limited("starved", "16m")?.exits(137)?;
    // The engine hears of the kill from the shim, maybe a moment after the exit.
    eventually("OOMKilled is true", Duration::from_secs(10), || {
        Ok(env.docker(&["inspect", "--format", "{{.State.OOMKilled}}", "starved"])? == "true")
    })?;
    env.remove(&["enough", "starved"])
}

fn pids(env: &dyn Environment) -> Result<()> {
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait";
    let within = |limit| env.try_docker(&["run", "--rm", "--pids-limit", limit, BOX, "sh", "-c", script]);
    let outcome = within("4")?;
    ensure!(outcome.stderr.contains("fork"), "eight children under a limit of four: {}", outcome.stderr);
    let outcome = within("20")?.exits(0)?;
    ensure!(outcome.stderr.is_empty(), "eight children under a limit of twenty: {}", outcome.stderr);
    Ok(())
}

/// For a shell in a container: is busy until it has been held back five times, or the time is over, and tells how often it was.
fn busy(seconds: u32) -> String {
    format!(
        "cd /sys/fs/cgroup; [ -e cpu/cpu.stat ] && cd cpu; timeout {seconds} sh -c 'held=0; while [ $held -lt 5 ]; do \
         while read name value; do [ $name = nr_throttled ] && held=$value; done < cpu.stat; done'; grep nr_throttled cpu.stat"
    )
}

/// What [`busy`] told.
fn held_back(told: &str) -> Result<u32> {
    let count = told.strip_prefix("nr_throttled ").and_then(|count| count.parse().ok());
    count.with_context(|| format!("no count of the times that it was held back: {told}"))
}

/// A busy loop with a twentieth of a processor is held back again and again; one without a limit never is, however busy others are.
fn cpus(env: &dyn Environment) -> Result<()> {
    let run = |options: &[&str], seconds| {
        held_back(&env.docker(&[&["run", "--rm"], options, &[BOX, "sh", "-c", &busy(seconds)]].concat())?)
    };
    let (limited, free) = (run(&["--cpus", "0.05"], 120)?, run(&[], 2)?);
    ensure!(limited >= 5 && free == 0, "with a limit held back {limited} times, without one {free} times");
    Ok(())
}

fn pause(env: &dyn Environment) -> Result<()> {
    let count = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.1; done";
    env.docker(&["run", "-d", "--name", "paused", BOX, "sh", "-c", count])?;
    let last = || -> Result<u64> {
        let line = env.docker(&["logs", "--tail", "1", "paused"])?;
        line.parse().with_context(|| format!("the last line is `{line}`"))
    };
    let counts_beyond =
        |number| eventually("the container counts", Duration::from_secs(30), || Ok(last()? > number));
    counts_beyond(0)?;
    env.docker(&["pause", "paused"])?;
    ensure!(env.docker(&["inspect", "--format", "{{.State.Status}}", "paused"])? == "paused");
    // What it wrote before may still be on its way.
    std::thread::sleep(Duration::from_millis(500));
    let before = last()?;
    std::thread::sleep(Duration::from_secs(1));
    ensure!(last()? == before, "it counts on while it is paused");
    let entered = env.try_docker(&["exec", "paused", "true"])?;
    ensure!(entered.status != 0 && entered.stderr.contains("is paused"), "{}", entered.stderr);
    env.docker(&["unpause", "paused"])?;
    counts_beyond(before)?;
    env.remove(&["paused"])
}

fn update(env: &dyn Environment) -> Result<()> {
    let memory = |memory| ["--memory", memory, "--memory-swap", memory];
    let run = [&["run", "-d", "--name", "updated"], &memory("128m")[..], &[BOX, "sleep", "600"]].concat();
    env.docker(&run)?;
    let hungry = ["exec", "updated", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];
    let held_back = |seconds| held_back(&env.docker(&["exec", "updated", "sh", "-c", &busy(seconds)])?);
    env.try_docker(&hungry)?.exits(0)?;
    let free = held_back(2)?;
    ensure!(free == 0, "without a limit held back {free} times");
    env.docker(&[&["update"], &memory("16m")[..], &["updated"]].concat())?;
    env.try_docker(&hungry)?.exits(137)?;
    env.docker(&["update", "--cpus", "0.05", "updated"])?;
    let limited = held_back(120)?;
    ensure!(limited >= 5, "with a limit held back {limited} times");
    let state =
        env.docker(&["inspect", "--format", "{{.State.Status}} {{.HostConfig.Memory}}", "updated"])?;
    ensure!(state == "running 16777216", "{state}");
    env.remove(&["updated"])
}

fn stats(env: &dyn Environment) -> Result<()> {
    let busy = "sleep 600 & while :; do :; done";
    env.docker(&["run", "-d", "--name", "measured", "--memory", "64m", BOX, "sh", "-c", busy])?;
    let format = "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.PIDs}}";
    let line = env.docker(&["stats", "--no-stream", "--format", format, "measured"])?;
    let fields: Vec<&str> = line.split('|').collect();
    let cpu = fields.get(1).and_then(|share| share.trim_end_matches('%').parse::<f64>().ok());
    let used = fields.get(2).and_then(|memory| memory.strip_suffix(" / 64MiB"));
    ensure!(fields[0] == "measured" && cpu.is_some_and(|share| share > 0.0), "{line}");
    ensure!(used.is_some_and(|used| !used.starts_with("0B")), "{line}");
    ensure!(fields.get(3) == Some(&"2"), "two processes run: {line}");
    env.remove(&["measured"])
}
