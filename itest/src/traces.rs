//! What tests could leave on the host: mounts, cgroups, processes with their namespaces, files, devices.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::command::eventually;
use crate::host::Host;
use crate::product;

/// What is compared of the host's own: the rest is for `host_untouched`.
const AREAS: [&str; 4] = ["mounts", "cgroups", "links", "nftables rules"];

/// What the kernel still has to do when `down` has returned.
const SETTLE: Duration = Duration::from_secs(15);

/// The host, at one moment.
#[derive(Debug, Clone)]
pub struct Traces {
    host: Host,
    ours: BTreeSet<String>,
}

static FIRST: OnceLock<Traces> = OnceLock::new();

/// Keeps the first look, for [`none_at_the_end`].
pub fn at_first(traces: &Traces) {
    FIRST.get_or_init(|| traces.clone());
}

/// Nothing is left of the whole run.
pub fn none_at_the_end() -> Result<()> {
    FIRST.get().map_or(Ok(()), Traces::nothing_new)
}

impl Traces {
    /// Looks at it now.
    pub fn look() -> Result<Self> {
        Ok(Self { host: Host::look()?, ours: ours()? })
    }

    /// Nothing is there that was not, or soon not any more.
    pub fn nothing_new(&self) -> Result<()> {
        eventually("the host is as it was", SETTLE, || {
            let now = Self::look()?;
            let new: Vec<_> = now.ours.difference(&self.ours).collect();
            ensure!(new.is_empty(), "left behind: {new:#?}");
            self.host.unchanged(&now.host, |area, line| !AREAS.contains(&area) || is_theirs(line))?;
            Ok(true)
        })
    }
}

/// Where the emulated machine's files are, which may run beside all else.
pub const MACHINE: &str = "scenarios-vm";

/// What there is of this clone's instances: processes, mounts, cgroups, devices, files. Processes of the emulated machine name
/// [`MACHINE`].
pub fn ours() -> Result<BTreeSet<String>> {
    let mut ours = BTreeSet::new();
    processes(&mut ours)?;
    loop_devices(&mut ours);
    let state = product::target().join("itest-run/state");
    let target = product::target().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ours.extend(mounts.lines().filter(|line| line.contains(&target)).map(|line| format!("mount {line}")));
    groups(Path::new("/sys/fs/cgroup"), &suffix(), &mut ours);
    // What is built once and kept for the next `up`.
    let kept = |name: &str| matches!(name, "images" | "tools");
    files(&state, kept, &mut ours);
    for store in ["images", "tools"] {
        files(&state.join(store), |name| name != "unfinished", &mut ours);
    }
    Ok(ours)
}

/// Nothing of ours is there but this, or soon not any more.
pub fn none_but(before: &BTreeSet<String>) -> Result<()> {
    none_left(before, |_| true)
}

/// The same of the emulated machine's alone, or of all else alone: two runs that are not each other's leftovers.
pub fn none_in_part(before: &BTreeSet<String>, of_the_machine: bool) -> Result<()> {
    none_left(before, |line| line.contains(MACHINE) == of_the_machine)
}

fn none_left(before: &BTreeSet<String>, is_meant: impl Fn(&str) -> bool) -> Result<()> {
    eventually("nothing is left", SETTLE, || {
        let now = ours()?;
        let new: Vec<_> = now.difference(before).filter(|line| is_meant(line)).collect();
        ensure!(new.is_empty(), "left behind: {new:#?}");
        Ok(true)
    })
}

/// Cgroups whose names end so.
pub(crate) fn groups(directory: &Path, suffix: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().ends_with(suffix) {
                found.insert(format!("cgroup {}", entry.path().display()));
            }
            groups(&entry.path(), suffix, found);
        }
    }
}

/// What ends the names of this clone's instances.
fn suffix() -> String {
    product::instance_name("")
}

