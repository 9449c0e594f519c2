//! One cgroup for an instance, `from-scratch/NAME`, in every hierarchy that is mounted.
//!
//! In every one, `name=systemd` and an empty cgroup2 included: where the instance has none of its own, a
//! container runtime inside it would make its directories in the host's root.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::fs::XattrFlags;
use rustix::process::{Pid, Signal, kill_process};

use super::hierarchy::{self, Hierarchy, Kind};
use super::name::InstanceName;
use crate::report::Hinted;

/// The directory that holds one of each instance.
const PARENT: &str = "from-scratch";

/// What Docker limits containers by. On cgroup2 a parent must hand each of them down.
const WANTED: &[&str] = &["cpuset", "cpu", "io", "memory", "pids"];

/// Microseconds over which `--cpus` is counted: the kernel's and Docker's own choice.
const CPU_PERIOD: u64 = 100_000;

/// How long a cgroup may stay busy after its last process has been killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long another start or end may take with a hierarchy.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// What an instance as a whole may use.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Thousandths of a processor.
    pub(crate) cpus: Option<u64>,
}

/// The cgroups of one instance.
#[derive(Debug)]
pub(crate) struct Cgroups {
    dirs: Vec<(Hierarchy, PathBuf)>,
}

impl Cgroups {
    /// Where the instance's cgroups are, or would be.
    pub(crate) fn of(name: &InstanceName) -> io::Result<Self> {
        let dirs = hierarchy::mounted()?
            .into_iter()
            .map(|hierarchy| {
                let dir = hierarchy.mount_point.join(PARENT).join(name);
                (hierarchy, dir)
            })
            .collect();
        Ok(Self { dirs })
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|(_, dir)| dir.clone()).collect()
    }

    /// Refuses to go on when somebody is in one of them: an instance of another state directory with the same name.
    /// To be asked before anything is made, as whoever undoes a start also ends what is in its cgroups.
    pub(crate) fn refuse_strangers(&self) -> anyhow::Result<()> {
        let strangers = self.processes();
        if strangers.is_empty() {
            return Ok(());
        }
        let list = strangers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(Hinted::new(format!("processes are already in its cgroup: {list}"))
            .hint("an instance of another state directory may have this name: choose one with `--name`")
            .into())
    }

    /// Makes them and sets the limits. What a crashed predecessor left is used again.
    pub(crate) fn create(&self, limits: Limits) -> anyhow::Result<()> {
        if self.dirs.is_empty() {
            return Err(Hinted::new("no cgroup hierarchy is mounted")
                .hint("mount one: `mount -t cgroup2 cgroup2 /sys/fs/cgroup`")
                .into());
        }
        for (hierarchy, dir) in &self.dirs {
            create_one(hierarchy, dir).map_err(|error| cannot("make cgroup", dir, error))?;
        }
        self.limit(limits)
    }

    fn limit(&self, limits: Limits) -> anyhow::Result<()> {
        if let Some(bytes) = limits.memory {
            let (hierarchy, dir) = self.controlling("memory", "--memory")?;
            let file = if hierarchy.is_v2() { "memory.max" } else { "memory.limit_in_bytes" };
            write_limit(&dir.join(file), &bytes.to_string())?;
            // As much of the swap again, as `docker run --memory` has it; there is no such file without swap accounting.
            let (file, bytes) = if hierarchy.is_v2() {
                ("memory.swap.max", bytes)
            } else {
                ("memory.memsw.limit_in_bytes", bytes.saturating_mul(2))
            };
            if dir.join(file).exists() {
                write_limit(&dir.join(file), &bytes.to_string())?;
            }
        }
        if let Some(thousandths) = limits.cpus {
            let (hierarchy, dir) = self.controlling("cpu", "--cpus")?;
            let quota = thousandths * CPU_PERIOD / 1000;
            if hierarchy.is_v2() {
                write_limit(&dir.join("cpu.max"), &format!("{quota} {CPU_PERIOD}"))?;
            } else {
                write_limit(&dir.join("cpu.cfs_period_us"), &CPU_PERIOD.to_string())?;
                write_limit(&dir.join("cpu.cfs_quota_us"), &quota.to_string())?;
            }
        }
        Ok(())
    }

    /// The cgroup in which `controller` takes effect.
    fn controlling(&self, controller: &str, option: &str) -> anyhow::Result<(&Hierarchy, &Path)> {
        let found = self.dirs.iter().find(|(hierarchy, dir)| match &hierarchy.kind {
            Kind::V1(controllers) => controllers.iter().any(|one| one == controller),
            Kind::V2 => fs::read_to_string(dir.join("cgroup.controllers"))
                .is_ok_and(|list| list.split_whitespace().any(|one| one == controller)),
        });
        let (hierarchy, dir) = found.ok_or_else(|| {
            Hinted::new(format!("`{option}` cannot be kept: no cgroup here has the `{controller}` controller"))
                .hint(format!("start without `{option}`"))
                .hint(format!(
                    "on cgroup2, hand the controller down: `echo +{controller} > /sys/fs/cgroup/cgroup.subtree_control`"
                ))
        })?;
        Ok((hierarchy, dir))
    }

    /// Moves this process into all of them.
    pub(crate) fn enter(&self) -> anyhow::Result<()> {
        enter(self.dirs.iter().map(|(_, dir)| dir.as_path()))
    }

    /// Every process that is in one of them or below.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut all = Vec::new();
        for (_, dir) in &self.dirs {
            collect_processes(dir, &mut all);
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Kills what is in them, and what that starts meanwhile. The caller knows that all of it belongs to the
    /// instance.
    pub(crate) fn kill(&self) {
        let own = std::process::id() as i32;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut left = self.processes();
            left.retain(|pid| *pid != own);
            if left.is_empty() || Instant::now() >= deadline {
                return;
            }
            for pid in left.into_iter().filter_map(Pid::from_raw) {
                // It may have ended by itself meanwhile.
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Removes them, and the parent when no other instance is in it.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for (hierarchy, dir) in &self.dirs {
            while let Err(error) = remove_tree(dir) {
                if error.kind() != io::ErrorKind::ResourceBusy || Instant::now() >= deadline {
                    return Err(cannot("remove cgroup", dir, error));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            remove_parent(&hierarchy.mount_point).map_err(|error| cannot("remove cgroup", dir, error))?;
        }
        Ok(())
    }
}

/// Moves this process where `pid` is, in every hierarchy.
///
/// Not simply into `from-scratch/NAME`: on cgroup2 that one takes no process once its launcher has handed
/// controllers down.
pub(crate) fn enter_those_of(pid: i32) -> anyhow::Result<()> {
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let dirs: Vec<PathBuf> =
        hierarchy::mounted()?.iter().filter_map(|hierarchy| hierarchy.dir_of(&membership)).collect();
    enter(dirs.iter().map(PathBuf::as_path))
}

fn enter<'a>(dirs: impl Iterator<Item = &'a Path>) -> anyhow::Result<()> {
    for dir in dirs {
        // 0 stands for the writer.
        fs::write(dir.join("cgroup.procs"), "0").map_err(|error| cannot("enter cgroup", dir, error))?;
    }
    Ok(())
}

fn create_one(hierarchy: &Hierarchy, dir: &Path) -> io::Result<()> {
    let root = &hierarchy.mount_point;
    let parent = root.join(PARENT);
    // Against another instance's end, which would remove the parent or take back what we hand down.
    let _lock = lock(root)?;
    make_dir(&parent)?;
    match &hierarchy.kind {
        Kind::V2 => {
            let handed = hand_down(root)?;
            if !handed.is_empty() {
                remember_handed_down(root, &parent, &handed);
            }
            hand_down(&parent)?;
            make_dir(dir)
        }
        Kind::V1(controllers) => {
            if controllers.iter().any(|one| one == "memory") {
                // Before Linux 5.11 a parent's limit did not count its children. Newer ones know nothing else.
                let _ = fs::write(parent.join("memory.use_hierarchy"), "1");
            }
            make_dir(dir)?;
            if controllers.iter().any(|one| one == "cpuset") {
                inherit_cpuset(root, &parent)?;
                inherit_cpuset(&parent, dir)?;
            }
            Ok(())
        }
    }
}

/// Removes the directory that holds the instances' cgroups, when no other instance is in it, and takes back what the
/// host's own root hands down for it.
fn remove_parent(root: &Path) -> io::Result<()> {
    let parent = root.join(PARENT);
    let _lock = lock(root)?;
    let handed = handed_down(&parent);
    if fs::remove_dir(&parent).is_err() {
        // Busy: another instance is in it. Gone: another one's end was quicker.
        return Ok(());
    }
    let Some((controllers, siblings)) = handed.split_once(SEPARATOR) else { return Ok(()) };
    // Whoever came after that may have set limits of its own, which would go with the controller.
    let known: Vec<&str> = siblings.split(SEPARATOR).collect();
    if names(root)?.iter().any(|name| !known.contains(&name.as_str())) {
        return Ok(());
    }
    for controller in controllers.split_whitespace() {
        // Busy means that a cgroup of somebody else hands it on.
        let _ = fs::write(root.join("cgroup.subtree_control"), format!("-{controller}"));
    }
    Ok(())
}

/// Held while `from-scratch` appears in a hierarchy or goes from it; instances of several state directories share it.
/// Anybody may lock what he can read, so nobody is waited for long: without it there is only a race to lose.
fn lock(root: &Path) -> io::Result<File> {
    let dir = File::open(root)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    while dir.try_lock().is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(dir)
}

/// Lets the children of a cgroup2 directory have what Docker limits by. Returns what they did not have before.
fn hand_down(dir: &Path) -> io::Result<Vec<String>> {
    let there = fs::read_to_string(dir.join("cgroup.controllers"))?;
    let control = dir.join("cgroup.subtree_control");
    let handed = fs::read_to_string(&control)?;
    let missing = there.split_whitespace().filter(|one| WANTED.contains(one));
    let missing = missing.filter(|one| !handed.split_whitespace().any(|handed| handed == *one));
    // Refused where processes are in the way; only a limit that was asked for makes this an error.
    Ok(missing.filter(|one| fs::write(&control, format!("+{one}")).is_ok()).map(str::to_owned).collect())
}

/// On the directory itself (xattr(7)), so that it goes when that goes, whatever becomes of the state directory.
const HANDED_DOWN: &str = "trusted.from-scratch.handed-down";

/// Between the controllers, and the names of the cgroups that were there when they were handed down: no name has it.
const SEPARATOR: char = '/';

fn remember_handed_down(root: &Path, parent: &Path, controllers: &[String]) {
    let before = handed_down(parent);
    let now = || (String::new(), names(root).unwrap_or_default().join("/"));
    let earlier = before.split_once(SEPARATOR).map(|(others, names)| (others.to_owned(), names.to_owned()));
    let (others, siblings) = earlier.unwrap_or_else(now);
    let all = format!("{others} {}{SEPARATOR}{siblings}", controllers.join(" "));
    // Refused in a user namespace, whose cgroup is not the host's own root either.
    let _ = rustix::fs::setxattr(parent, HANDED_DOWN, all.trim().as_bytes(), XattrFlags::empty());
}

fn handed_down(parent: &Path) -> String {
    // The most that an attribute holds (xattr(7)).
    let mut value = vec![0; 64 << 10];
    let length = rustix::fs::getxattr(parent, HANDED_DOWN, &mut value).unwrap_or(0);
    String::from_utf8_lossy(&value[..length]).into_owned()
}

/// The cgroups directly below.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let dirs = children(dir)?;
    Ok(dirs.iter().filter_map(|dir| Some(dir.file_name()?.to_string_lossy().into_owned())).collect())
}

/// A new cgroup of cgroup v1 has no processor and no memory node, and takes no process until it has.
fn inherit_cpuset(parent: &Path, child: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if fs::read_to_string(child.join(file))?.trim().is_empty() {
            fs::write(child.join(file), fs::read_to_string(parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        other => other,
    }
}

fn write_limit(file: &Path, value: &str) -> anyhow::Result<()> {
    fs::write(file, value).with_context(|| format!("cannot write {value} to `{}`", file.display()))
}

fn collect_processes(dir: &Path, all: &mut Vec<i32>) {
    if let Ok(list) = fs::read_to_string(dir.join("cgroup.procs")) {
        all.extend(list.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    for child in children(dir).unwrap_or_default() {
        collect_processes(&child, all);
    }
}

/// The deepest first, as only an empty cgroup can be removed.
fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in children(dir)? {
        remove_tree(&child)?;
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut dirs = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            dirs.push(entry.path());
        }
    }
    Ok(dirs)
}

fn cannot(what: &str, dir: &Path, error: io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => Some(
            "the cgroups here are read-only: run in a place that may write them, such as a privileged container",
        ),
        io::ErrorKind::PermissionDenied => Some("run as root, where the cgroups may be written"),
        _ => None,
    };
    let mut hinted = Hinted::new(format!("cannot {what} `{}`", dir.display())).because(error);
    if let Some(hint) = hint {
        hinted = hinted.hint(hint);
    }
    hinted.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written to the root's `cgroup.subtree_control` at the end, when this happens meanwhile.
    fn taken_back(meanwhile: impl FnOnce(&Path)) -> String {
        let root = tempfile::tempdir().expect("a directory");
        let (root, parent) = (root.path(), root.path().join(PARENT));
        fs::write(root.join("cgroup.subtree_control"), "untouched").expect("a file");
        for dir in [parent.as_path(), &root.join("system.slice")] {
            fs::create_dir(dir).expect("a directory");
        }
        remember_handed_down(root, &parent, &["memory".to_owned()]);
        meanwhile(root);
        remove_parent(root).expect("removed");
        fs::read_to_string(root.join("cgroup.subtree_control")).expect("a file")
    }

    /// As root, whose the attribute is.
    #[test]
    fn root_what_was_handed_down_is_taken_back_unless_somebody_else_came() {
        assert_eq!(taken_back(|_| ()), "-memory");
        assert_eq!(taken_back(|root| fs::create_dir(root.join("other")).expect("a directory")), "untouched");
        assert_eq!(taken_back(|root| fs::create_dir(root.join(PARENT).join("b")).expect("one")), "untouched");
    }
}
