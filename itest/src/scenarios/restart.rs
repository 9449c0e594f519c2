//! Stop and start again: nothing is lost, and the stop is orderly.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::eventually;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[scenario(
    "restart::keeps_state_and_stops_in_order",
    "a restart keeps images, networks and volumes, lets containers end in order, and brings back those that want it",
    keeps_state,
)];

fn keeps_state(env: &dyn Environment) -> Result<()> {
    env.docker(&["tag", BOX, "kept-image:1"])?;
    env.docker(&["network", "create", "kept-network"])?;
    let polite = "trap 'sleep 1; echo said goodbye > /data/end; exit 0' TERM; while :; do sleep 0.1; done";
    env.docker(&["run", "-d", "--name", "polite", "-v", "kept-volume:/data", BOX, "sh", "-c", polite])?;
    // It does not listen to SIGTERM, and the engine alone would wait a minute for it.
    let faithful = ["run", "-d", "--name", "faithful", "--restart", "always", "--stop-timeout", "60"];
    env.docker(&[&faithful[..], &[BOX, "sleep", "600"]].concat())?;

    let stop = env.restart()?;
    // The launcher's own deadline is 8 s, and 1.5 s for what the kernel does; the rest is for a busy machine.
    ensure!(stop.took < Duration::from_secs(30), "the stop took {:?}", stop.took);

    env.docker(&["image", "inspect", "kept-image:1"])?;
    env.docker(&["network", "inspect", "kept-network"])?;
    let end = env.docker(&["run", "--rm", "-v", "kept-volume:/data", BOX, "cat", "/data/end"])?;
    ensure!(end == "said goodbye", "{end}");
    ensure!(
        env.docker(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "polite"])?
            == "exited 0"
    );
    eventually("the container with `--restart always` runs", Duration::from_secs(20), || {
        Ok(env.docker(&["inspect", "--format", "{{.State.Running}}", "faithful"])? == "true")
    })?;

    env.remove(&["polite", "faithful"])?;
    env.docker(&["network", "rm", "kept-network"])?;
    env.docker(&["volume", "rm", "kept-volume"])?;
    env.docker(&["rmi", "kept-image:1"]).map(drop)
}
