//! What an engine that was ended by force leaves mounted.

use crate::facts::{Mount, is_below};

/// Mount points below these directories that were not there before the engine started, the newest first: overlays of
/// containers and their `shm` below the data root, network namespaces below `/run/docker/netns`.
pub fn left(before: &[Mount], now: &[Mount], dirs: &[String]) -> Vec<String> {
    let below = |target: &str| dirs.iter().any(|dir| dir != target && is_below(target, dir));
    let was_there = |target: &str| before.iter().any(|mount| mount.target == target);
    let left = now.iter().rev().map(|mount| &mount.target);
    left.filter(|target| below(target) && !was_there(target)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
