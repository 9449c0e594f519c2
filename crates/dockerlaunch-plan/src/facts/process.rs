//! `/proc/self/status` (proc_pid_status(5)): who we are and what we may do.

use serde::{Deserialize, Serialize};

/// Our process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Our pid in the innermost pid namespace.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Effective capabilities, one bit each.
    #[serde(with = "hex_mask")]
    pub capabilities: u64,
    /// Whether we are in a user namespace other than the first one.
    pub in_user_namespace: bool,
    /// Soft and hard limit of open files.
    pub nofile: (u64, u64),
    /// Whether the root mount has a parent, so that pivot_root(2) works; false on the kernel's own initial root.
    pub root_can_be_pivoted: bool,
    /// Whether the kernel itself started us as init: pid 1, and nobody says `container=`.
    pub is_kernel_init: bool,
}

/// The capabilities that Docker, or we for it, cannot do without (capabilities(7)); others merely limit it.
pub const REQUIRED: &[(Capability, &str)] = &[
    (Capability::SysAdmin, "mounts, namespaces and cgroups"),
    (Capability::NetAdmin, "bridges, routes and the firewall"),
    (Capability::SysChroot, "unpacking images in a chroot"),
    (Capability::Mknod, "device nodes of containers"),
    (Capability::DacOverride, "files of other users in images"),
    (Capability::Chown, "owners of files in images"),
    (Capability::Fowner, "modes of files in images"),
    (Capability::Setuid, "users in containers"),
    (Capability::Setgid, "groups in containers"),
    (Capability::Setpcap, "capability bounds of containers"),
    (Capability::Setfcap, "file capabilities in images"),
    (Capability::Fsetid, OF_CONTAINERS),
    (Capability::Kill, OF_CONTAINERS),
    (Capability::NetBindService, OF_CONTAINERS),
    (Capability::NetRaw, OF_CONTAINERS),
    (Capability::AuditWrite, OF_CONTAINERS),
];

/// moby daemon/pkg/oci/caps/defaults.go: runc cannot give away what we do not have.
const OF_CONTAINERS: &str = "every container gets it, unless told otherwise";

/// A capability, with its bit number (linux/capability.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Capability {
    Chown = 0,
    DacOverride = 1,
    Fowner = 3,
    Fsetid = 4,
    Kill = 5,
    Setgid = 6,
    Setuid = 7,
    Setpcap = 8,
    NetBindService = 10,
    NetAdmin = 12,
    NetRaw = 13,
    SysModule = 16,
    SysChroot = 18,
    SysAdmin = 21,
    SysResource = 24,
    Mknod = 27,
    AuditWrite = 29,
    Setfcap = 31,
}

impl Capability {
    /// The name that people and tools use, without `CAP_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chown => "CHOWN",
            Self::DacOverride => "DAC_OVERRIDE",
            Self::Fowner => "FOWNER",
            Self::Fsetid => "FSETID",
            Self::Kill => "KILL",
            Self::Setgid => "SETGID",
            Self::Setuid => "SETUID",
            Self::Setpcap => "SETPCAP",
            Self::NetBindService => "NET_BIND_SERVICE",
            Self::NetAdmin => "NET_ADMIN",
            Self::NetRaw => "NET_RAW",
            Self::SysModule => "SYS_MODULE",
            Self::SysChroot => "SYS_CHROOT",
            Self::SysAdmin => "SYS_ADMIN",
            Self::SysResource => "SYS_RESOURCE",
            Self::Mknod => "MKNOD",
            Self::AuditWrite => "AUDIT_WRITE",
            Self::Setfcap => "SETFCAP",
        }
    }
}

impl Process {
    /// Whether the capability is effective.
    pub fn has(&self, capability: Capability) -> bool {
        self.capabilities & (1 << capability as u32) != 0
    }
}

/// The effective capabilities in the text of `/proc/PID/status`.
pub fn parse_effective_capabilities(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(value.trim(), 16).ok()
}

/// Whether the text of `/proc/PID/uid_map` is that of the first user namespace.
pub fn is_initial_uid_map(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Masks read better in hexadecimal, as /proc shows them.
mod hex_mask {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(mask: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format!("{mask:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        let text = String::deserialize(d)?;
        u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_status() {
        let mask = parse_effective_capabilities("Name:\tx\nCapEff:\t000001fffeffffff\n").expect("mask");
        let process = Process { capabilities: mask, ..Process::default() };
        assert!(process.has(Capability::SysAdmin));
        assert!(!process.has(Capability::SysResource));
        assert_eq!(parse_effective_capabilities("CapEff:\tzz\n"), None);
        assert_eq!(parse_effective_capabilities(""), None);
    }

    #[test]
    fn the_first_user_namespace_maps_everything() {
        assert!(is_initial_uid_map("         0          0 4294967295\n"));
        assert!(!is_initial_uid_map("         0       1000          1\n"));
    }
}
