//! What we exit with: a file, or another process.

use std::path::Path;
use std::time::Duration;

use dockerlaunch_plan::config::settings::{ExitWith, FileSign};

use crate::end::process;

/// How often it is looked at. Not inotify(7): a file on a shared volume may come from another kernel.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// Somebody whose end is ours.
#[derive(Debug)]
pub(crate) struct Peer {
    with: ExitWith,
    /// A file that shall be gone must have been there first.
    was_there: bool,
    /// When the process was started: another one may get its pid.
    started: Option<u64>,
}

impl Peer {
    pub(crate) fn new(with: &ExitWith) -> Self {
        let started = match with {
            ExitWith::Pid(pid) => process(*pid).map(|process| process.started),
            ExitWith::File(_) => None,
        };
        Self { with: with.clone(), was_there: false, started }
    }

    /// Whether it is over.
    pub(crate) fn is_gone(&mut self) -> bool {
        match &self.with {
            ExitWith::Pid(pid) => {
                self.started.is_none() || process(*pid).map(|process| process.started) != self.started
            }
            ExitWith::File(FileSign { path, gone }) => {
                let is_there = Path::new(path).exists();
                self.was_there |= is_there;
                self.was_there && is_there != *gone
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_and_goes() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("sign");
        let sign = |gone| ExitWith::File(FileSign { path: path.to_string_lossy().into_owned(), gone });
        let (mut appears, mut disappears) = (Peer::new(&sign(false)), Peer::new(&sign(true)));
        assert!(!appears.is_gone() && !disappears.is_gone(), "the other side has not begun yet");
        std::fs::write(&path, "").expect("write");
        assert!(appears.is_gone() && !disappears.is_gone());
        std::fs::remove_file(&path).expect("remove");
        assert!(disappears.is_gone());
    }

    #[test]
    fn a_process_ends() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let mut peer = Peer::new(&ExitWith::Pid(child.id().cast_signed()));
        assert!(!peer.is_gone());
        child.kill().and_then(|()| child.wait()).expect("end");
        assert!(peer.is_gone());
        assert!(Peer::new(&ExitWith::Pid(i32::MAX)).is_gone());
    }
}
