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
    /// The device that the data root is to be put on, where it is there.
    pub device: Option<Device>,
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
            let Self { prefers_containerd, mke2fs, device, locked, preloaded, .. } = std::mem::take(self);
            *self = Self {
                place,
                exists,
                prefers_containerd,
                mke2fs,
                device,
                locked,
                preloaded,
                ..Self::default()
            };
        }
    }
}

/// A block device, by what it begins and ends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// Mounted at the data root.
    Mounted,
    /// `ext4`, `xfs`.
    Holds(String),
    /// Nothing but zeros at both ends.
    Empty,
    /// Something that we do not know.
    Unknown,
    /// The words of the kernel.
    Unreadable(String),
}

/// So much of a device's beginning tells what is on it: the mark of btrfs is at 64 KiB. As much of its end may be an array's, or a
/// partition table's second copy.
pub const TOLD_BY: u64 = 128 << 10;

impl Device {
    /// What begins and ends so (kernel fs/ext4/ext4.h, `s_magic`, and fs/xfs/libxfs/xfs_format.h, `XFS_SB_MAGIC`). ext2 and ext3 have the
    /// mark of ext4, and its code mounts them.
    pub fn of(beginning: &[u8], end: &[u8]) -> Self {
        match beginning {
            _ if is_of_an_array(end) || has_partitions(beginning) => Self::Unknown,
            [b'X', b'F', b'S', b'B', ..] => Self::Holds("xfs".to_owned()),
            _ if beginning.get(0x438..0x43a) == Some(&[0x53, 0xef]) => Self::Holds("ext4".to_owned()),
            _ if beginning.iter().chain(end).all(|byte| *byte == 0) => Self::Empty,
            _ => Self::Unknown,
        }
    }
}

/// Linux RAID may have its mark in the last 128 KiB of a disk (kernel include/uapi/linux/raid/md_p.h, `MD_SB_MAGIC`); what the array
/// holds then begins as if it were there alone.
fn is_of_an_array(end: &[u8]) -> bool {
    end.chunks(512).any(|sector| sector.starts_with(&[0xfc, 0x4e, 0x2b, 0xa9]))
}

/// The first sector of a partition table has a type in at least one of its four entries.
fn has_partitions(beginning: &[u8]) -> bool {
    let types = [450, 466, 482, 498].map(|at| beginning.get(at).copied().unwrap_or(0));
    beginning.get(510..512) == Some(&[0x55, 0xaa]) && types.iter().any(|kind| *kind != 0)
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
    fn a_device_is_known_by_its_ends() {
        let zeros = vec![0; TOLD_BY as usize];
        let mark = |at: usize, mark: &[u8]| {
            let mut bytes = zeros.clone();
            bytes[at..at + mark.len()].copy_from_slice(mark);
            bytes
        };
        let with = |at, bytes| Device::of(&mark(at, bytes), &zeros);
        assert_eq!(with(0, b"XFSB"), Device::Holds("xfs".into()));
        assert_eq!(with(0x438, &[0x53, 0xef]), Device::Holds("ext4".into()));
        assert_eq!(with(0, b""), Device::Empty);
        // A partition table, LUKS and btrfs are not to be written over.
        for (at, mark) in [(510, &b"\x55\xaa"[..]), (0, b"LUKS"), (0x1_0040, b"_BHRfS_M")] {
            assert_eq!(with(at, mark), Device::Unknown);
        }
        // What was an ext4 before it was partitioned, or is half of a mirror with metadata 1.0.
        let ext4 = mark(0x438, &[0x53, 0xef]);
        let mut partitioned = ext4.clone();
        (partitioned[450], partitioned[510], partitioned[511]) = (0x83, 0x55, 0xaa);
        assert_eq!(Device::of(&partitioned, &zeros), Device::Unknown);
        let raid = mark(TOLD_BY as usize - 8192, &[0xfc, 0x4e, 0x2b, 0xa9]);
        assert_eq!(Device::of(&ext4, &raid), Device::Unknown);
        assert_eq!(Device::of(&ext4, &zeros), Device::Holds("ext4".into()));
    }

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
