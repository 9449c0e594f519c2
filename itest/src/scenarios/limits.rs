//! Limits that bite: read from what happens, not from what is configured.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::eventually;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario("limits::memory_kills", "a memory limit kills who exceeds it, and says so", memory_kills),
    scenario("limits::pids", "a limit on processes is one", pids),
];

/// `dd` fills a buffer of its block size: 64 MB where 16 MB are allowed, and the same where 128 MB are.
fn memory_kills(env: &dyn Environment) -> Result<()> {
    let hungry = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];
    let limited = |name, memory| {
        let head = ["run", "--name", name, "--memory", memory, "--memory-swap", memory, BOX];
        let args: Vec<&str> = head.iter().chain(&hungry).copied().collect();
        env.try_docker(&args)
    };
    limited("enough", "128m")?.exits(0)?;
    limited("starved", "16m")?.exits(137)?;
    // The engine hears of the kill from the shim, a moment after the exit.
    eventually("OOMKilled is true", Duration::from_secs(10), || {
        Ok(env.docker(&["inspect", "--format", "{{.State.OOMKilled}}", "starved"])? == "true")
    })?;
    env.remove(&["enough", "starved"])
}

fn pids(env: &dyn Environment) -> Result<()> {
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait";
    let outcome = env.try_docker(&["run", "--rm", "--pids-limit", "4", BOX, "sh", "-c", script])?;
    ensure!(outcome.stderr.contains("fork"), "eight children under a limit of four: {}", outcome.stderr);
    Ok(())
}
