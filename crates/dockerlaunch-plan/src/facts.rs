//! What the system looks like, as far as the rules ask. Read by `dockerlaunch::probe`; plain data here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod certificates;
pub mod cgroups;
pub mod cidr;
pub mod confinement;
pub mod dockerd_flags;
pub mod firewall;
pub mod image_archive;
pub mod kernel;
pub mod mountinfo;
pub mod network;
pub mod process;
pub mod socket_table;
pub mod state_files;
pub mod storage;
pub mod tls;

pub use cgroups::{CGROUP_ROOT, Cgroups, Version};
pub use cidr::Cidr;
pub use confinement::Confinement;
pub use firewall::Firewall;
pub use mountinfo::Mount;
pub use network::Network;
pub use process::{Capability, Process};
pub use tls::Tls;

/// The one private directory of the image (DESIGN §4).
pub const PRIVATE: &str = "/usr/lib/dockerlaunch";

/// Everything that rules look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Who we are.
    pub process: Process,
    /// What holds us back besides missing capabilities.
    pub confinement: Confinement,
    /// The kernel.
    pub kernel: kernel::Kernel,
    /// `/proc/self/mountinfo`; without `/proc`, the API file systems that statfs(2) shows.
    pub mounts: Vec<Mount>,
    /// cgroup hierarchies.
    pub cgroups: Cgroups,
    /// Watched paths that exist ([`WATCHED_PATHS`] and those of the configuration), without following the last symbolic link.
    pub paths: BTreeMap<String, Entry>,
    /// Watched knobs below `/proc/sys` that exist, without the final newline.
    pub knobs: BTreeMap<String, String>,
    /// Network interfaces.
    pub links: Vec<Link>,
    /// What they lead to.
    pub network: Network,
    /// Files of the private `etc/`, relative to it.
    pub etc_defaults: Vec<String>,
    /// The kernel's packet filters.
    pub firewall: Firewall,
    /// What a predecessor may have left behind.
    pub leftovers: state_files::Leftovers,
    /// The engine's configuration file.
    pub config_file: ConfigFile,
    /// What it sets, together with `DOCKERD_CONFIG_JSON`.
    pub daemon_json: DaemonJson,
    /// What the configuration of our own containerd holds.
    pub containerd_config: Option<String>,
    /// CA certificates besides the system's.
    pub extra_ca: certificates::ExtraCa,
    /// Programs to run before the engine; none once they have run.
    pub hooks: Vec<Hook>,
    /// Groups that may own the socket, as far as they exist, with their numbers.
    pub groups: BTreeMap<String, u32>,
    /// Where we listen already: `unix:///run/docker.sock`, `tcp://0.0.0.0:2376`.
    pub listening: Vec<String>,
    /// Certificates and keys, and what they must be good for.
    pub tls: Tls,
    /// The data root.
    pub storage: storage::Storage,
}

/// The configuration file of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigFile {
    /// Where it is looked for.
    pub path: String,
    /// What is in it; `None` when there is none.
    #[serde(serialize_with = "crate::mask::serialize_option")]
    pub content: Option<String>,
    /// Why it could not be read, though there is one.
    pub error: Option<String>,
    /// What stands in [`MERGED_CONFIG`].
    #[serde(serialize_with = "crate::mask::serialize_option")]
    pub merged: Option<String>,
}

impl ConfigFile {
    /// The text of a file, whatever editor has written it: dockerd too takes UTF-8, and UTF-16 with a byte order mark.
    ///
    /// # Errors
    /// It is no text.
    pub fn decode(bytes: &[u8]) -> Result<String, &'static str> {
        let units = |read: fn([u8; 2]) -> u16| -> Vec<u16> {
            bytes[2..].chunks_exact(2).map(|pair| read([pair[0], pair[1]])).collect()
        };
        match bytes {
            [0xff, 0xfe, ..] => {
                String::from_utf16(&units(u16::from_le_bytes)).map_err(|_| "it is no valid UTF-16")
            }
            [0xfe, 0xff, ..] => {
                String::from_utf16(&units(u16::from_be_bytes)).map_err(|_| "it is no valid UTF-16")
            }
            [0xef, 0xbb, 0xbf, text @ ..] | text => {
                std::str::from_utf8(text).map(str::to_owned).map_err(|_| "it is no valid UTF-8")
            }
        }
    }
}

/// Where the engine finds its configuration when it is not the user's own file.
pub const MERGED_CONFIG: &str = "/run/dockerlaunch/daemon.json";

