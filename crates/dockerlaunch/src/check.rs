//! `check`: tries what only a try can tell, in a child with namespaces of its own, and reads what files tell.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use dockerlaunch_plan::check::{CONFIGS, Checked, Item, Kernel, Line, Trial, from_facts, items, judge};
use dockerlaunch_plan::config::{Config, Engine};
use dockerlaunch_plan::facts::{CGROUP_ROOT, Capability, Facts};
use dockerlaunch_plan::{Plan, Problem};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};

use crate::{mount, netlink, probe, sys};

/// Checks this machine. With `probe` it tries what it may; nothing of that is seen outside, and nothing stays.
pub fn check(facts: &Facts, plan: Option<&Plan>, probe: bool) -> Checked {
    let release = &facts.kernel.release;
    let (source, kernel) = kernel(release);
    let process = &facts.process;
    let may_all = process.has(Capability::SysAdmin) && !process.in_user_namespace;
    // To try a module would load it. Where modules can be loaded, that it is there is enough.
    let is_tried = |item: &Item| !(facts.kernel.has_modules && item.is_module(&kernel));
    let items: Vec<Item> = items().collect();
    let mut tried = vec![None; items.len()];
    if probe {
        let wanted = items.iter().enumerate().filter(|(_, item)| is_tried(item));
        let words: Vec<_> = wanted.map(|(index, item)| (index, item.trial)).collect();
        for (index, errno) in try_all(words).unwrap_or_default() {
            // Nobody needs a privilege for a keyring.
            tried[index] = Some(outcome(errno, may_all || items[index].trial == "s:keys"));
        }
    }
    let line = |(item, tried): (&Item, Option<Trial>)| -> Line {
        judge(item, tried.or_else(|| from_facts(item, facts)).or_else(|| from_files(item.trial)), &kernel)
    };
    let lines = items.iter().zip(tried).map(line).collect();
    Checked::new(release.clone(), source, lines, plan)
}

/// Checks this machine, where nothing is to be launched now: an engine's data root there is none of our business.
pub fn check_host(probe: bool) -> Checked {
    let config = Config { only_reading: true, ..Config::new(Engine::default(), &BTreeMap::new()) };
    check(&probe::probe(&config), None, probe)
}

/// Checks the configuration of a kernel, and nothing of this machine.
///
/// # Errors
/// The file cannot be read, or is no configuration.
pub fn check_file(path: &str) -> Result<Checked, Problem> {
    let hint = "name the configuration of a kernel: plain, or compressed with gzip";
    let failed = |why: &str| Problem::new(format!("cannot check `{path}`")).cause(why).hint(hint);
    let text = read_config(Path::new(path)).map_err(|error| failed(&error.to_string()))?;
    if !text.lines().any(|line| line.starts_with("CONFIG_")) {
        return Err(failed("it has no line that begins with `CONFIG_`"));
    }
    let kernel = Kernel { config: text, ..Kernel::default() };
    let lines = items().filter(Item::has_options).map(|item| judge(&item, None, &kernel)).collect();
    Ok(Checked::new(path.to_owned(), Some(path.to_owned()), lines, None))
}

/// The kernel as its files describe it, and where its configuration is.
fn kernel(release: &str) -> (Option<String>, Kernel) {
    for path in CONFIGS.iter().map(|path| path.replace("RELEASE", release)) {
        if let Ok(text) = read_config(Path::new(&path)) {
            return (Some(path), Kernel { config: text, ..Kernel::default() });
        }
    }
    let list = |name: &str| {
        let dirs = ["/lib", "/usr/lib"].into_iter();
        dirs.map(|lib| format!("{lib}/modules/{release}/{name}"))
            .find_map(|path| fs::read_to_string(path).ok())
            .unwrap_or_default()
    };
    let (built_in, modules) = (list("modules.builtin"), list("modules.dep"));
    (None, Kernel { config: String::new(), built_in, modules })
}

fn read_config(path: &Path) -> io::Result<String> {
    let bytes = fs::read(path)?;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) { gunzip(&bytes)? } else { bytes };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file of gzip (RFC 1952); its sum is not asked.
fn gunzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    const NAME: u8 = 1 << 3;
    const OTHERS: u8 = 0b1_0110;
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let (head, mut rest) = bytes.split_at_checked(10).ok_or_else(broken)?;
    if head[3] & OTHERS != 0 {
        return Err(broken());
    }
    if head[3] & NAME != 0 {
        let end = rest.iter().position(|byte| *byte == 0).ok_or_else(broken)?;
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    miniz_oxide::inflate::decompress_to_vec_with_limit(rest, 16 << 20).map_err(|_| broken())
}

fn outcome(errno: i32, may_all: bool) -> Trial {
    let text = || io::Error::from_raw_os_error(errno).to_string();
    match errno {
        0 => Trial::Works("tried".to_owned()),
        libc::ENOSYS => Trial::Lacks(text()),
        libc::EPERM | libc::EACCES if !may_all => Trial::Refused(text()),
        libc::EPERM | libc::EACCES => Trial::Absent(text() + ", by seccomp or a security module"),
        _ => Trial::Absent(text()),
    }
}

