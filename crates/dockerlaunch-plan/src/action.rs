//! One change to the system, as data. The launcher performs it; here it only predicts.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::facts::network::Route;
use crate::facts::storage::Device;
use crate::facts::tls::Role;
use crate::facts::{Cidr, Entry, Facts, Link, Mount, cgroups};

mod display;

/// One change. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// Mount a file system (fsopen(2), fsconfig(2), move_mount(2)).
    Mount {
        /// File system type.
        fstype: String,
        /// Mount point; must exist.
        target: String,
        /// Mount flags by name: `nosuid`, `nodev`, `noexec`, `ro`.
        flags: Vec<String>,
        /// File system parameters, `key` or `key=value`.
        data: Vec<String>,
    },
    /// Load the modules that the machine's devices ask for, and those for what then appears (finit_module(2)). One that cannot be
    /// loaded is passed over: its device may have another driver.
    LoadDrivers {
        /// Those that are known before.
        modules: Vec<String>,
    },
    /// Put a bind mount of `/` over `/` and change into it: the kernel's own root cannot be pivoted (pivot_root(2)).
    CoverRoot,
    /// Make a mount and all below it propagate (`mount --make-rshared`).
    MakeShared {
        /// Mount point.
        target: String,
    },
    /// Create a directory; its parent must exist.
    Mkdir {
        /// The directory.
        path: String,
        /// Permission bits, independent of the umask.
        mode: u32,
    },
    /// Create a symbolic link.
    Symlink {
        /// The link.
        path: String,
        /// What it points to.
        target: String,
    },
    /// Create a character device.
    MakeNode {
        /// The node.
        path: String,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
        /// Permission bits.
        mode: u32,
    },
    /// Write a new file with this content.
    WriteFile {
        /// The file.
        path: String,
        /// All of its content.
        content: String,
        /// Permission bits.
        mode: u32,
    },
    /// Write a file of our own below `/run`, whole or not at all, parents included.
    ReplaceFile {
        /// The file.
        path: String,
        /// All of its content.
        #[serde(serialize_with = "crate::mask::serialize")]
        content: String,
        /// Permission bits.
        mode: u32,
    },
    /// Write the CA certificates of several files into one, whole or not at all, parents included.
    BundleCertificates {
        /// Files with certificates.
        from: Vec<String>,
        /// Certificates that stand in no file.
        text: Option<String>,
        /// The new file.
        to: String,
    },
    /// Listen on TCP; on the wildcard address for IPv6 too, where the kernel has it.
    ListenTcp {
        /// Address and port.
        address: SocketAddr,
    },
    /// Listen on a unix socket, parents included; one that nobody serves is replaced.
    ListenUnix {
        /// Where.
        path: String,
        /// Its group.
        gid: Option<u32>,
        /// Permission bits.
        mode: u32,
    },
    /// Make an ECDSA key on P-256, whole or not at all, parents included; never over one that is there.
    MakeKey {
        /// The file.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Give a regular file other permission bits; never what a link points to.
    SetMode {
        /// The file.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Make a certificate that the CA of this TLS directory signs, whole or not at all, parents included.
    IssueCertificate {
        /// The file.
        path: String,
        /// The key that it is for.
        key: String,
        /// The directory.
        directory: String,
        /// What it is for.
        role: Role,
    },
    /// Put a copy of a file in the place of another one, whole or not at all, parents included.
    InstallFile {
        /// Source.
        from: String,
        /// The other one.
        to: String,
        /// Permission bits.
        mode: u32,
    },
    /// Copy a file that the image keeps in its private directory, parents included.
    CopyFile {
        /// Source.
        from: String,
        /// New file; never one that exists.
        to: String,
    },
    /// Write a kernel knob below `/proc/sys`.
    WriteKnob {
        /// The knob.
        path: String,
        /// Its new value.
        value: String,
    },
    /// Give this process a cgroup namespace of its own, whose root is the cgroup that it is in (cgroup_namespaces(7)).
    PrivateCgroups,
    /// Take a mount away (umount2(2), `MNT_DETACH`). One that a user namespace has locked stays, to be covered.
    Unmount {
        /// Mount point.
        target: String,
    },
    /// Let a mount that was bound or remounted read-only be written again.
    RemountWritable {
        /// Mount point.
        target: String,
        /// Its other flags, which stay.
        flags: Vec<String>,
    },
    /// Move every process of a cgroup into a child of it, and enable every available controller for its children, one by
    /// one (`cgroup.subtree_control`), so that one that is refused does not lose the others. Again, while processes enter.
    NestCgroup {
        /// The cgroup directory.
        cgroup: String,
        /// The child's name.
        leaf: String,
    },
    /// Make a bridge (rtnetlink(7), `RTM_NEWLINK` of kind `bridge`).
    CreateBridge {
        /// Its name; must be free.
        name: String,
    },
    /// Give an interface an address (`RTM_NEWADDR`).
    AddAddress {
        /// The interface.
        name: String,
        /// The address.
        address: Cidr,
    },
    /// Lead what is for no network of our own out by an interface (`RTM_NEWROUTE`).
    AddRoute {
        /// The interface.
        name: String,
        /// The router.
        gateway: IpAddr,
    },
    /// Bring a network interface up.
    LinkUp {
        /// Its name.
        name: String,
    },
    /// Listen for questions about names, to ask the nameservers that only we reach (UDP and TCP, port 53).
    AnswerNames {
        /// Where; it need not exist yet.
        address: IpAddr,
    },
    /// Set the limit of open files (setrlimit(2)).
    LimitNofile {
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// Lock the data root for as long as its engine lives (flock(2)); its directory is created.
    LockDataRoot {
        /// The directory.
        path: String,
        /// How long another holder may take to let it go.
        wait: Duration,
    },
    /// Mount the ext4 in [`crate::facts::storage::IMAGE`] over the directory that it lies in.
    MountLoop {
        /// The directory.
        target: String,
        /// Bytes, where it must be made.
        size: u64,
        /// What makes it, where there is none.
        mkfs: Option<String>,
    },
    /// Mount a disk over a directory.
    MountDevice {
        /// The disk.
        device: String,
        /// The directory.
        target: String,
        /// File system type.
        fstype: String,
        /// What makes it, where there is none.
        mkfs: Option<String>,
    },
    /// Remove a stale file.
    Remove {
        /// The file.
        path: String,
    },
    /// Rename a file that would stop the daemon; nothing is lost.
    SetAside {
        /// Old name.
        from: String,
        /// New name; with a number after it when that is taken.
        to: String,
    },
}

impl Action {
    /// What is true once the action has succeeded.
    pub fn predict(&self, facts: &mut Facts) {
        match self {
            Self::Mount { fstype, target, flags, data } => {
                let shared = facts.mount_of(target).is_some_and(|parent| parent.shared);
                facts.cover(target);
                facts.mounts.push(Mount {
                    target: target.clone(),
                    root: "/".into(),
                    fstype: fstype.clone(),
                    options: flags.clone(),
                    super_options: data.clone(),
                    shared,
                });
                if fstype == "devtmpfs" {
                    predict_devtmpfs(facts);
                }
                if fstype == "cgroup2" && target == cgroups::CGROUP_ROOT {
                    let is_true_root = facts.process.is_kernel_init;
                    facts.cgroups.unified = Some(cgroups::Unified { is_true_root, ..Default::default() });
                }
                if fstype == "sysfs" {
                    facts.paths.insert(cgroups::CGROUP_ROOT.into(), Entry::Dir(0o755));
                }
            }
            Self::CoverRoot => {
                let fstype =
                    facts.mount_at("/").map_or("tmpfs", |m| m.fstype.as_str()).replace("rootfs", "tmpfs");
                facts.mounts.retain(|m| m.target != "/");
                facts.mounts.insert(0, Mount::new("/", &fstype, &["rw"], &["rw"], false));
                facts.process.root_can_be_pivoted = true;
            }
            Self::MakeShared { target } => {
                for mount in &mut facts.mounts {
                    if crate::facts::is_below(&mount.target, target) {
                        mount.shared = true;
                    }
                }
            }
            Self::Mkdir { path, mode } => {
                facts.paths.insert(path.clone(), Entry::Dir(*mode));
            }
            Self::Symlink { path, target } => {
                facts.paths.insert(path.clone(), Entry::Link(target.clone()));
            }
            Self::MakeNode { path, .. } => {
                facts.paths.insert(path.clone(), Entry::Special);
            }
            Self::WriteFile { path, mode, .. } => {
                facts.paths.insert(path.clone(), Entry::File(*mode));
            }
            Self::ReplaceFile { path, content, .. } => match path.as_str() {
                crate::facts::MERGED_CONFIG => facts.config_file.merged = Some(content.clone()),
                crate::rules::containerd::CONFIG => facts.containerd_config = Some(content.clone()),
                _ => {}
            },
            Self::BundleCertificates { .. } => facts.extra_ca.bundled = true,
            Self::ListenTcp { address } => facts.listening.push(format!("tcp://{address}")),
            Self::ListenUnix { path, .. } => facts.listening.push(format!("unix://{path}")),
            Self::MakeKey { path, .. } => facts.tls.predict_key(path),
            Self::SetMode { mode, .. } => facts.tls.client_key_mode = Some(*mode),
            Self::IssueCertificate { path, key, directory, role } => {
                facts.tls.predict_certificate(path, key, directory, role);
            }
            Self::InstallFile { from, to, .. } => facts.tls.predict_copy(from, to),
            Self::CopyFile { to, .. } => {
                facts.paths.insert(to.clone(), Entry::File(0o644));
            }
            Self::WriteKnob { path, value } => {
                facts.knobs.insert(path.clone(), value.clone());
            }
            Self::PrivateCgroups => {
                // What was mounted of our own cgroup is the root of its hierarchy now.
                for mount in &mut facts.mounts {
                    if facts.cgroups.place_in(mount).is_some_and(|place| place.path == mount.root) {
                        "/".clone_into(&mut mount.root);
                    }
                }
                facts.cgroups.membership.iter_mut().for_each(|place| "/".clone_into(&mut place.path));
            }
            Self::Unmount { target } => {
                facts.mounts.retain(|mount| !crate::facts::is_below(&mount.target, target));
            }
            Self::RemountWritable { target, .. } => {
                for mount in facts.mounts.iter_mut().filter(|mount| mount.target == *target) {
                    mount.options.retain(|option| option != "ro");
                }
            }
            Self::NestCgroup { .. } => {
                if let Some(unified) = &mut facts.cgroups.unified {
                    unified.has_processes = false;
                    unified.enabled = unified.controllers.get_or_insert_default().clone();
                }
            }
            Self::CreateBridge { name } => {
                facts.links.push(Link { name: name.clone(), is_bridge: true, ..Link::default() });
            }
            Self::AddAddress { name, address } => {
                for link in facts.links.iter_mut().filter(|l| l.name == *name) {
                    link.addresses.push(*address);
                }
            }
            Self::AddRoute { name, gateway } => {
                let link = facts.links.iter().find(|link| link.name == *name).map_or(0, |link| link.index);
                let any = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
                facts.network.routes.extend(any.parse().ok().map(|to| Route {
                    to,
                    link,
                    gateway: Some(*gateway),
                    mtu: None,
                }));
            }
            Self::LoadDrivers { .. } => facts.kernel.drivers.clear(),
            Self::LinkUp { name } => {
                for link in facts.links.iter_mut().filter(|l| l.name == *name) {
                    link.up = true;
                }
            }
            Self::AnswerNames { address } => facts.listening.push(crate::rules::resolver::name(*address)),
            Self::LimitNofile { soft, hard } => facts.process.nofile = (*soft, *hard),
            Self::LockDataRoot { .. } => facts.storage.locked = true,
            Self::MountLoop { target, .. } => {
                facts.cover(target);
                facts.mounts.push(Mount::new(target, "ext4", &["rw"], &["rw"], false));
                facts.storage.on_loop = true;
            }
            Self::MountDevice { target, fstype, .. } => {
                facts.cover(target);
                facts.mounts.push(Mount::new(target, fstype, &["rw"], &["rw"], false));
                facts.storage.device = Some(Device::Mounted);
            }
            Self::Remove { path } => {
                facts.paths.remove(path);
                facts.leftovers.pid_files.retain(|f| f.path != *path);
            }
            Self::SetAside { from, .. } => {
                facts.paths.remove(from);
                facts.leftovers.broken_json.retain(|f| f != from);
            }
        }
    }
}

/// The nodes that the kernel itself makes in a new devtmpfs (drivers/char/mem.c, drivers/tty).
fn predict_devtmpfs(facts: &mut Facts) {
    for node in ["null", "zero", "full", "random", "urandom", "tty", "ptmx"] {
        facts.paths.insert(format!("/dev/{node}"), Entry::Special);
    }
}
