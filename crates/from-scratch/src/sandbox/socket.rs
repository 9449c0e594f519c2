//! The API socket: it listens on the host before anything runs inside, so that a client may connect at once.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::stat::{Mode, umask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::process::Held;
use super::state::storage_error;
use crate::signals::{Interrupted, Signals};

/// `sun_path` has 108 bytes, the last one zero.
const LONGEST: usize = 107;

/// How long to wait before asking again one that hung up without an answer.
const AGAIN: Duration = Duration::from_millis(50);

/// Whether an ordinary client can connect to a path of this length.
pub(crate) fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= LONGEST
}

/// Makes the socket, for root and its group alone.
pub(crate) fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let failed = |error| storage_error("listen on", path, error);
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error).into()),
        _ => {}
    }
    // No moment with another mode: the umask is there before the socket.
    let before = umask(Mode::from_bits_truncate(0o117));
    let listener = within_reach(path, |path| UnixListener::bind(path));
    umask(before);
    Ok(listener.map_err(failed)?)
}

/// Calls `with` a path that is short enough for a socket address.
fn within_reach<T>(path: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(dir), Some(name), false) = (path.parent(), path.file_name(), fits(path)) else {
        return with(path);
    };
    let dir = fs::File::open(dir)?;
    with(&PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name))
}

/// Why Docker did not answer.
#[derive(Debug)]
pub(crate) enum Silence {
    /// PID 1 has ended.
    Died,
    Interrupted(Interrupted),
    TimedOut,
    Failed(io::Error),
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Returns when `GET /_ping` is answered.
pub(crate) fn wait_until_answered(
    path: &Path,
    process: &Held,
    signals: &Signals,
    patience: Duration,
) -> Result<(), Silence> {
    let deadline = Instant::now() + patience;
    loop {
        if ask(path, process, signals, deadline)? {
            return Ok(());
        }
        let again = (Instant::now() + AGAIN).min(deadline);
        match wait_for(None, process, signals, again) {
            Err(Silence::TimedOut) if again < deadline => {}
            other => return other,
        }
    }
}

/// Asks once; false when the other side hangs up without the answer.
fn ask(path: &Path, process: &Held, signals: &Signals, deadline: Instant) -> Result<bool, Silence> {
    let mut stream = match within_reach(path, |path| UnixStream::connect(path)) {
        // Nobody holds the listening side any more.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(Silence::Died),
        other => other?,
    };
    match stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
        other => other?,
    }
    stream.set_nonblocking(true)?;
    let mut answer = Vec::new();
    loop {
        wait_for(Some(&stream), process, signals, deadline)?;
        let mut part = [0; 1024];
        match stream.read(&mut part) {
            Ok(0) => return Ok(false),
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if is_ok(&answer) {
            return Ok(true);
        }
    }
}

fn is_ok(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200 ") || answer.starts_with(b"HTTP/1.0 200 ")
}

/// Returns when the stream has something to read.
fn wait_for(
    stream: Option<&UnixStream>,
    process: &Held,
    signals: &Signals,
    deadline: Instant,
) -> Result<(), Silence> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
    let mut fds = vec![
        PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN),
    ];
    if let Some(stream) = stream {
        fds.push(PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN));
    }
    if poll(&mut fds, Some(&timeout)).map_err(io::Error::from)? == 0 {
        return Err(Silence::TimedOut);
    }
    if let Some(signal) = signals.next()? {
        return Err(Silence::Interrupted(Interrupted(signal)));
    }
    if !fds[1].revents().is_empty() {
        return Err(Silence::Died);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_bound_all_the_same() {
        let dir = std::env::temp_dir().join(format!("from-scratch-socket-{}", std::process::id()));
        let deep = dir.join("d".repeat(120));
        fs::create_dir_all(&deep).expect("directory");
        let path = deep.join("docker.sock");
        assert!(!fits(&path));
        let listener = listen(&path).expect("listen");
        assert!(path.exists());
        within_reach(&path, |path| UnixStream::connect(path)).expect("connect");
        drop(listener);
        fs::remove_dir_all(dir).expect("clean up");
    }
}
