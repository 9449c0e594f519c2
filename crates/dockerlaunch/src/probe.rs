//! Reads the facts. Each file has a parser in `dockerlaunch_plan::facts`; here they are only opened.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use dockerlaunch_plan::Config;
use dockerlaunch_plan::facts::{
    self, CGROUP_ROOT, Entry, Facts, Link, Mount, PRIVATE, Process, cgroups, kernel, mountinfo, process,
    state_files,
};
use dockerlaunch_plan::rules::{containerd, daemon_json, dist, engine};

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

use crate::listener::is_served;
use crate::{module, netlink};

mod config;
mod confinement;
mod firewall;
mod network;
mod storage;
mod tls;
pub(crate) mod trial;

pub(crate) use firewall::{any_works as any_packet_filter, begin as begin_firewall};

/// Reads everything that the rules ask for, but for the firewall. What cannot be read is absent from the facts, never an error: without
/// `/proc` hardly anything can be.
pub fn probe(config: &Config) -> Facts {
    Probe { root: PathBuf::from("/") }.facts(config)
}

/// Reads as much as the early stage needs, and no more: all is read again after it.
pub(crate) fn early() -> Facts {
    Probe { root: PathBuf::from("/") }.early()
}

/// Whether the kernel itself started us as its init.
pub fn is_kernel_init() -> bool {
    std::process::id() == 1 && Probe { root: PathBuf::from("/") }.in_first_pid_namespace()
}

/// What only the kernel's init loads.
fn drivers(process: &Process) -> Vec<String> {
    if process.is_kernel_init { module::missing_drivers() } else { Vec::new() }
}

/// Reads files below a root directory, so that tests have systems of their own.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The directory that stands for `/`.
    pub root: PathBuf,
}

impl Probe {
    /// What the early stage asks for: where `/proc` and `/sys` are, and who we are, should they not be had.
    fn early(&self) -> Facts {
        let mountinfo = self.read("/proc/self/mountinfo");
        let process = self.process(mountinfo.as_deref());
        Facts {
            kernel: kernel::Kernel { drivers: drivers(&process), ..Default::default() },
            process,
            paths: ["/proc", "/sys"]
                .iter()
                .filter_map(|path| Some(((*path).to_owned(), self.entry(path)?)))
                .collect(),
            mounts: mountinfo.as_deref().map_or_else(|| self.mounts_by_statfs(), mountinfo::parse),
            ..Facts::default()
        }
    }

    /// The facts.
    pub fn facts(&self, config: &Config) -> Facts {
        let mountinfo = self.read("/proc/self/mountinfo");
        let mounts = mountinfo.as_deref().map_or_else(|| self.mounts_by_statfs(), mountinfo::parse);
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy().into_owned();
        let etc_defaults = self.etc_defaults();
        let config_file = self.config_file(config);
        let daemon_json = daemon_json::view(config, &config_file);
        let data_root = engine::data_root(config, &daemon_json);
        let process = self.process(mountinfo.as_deref());
        let hooks = if config.hooks_have_run { Vec::new() } else { self.hooks() };
        // What hooks may still mount elsewhere, or repair, is not waited for.
        let is_settled = config.only_looking || !hooks.iter().any(|hook| hook.executable);
        let storage = is_settled.then(|| self.begin_storage(config, &data_root, &process));
        let cmdline = self.read("/proc/cmdline").unwrap_or_default();
        let mut facts = Facts {
            kernel: kernel::Kernel {
                has_modules: ["/lib", "/usr/lib"]
                    .iter()
                    .any(|lib| self.path(&format!("{lib}/modules/{release}/modules.dep")).exists()),
                parameters: kernel::parse_parameters(&cmdline),
                ip: process.is_kernel_init.then(|| kernel::parse_ip(&cmdline)).flatten(),
                drivers: drivers(&process),
                filesystems: self
                    .read("/proc/filesystems")
                    .map(|t| kernel::parse_filesystems(&t))
                    .unwrap_or_default(),
                is_gvisor: kernel::is_gvisor(&release, &uname.version().to_string_lossy()),
                release,
            },
            process,
            cgroups: self.cgroups(&mounts),
            mounts,
            confinement: self.confinement(config.only_reading),
            paths: self.paths(config, &etc_defaults),
            knobs: facts::WATCHED_KNOBS
                .iter()
                .filter_map(|knob| Some(((*knob).to_owned(), self.read(knob)?.trim_end().to_owned())))
                .collect(),
            links: self.links(),
            etc_defaults,
            // Only a try can tell, and not every reading of the facts needs one: see `begin_firewall`.
            firewall: facts::Firewall::default(),
            leftovers: state_files::Leftovers::default(),
            config_file,
            groups: self.groups(config, &daemon_json),
            daemon_json,
            containerd_config: self.read(containerd::CONFIG),
            listening: Vec::new(),
            tls: self.tls(config),
            extra_ca: self.extra_ca(config),
            hooks,
            storage: facts::storage::Storage::default(),
            network: self.network(),
        };
        if let Some(begun) = storage {
            facts.storage = self.storage(config, &data_root, begun);
        }
        let answers = is_settled && !facts.storage.stuck;
        facts.leftovers = self.leftovers(answers.then_some(&data_root));
        facts.network.takes_network_opts = network::takes_network_opts(config, &facts);
        facts
    }

