//! The data root: what carries it, and what an overlay tried in it did.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::is_below;

/// What is known of the data root. Without privileges to try, next to nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// The data root, or the directory nearest to it that exists, by the name that the kernel uses.
    pub place: String,
    /// Whether it is the data root itself.
    pub exists: bool,
    /// What came of the overlay; `None` when it could not be tried.
    pub overlay: Option<Overlay>,
    /// Why nothing can be written: the error number and its words.
    pub unwritable: Option<(i32, String)>,
    /// There was no answer within the limit.
    pub stuck: bool,
    /// How long all of it took, in milliseconds, where that is remarkable.
    pub slow: Option<u64>,
    /// Bytes and inodes.
    pub space: Option<Space>,
    /// Graph drivers that have left images or containers here, by their directories.
    pub prior: Vec<String>,
    /// The engine is one that keeps images in containerd unless a graph driver has left some.
    pub prefers_containerd: bool,
    /// `mke2fs`, where there is one.
    pub mke2fs: Option<String>,
    /// The [`IMAGE`] in it is mounted over it.
    pub on_loop: bool,
    /// Whether there is an [`IMAGE`].
    pub has_image: bool,
    /// We hold the lock.
    pub locked: bool,
    /// Who else holds it, in the words that stand in the file.
    pub holder: Option<String>,
    /// Archives of images that come with the system.
    pub preloaded: Vec<String>,
}

impl Storage {
    /// A new file system covers the place: what was seen there says nothing any more.
    pub(crate) fn cover(&mut self, target: &str) {
        if is_below(&self.place, target) {
            let exists = self.exists && self.place == target;
            let place = if exists { target.to_owned() } else { String::new() };
            let Self { prefers_containerd, mke2fs, locked, preloaded, .. } = std::mem::take(self);
            *self = Self { place, exists, prefers_containerd, mke2fs, locked, preloaded, ..Self::default() };
        }
    }
}

/// An overlay mount with two lower directories, a rename and a removal in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlay {
    /// All of it went well.
    Works,
    /// It was mounted, and dockerd tries no more than that; what failed in it.
    Limited(String),
    /// What the kernel said.
    Refused(String),
}

/// What a file system has, and what is free for us (statvfs(3)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Bytes.
    pub size: u64,
    /// Bytes free.
    pub free: u64,
    /// Inodes; 0 where they are not counted.
    pub inodes: u64,
    /// Inodes free.
    pub free_inodes: u64,
}

/// A disk that is only slow has answered by then.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One that is busy, by then.
pub const PATIENCE_OF_A_LAUNCH: Duration = Duration::from_secs(60);

/// Locked for as long as an engine uses the data root; says who does.
pub const LOCK: &str = ".dockerlaunch.lock";

/// What a loop device carries, in the data root that it then covers.
pub const IMAGE: &str = ".dockerlaunch.ext4";

/// Archives that are loaded when the engine is ready.
pub const PRELOADED: &str = "/usr/lib/dockerlaunch/images";

/// Graph drivers that dockerd takes up again where they have left something; `vfs` is not among them (moby
/// daemon/graphdriver/driver.go, `scanPriorDrivers`).
pub const GRAPH_DRIVERS: [&str; 4] = ["overlay2", "fuse-overlayfs", "btrfs", "zfs"];

/// `3.5 GiB`.
pub fn bytes(number: u64) -> String {
    let (shift, unit) = match number {
        0..0x10_0000 => (10, "KiB"),
        0x10_0000..0x4000_0000 => (20, "MiB"),
        _ => (30, "GiB"),
    };
    let tenths = (u128::from(number) * 10) >> shift;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_a_unit_that_fits() {
        for (number, text) in [
            (0, "0.0 KiB"),
            (1536, "1.5 KiB"),
            (700 << 20, "700.0 MiB"),
            (7 << 29, "3.5 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }
}