/// Another clone's instances come and go, on a machine where several are at work.
fn is_theirs(line: &str) -> bool {
    let instance = line.split_once("/from-scratch/").map(|(_, below)| below.split('/').next());
    let name = |name: Option<&str>| name.is_some_and(|name| !name.ends_with(&suffix()));
    let of_others = |line: &str| {
        let parent = line.split("/from-scratch").next().unwrap_or_default();
        let entries = fs::read_dir(Path::new(parent).join("from-scratch")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().is_dir()).any(|entry| name(entry.file_name().to_str()))
    };
    match instance {
        Some(instance) => name(instance),
        // Where it is gone, others had it, and took it away.
        None if line.ends_with("/from-scratch") => !Path::new(line).exists() || of_others(line),
        None => line.contains("/itest-run/") && !line.contains(&*product::target().to_string_lossy()),
    }
}

/// Whatever is in a cgroup of ours, was started from our build directory, works on files there, or is this process's child,
/// zombies included; with its namespaces.
fn processes(found: &mut BTreeSet<String>) -> Result<()> {
    let (suffix, target, own) = (suffix(), product::target(), std::process::id().to_string());
    let scratch = format!("{}/itest-run/", target.display());
    for entry in fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else {
            continue;
        };
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
        let status = read("status");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let is_inside =
            read("cgroup").lines().any(|line| line.contains("/from-scratch/") && line.contains(&suffix));
        let is_ours = fs::read_link(path.join("exe")).is_ok_and(|exe| {
            exe.starts_with(&target) && !exe.starts_with(target.join("debug/deps")) && !runs_tests(&exe)
        });
        // A machine's emulator, for one, whose files are in there.
        let words = read("cmdline");
        let is_at_ours = words.contains(&scratch);
        if is_inside || is_ours || is_at_ours || field("PPid:") == Some(&own) {
            let namespaces = ["pid", "net", "mnt"].map(|kind| {
                let link = fs::read_link(path.join("ns").join(kind)).unwrap_or_default();
                link.display().to_string()
            });
            let name = field("Name:").unwrap_or_default();
            let machine = if words.contains(&format!("{scratch}{MACHINE}")) { MACHINE } else { "" };
            found.insert(format!("process {pid} {name} {machine} in {}", namespaces.join(" ")));
        }
    }
    Ok(())
}

/// The chores' program and its runners: of another run, which is not left over.
fn runs_tests(exe: &Path) -> bool {
    exe.parent().is_some_and(|directory| directory.ends_with("debug"))
        && exe.file_name().is_some_and(|name| ["xtask", "scenario", "prove"].iter().any(|one| name == *one))
}

/// Those on the launcher's own files, under whatever name these have.
fn loop_devices(found: &mut BTreeSet<String>) {
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let file = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if file.contains(".dockerlaunch.ext4") {
            found.insert(format!("device {} on {}", entry.path().display(), file.trim()));
        }
    }
}

fn files(directory: &Path, kept: impl Fn(&str) -> bool, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !kept(&entry.file_name().to_string_lossy()) {
            found.insert(format!("file {}", entry.path().display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn other_clones_are_told_from_this_one() {
        let ours = product::instance_name("x");
        assert!(is_theirs("/sys/fs/cgroup/pids/from-scratch/x-000000/docker"));
        assert!(!is_theirs(&format!("/sys/fs/cgroup/pids/from-scratch/{ours}/docker")));
        assert!(!is_theirs("/sys/fs/cgroup/pids/docker"));
        assert!(is_theirs("31 1 0:2 / /elsewhere/target/itest-run/state/x rw - tmpfs tmpfs rw"));
    }

    #[test]
    fn a_child_that_is_left_is_found() {
        let look = || {
            let mut found = BTreeSet::new();
            processes(&mut found).expect("looks");
            found
        };
        let mut child = Command::new("sleep").arg("600").spawn().expect("starts");
        let is_listed = |found: &BTreeSet<String>, pid: u32| {
            found.iter().any(|line| line.starts_with(&format!("process {pid} ")))
        };
        let during = look();
        child.kill().expect("ends");
        child.wait().expect("reaped");
        assert!(is_listed(&during, child.id()), "{during:?}");
        assert!(!is_listed(&look(), child.id()));
    }
}