    /// A relative path, such as of the engine's configuration file, means the same to the engine.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        path.strip_prefix('/')
            .map_or_else(|| path.into(), |rest| self.root.join(rest.trim_start_matches('/')))
    }

    pub(crate) fn read(&self, path: &str) -> Option<String> {
        // Files of /proc have no size: what std would reserve by it is 0 anyway.
        let mut text = String::new();
        fs::File::open(self.path(path)).ok()?.read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn process(&self, mountinfo: Option<&str>) -> Process {
        let pid = std::process::id();
        // capget(2), since it needs no /proc; the file is what a fixture has.
        let own = rustix::thread::capabilities(None).map_or(0, |sets| sets.effective.bits());
        let status = self.read("/proc/self/status").unwrap_or_default();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let infinity = |value: Option<u64>| value.unwrap_or(u64::MAX);
        Process {
            pid,
            uid: rustix::process::geteuid().as_raw(),
            capabilities: process::parse_effective_capabilities(&status).unwrap_or(own),
            in_user_namespace: self
                .read("/proc/self/uid_map")
                .is_some_and(|m| !process::is_initial_uid_map(&m)),
            nofile: (infinity(limit.current), infinity(limit.maximum)),
            root_can_be_pivoted: mountinfo.is_none_or(mountinfo::root_has_parent),
            is_kernel_init: pid == 1 && self.in_first_pid_namespace(),
        }
    }

    /// The first pid namespace has a fixed inode number (include/linux/proc_ns.h, `PROC_PID_INIT_INO`). It takes `/proc`
    /// to see it, so nothing before that may depend on it.
    fn in_first_pid_namespace(&self) -> bool {
        fs::read_link(self.path("/proc/self/ns/pid")).is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
    }

    /// API file systems that statfs(2) can tell without `/proc`.
    fn mounts_by_statfs(&self) -> Vec<Mount> {
        const PROC_SUPER_MAGIC: u64 = 0x9fa0;
        const SYSFS_MAGIC: u64 = 0x6265_6572;
        const TMPFS_MAGIC: u64 = 0x0102_1994;
        let device = |path: &str| fs::metadata(self.path(path)).map(|m| m.dev()).ok();
        let root = device("/");
        [("/proc", PROC_SUPER_MAGIC, "proc"), ("/sys", SYSFS_MAGIC, "sysfs"), ("/dev", TMPFS_MAGIC, "tmpfs")]
            .into_iter()
            .filter(|(path, magic, _)| {
                let is = rustix::fs::statfs(self.path(path)).is_ok_and(|s| s.f_type as u64 == *magic);
                is && device(path) != root
            })
            .map(|(path, _, fstype)| Mount::new(path, fstype, &["rw"], &["rw"], false))
            .collect()
    }

    fn cgroups(&self, mounts: &[Mount]) -> cgroups::Cgroups {
        let words = |path: &str| -> Option<Vec<String>> {
            Some(self.read(&format!("{CGROUP_ROOT}/{path}"))?.split_whitespace().map(str::to_owned).collect())
        };
        let kind = self.read(&format!("{CGROUP_ROOT}/cgroup.type")).map(|kind| kind.trim_end().to_owned());
        let unified = words("cgroup.controllers").map(|controllers| cgroups::Unified {
            is_true_root: kind.is_none(),
            kind: kind.filter(|kind| kind != "domain"),
            controllers: Some(controllers),
            enabled: words("cgroup.subtree_control").unwrap_or_default(),
            has_processes: words("cgroup.procs").is_some_and(|pids| !pids.is_empty()),
        });
        cgroups::Cgroups {
            controllers: self
                .read("/proc/cgroups")
                .map(|t| cgroups::parse_controllers(&t))
                .unwrap_or_default(),
            membership: self
                .read("/proc/self/cgroup")
                .map(|t| cgroups::parse_membership(&t))
                .unwrap_or_default(),
            unified,
            foreign: mounts
                .iter()
                .filter(|mount| mount.fstype.starts_with("cgroup") && self.is_refused(&mount.target))
                .map(|mount| mount.target.clone())
                .collect(),
        }
    }

    /// Whether nothing can be made in this directory, since it belongs to somebody that our user namespace does not have.
    fn is_refused(&self, directory: &str) -> bool {
        let flags = AtFlags::EACCESS;
        rustix::fs::accessat(CWD, self.path(directory), Access::WRITE_OK, flags) == Err(Errno::ACCESS)
    }

    fn paths(&self, config: &Config, etc_defaults: &[String]) -> BTreeMap<String, Entry> {
        let fixed = facts::WATCHED_PATHS.iter().map(|p| (*p).to_owned());
        let etc = etc_defaults.iter().map(|name| format!("/etc/{name}"));
        // A link that leads nowhere is no engine, program or bundle; elsewhere it is something that we must not create again.
        let engine =
            config.engine.candidates(&config.path).into_iter().filter(|path| !self.is_ourselves(path));
        let bundle = config.environment.cert_file.clone();
        let originals = dist::watched(config).filter(|path| path.ends_with(".dist"));
        let programs = dist::watched(config).filter(|path| !path.ends_with(".dist"));
        fixed
            .chain(etc)
            .chain(programs)
            .chain(engine.chain(originals).chain(bundle).filter(|p| self.path(p).exists()))
            // A socket that one before us has left serves nobody.
            .filter(|path| path != containerd::OF_THE_SYSTEM || is_served(self.path(path)))
            .filter_map(|path| self.entry(&path).map(|entry| (path, entry)))
            .collect()
    }

    /// Whether we are installed under the engine's name, with the engine itself as `.dist`: we would start ourselves.
    fn is_ourselves(&self, path: &str) -> bool {
        let file = |path: PathBuf| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        let own = file("/proc/self/exe".into());
        own.is_some() && own == file(self.path(path))
    }

    fn entry(&self, path: &str) -> Option<Entry> {
        let path = self.path(path);
        let meta = fs::symlink_metadata(&path).ok()?;
        let mode = meta.permissions().mode() & 0o7777;
        let kind = meta.file_type();
        Some(if kind.is_dir() {
            Entry::Dir(mode)
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).ok()?.to_string_lossy().into_owned();
            Entry::Link(target)
        } else if kind.is_char_device() || kind.is_block_device() || kind.is_socket() || kind.is_fifo() {
            Entry::Special
        } else {
            Entry::File(mode)
        })
    }

    /// Interfaces as sysfs shows them (Documentation/ABI/testing/sysfs-class-net, `flags`).
    fn links(&self) -> Vec<Link> {
        const IFF_UP: u32 = 0x1;
        const IFF_LOOPBACK: u32 = 0x8;
        let Ok(entries) = fs::read_dir(self.path("/sys/class/net")) else { return Vec::new() };
        let addresses = if self.root == Path::new("/") { netlink::addresses() } else { Vec::new() };
        let mut links: Vec<Link> = entries
            .flatten()
            .filter_map(|entry| {
                let text = fs::read_to_string(entry.path().join("flags")).ok()?;
                let flags = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let number = |file| fs::read_to_string(entry.path().join(file)).ok()?.trim().parse().ok();
                Some(Link {
                    index: number("ifindex").unwrap_or_default(),
                    mtu: number("mtu").unwrap_or_default(),
                    // Of an interface that is down the kernel does not tell.
                    carrier: number("carrier") == Some(1),
                    loopback: flags & IFF_LOOPBACK != 0,
                    up: flags & IFF_UP != 0,
                    is_bridge: entry.path().join("bridge").exists(),
                    addresses: addresses.iter().filter(|(link, _)| *link == name).map(|(_, a)| *a).collect(),
                    name,
                })
            })
            .collect();
        links.sort_by(|a, b| a.name.cmp(&b.name));
        links
    }

    /// Files of the private `etc/`, relative to it.
    fn etc_defaults(&self) -> Vec<String> {
        let top = self.path(&format!("{PRIVATE}/etc"));
        let mut found = Vec::new();
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(_) => found.extend(relative(&entry.path(), &top)),
                    Err(_) => {}
                }
            }
        }
        found.sort();
        found
    }

    /// Without a data root: it does not answer, or may still be another one.
    fn leftovers(&self, data_root: Option<&String>) -> state_files::Leftovers {
        let pid_files = state_files::PID_FILES.iter().filter_map(|(path, program)| {
            let pid: u32 = self.read(path)?.trim().parse().unwrap_or(0);
            let owner = self.read(&format!("/proc/{pid}/comm")).map(|comm| comm.trim_end().to_owned());
            Some(state_files::PidFile { path: (*path).into(), owner, program: (*program).into() })
        });
        let states = data_root.into_iter().flat_map(|data_root| {
            state_files::STATE_FILES.iter().map(move |name| format!("{data_root}/{name}"))
        });
        let broken = states.filter(|path| {
            self.read(path).is_some_and(|text| serde_json::from_str::<serde_json::Value>(&text).is_err())
        });
        state_files::Leftovers { pid_files: pid_files.collect(), broken_json: broken.collect() }
    }

    /// The user's programs, by name; not what an editor, or Kubernetes for a ConfigMap, keeps beside them.
    fn hooks(&self) -> Vec<facts::Hook> {
        let Ok(entries) = fs::read_dir(self.path(facts::HOOKS)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| !name.starts_with('.') && !name.ends_with('~'));
        names.sort();
        names
            .into_iter()
            .map(|name| format!("{}/{name}", facts::HOOKS))
            .filter_map(|path| {
                let meta = fs::metadata(self.path(&path)).ok().filter(fs::Metadata::is_file)?;
                Some(facts::Hook { path, executable: meta.permissions().mode() & 0o111 != 0 })
            })
            .collect()
    }
}

fn relative(path: &Path, top: &Path) -> Option<String> {
    Some(path.strip_prefix(top).ok()?.to_string_lossy().into_owned())
}
