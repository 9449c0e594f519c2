//! Ends an instance and removes what is left of its run, whatever state that is in.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::process::Signal;

use super::cgroup::Cgroups;
use super::process::ProcessId;
use super::state::{InstanceDir, Record};

/// After SIGKILL: only the kernel's own work is left then.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// What pasta gets to close its sockets.
const PASTA: Duration = Duration::from_secs(2);

/// How PID 1 ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It had ended before.
    WasDead,
    /// By itself, when told to.
    Orderly,
    /// By force, as its time was up.
    Killed,
}

/// Ends all processes of the instance, then removes its cgroups and files; the data stay.
///
/// The caller holds the instance's lock. `patience` is what PID 1 gets to stop its containers.
pub(crate) fn end(dir: &InstanceDir, record: &Record, patience: Duration) -> anyhow::Result<Ending> {
    let cgroups = Cgroups::of(&dir.name)?;
    // PID 1 cannot end before everything in its pid namespace has been waited for, and what `exec` started is waited
    // for by that `exec`, on the host: stopped or stuck it would keep all of it alive.
    let free = || cgroups.kill();
    let ending =
        record.process.as_ref().map_or(Ok(Ending::WasDead), |process| end_process(process, patience, &free));
    let ending = ending.context("cannot end PID 1 of the instance")?;
    if let Some(pasta) = &record.pasta {
        end_process(pasta, PASTA, &|| {}).context("cannot end pasta")?;
    }
    // What has joined from the host (`exec`), and what an interrupted `up` had not written down yet. Where PID 1
    // had been dead before there is neither; who is in the cgroup then, belongs to somebody else.
    if ending != Ending::WasDead || (record.starter.is_some() && record.of_this_boot()) {
        cgroups.kill();
    }
    reap();
    // Somebody else's, if there is still somebody.
    if cgroups.processes().is_empty() {
        cgroups.remove()?;
    }
    dir.clear_run()?;
    Ok(ending)
}

/// Ends whatever is in the cgroups of an instance whose record cannot be read, and removes what is left of it.
pub(crate) fn end_unrecorded(dir: &InstanceDir) -> anyhow::Result<()> {
    let cgroups = Cgroups::of(&dir.name)?;
    cgroups.kill();
    reap();
    cgroups.remove()?;
    dir.clear_run()
}

/// Ends one process; without patience, at once. `free` is called after a SIGKILL, to end what holds it back.
pub(crate) fn end_process(process: &ProcessId, patience: Duration, free: &dyn Fn()) -> io::Result<Ending> {
    let Some(held) = process.hold() else { return Ok(Ending::WasDead) };
    if !patience.is_zero() {
        held.signal(Signal::TERM)?;
        if held.wait(patience)? {
            return Ok(Ending::Orderly);
        }
    }
    held.signal(Signal::KILL)?;
    free();
    if !held.wait(AFTER_KILL)? {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("process {} does not even end by SIGKILL", process.pid),
        ));
    }
    Ok(Ending::Killed)
}

/// Takes note of every child that has ended, so that none stays as a zombie while this process lives.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}