/// What concerns us in `/etc/docker/daemon.json` (dockerd reference, "daemon configuration file").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct DaemonJson {
    /// Listeners; dockerd then refuses `-H` on the command line.
    pub hosts: Vec<String>,
    /// Group of the unix socket.
    pub group: Option<String>,
    /// The bridge that containers are attached to.
    pub bridge: Option<String>,
    /// Address of dockerd's own bridge.
    pub bip: Option<String>,
    /// The same for IPv6.
    pub bip6: Option<String>,
    /// The directory of images and containers.
    pub data_root: Option<String>,
    /// The driver that images and containers are kept with.
    pub storage_driver: Option<String>,
    #[serde(skip)]
    /// `features` switch the image store of containerd on or off; no directive of its own.
    pub containerd_snapshotter: Option<bool>,
    /// The MTU of dockerd's own bridge.
    pub mtu: Option<i64>,
    /// A containerd of the user's own.
    pub containerd: Option<String>,
    /// Whether it serves Kubernetes too.
    pub cri_containerd: Option<bool>,
    /// Whether it tells all that it does.
    pub debug: Option<bool>,
    /// The least that it tells.
    pub log_level: Option<String>,
    /// Whether it tells it as JSON.
    pub log_format: Option<String>,
    /// Whether it programs the packet filter for IPv4.
    pub iptables: Option<bool>,
    /// The same for IPv6.
    pub ip6tables: Option<bool>,
    /// What it programs it by.
    pub firewall_backend: Option<String>,
    /// Whether its own bridge has IPv6.
    pub ipv6: Option<bool>,
    /// Whether it switches forwarding on.
    pub ip_forward: Option<bool>,
    /// Options of networks that users make.
    pub default_network_opts: Option<Value>,
    /// Where networks get their addresses from.
    pub default_address_pools: Option<Value>,
    /// The addresses of containers on dockerd's own bridge.
    pub fixed_cidr: Option<String>,
    /// Nameservers of containers.
    pub dns: Option<Vec<String>>,
    /// Options of their resolvers.
    pub dns_opts: Option<Vec<String>>,
    /// The directory of what must not outlive the machine.
    pub exec_root: Option<String>,
    /// Seconds that the engine gives its shutdown.
    pub shutdown_timeout: Option<i64>,
    /// Whether it leaves its containers running when it ends.
    pub live_restore: Option<bool>,
    /// TLS for TCP listeners, handed-over ones included.
    pub tls: Option<bool>,
    /// The same, with verification of clients.
    pub tlsverify: Option<bool>,
    /// The CA of clients.
    pub tlscacert: Option<String>,
    /// The server's certificate.
    pub tlscert: Option<String>,
    /// Its key.
    pub tlskey: Option<String>,
}

impl DaemonJson {
    /// Whether it has this directive about TLS.
    pub fn sets_tls(&self, name: &str) -> bool {
        match name {
            "tls" => self.tls.is_some(),
            "tlsverify" => self.tlsverify.is_some(),
            "tlscacert" => self.tlscacert.is_some(),
            "tlscert" => self.tlscert.is_some(),
            "tlskey" => self.tlskey.is_some(),
            _ => false,
        }
    }
}

/// An entry of [`HOOKS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Where.
    pub path: String,
    /// Whether anybody may execute it.
    pub executable: bool,
}

/// Programs of the user that run before the engine starts, in the order of their names.
pub const HOOKS: &str = "/etc/dockerlaunch/pre.d";

/// A watched path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// A directory with this mode.
    Dir(u32),
    /// A regular file with this mode.
    File(u32),
    /// A symbolic link with this target.
    Link(String),
    /// A device node, socket or FIFO.
    Special,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// The largest packet that it takes.
    pub mtu: u32,
    /// Whether its other end is there.
    pub carrier: bool,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// `IFF_UP`.
    pub up: bool,
    /// Whether it is a bridge.
    pub is_bridge: bool,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
}

/// Paths whose presence some rule asks for.
pub const WATCHED_PATHS: &[&str] = &[
    "/bin",
    "/bin/sh",
    "/dev",
    "/dev/fd",
    "/dev/full",
    "/dev/fuse",
    "/dev/mqueue",
    "/dev/net",
    "/dev/net/tun",
    "/dev/null",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/random",
    "/dev/shm",
    "/dev/stderr",
    "/dev/stdin",
    "/dev/stdout",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
    "/etc",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/root",
    "/run",
    "/run/containerd/containerd.sock",
    "/sys",
    "/sys/fs/cgroup",
    "/tmp",
    "/usr/lib/dockerlaunch/bin/containerd",
    "/usr/lib/dockerlaunch/bin/crun",
    "/usr/lib/dockerlaunch/bin/git",
    "/usr/lib/dockerlaunch/bin/modprobe",
    "/usr/lib/dockerlaunch/bin/sh",
    "/usr/lib/dockerlaunch/iptables-legacy/iptables",
    "/usr/lib/dockerlaunch/xtables",
    "/var",
    "/var/lib",
    "/var/lib/docker",
    "/var/run",
    "/var/tmp",
];

