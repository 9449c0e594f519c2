//! Which cgroup hierarchies are mounted, and where a process is in them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) mount_point: PathBuf,
    /// The cgroup that the mount point shows.
    root: PathBuf,
    pub(crate) kind: Kind,
}

/// Which of the two interfaces it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its controllers, sorted; a named hierarchy has `name=…` alone.
    V1(Vec<String>),
    V2,
}

impl Hierarchy {
    pub(crate) fn is_v2(&self) -> bool {
        self.kind == Kind::V2
    }

    /// The directory that a process is in, out of its `/proc/PID/cgroup`.
    pub(crate) fn dir_of(&self, membership: &str) -> Option<PathBuf> {
        let path = membership.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let same = match &self.kind {
                Kind::V2 => controllers.is_empty(),
                Kind::V1(own) => !controllers.is_empty() && sorted(controllers.split(',')) == *own,
            };
            same.then_some(path)
        })?;
        Some(self.mount_point.join(Path::new(path).strip_prefix(&self.root).ok()?))
    }
}

/// What is mounted where this process is.
pub(crate) fn mounted() -> io::Result<Vec<Hierarchy>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?, &fs::read_to_string("/proc/self/cgroup")?))
}

/// Each hierarchy once, as some are mounted at two places.
fn parse(mountinfo: &[u8], membership: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let Some(hierarchy) = parse_line(line, membership) else { continue };
        if !found.iter().any(|other| other.kind == hierarchy.kind) {
            found.push(hierarchy);
        }
    }
    found
}

fn parse_line(line: &[u8], membership: &str) -> Option<Hierarchy> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let (root, mount_point) = (unescape(fields.get(3)?), unescape(fields.get(4)?));
    let kind = match *fields.get(dash + 1)? {
        b"cgroup2" => Kind::V2,
        b"cgroup" => {
            // Only /proc/self/cgroup tells the controllers from the other options of the mount.
            let options = std::str::from_utf8(fields.get(dash + 3)?).ok()?;
            let known: Vec<Vec<String>> = membership
                .lines()
                .filter_map(|line| line.split(':').nth(1))
                .map(|controllers| sorted(controllers.split(',')))
                .collect();
            let options = sorted(options.split(','));
            Kind::V1(known.into_iter().find(|own| {
                !own.iter().all(String::is_empty) && own.iter().all(|one| options.contains(one))
            })?)
        }
        _ => return None,
    };
    // A root with `..` in it belongs to another cgroup namespace: nothing could be made below it.
    let outside = Path::new(&root).components().any(|part| part == std::path::Component::ParentDir);
    (!outside).then_some(Hierarchy { mount_point, root, kind })
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names
}

/// Mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        33 31 0:29 / /other\\040place rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory,release_agent=/x\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
    const MEMBERSHIP: &str =
        "9:name=systemd:/init\n4:memory:/docker/x/from-scratch/a\n1:cpuacct,cpu:/\n0::/u\n";

    fn v1(controllers: &[&str]) -> Kind {
        Kind::V1(controllers.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_hierarchy_once() {
        let kinds: Vec<Kind> = parse(HYBRID, MEMBERSHIP).into_iter().map(|one| one.kind).collect();
        assert_eq!(kinds, [v1(&["cpu", "cpuacct"]), v1(&["memory"]), v1(&["name=systemd"]), Kind::V2]);
    }

    #[test]
    fn where_a_process_is() {
        let dirs: Vec<Option<PathBuf>> =
            parse(HYBRID, MEMBERSHIP).iter().map(|one| one.dir_of(MEMBERSHIP)).collect();
        let expected = [
            "/sys/fs/cgroup/cpu,cpuacct/",
            "/sys/fs/cgroup/memory/from-scratch/a",
            "/sys/fs/cgroup/systemd/init",
            "/sys/fs/cgroup/unified/u",
        ];
        assert_eq!(dirs, expected.map(|dir| Some(PathBuf::from(dir))));
    }

    #[test]
    fn a_mount_of_another_namespace_is_left_alone() {
        let line = b"1 2 0:3 /../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(parse(line, "0::/\n"), []);
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(b"/a\\040b\\134c"), Path::new("/a b\\c"));
        assert_eq!(unescape(b"/a\\0"), Path::new("/a\\0"));
    }
}
