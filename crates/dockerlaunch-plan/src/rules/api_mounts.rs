//! API file systems: `/proc`, `/sys`, `/dev` and what belongs below it, `/run`.

use crate::facts::{Entry, Facts};
use crate::{Action, Config, Problem, Verdict};

/// A mount action; missing mount points are created first.
fn mount(facts: &Facts, fstype: &str, target: &str, flags: &[&str], data: &[&str]) -> Vec<Action> {
    let owned = |list: &[&str]| list.iter().map(|o| (*o).to_owned()).collect();
    let mkdir = (!facts.exists(target)).then(|| Action::Mkdir { path: target.into(), mode: 0o755 });
    let mount = Action::Mount {
        fstype: fstype.into(),
        target: target.into(),
        flags: owned(flags),
        data: owned(data),
    };
    mkdir.into_iter().chain([mount]).collect()
}

/// Mounts a file system unless something is mounted there already.
pub(super) fn mount_unless_there(
    facts: &Facts,
    fstype: &str,
    target: &str,
    flags: &[&str],
    data: &[&str],
) -> Verdict {
    match facts.mount_at(target) {
        Some(there) => Verdict::satisfied(format!("{} is mounted at {target}", there.fstype)),
        None => Verdict::Needed { actions: mount(facts, fstype, target, flags, data) },
    }
}

/// `/proc`.
pub fn proc(_: &Config, facts: &Facts) -> Verdict {
    mount_unless_there(facts, "proc", "/proc", &["nosuid", "nodev", "noexec"], &[])
}

/// `/sys`.
pub fn sys(_: &Config, facts: &Facts) -> Verdict {
    mount_unless_there(facts, "sysfs", "/sys", &["nosuid", "nodev", "noexec"], &[])
}

/// `/dev`: the kernel's devtmpfs as its init; else a tmpfs of our own, since devtmpfs is one and the same instance
/// for the whole machine and what we create in it would appear on the host.
pub fn dev(_: &Config, facts: &Facts) -> Verdict {
    if facts.process.is_kernel_init {
        mount_unless_there(facts, "devtmpfs", "/dev", &["nosuid"], &["mode=755"])
    } else if facts.exists("/dev/null") {
        Verdict::satisfied("/dev/null exists")
    } else {
        mount_unless_there(facts, "tmpfs", "/dev", &["nosuid", "noexec"], &["mode=755", "size=65536k"])
    }
}

/// Character devices: path, major, minor, mode (kernel Documentation/admin-guide/devices.txt).
const NODES: &[(&str, u32, u32, u32)] = &[
    ("/dev/null", 1, 3, 0o666),
    ("/dev/zero", 1, 5, 0o666),
    ("/dev/full", 1, 7, 0o666),
    ("/dev/random", 1, 8, 0o666),
    ("/dev/urandom", 1, 9, 0o666),
    ("/dev/tty", 5, 0, 0o666),
    ("/dev/fuse", 10, 229, 0o666),
    ("/dev/net/tun", 10, 200, 0o666),
];

/// Links in `/dev` that programs take for granted (proc_pid_fd(5), pts(4)).
const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Nodes and links in a `/dev` that is ours or the kernel's; another's is left alone.
pub fn dev_nodes(_: &Config, facts: &Facts) -> Verdict {
    let mut actions = Vec::new();
    for &(path, major, minor, mode) in NODES {
        // Only what every system has is created in a /dev that somebody else set up.
        let essential = major == 1;
        if facts.exists(path) || (!owns_dev(facts) && !essential) {
            continue;
        }
        if facts.process.in_user_namespace {
            // mknod(2) of devices is refused in every user namespace but the first.
            if essential {
                return Verdict::Blocked { problem: no_nodes_in_user_namespace(path) };
            }
            continue;
        }
        if path.starts_with("/dev/net/") && !facts.exists("/dev/net") {
            actions.push(Action::Mkdir { path: "/dev/net".into(), mode: 0o755 });
        }
        actions.push(Action::MakeNode { path: path.into(), major, minor, mode });
    }
    for &(path, target) in LINKS {
        if !facts.exists(path) {
            actions.push(Action::Symlink { path: path.into(), target: target.into() });
        }
    }
    Verdict::needed_or(actions, "all nodes exist")
}

fn no_nodes_in_user_namespace(path: &str) -> Problem {
    Problem::new(format!("{path} does not exist, and devices cannot be created in a user namespace"))
        .hint("let the outer runtime bind the host's device nodes, as container runtimes do")
}

/// Whether `/dev` is a fresh tmpfs of ours (it has no `pts` yet) or the kernel's devtmpfs that we mounted.
fn owns_dev(facts: &Facts) -> bool {
    facts.process.is_kernel_init || facts.mount_at("/dev/pts").is_none()
}

/// `/dev/pts`, an instance of our own.
pub fn pts(_: &Config, facts: &Facts) -> Verdict {
    let data = ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    // The group `tty` has no number in a user namespace that does not map it.
    let data = if facts.process.in_user_namespace { &data[..3] } else { &data };
    mount_unless_there(facts, "devpts", "/dev/pts", &["nosuid", "noexec"], data)
}

/// `/dev/shm`.
pub fn shm(_: &Config, facts: &Facts) -> Verdict {
    mount_unless_there(
        facts,
        "tmpfs",
        "/dev/shm",
        &["nosuid", "nodev", "noexec"],
        &["mode=1777", "size=65536k"],
    )
}

/// `/dev/mqueue`.
pub fn mqueue(_: &Config, facts: &Facts) -> Verdict {
    if !facts.kernel.filesystems.iter().any(|fs| fs == "mqueue") && !facts.kernel.filesystems.is_empty() {
        return Verdict::skipped("the kernel has no POSIX message queues");
    }
    mount_unless_there(facts, "mqueue", "/dev/mqueue", &["nosuid", "nodev", "noexec"], &[])
}

/// `/run`: empty at every start, but only where that hides nothing of anybody's.
pub fn run(_: &Config, facts: &Facts) -> Verdict {
    if let Some(mount) = facts.mount_at("/run") {
        return Verdict::satisfied(format!("{} is mounted at /run", mount.fstype));
    }
    if facts.process.pid != 1 && matches!(facts.paths.get("/run"), Some(Entry::Dir(_))) {
        return Verdict::satisfied("/run exists, and this system is not ours alone (not PID 1)");
    }
    if facts.has_mounts_below("/run") {
        return Verdict::skipped("volumes are mounted below /run; a fresh one would hide them");
    }
    Verdict::Needed { actions: mount(facts, "tmpfs", "/run", &["nosuid", "nodev"], &["mode=755"]) }
}
