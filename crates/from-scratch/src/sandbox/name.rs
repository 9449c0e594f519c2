//! The name of an instance: a directory, a cgroup and a host name at once.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kernel's limit for a host name.
const LONGEST: usize = 64;

/// Files in every cgroup v1 directory (kernel Documentation/admin-guide/cgroup-v1/cgroups.rst), and the words before the
/// dot of all others.
const CONTROL_FILES: &[&str] = &["tasks", "notify_on_release", "release_agent"];
const CONTROLLERS: &[&str] = &[
    "cgroup",
    "cpu",
    "cpuset",
    "cpuacct",
    "memory",
    "io",
    "blkio",
    "pids",
    "devices",
    "freezer",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
    "misc",
    "irq",
];

/// What else lives in the state directory.
const RESERVED: &[&str] = &["images", "tools", "cache"];

/// A name that is safe as a path component, as a cgroup and as a host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct InstanceName(String);

impl InstanceName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<Path> for InstanceName {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> Self {
        name.0
    }
}

impl TryFrom<String> for InstanceName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl FromStr for InstanceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        if !ends_well(name.chars().next()) || !ends_well(name.chars().last()) {
            return Err("a name begins and ends with a letter or a digit".into());
        }
        if let Some(odd) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(*c)) {
            return Err(format!("`{odd}` cannot stand in a name, only letters, digits, `-`, `_` and `.`"));
        }
        if name.len() > LONGEST {
            return Err(format!("a name has at most {LONGEST} characters, this one has {}", name.len()));
        }
        if RESERVED.contains(&name) {
            return Err(format!("`{name}` is taken: the state directory keeps other things there"));
        }
        // cgroup v1 keeps its control files in the directory that holds the instances' cgroups.
        let is_control_file = name.split_once('.').is_some_and(|(first, _)| CONTROLLERS.contains(&first));
        if is_control_file || CONTROL_FILES.contains(&name) {
            return Err(format!("`{name}` is taken: control files of cgroups have such names"));
        }
        Ok(Self(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names() {
        for name in ["default", "a", "t1", "ci-3_x.y"] {
            assert_eq!(name.parse::<InstanceName>().map(|name| name.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn bad_names() {
        let long = "a".repeat(65);
        for name in ["", ".", "..", "-a", "a-", "a/b", "a b", "ä", "images", "a\n", long.as_str()] {
            assert!(name.parse::<InstanceName>().is_err(), "{name:?}");
        }
    }
}
