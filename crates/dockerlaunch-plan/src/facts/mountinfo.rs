//! `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
//!
//! Parsed here and not with `procfs-core`: that crate leaves the octal escapes in mount points and loses the order.

use serde::{Deserialize, Serialize};

/// One mount of our mount namespace, in mount order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is mounted, unescaped.
    pub target: String,
    /// The directory of the file system that is its root.
    #[serde(default = "slash", skip_serializing_if = "is_slash")]
    pub root: String,
    /// File system type.
    pub fstype: String,
    /// Options of the mount, such as `ro`, `nosuid`.
    pub options: Vec<String>,
    /// Options of the superblock; for a cgroup v1 hierarchy its controllers.
    pub super_options: Vec<String>,
    /// Whether mounts propagate to its peers (`shared:N`).
    pub shared: bool,
}

fn slash() -> String {
    "/".into()
}

fn is_slash(root: &str) -> bool {
    root == "/"
}

impl Mount {
    /// A mount as the kernel will show it after a plain mount(2).
    pub fn new(target: &str, fstype: &str, options: &[&str], super_options: &[&str], shared: bool) -> Self {
        let owned = |list: &[&str]| list.iter().map(|o| (*o).to_owned()).collect();
        Self {
            target: target.into(),
            root: slash(),
            fstype: fstype.into(),
            options: owned(options),
            super_options: owned(super_options),
            shared,
        }
    }

    /// Whether the mount, or its file system, is read-only.
    pub fn is_read_only(&self) -> bool {
        self.options.iter().chain(&self.super_options).any(|o| o == "ro")
    }
}

/// Parses the whole file; lines that do not have the documented form are left out.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

/// Whether the root mount has a parent: pivot_root(2) refuses a root without one. The kernel's first root is its own
/// parent in this file.
pub fn root_has_parent(text: &str) -> bool {
    let mut roots = text.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (id, parent, _device, _root, target) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (target == "/").then_some(id != parent)
    });
    roots.next_back().unwrap_or(true)
}

fn parse_line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let (_id, _parent, _device) = (left.next()?, left.next()?, left.next()?);
    let root = unescape(left.next()?);
    let target = unescape(left.next()?);
    let options = list(left.next()?);
    let shared = left.any(|field| field.starts_with("shared:"));
    let mut right = right.split(' ');
    let fstype = right.next()?.to_owned();
    let _source = right.next()?;
    let super_options = right.next().map(list).unwrap_or_default();
    Some(Mount { target, root, fstype, options, super_options, shared })
}

fn list(options: &str) -> Vec<String> {
    options.split(',').filter(|o| !o.is_empty()).map(unescape).collect()
}

/// Undoes the kernel's `\ooo` escapes of space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|d| first == b'\\' && d.iter().all(|c| (b'0'..=b'7').contains(c)));
        let value = octal.map(|d| d.iter().fold(0u32, |n, c| n * 8 + u32::from(c - b'0')));
        match value.and_then(|v| u8::try_from(v).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_optional_fields_escapes_and_super_options() {
        let text = "31 23 0:28 / /sys/fs/cgroup ro,nosuid shared:5 master:1 - tmpfs tmpfs rw,mode=755\n\
                    36 35 98:0 /mnt1 /mnt\\0402 rw,noatime - ext3 /dev/root rw,errors=continue\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert!(mounts[0].shared && mounts[0].is_read_only());
        assert_eq!(mounts[1].target, "/mnt 2");
        assert_eq!(mounts[1].root, "/mnt1");
        assert_eq!(mounts[1].super_options, ["rw", "errors=continue"]);
    }

    #[test]
    fn the_kernels_first_root_is_its_own_parent() {
        assert!(!root_has_parent("1 1 0:2 / / rw - rootfs none rw\n"));
        assert!(root_has_parent("1 1 0:2 / / rw - rootfs none rw\n25 1 0:2 / / rw - rootfs none rw\n"));
        assert!(root_has_parent("27 1 254:0 / / rw - ext4 /dev/vda rw\n"));
        assert!(root_has_parent(""));
    }

    #[test]
    fn broken_lines_are_left_out() {
        assert_eq!(parse("36 35 98:0 /mnt1\n\nnonsense - x\n"), []);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn unescape_undoes_the_kernel_escapes(path in "[ -~\t\n]{0,20}") {
            let escaped: String = path.chars().map(|c| match c {
                ' ' | '\t' | '\n' | '\\' => format!("\\{:03o}", c as u32),
                other => other.to_string(),
            }).collect();
            proptest::prop_assert_eq!(unescape(&escaped), path);
        }
    }
}
