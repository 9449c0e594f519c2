//! The end of everything under us: processes, then mounts.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use dockerlaunch_plan::facts::{Mount, mountinfo};
use dockerlaunch_plan::supervise::mounts;
use dockerlaunch_plan::supervise::tree::{self, Process};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{WaitOptions, wait};

use crate::cgroup::Below;
use crate::say::say;

/// How often it is looked whether containers have ended, of which nobody tells us.
const PULSE: Duration = Duration::from_millis(20);

/// Directories in which the engine mounts, and what was there before it came.
#[derive(Debug, Default)]
pub struct Mounts {
    /// Data root and exec root.
    pub dirs: Vec<String>,
    /// The mounts of before.
    pub before: Vec<Mount>,
    /// The cgroups of before, where all others are ours to remove.
    pub cgroups: Option<Below>,
    /// What we have put under the data root.
    pub ours: Option<String>,
}

/// Every process that `/proc` shows.
fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stat = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let is_process = name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit);
        let text = is_process.then(|| fs::read(entry.path().join("stat")).ok())??;
        Process::parse(&String::from_utf8_lossy(&text))
    };
    entries.filter_map(stat).collect()
}

/// The living process with this pid.
pub(crate) fn process(pid: i32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    Process::parse(&String::from_utf8_lossy(&stat)).filter(|process| !process.ended)
}

fn our_pid() -> i32 {
    Pid::this().as_raw()
}

/// Ends what runs in containers; the engine sees that, and cleans up.
pub(crate) fn end_containers() {
    let all = processes();
    for process in tree::in_containers(&tree::descendants(our_pid(), &all)) {
        end(process.pid);
    }
}

/// Asks what runs in containers to end, and waits until it has, which is true, or the time has come, or somebody is impatient. An
/// engine that keeps them for its next start (`live-restore`), or was gone when the stop began, has not asked them.
pub(crate) fn stop_containers(by: Instant, impatient: impl Fn() -> bool) -> bool {
    let mut asked = BTreeSet::new();
    loop {
        let all = processes();
        let mut inside = tree::in_containers(&tree::descendants(our_pid(), &all));
        inside.retain(|process| !process.ended);
        if inside.is_empty() || Instant::now() >= by || impatient() {
            return inside.is_empty();
        }
        for process in inside.iter().filter(|process| asked.insert((process.pid, process.started))) {
            // It may just have ended.
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGTERM);
        }
        std::thread::sleep(PULSE);
    }
}

/// Ends everything under us: as PID 1 every other process of the namespace, in one stroke; else all descendants, which
/// none can leave, since orphans come to us (PR_SET_CHILD_SUBREAPER).
pub(crate) fn end_everything() {
    if our_pid() == 1 {
        end(-1);
    } else {
        tree::descendants(our_pid(), &processes()).iter().for_each(|process| end(process.pid));
    }
}

fn end(pid: i32) {
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => say!(Warn, "kill {pid}: {error}"),
    }
}

/// Ends everything, waits until it is gone or the time has come, unmounts what is left and removes its cgroups.
pub(crate) fn finish(mounts: &Mounts, by: Instant) {
    // While they are being ended, processes may still start others.
    while reap().others_live && Instant::now() < by {
        end_everything();
        std::thread::sleep(Duration::from_millis(1));
    }
    let now = fs::read_to_string("/proc/self/mountinfo").map(|text| mountinfo::parse(&text));
    let left = mounts::left(&mounts.before, &now.unwrap_or_default(), &mounts.dirs);
    for target in left.into_iter().chain(mounts.ours.clone()) {
        if let Err(error) = unmount(target.as_str(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            say!(Warn, "unmount {target}: {error}");
        }
    }
    if let Some(before) = &mounts.cgroups {
        before.remove_others();
    }
}

/// Who has ended.
pub(crate) struct Reaped {
    /// Pids and exit statuses; 128 + n when signal n ended it.
    pub(crate) ended: Vec<(i32, i32)>,
    /// Children are left that have not ended.
    pub(crate) others_live: bool,
}

/// Takes the status of every child that has ended, ours or inherited: several may hide behind one SIGCHLD. By plain numbers:
/// nix takes a status and loses it where a signal has no name, as those of real time have none.
pub(crate) fn reap() -> Reaped {
    let mut ended = Vec::new();
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let by_signal = || status.terminating_signal().map(|number| 128 + number);
                let status = status.exit_status().or_else(by_signal);
                ended.extend(status.map(|status| (pid.as_raw_nonzero().get(), status)));
            }
            Ok(None) => return Reaped { ended, others_live: true },
            // No child is left (ECHILD); nothing else can go wrong in this call.
            Err(_) => return Reaped { ended, others_live: false },
        }
    }
}
