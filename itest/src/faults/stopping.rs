//! SIGSTOP: what is there, and does nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;
use super::{Fault, acknowledged, fault, inside};
use crate::Environment;
use crate::command;
use crate::image::BOX;
use crate::up::Instance;

/// The area's table.
pub const FAULTS: &[Fault] = &[
    fault(
        "stopping::dockerd",
        "probes say so in their time, clients wait and are served after SIGCONT, and `down` ends all of it in its time",
        dockerd,
    ),
    fault(
        "stopping::containerd",
        "the engine answers, what it waits for comes after SIGCONT, and `down` ends all of it in its time",
        containerd,
    ),
    fault("stopping::pid_1", "`down` ends all of it by force when its time is over, and says so", pid_1),
];

/// The launcher's own deadline is 8 s, and 1.5 s for what the kernel does; the rest is for a busy machine.
const DOWN: Duration = Duration::from_secs(30);

/// Stops it, until this goes.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: Pid) -> Result<Self> {
        kill_process(pid, Signal::STOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been ended meanwhile.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

fn dockerd() -> Result<()> {
    let mut instance = Instance::start("stopped-engine")?;
    let env: &dyn Environment = &instance;
    acknowledged::make(env)?;
    let stopped = Stopped::new(inside::find(&instance, "dockerd")?)?;
    let mut waiting = Client::docker(&instance, &["ps", "--quiet"])?;
    for (probe, said) in [
        (&["healthcheck"][..], "no answer within 4s"),
        (&["ready", "--timeout", "2s"], "no answer within 2s"),
    ] {
        let outcome = env.exec(&[&["dockerlaunch"], probe].concat(), b"")?.exits(1)?;
        ensure!(outcome.stderr.contains(said), "{probe:?} said: {}", outcome.stderr);
        ensure!(outcome.stderr.contains("hint:"), "{probe:?} gives no advice: {}", outcome.stderr);
        ensure!(outcome.took < Duration::from_secs(20), "{probe:?} took {:?}", outcome.took);
    }
    ensure!(waiting.runs()?, "a client gave up");
    drop(stopped);
    waiting.ends()?.exits(0)?;
    env.exec(&["dockerlaunch", "healthcheck"], b"")?.exits(0)?;

    let stopped = Stopped::new(inside::find(&instance, "dockerd")?)?;
    comes_down(&instance)?;
    drop(stopped);
    instance.up()?;
    acknowledged::is_there(&instance)?;
    instance.tear_down()
}

fn containerd() -> Result<()> {
    let mut instance = Instance::start("stopped-containerd")?;
    let env: &dyn Environment = &instance;
    acknowledged::make(env)?;
    let stopped = Stopped::new(inside::find(&instance, "containerd")?)?;
    let waiting = Client::docker(&instance, &["run", "--rm", BOX, "echo", "late"])?;
    env.docker(&["ps"])?;
    env.exec(&["dockerlaunch", "healthcheck"], b"")?.exits(0)?;
    drop(stopped);
    ensure!(waiting.ends()?.success()? == "late");

    let stopped = Stopped::new(inside::find(&instance, "containerd")?)?;
    comes_down(&instance)?;
    drop(stopped);
    instance.up()?;
    acknowledged::is_there(&instance)?;
    instance.tear_down()
}

fn comes_down(instance: &Instance) -> Result<()> {
    let down = instance.down()?;
    ensure!(down.took < DOWN, "`down` took {:?}", down.took);
    ensure!(down.stderr.contains("stopped `"), "PID 1 did not end by itself: {}", down.stderr);
    nothing_runs(instance)
}

fn nothing_runs(instance: &Instance) -> Result<()> {
    let left = inside::processes(instance)?;
    ensure!(left.is_empty(), "`down` has left {left:?}");
    Ok(())
}

fn pid_1() -> Result<()> {
    let mut instance = Instance::start("stopped-launcher")?;
    acknowledged::make(&instance)?;
    let stopped = Stopped::new(inside::pid_1(&instance)?)?;
    let down = command::run(instance.command("down")?.args(["--timeout", "2"]), b"")?.exits(0)?;
    ensure!(down.took < DOWN, "`down` took {:?}", down.took);
    ensure!(down.stderr.contains("did not stop within 2 s"), "it does not say so: {}", down.stderr);
    nothing_runs(&instance)?;
    drop(stopped);
    instance.up().context("after that")?;
    acknowledged::is_there(&instance)?;
    instance.tear_down()
}
