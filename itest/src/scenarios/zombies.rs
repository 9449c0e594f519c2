//! PID 1 reaps: dockerd in its place leaves a defunct shim behind for every container.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::eventually;
use crate::host;
use crate::image::BOX;

/// As many as the issue asks for.
const ROUNDS: usize = 50;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[scenario(
    "zombies::none_after_fifty_of_each",
    "fifty containers and fifty execs leave no zombie, inside or outside",
    none_after_fifty_of_each,
)];

fn none_after_fifty_of_each(env: &dyn Environment) -> Result<()> {
    env.docker(&["run", "-d", "--name", "busy", BOX, "sleep", "600"])?;
    let earlier = host::zombies()?;
    // Two at a time, as there are two cores; the kinds of work overlap as they do in real use.
    std::thread::scope(|scope| {
        let containers =
            scope.spawn(|| repeat(|| env.docker(&["run", "--rm", "--network", "none", BOX, "true"])));
        let execs = repeat(|| env.docker(&["exec", "busy", "true"]));
        containers.join().map_err(|_| anyhow::anyhow!("the containers' thread panicked"))?.and(execs)
    })?;
    env.remove(&["busy"])?;
    // A process is a zombie for a moment before it is reaped; only one that stays is a fault.
    let mut inside = String::new();
    let gone = eventually("no zombie inside", Duration::from_secs(10), || {
        inside = env
            .exec(&["/usr/lib/dockerlaunch/bin/ps", "-e", "-o", "stat=,pid=,ppid=,comm="], b"")?
            .success()?;
        let sees_pid_1 = inside.lines().any(|line| line.split_whitespace().nth(1) == Some("1"));
        ensure!(sees_pid_1, "`ps` does not see PID 1: {inside}");
        Ok(!inside.lines().any(|line| line.trim_start().starts_with('Z')))
    });
    gone.map_err(|error| error.context(inside))?;
    let mut left = Vec::new();
    let outside = eventually("no new zombie outside", Duration::from_secs(10), || {
        left = host::zombies()?;
        left.retain(|zombie| !earlier.contains(zombie));
        Ok(left.is_empty())
    });
    outside.map_err(|error| error.context(format!("{left:#?}")))
}

fn repeat(step: impl Fn() -> Result<String>) -> Result<()> {
    (0..ROUNDS).try_for_each(|_| step().map(drop))
}
