//! `/proc/cgroups` and `/proc/self/cgroup` (cgroups(7)), and the state of the cgroup2 root that we see.

use serde::{Deserialize, Serialize};

use super::mountinfo::Mount;

/// Where cgroup file systems belong.
pub const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// A controller of cgroup v1 as `/proc/cgroups` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    /// Its name, such as `memory`.
    pub name: String,
    /// Number of the v1 hierarchy that it is attached to; 0: none, or the v2 hierarchy.
    pub hierarchy: u32,
    /// False when switched off on the kernel command line.
    pub enabled: bool,
}

/// A line of `/proc/self/cgroup`: our place in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Number of the hierarchy; 0 is cgroup v2.
    pub hierarchy: u32,
    /// Controllers as one string, such as `cpu,cpuacct` or `name=systemd`; empty for v2.
    pub controllers: String,
    /// Our cgroup, relative to the root of the cgroup namespace.
    pub path: String,
}

impl Membership {
    /// Whether the mount is the v1 hierarchy with these controllers.
    pub fn is_of(&self, mount: &Mount) -> bool {
        self.controllers.split(',').all(|one| mount.super_options.iter().any(|option| option == one))
    }
}

/// The cgroup2 file system at [`CGROUP_ROOT`], when there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unified {
    /// Whether this is the hierarchy's true root (no `cgroup.type` there), as in a VM.
    pub is_true_root: bool,
    /// `cgroup.controllers`; `None` as long as the file system is only planned.
    pub controllers: Option<Vec<String>>,
    /// `cgroup.subtree_control`.
    pub enabled: Vec<String>,
    /// Whether processes sit in the root cgroup itself (`cgroup.procs` is not empty).
    pub has_processes: bool,
    /// `cgroup.type`, where it is not `domain`.
    pub kind: Option<String>,
}

/// Everything about cgroups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroups {
    /// `/proc/cgroups`; empty when the kernel has no cgroup v1.
    pub controllers: Vec<Controller>,
    /// `/proc/self/cgroup`.
    pub membership: Vec<Membership>,
    /// The cgroup2 root at [`CGROUP_ROOT`].
    pub unified: Option<Unified>,
    /// Mount points of hierarchies in which we may not make cgroups: they belong to somebody else (EACCES).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<String>,
}

/// Which version of cgroups Docker will use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// v1 hierarchies, with or without a cgroup2 hierarchy beside them (hybrid).
    V1,
    /// cgroup2 alone.
    V2,
}

impl Cgroups {
    /// Our place in the hierarchy that is mounted there.
    pub fn place_in(&self, mount: &Mount) -> Option<&Membership> {
        self.membership.iter().find(|place| match mount.fstype.as_str() {
            "cgroup2" => place.hierarchy == 0,
            "cgroup" => place.hierarchy != 0 && place.is_of(mount),
            _ => false,
        })
    }

    /// The version in use: v1 as soon as one controller sits in a v1 hierarchy, since it is then lost to v2.
    pub fn version(&self, mounts: &[Mount], filesystems: &[String]) -> Option<Version> {
        if let Some(at_root) = mounts.iter().rev().find(|m| m.target == CGROUP_ROOT) {
            match at_root.fstype.as_str() {
                "cgroup2" => return Some(Version::V2),
                _ if mounts.iter().any(|m| m.fstype == "cgroup") => return Some(Version::V1),
                _ => {}
            }
        }
        let known = |fs: &str| filesystems.iter().any(|f| f == fs);
        let v1_in_use = self.controllers.iter().any(|c| c.enabled && c.hierarchy != 0);
        match (v1_in_use, known("cgroup2"), known("cgroup")) {
            (true, _, _) => Some(Version::V1),
            (false, true, _) => Some(Version::V2),
            (false, false, true) if self.controllers.iter().any(|c| c.enabled) => Some(Version::V1),
            _ => None,
        }
    }
}

/// Parses `/proc/cgroups`.
pub fn parse_controllers(text: &str) -> Vec<Controller> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let name = fields.next()?.to_owned();
            let hierarchy = fields.next()?.parse().ok()?;
            let enabled = fields.nth(1)? == "1";
            Some(Controller { name, hierarchy, enabled })
        })
        .collect()
}

/// Parses `/proc/PID/cgroup`.
pub fn parse_membership(text: &str) -> Vec<Membership> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let hierarchy = fields.next()?.parse().ok()?;
            let controllers = fields.next()?.to_owned();
            let path = fields.next()?.to_owned();
            Some(Membership { hierarchy, controllers, path })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_and_membership() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t12\t1\nrdma\t0\t1\t0\nbad\n";
        let parsed = parse_controllers(text);
        assert_eq!(parsed.len(), 2);
        assert!(parsed[0].enabled && parsed[0].hierarchy == 3);
        assert!(!parsed[1].enabled);

        let parsed = parse_membership("9:name=systemd:/a:b\n4:cpu,cpuacct:/\n0::/x\n");
        assert_eq!(parsed[0].path, "/a:b");
        assert_eq!(parsed[1].controllers, "cpu,cpuacct");
        assert_eq!((parsed[2].hierarchy, parsed[2].controllers.as_str()), (0, ""));
    }

    #[test]
    fn version_follows_what_is_in_use() {
        let fs: Vec<String> = vec!["cgroup".into(), "cgroup2".into()];
        let cpu = |hierarchy| Controller { name: "cpu".into(), hierarchy, enabled: true };
        let with = |hierarchy| Cgroups { controllers: vec![cpu(hierarchy)], ..Cgroups::default() };
        assert_eq!(with(2).version(&[], &fs), Some(Version::V1));
        assert_eq!(with(0).version(&[], &fs), Some(Version::V2));
        assert_eq!(with(0).version(&[], &fs[..1]), Some(Version::V1));
        assert_eq!(Cgroups::default().version(&[], &[]), None);
        let v2 = [Mount::new(CGROUP_ROOT, "cgroup2", &[], &[], false)];
        assert_eq!(with(2).version(&v2, &fs), Some(Version::V2));
    }

    proptest::proptest! {
        #[test]
        fn never_panic(text in ".*") {
            let _ = parse_controllers(&text);
            let _ = parse_membership(&text);
        }
    }
}
