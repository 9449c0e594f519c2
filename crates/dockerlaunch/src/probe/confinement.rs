//! What is refused to us, found by asking in ways that change nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dockerlaunch_plan::facts::{Capability, Confinement, confinement};
use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::Probe;
use super::trial::trial;
use crate::{mount, sys};

/// How long a trial mount may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the trial mounts, seen by nobody.
const PLACE: &str = "/proc";

impl Probe {
    pub(super) fn confinement(&self, only_reading: bool) -> Confinement {
        let status = self.read("/proc/self/status").unwrap_or_default();
        let has_filter = status.lines().any(|line| line == "Seccomp:\t2");
        let apparmor =
            self.read("/proc/self/attr/current").and_then(|text| confinement::parse_apparmor(&text));
        let process = self.process(None);
        let may_mount = process.has(Capability::SysAdmin);
        let is_real = self.root == Path::new("/");
        let may_try = is_real && !only_reading;
        let suspects = has_filter || apparmor.is_some() || process.in_user_namespace;
        Confinement {
            refused_calls: if has_filter && is_real { refused_calls(may_mount) } else { Vec::new() },
            unmountable: if suspects && may_mount && may_try { unmountable() } else { Vec::new() },
            apparmor,
            oom_score: if may_try { too_high_oom_score() } else { None },
        }
    }
}

/// Asked with arguments that make no sense, the kernel has another answer than a filter's.
fn refused_calls(may_mount: bool) -> Vec<String> {
    let mut refused = Vec::new();
    if sys::refuses_keyctl() {
        refused.push("keyctl".to_owned());
    }
    if may_mount && rustix::process::pivot_root("", "") == Err(Errno::PERM) {
        refused.push("pivot_root".to_owned());
    }
    refused
}

fn unmountable() -> Vec<String> {
    let probe = || {
        let refuses = |fstype: &&str| {
            let error = mount::new(fstype, PLACE, &[], &[]).err();
            error.is_some_and(|error| [libc::EPERM, libc::EACCES].contains(&error.errno))
        };
        let mut refused: Vec<String> =
            ["tmpfs", "proc"].into_iter().filter(refuses).map(str::to_owned).collect();
        refused.extend(detached_proc_is_refused().then(|| confinement::DETACHED_PROC.to_owned()));
        refused
    };
    // Without a mount namespace nothing can be said.
    trial(CloneFlags::CLONE_NEWNS, PATIENCE, probe).unwrap_or_default()
}

/// Whether a file cannot be opened in a proc that is mounted nowhere, as runc does to set sysctls (runc #4972).
fn detached_proc_is_refused() -> bool {
    let detached = || {
        let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&context)?;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    // Without it, runc takes the mounted one.
    let Ok(detached) = detached() else { return false };
    let file = "sys/net/ipv4/ip_unprivileged_port_start";
    rustix::fs::openat(detached, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).err()
        == Some(Errno::ACCESS)
}

/// A container gets 0. Whether a higher score may be lowered again, only a try can tell (proc_pid_oom_score_adj(5)).
fn too_high_oom_score() -> Option<i32> {
    const FILE: &str = "/proc/self/oom_score_adj";
    let text = fs::read_to_string(FILE).ok()?;
    let score: i32 = text.trim().parse().ok()?;
    if score <= 0 {
        return None;
    }
    let refused = fs::write(FILE, "0").is_err();
    // Raising is always allowed.
    let _ = fs::write(FILE, text.trim());
    refused.then_some(score)
}
