//! From a failed action and the kernel's answer to a remedy.

use crate::config::variables::CERTDIR;
use crate::facts::{Facts, process};
use crate::plan::ActionError;
use crate::rules::storage;
use crate::{Action, Problem};

/// Error numbers that the table knows (errno(3)).
mod errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const ENOENT: i32 = 2;
    pub(super) const ENXIO: i32 = 6;
    pub(super) const EAGAIN: i32 = 11;
    pub(super) const EACCES: i32 = 13;
    pub(super) const EBUSY: i32 = 16;
    pub(super) const ENODEV: i32 = 19;
    pub(super) const ENOTDIR: i32 = 20;
    pub(super) const EISDIR: i32 = 21;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const ENOTTY: i32 = 25;
    pub(super) const ENOSPC: i32 = 28;
    pub(super) const EROFS: i32 = 30;
    pub(super) const ERANGE: i32 = 34;
    pub(super) const ENAMETOOLONG: i32 = 36;
    pub(super) const EOPNOTSUPP: i32 = 95;
    pub(super) const EADDRINUSE: i32 = 98;
    pub(super) const EADDRNOTAVAIL: i32 = 99;
}

/// The problem to tell when an action failed.
pub fn failed(action: &Action, error: &ActionError, facts: &Facts) -> Problem {
    let problem = Problem::new(format!("cannot {action}")).cause(error.to_string());
    with_remedy(problem, action, error, facts)
}

fn with_remedy(problem: Problem, action: &Action, error: &ActionError, facts: &Facts) -> Problem {
    use errno::{
        EACCES, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EBUSY, EINVAL, EISDIR, ENAMETOOLONG, ENODEV, ENOENT,
        ENOSPC, ENOTDIR, ENOTTY, ENXIO, EOPNOTSUPP, EPERM, ERANGE, EROFS,
    };
    match (action, error.errno) {
        (Action::ListenTcp { address }, EADDRINUSE) => problem
            .hint("stop what listens there, or leave that port to it")
            .remedy("then name another one", format!("--host=tcp://{}:{}", address.ip(), address.port().wrapping_add(1).max(1))),
        (Action::MountDevice { .. }, _) => problem
            .hint("the kernel's log says more; a damaged file system is mended where the disk comes from: `fsck DISK`")
            .remedy("or keep the data in memory", "DOCKERLAUNCH_STORAGE=tmpfs"),
        (Action::AddRoute { .. }, _) => problem
            .hint("the gateway of `ip=` on the kernel command line must be in the network of its address"),
        (Action::ListenTcp { .. }, EADDRNOTAVAIL) => problem
            .hint("no interface has that address: name one that is there, or `0.0.0.0` for all"),
        (Action::ListenUnix { .. }, EADDRINUSE) => problem
            .remedy("stop the daemon that serves it, or name another socket", "DOCKER_HOST=unix:///run/another.sock"),
        (Action::ListenUnix { .. }, ENAMETOOLONG) => {
            problem.hint("a socket's path has at most 107 bytes: choose a shorter one")
        }
        (Action::ListenUnix { path, .. }, EISDIR | EBUSY | ENOTDIR) => problem
            .cause("a bind mount of a socket that is not there makes a directory in its place")
            .hint(format!("remove {path}, on the side where it comes from"))
            .remedy("or name another socket", "DOCKER_HOST=unix:///run/another.sock"),
        (Action::MakeKey { .. } | Action::IssueCertificate { .. } | Action::InstallFile { .. }, _) => problem
            .remedy("keep certificates in a directory that can be written", format!("{CERTDIR}=/another/place"))
            .hint("or mount certificates of your own there: server/ca.pem, server/cert.pem and server/key.pem, without ca/key.pem")
            .remedy("or go without TLS", format!("{CERTDIR}=")),
        (Action::Mount { fstype, .. }, ENODEV) => problem
            .cause(format!("the kernel has no file system `{fstype}`"))
            .hint(format!("use a kernel that has `{fstype}`, or make its module loadable")),
        (Action::LockDataRoot { path, .. }, EAGAIN) => {
            let told = storage::in_use(path, &error.reason);
            Problem { step: problem.step, ..told }
        }
        (Action::MountLoop { .. }, EPERM | EACCES | ENODEV | ENOENT | ENXIO) => problem
            .cause("there is no loop device for us: the kernel has none, or the container may not use any")
            .remedy("keep the data in memory", "DOCKERLAUNCH_STORAGE=tmpfs"),
        (Action::MountLoop { .. }, EINVAL | ENOTTY) if error.call.starts_with("ioctl") => problem
            .cause("the kernel is older than Linux 5.8, where LOOP_CONFIGURE came")
            .remedy("keep the data in memory", "DOCKERLAUNCH_STORAGE=tmpfs"),
        (_, EPERM | EACCES) => privileges(problem, facts),
        (_, EROFS) => read_only(problem, facts),
        (_, ENOSPC) => problem.hint("free some space on that file system, or mount a volume there"),
        (Action::NestCgroup { .. }, EBUSY) => problem
            .hint("end what stays in or keeps entering the cgroup (a health check, `exec`), or start the container again"),
        (Action::WriteKnob { path, .. }, ENOENT) => problem.hint(format!("the kernel lacks the feature behind {path}")),
        (Action::CoverRoot, EINVAL) => problem.hint("boot with the image as an initramfs on a tmpfs root"),
        (Action::CreateBridge { .. }, EOPNOTSUPP) => problem
            .cause("the kernel has no bridges")
            .remedy("load the module, on the host where this is a container", "modprobe bridge"),
        (Action::CreateBridge { .. }, EINVAL | ERANGE) => problem
            .hint("name another: it has at most 15 letters, and neither `/` nor `:` nor spaces are among them"),
        _ if facts.process.is_kernel_init => {
            problem.hint("run with `DOCKER_LAUNCH_DEBUG=true` on the kernel command line, and report what it prints")
        }
        _ => problem.remedy("see everything that was found and planned", "dockerlaunch plan"),
    }
}