/// Knobs whose value some rule asks for.
pub const WATCHED_KNOBS: &[&str] = &[
    "/proc/sys/fs/inotify/max_user_instances",
    "/proc/sys/fs/inotify/max_user_watches",
    "/proc/sys/kernel/keys/maxkeys",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
    "/proc/sys/net/ipv6/conf/default/forwarding",
];

impl Facts {
    /// The uppermost mount at exactly this path.
    pub fn mount_at(&self, target: &str) -> Option<&Mount> {
        self.mounts.iter().rev().find(|m| m.target == target)
    }

    /// The mount that a path lies on.
    pub fn mount_of(&self, path: &str) -> Option<&Mount> {
        self.mounts.iter().filter(|m| is_below(path, &m.target)).max_by_key(|m| m.target.len())
    }

    /// Whether something is mounted strictly below the path.
    pub fn has_mounts_below(&self, path: &str) -> bool {
        self.mounts.iter().any(|m| m.target != path && is_below(&m.target, path))
    }

    /// Whether the watched path exists.
    pub fn exists(&self, path: &str) -> bool {
        self.paths.contains_key(path)
    }

    /// The version of cgroups that Docker will use.
    pub fn cgroup_version(&self) -> Option<Version> {
        self.cgroups.version(&self.mounts, &self.kernel.filesystems)
    }

    /// A new file system now covers `target`: what was known below it is gone, and it is an empty directory.
    pub(crate) fn cover(&mut self, target: &str) {
        self.paths.retain(|path, _| !is_below(path, target) || path == target);
        // /var/run is /run by another name where it is a link.
        let is_link = matches!(self.paths.get("/var/run"), Some(Entry::Link(_)));
        let other_name = |path: &str| path.strip_prefix("/var").is_some_and(|p| is_below(p, target));
        let hidden = |path: &str| is_below(path, target) || is_link && other_name(path);
        self.leftovers.pid_files.retain(|file| !hidden(&file.path));
        self.config_file.merged.take_if(|_| hidden(MERGED_CONFIG));
        self.containerd_config.take_if(|_| hidden(crate::rules::containerd::CONFIG));
        self.extra_ca.bundled &= !hidden(certificates::BUNDLE);
        self.listening.retain(|host| host.strip_prefix("unix://").is_none_or(|path| !hidden(path)));
        self.tls.files.retain(|path, _| !hidden(path));
        self.storage.cover(target);
        self.paths.entry(target.to_owned()).or_insert(Entry::Dir(0o755));
    }
}

/// Whether `path` is `dir` or lies below it.
pub fn is_below(path: &str, dir: &str) -> bool {
    dir == "/" || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_means_whole_components() {
        assert!(is_below("/run/docker", "/run"));
        assert!(is_below("/run", "/run"));
        assert!(is_below("/run", "/"));
        assert!(!is_below("/runner", "/run"));
    }

    #[test]
    fn what_a_mount_hides_is_not_there_any_more() {
        let mut facts = Facts::default();
        facts.config_file.merged = Some("{}".into());
        facts.extra_ca.bundled = true;
        facts.cover("/var");
        assert!(facts.config_file.merged.is_some() && facts.extra_ca.bundled);
        facts.cover("/run");
        assert!(facts.config_file.merged.is_none() && !facts.extra_ca.bundled);
    }

    #[test]
    fn text_of_every_editor_is_read() {
        for bytes in [&b"{}"[..], b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b"\xfe\xff\0{\0}"] {
            assert_eq!(ConfigFile::decode(bytes).as_deref(), Ok("{}"), "{bytes:?}");
        }
        assert_eq!(ConfigFile::decode(b"").as_deref(), Ok(""));
        for bytes in [&b"\x80"[..], b"\xff\xfe\0\xd8"] {
            assert!(ConfigFile::decode(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn the_last_mount_wins() {
        let facts = Facts {
            mounts: vec![
                Mount::new("/", "ext4", &[], &[], false),
                Mount::new("/run", "tmpfs", &[], &[], false),
                Mount::new("/run", "ramfs", &[], &[], false),
            ],
            ..Facts::default()
        };
        assert_eq!(facts.mount_at("/run").map(|m| m.fstype.as_str()), Some("ramfs"));
        assert_eq!(facts.mount_of("/run/x").map(|m| m.fstype.as_str()), Some("ramfs"));
        assert_eq!(facts.mount_of("/etc").map(|m| m.fstype.as_str()), Some("ext4"));
        assert!(facts.has_mounts_below("/") && !facts.has_mounts_below("/run"));
    }
}