/// What files tell: `f:` this one is there, `F:` it would be, `k:` its number is above that, `w:` or it can be written,
/// `g:` a cgroup has one of these, `e:` the kernel still emulates what old programs call.
fn from_files(trial: &str) -> Option<Trial> {
    let (kind, what) = trial.split_once(':')?;
    let there = || Some(Trial::Works(format!("{what} is there")));
    match kind {
        "f" | "F" if Path::new(what).exists() => there(),
        "F" if Path::new("/proc/sys").exists() => Some(Trial::Absent(format!("there is no {what}"))),
        "k" | "w" => {
            let (path, least) = what.split_once('>')?;
            let text = fs::read_to_string(path).ok()?;
            let value: i64 = text.trim().parse().ok()?;
            let told = format!("{path} is {value}");
            Some(match value > least.parse().ok()? {
                true => Trial::Works(told),
                false if kind == "w" && access(path, Access::WRITE_OK) != Err(Errno::ROFS) => {
                    Trial::Works(told + ", which the engine changes")
                }
                false => Trial::Absent(told),
            })
        }
        "g" => cgroup_file(what),
        "e" if cfg!(not(target_arch = "x86_64")) => Some(Trial::Works("not on this machine".to_owned())),
        "e" => {
            let maps = fs::read_to_string("/proc/self/maps").ok()?;
            Some(match maps.contains("[vsyscall]") {
                true => Trial::Works("emulated".to_owned()),
                false => Trial::Absent("not emulated".to_owned()),
            })
        }
        _ => None,
    }
}

/// Whether a cgroup that has the controller has one of these files of it; the root of cgroup v2 has none.
fn cgroup_file(names: &str) -> Option<Trial> {
    let beside: &[&str] = match names.starts_with("cpu.") {
        true => &["cpu.weight", "cpu.shares"],
        false => &["memory.max", "memory.limit_in_bytes"],
    };
    let dirs = fs::read_dir(CGROUP_ROOT).ok()?.flatten().map(|entry| entry.path());
    let dir =
        dirs.chain([CGROUP_ROOT.into()]).find(|dir| beside.iter().any(|name| dir.join(name).exists()))?;
    let found = names.split(' ').find(|name| dir.join(name).exists());
    Some(match found {
        Some(name) => Trial::Works(format!("{name} is there")),
        None => Trial::Absent(format!("no {names} in {}", dir.display())),
    })
}

/// Tries these in a child; the index of each, and the error number or 0.
fn try_all(words: Vec<(usize, &'static str)>) -> io::Result<Vec<(usize, i32)>> {
    let (mut reader, mut writer) = io::pipe()?;
    // It does all its work in the child, whose end is what is waited for.
    sys::in_child(move || {
        let mut report = |index: usize, result: io::Result<()>| {
            let errno = result.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0);
            let [byte, ..] = index.to_le_bytes();
            let [a, b, c, d] = errno.to_le_bytes();
            writer.write_all(&[byte, a, b, c, d])
        };
        Child::default().run(&words, &mut report)
    })?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    let record = |five: &[u8]| {
        Some((usize::from(*five.first()?), i32::from_le_bytes(five.get(1..)?.try_into().ok()?)))
    };
    Ok(bytes.chunks(5).filter_map(record).collect())
}

/// The child, and what it has of its own by now.
#[derive(Default)]
struct Child {
    own: Option<CloneFlags>,
    in_user_namespace: bool,
}

type Reporter<'a> = &'a mut dyn FnMut(usize, io::Result<()>) -> io::Result<()>;

impl Child {
    fn run(&mut self, words: &[(usize, &'static str)], report: Reporter<'_>) -> io::Result<()> {
        // Without root a user namespace may give us the others; with it, trying one would take root away, so it comes last.
        let (users, others): (Vec<_>, Vec<_>) =
            words.iter().copied().partition(|(_, word)| *word == "n:user");
        let is_admin = rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN));
        let order = if is_admin { [others, users].concat() } else { [users, others].concat() };
        order.into_iter().try_for_each(|(index, word)| match self.attempt(word) {
            Some(result) => report(index, result),
            None => Ok(()),
        })
    }

    /// Tries one; `None`: it is not for us, or nothing is known of it.
    fn attempt(&mut self, word: &str) -> Option<io::Result<()>> {
        let (kind, what) = word.split_once(':')?;
        match kind {
            "n" => Some(self.namespace(what)),
            // Never in the network, or over the mounts, of others.
            "l" | "s" if !self.has(CloneFlags::CLONE_NEWNET) => None,
            "m" if !self.has(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC) => None,
            "l" => Some(link(what)),
            "m" => Some(self.mount(what)),
            "s" => system_call(what),
            // On cgroup v1 there is a controller for that.
            "b" if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() => {
                Some(sys::query_device_filters(CGROUP_ROOT))
            }
            _ => None,
        }
    }

