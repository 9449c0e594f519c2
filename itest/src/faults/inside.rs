//! The processes of an instance, as the host sees them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::command::eventually;
use crate::traces;
use crate::up::Instance;

/// A process in an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) parent: i32,
    pub(crate) name: String,
    /// Its number in each pid namespace, the host's first: two for the engine's own, more in containers.
    pub(crate) pids: Vec<i32>,
}

/// All of them.
pub(crate) fn processes(instance: &Instance) -> Result<Vec<Process>> {
    let cgroup = format!("/from-scratch/{}", instance.name());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        // It may be gone by now.
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        if read("cgroup").lines().any(|line| line.contains(&cgroup)) {
            found.extend(parse(&read("status")));
        }
    }
    Ok(found)
}

/// From the text of `/proc/PID/status`; `None` for one that has ended.
fn parse(status: &str) -> Option<Process> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if field("State:")?.starts_with(['Z', 'X']) {
        return None;
    }
    let pids: Vec<i32> = field("NSpid:")?.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    let pid = Pid::from_raw(*pids.first()?)?;
    Some(Process { pid, parent: field("PPid:")?.parse().ok()?, name: field("Name:")?.to_owned(), pids })
}

/// The one with this name beside the launcher, so not in a container.
pub(crate) fn find(instance: &Instance, name: &str) -> Result<Pid> {
    let beside = |process: &Process| process.name == name && process.pids.len() == 2;
    let found = processes(instance)?.into_iter().find(beside);
    Ok(found.with_context(|| format!("no {name} runs in `{}`", instance.name()))?.pid)
}

/// The launcher.
pub(crate) fn pid_1(instance: &Instance) -> Result<Pid> {
    let found = processes(instance)?.into_iter().find(|process| process.pids.get(1..) == Some(&[1]));
    Ok(found.with_context(|| format!("`{}` has no PID 1", instance.name()))?.pid)
}

/// The cgroups and mounts that bear a container's number.
pub(crate) fn of_a_container(instance: &Instance, id: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    traces::groups(Path::new("/sys/fs/cgroup"), id, &mut found);
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", pid_1(instance)?.as_raw_nonzero()))?;
    found.extend(mounts.lines().filter(|line| line.contains(id)).map(|line| format!("mount {line}")));
    Ok(found)
}

/// As the kernel does for want of memory; returns when it is gone.
pub(crate) fn kill(pid: Pid) -> Result<()> {
    kill_process(pid, Signal::KILL)?;
    eventually(&format!("process {} is gone", pid.as_raw_nonzero()), Duration::from_secs(10), || {
        Ok(!lives(pid))
    })
}

/// Whether it is there, and no zombie.
pub(crate) fn lives(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))
        .is_ok_and(|status| parse(&status).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_read_from_the_numbers() {
        let status = "Name:\tdockerd\nState:\tS (sleeping)\nPPid:\t40\nNSpid:\t42\t3\n";
        let process = parse(status).expect("it lives");
        assert_eq!((process.name.as_str(), process.parent, process.pids), ("dockerd", 40, vec![42, 3]));
        assert_eq!(parse(&status.replace("S (sleeping)", "Z (zombie)")), None);
    }
}