fn privileges(mut problem: Problem, facts: &Facts) -> Problem {
    for (capability, purpose) in process::REQUIRED.iter().filter(|(cap, _)| !facts.process.has(*cap)) {
        problem = problem.cause(format!("CAP_{} is absent: {purpose}", capability.name()));
    }
    if facts.process.is_kernel_init {
        problem.hint("a security module of the kernel refuses it; see the kernel log")
    } else {
        problem.remedy("run the container with `--privileged`", "docker run --privileged …")
    }
}

fn read_only(problem: Problem, facts: &Facts) -> Problem {
    if facts.process.is_kernel_init {
        problem.remedy("let the kernel mount the root writable", "rw")
    } else {
        problem.remedy(
            "run the container with `--privileged`, and without `--read-only`",
            "docker run --privileged …",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_remedy_wherever_we_are() {
        let actions = [
            Action::Mount { fstype: "x".into(), target: "/x".into(), flags: vec![], data: vec![] },
            Action::CoverRoot,
            Action::Mkdir { path: "/x".into(), mode: 0 },
            Action::WriteKnob { path: "/proc/sys/x".into(), value: "1".into() },
            Action::NestCgroup { cgroup: "/a".into(), leaf: "b".into() },
            Action::PrivateCgroups,
            Action::ListenTcp { address: ([0, 0, 0, 0], 2376).into() },
            Action::ListenUnix { path: "/x".into(), gid: None, mode: 0 },
            Action::MakeKey { path: "/x".into(), mode: 0 },
            Action::LockDataRoot { path: "/x".into(), wait: Default::default() },
            Action::MountLoop { target: "/x".into(), size: 1, mkfs: None },
        ];
        for is_kernel_init in [false, true] {
            let mut facts = Facts::default();
            facts.process.is_kernel_init = is_kernel_init;
            for action in &actions {
                for errno in 0..100 {
                    let error = ActionError { call: "x".into(), reason: "y".into(), errno };
                    assert!(!failed(action, &error, &facts).hints.is_empty(), "{action} {errno}");
                }
            }
        }
    }

    #[test]
    fn a_kernel_without_loop_configure_is_told_apart_from_a_broken_image_pain_4() {
        let action = Action::MountLoop { target: "/x".into(), size: 1, mkfs: None };
        let told = |call: &str| {
            let error = ActionError { call: call.into(), reason: "y".into(), errno: errno::EINVAL };
            failed(&action, &error, &Facts::default()).to_string()
        };
        assert!(told("ioctl(LOOP_CONFIGURE)").contains("Linux 5.8"));
        assert!(!told("mount(ext4)").contains("Linux 5.8"));
    }

    #[test]
    fn advice_fits_the_place() {
        let error = ActionError { call: "mkdir".into(), reason: "EROFS".into(), errno: errno::EROFS };
        let mut facts = Facts::default();
        facts.process.is_kernel_init = true;
        let problem = failed(&Action::Mkdir { path: "/x".into(), mode: 0 }, &error, &facts);
        assert!(problem.hints.iter().all(|h| !format!("{h:?}").contains("docker run")));
    }
}