    fn has(&self, namespaces: CloneFlags) -> bool {
        self.own.is_some_and(|own| own.contains(namespaces))
    }

    fn namespace(&mut self, kind: &str) -> io::Result<()> {
        let flag = match kind {
            "mnt" => CloneFlags::CLONE_NEWNS,
            "net" => CloneFlags::CLONE_NEWNET,
            "pid" => CloneFlags::CLONE_NEWPID,
            "ipc" => CloneFlags::CLONE_NEWIPC,
            "uts" => CloneFlags::CLONE_NEWUTS,
            "cgroup" => CloneFlags::CLONE_NEWCGROUP,
            _ => CloneFlags::CLONE_NEWUSER,
        };
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        unshare(flag)?;
        match flag {
            CloneFlags::CLONE_NEWNS => {
                mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
            }
            CloneFlags::CLONE_NEWUSER => {
                self.in_user_namespace = true;
                // user_namespaces(7): who has no privileges outside gives up setgroups(2) first. Without /proc there is
                // a namespace all the same.
                for (name, text) in [
                    ("setgroups", "deny".to_owned()),
                    ("uid_map", format!("0 {uid} 1")),
                    ("gid_map", format!("0 {gid} 1")),
                ] {
                    let _ = fs::write(format!("/proc/self/{name}"), text);
                }
            }
            _ => {}
        }
        self.own = Some(self.own.unwrap_or(CloneFlags::empty()) | flag);
        Ok(())
    }

    fn mount(&self, fstype: &str) -> io::Result<()> {
        // A directory that is surely there; it is ours alone now.
        const AT: &str = "/usr";
        let mount = |at: &str, data: &[&str]| {
            let data: Vec<String> = data.iter().map(|&option| option.to_owned()).collect();
            mount::new(fstype, at, &[], &data).map_err(|error| io::Error::from_raw_os_error(error.errno))
        };
        if fstype == "tmpfs" {
            return mount(AT, &[]);
        }
        // Each on one of its own, whatever came of the try of that.
        mount::new("tmpfs", AT, &[], &[]).map_err(|error| io::Error::from_raw_os_error(error.errno))?;
        for name in ["l", "u", "w", "m"] {
            fs::create_dir(format!("{AT}/{name}"))?;
        }
        let overlay = ["lowerdir=/usr/l", "upperdir=/usr/u", "workdir=/usr/w", "userxattr"];
        match fstype {
            "overlay" if self.in_user_namespace => mount("/usr/m", &overlay),
            "overlay" => mount("/usr/m", &overlay[..3]),
            _ => mount("/usr/m", &[]),
        }
    }
}

/// Makes a link of this kind. That some kinds want more to be told, they say only where they are known.
fn link(kind: &str) -> io::Result<()> {
    match netlink::create_link(kind, &CString::new(kind)?) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

fn system_call(what: &str) -> Option<io::Result<()>> {
    const IPPROTO_SCTP: i32 = 132;
    let filter = |family: usize| match probe::any_packet_filter()[family] {
        Some(false) => Err(Errno::OPNOTSUPP.into()),
        Some(true) => Ok(()),
        None => Err(Errno::PERM.into()),
    };
    Some(match what {
        "keys" => sys::join_session_keyring(),
        "sctp" => sys::has_socket(libc::AF_INET, libc::SOCK_SEQPACKET, IPPROTO_SCTP),
        "packet" => sys::has_socket(libc::AF_PACKET, libc::SOCK_RAW, 0),
        "filter" => filter(0),
        "filter6" => filter(1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_as_it_is_or_compressed() {
        let dir = tempfile::tempdir().expect("dir");
        let (plain, packed, other) =
            (dir.path().join("config"), dir.path().join("config.gz"), dir.path().join("other"));
        let text = "CONFIG_VETH=y\n# CONFIG_BRIDGE is not set\n";
        fs::write(&plain, text).expect("write");
        let deflated = miniz_oxide::deflate::compress_to_vec(text.as_bytes(), 6);
        let head = [0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
        fs::write(&packed, [&head[..], b"config\0", &deflated, &[0; 8]].concat()).expect("write");
        fs::write(&other, "VETH=y\n").expect("write");
        for path in [plain, packed] {
            let checked = check_file(&path.to_string_lossy()).expect("a configuration");
            let missing = |name: &str| {
                checked.lines.iter().any(|line| line.item == name && line.status.name() == "missing")
            };
            assert!(missing("bridge") && !missing("veth"), "{}", checked.text());
        }
        assert!(check_file(&other.to_string_lossy()).is_err());
        assert!(check_file("/nonexistent").is_err());
    }

    #[test]
    fn who_may_do_everything_and_still_may_not_is_told_why() {
        assert!(matches!(outcome(libc::EPERM, false), Trial::Refused(_)));
        assert!(matches!(outcome(libc::EPERM, true), Trial::Absent(why) if why.contains("seccomp")));
        assert_eq!(outcome(0, true), Trial::Works("tried".into()));
    }
}
