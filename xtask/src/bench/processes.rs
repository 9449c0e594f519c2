//! The host's processes, those in its containers among them, and what they weigh.

use std::fs;
use std::process::Child;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) name: String,
    pub(super) cgroup: String,
    /// Each word with a NUL behind it.
    pub(super) words: String,
}

pub(super) fn all() -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        // One that has just ended has nothing to read any more.
        let Some((name, parent)) = parse(&read("stat")) else { continue };
        found.push(Process { pid, parent, name, cgroup: read("cgroup"), words: read("cmdline") });
    }
    Ok(found)
}

/// Name and parent, from `/proc/PID/stat`. A name may have anything in it. None: it has ended, and its parent will hear of it.
fn parse(stat: &str) -> Option<(String, i32)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    (!ended).then(|| (name.to_owned(), parent))
}

/// MB of a process and of all that it has started.
pub(super) fn tree(all: &[Process], root: i32) -> Result<f64> {
    let mut weight = share(root)?;
    for child in all.iter().filter(|process| process.parent == root) {
        weight += tree(all, child.pid)?;
    }
    Ok(weight)
}

/// MB of one process: its own pages, and its share of those that others have too.
pub(super) fn share(pid: i32) -> Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    megabytes(&rollup, "Pss:").with_context(|| format!("no share of process {pid}"))
}

/// MB of the launcher and of nobody else, as its bar has it.
pub(super) fn resident(pid: i32) -> Result<f64> {
    megabytes(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:").context("no VmRSS")
}

/// MB of resident memory that a child had at most, once it has ended. Looked at so often that only what its last
/// milliseconds add is missed.
pub(super) fn peak(child: &mut Child) -> Result<f64> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    while child.try_wait()?.is_none() {
        peak = fs::read_to_string(&status).ok().and_then(|text| megabytes(&text, "VmHWM:")).or(peak);
        thread::sleep(Duration::from_millis(5));
    }
    peak.context("it ended before its memory could be looked at")
}

/// A field in kB of a file in `/proc`.
fn megabytes(text: &str, field: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: f64 = value.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        let parsed = parse("42 (a) S (b) S 7 42 42 0 -1").expect("a stat");
        assert_eq!(parsed, ("a) S (b".to_owned(), 7));
        assert_eq!((parse("42 (a) Z 7 42"), parse("")), (None, None));
    }

    #[test]
    fn megabytes_are_a_million_bytes() {
        assert_eq!(megabytes("Rss: 1 kB\nPss:    2000 kB\n", "Pss:"), Some(2.048));
        assert_eq!(megabytes("Rss: 1 kB\n", "Pss:"), None);
    }

    #[test]
    fn a_tree_is_more_than_its_root() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 60; true"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("sh");
        let root = shell.id() as i32;
        // The shell has started it, some time.
        let (sleep, weights) = loop {
            let all = all().expect("processes");
            if let Some(sleep) = all.iter().find(|one| one.parent == root && one.name == "sleep") {
                break (sleep.pid, (share(root).expect("own"), tree(&all, root).expect("tree")));
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        let sleep = rustix::process::Pid::from_raw(sleep).expect("a process");
        rustix::process::kill_process(sleep, rustix::process::Signal::KILL).expect("kill");
        shell.wait().expect("wait");
        assert!(weights.1 > weights.0 && weights.0 > 0.0, "{weights:?}");
    }
}
