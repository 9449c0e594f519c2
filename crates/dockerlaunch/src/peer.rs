//! What we exit with: a file, or another process.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use dockerlaunch_plan::config::settings::{ExitWith, FileSign};

use crate::end::process;

/// How often it is looked at. Not inotify(7): a file on a shared volume may come from another kernel.
const INTERVAL: Duration = Duration::from_secs(1);

/// Somebody whose end is ours, watched by a thread: a volume whose server is gone makes whoever looks at it wait for ever.
#[derive(Debug)]
pub(crate) struct Watched(PipeReader);

impl Watched {
    /// Begins to watch.
    pub(crate) fn new(with: &ExitWith) -> io::Result<Self> {
        let mut peer = Peer::new(with);
        let (reader, writer) = io::pipe()?;
        let watch = move || {
            // First the engine begins, so that it ends in order even where the peer is gone already.
            thread::sleep(INTERVAL);
            while !peer.is_gone() {
                thread::sleep(INTERVAL);
            }
            drop(writer);
        };
        thread::Builder::new().name("exit with".into()).stack_size(64 * 1024).spawn(watch)?;
        Ok(Self(reader))
    }
}

/// Closed at its other end, and so ready to read, when the peer is gone.
impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[derive(Debug)]
struct Peer {
    with: ExitWith,
    /// A file that shall be gone must have been there first.
    was_there: bool,
    /// When the process was started: another one may get its pid.
    started: Option<u64>,
}

impl Peer {
    fn new(with: &ExitWith) -> Self {
        let started = match with {
            ExitWith::Pid(pid) => process(*pid).map(|process| process.started),
            ExitWith::File(_) => None,
        };
        Self { with: with.clone(), was_there: false, started }
    }

    /// Whether it is over.
    fn is_gone(&mut self) -> bool {
        match &self.with {
            ExitWith::Pid(pid) => {
                self.started.is_none() || process(*pid).map(|process| process.started) != self.started
            }
            ExitWith::File(FileSign { path, gone }) => {
                // A volume that cannot be asked just now says nothing about the file.
                let Ok(is_there) = Path::new(path).try_exists() else { return false };
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
    fn a_volume_in_trouble_says_nothing() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("volume");
        let sign = FileSign { path: path.join("sign").to_string_lossy().into_owned(), gone: true };
        let mut peer = Peer::new(&ExitWith::File(sign));
        std::fs::create_dir(&path).and_then(|()| std::fs::write(path.join("sign"), "")).expect("write");
        assert!(!peer.is_gone());
        // Not ENOENT, but ELOOP.
        std::fs::remove_dir_all(&path).and_then(|()| std::os::unix::fs::symlink(&path, &path)).expect("link");
        assert!(!peer.is_gone());
        std::fs::remove_file(&path).expect("remove");
        assert!(peer.is_gone());
    }

    #[test]
    fn a_process_ends() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let mut peer = Peer::new(&ExitWith::Pid(child.id().cast_signed()));
        assert!(!peer.is_gone());
        child.kill().expect("kill");
        // Nobody has taken its status yet, which its parent may never do.
        let start = std::time::Instant::now();
        while !peer.is_gone() {
            assert!(start.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(1));
        }
        child.wait().expect("its status was still there");
        assert!(Peer::new(&ExitWith::Pid(i32::MAX)).is_gone());
    }
}
