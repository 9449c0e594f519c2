//! What is unmounted at the end: what an engine that was ended by force leaves, and what a machine has on disks.

use crate::facts::{Mount, is_below};

/// Mount points below these directories that were not there before the engine started, the newest first: overlays of
/// containers and their `shm` below the data root, network namespaces below `/run/docker/netns`.
pub fn left(before: &[Mount], now: &[Mount], dirs: &[String]) -> Vec<String> {
    let below = |target: &str| dirs.iter().any(|dir| dir != target && is_below(target, dir));
    let was_there = |target: &str| before.iter().any(|mount| mount.target == target);
    let left = now.iter().rev().map(|mount| &mount.target);
    left.filter(|target| below(target) && !was_there(target)).cloned().collect()
}

/// File systems that live in memory alone; the rest of us still needs some of them.
const IN_MEMORY: &[&str] = &[
    "bpf",
    "cgroup",
    "cgroup2",
    "debugfs",
    "devpts",
    "devtmpfs",
    "mqueue",
    "proc",
    "pstore",
    "ramfs",
    "rootfs",
    "securityfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// Mount points whose file systems must be written out before a machine ends, the newest first.
pub fn on_disk(now: &[Mount]) -> impl Iterator<Item = &str> {
    let kept = now.iter().rev().filter(|mount| !IN_MEMORY.contains(&mount.fstype.as_str()));
    kept.map(|mount| mount.target.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_lets_go_of_disks_and_keeps_what_it_still_needs() {
        let mount = |target, fstype| Mount::new(target, fstype, &[], &[], false);
        let now = [
            mount("/", "rootfs"),
            mount("/proc", "proc"),
            mount("/dev", "devtmpfs"),
            mount("/run", "tmpfs"),
            mount("/var/lib/docker", "ext4"),
            mount("/var/lib/docker/overlay2/x/merged", "overlay"),
            mount("/exchange", "virtiofs"),
        ];
        let expected = ["/exchange", "/var/lib/docker/overlay2/x/merged", "/var/lib/docker"];
        assert_eq!(on_disk(&now).collect::<Vec<_>>(), expected);
    }

    fn mounts(targets: &[&str]) -> Vec<Mount> {
        targets.iter().map(|target| Mount::new(target, "overlay", &[], &[], false)).collect()
    }

    #[test]
    fn only_what_came_with_the_engine_goes() {
        let before = mounts(&["/", "/var/lib/docker", "/var/lib/docker/volumes/mine"]);
        let now = mounts(&[
            "/",
            "/var/lib/docker",
            "/var/lib/docker/volumes/mine",
            "/var/lib/docker/overlay2/x/merged",
            "/var/lib/docker/overlay2/x/merged/dev/shm",
            "/run/docker/netns/default",
            "/run/dockerlaunch",
        ]);
        let dirs = ["/var/lib/docker".to_owned(), "/run/docker".to_owned()];
        assert_eq!(
            left(&before, &now, &dirs),
            [
                "/run/docker/netns/default",
                "/var/lib/docker/overlay2/x/merged/dev/shm",
                "/var/lib/docker/overlay2/x/merged",
            ]
        );
    }
}
