//! Cgroups: a namespace of our own, processes out of the way, and nothing left at the end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dockerlaunch_plan::ActionError;
use dockerlaunch_plan::facts::mountinfo;
use nix::sched::{CloneFlags, unshare};

/// How long processes may keep appearing in a cgroup that is being emptied.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The pauses between two tries, from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(64));

/// unshare(2). Its root is where we are now, so this comes before we move.
pub(crate) fn private() -> Result<(), ActionError> {
    unshare(CloneFlags::CLONE_NEWCGROUP).map_err(|errno| ActionError {
        call: "unshare(CLONE_NEWCGROUP)".to_owned(),
        reason: errno.desc().to_owned(),
        errno: errno as i32,
    })
}

/// Moves processes until none is left and the kernel takes the controllers: an `exec` or health check may slip in at any
/// time, also between the two.
pub(crate) fn nest(cgroup: &str, leaf: &str, patience: Duration) -> Result<(), ActionError> {
    match fs::create_dir(format!("{cgroup}/{leaf}")) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("mkdir", &error)),
        _ => {}
    }
    let available =
        fs::read_to_string(format!("{cgroup}/cgroup.controllers")).map_err(|e| failed("read", &e))?;
    let deadline = Instant::now() + patience;
    let mut pause = PAUSES.0;
    loop {
        let stays = evacuate(cgroup, leaf)?;
        let refused = enable(cgroup, &available);
        let Some(error) = stays.or(refused) else { return Ok(()) };
        if error.errno != libc::EBUSY || Instant::now() > deadline {
            return Err(error);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// One pass over the processes; who is still there, and why.
fn evacuate(cgroup: &str, leaf: &str) -> Result<Option<ActionError>, ActionError> {
    let target = format!("{cgroup}/{leaf}/cgroup.procs");
    let list = || fs::read_to_string(format!("{cgroup}/cgroup.procs")).map_err(|e| failed("read", &e));
    let mut stuck = None;
    for pid in list()?.lines() {
        let reason = match (pid, fs::write(&target, pid)) {
            // It has no number here, so it cannot be named, and 0 would mean ourselves.
            ("0", _) => "it belongs to another pid namespace".to_owned(),
            (_, Ok(())) => continue,
            // It has ended meanwhile.
            (_, Err(error)) if error.raw_os_error() == Some(libc::ESRCH) => continue,
            (_, Err(error)) => error.to_string(),
        };
        stuck = Some(format!("process {pid} ({}) stays in {cgroup}: {reason}", comm(pid)));
    }
    let entered = || -> Result<Option<String>, ActionError> {
        let list = list()?;
        let named = |pid: &str| format!("process {pid} ({}) has entered {cgroup} meanwhile", comm(pid));
        Ok(list.lines().next().map(named))
    };
    let reason = match stuck {
        Some(reason) => Some(reason),
        None => entered()?,
    };
    Ok(reason.map(|reason| ActionError { call: format!("write {target}"), reason, errno: libc::EBUSY }))
}

fn comm(pid: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).map_or_else(|_| "?".into(), |c| c.trim().to_owned())
}

/// One controller at a time: one that is refused must not lose the others.
fn enable(cgroup: &str, available: &str) -> Option<ActionError> {
    let control = format!("{cgroup}/cgroup.subtree_control");
    let mut refused = None;
    for controller in available.split_whitespace() {
        if let Err(error) = fs::write(&control, format!("+{controller}")) {
            refused = Some(failed(&format!("write +{controller} to {control}"), &error));
        }
    }
    refused
}

fn failed(call: &str, error: &io::Error) -> ActionError {
    ActionError { call: call.to_owned(), reason: error.to_string(), errno: error.raw_os_error().unwrap_or(0) }
}

/// The cgroups below ours when the engine came.
#[derive(Debug, Default)]
pub struct Below(Vec<PathBuf>);

impl Below {
    /// What is there now, where the tree that we see is ours alone.
    pub(crate) fn now() -> Self {
        Self(tops().into_iter().flat_map(|top| children(&top)).collect())
    }

    /// Removes what has come since. What is busy has processes that are not ours, and stays.
    pub(crate) fn remove_others(&self) {
        for child in tops().iter().flat_map(|top| children(top)) {
            if !self.0.contains(&child) {
                remove(&child);
            }
        }
    }
}

/// Where hierarchies are mounted.
fn tops() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mountinfo::parse(&text).into_iter();
    mounts.filter(|mount| mount.fstype.starts_with("cgroup")).map(|mount| mount.target.into()).collect()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The deepest first: a cgroup with children stays.
fn remove(dir: &Path) {
    children(dir).iter().for_each(|child| remove(child));
    // Busy: somebody is in it.
    let _ = fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain files behave as a cgroup whose processes never go.
    fn cgroup(procs: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("dir");
        fs::create_dir(dir.path().join("init")).expect("mkdir");
        fs::write(dir.path().join("cgroup.procs"), procs).expect("write");
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory\n").expect("write");
        dir
    }

    fn nest_in(dir: &tempfile::TempDir) -> Result<(), ActionError> {
        nest(&dir.path().to_string_lossy(), "init", Duration::from_millis(20))
    }

    #[test]
    fn whoever_does_not_move_is_named_in_the_end_pain_5() {
        let own = std::process::id().to_string();
        let name = comm(&own);
        let dir = cgroup(&own);
        let error = nest_in(&dir).expect_err("it never empties");
        assert!(error.reason.contains(&format!("process {own} ({name}) has entered")), "{error}");
        fs::create_dir(dir.path().join("init/cgroup.procs")).expect_err("there");
        fs::remove_file(dir.path().join("init/cgroup.procs")).expect("remove");
        fs::create_dir(dir.path().join("init/cgroup.procs")).expect("mkdir");
        let error = nest_in(&dir).expect_err("it cannot be moved");
        assert!(error.reason.contains(&format!("process {own} ({name}) stays")), "{error}");
        assert_eq!(error.errno, libc::EBUSY);
        let error = nest_in(&cgroup("0\n")).expect_err("it cannot be named");
        assert!(error.reason.contains("another pid namespace"), "{error}");
    }

    #[test]
    fn every_controller_is_asked_for_by_itself() {
        let dir = cgroup("");
        nest_in(&dir).expect("nobody is there");
        // A plain file keeps the last.
        let asked = fs::read_to_string(dir.path().join("cgroup.subtree_control")).expect("read");
        assert_eq!(asked, "+memory");
    }
}
