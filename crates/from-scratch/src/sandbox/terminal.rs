//! A terminal inside an instance, tied to the one that the user sits at.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{ptsname, unlockpt};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Whether a person sits at both ends.
pub(crate) fn at_both_ends() -> bool {
    isatty(stdin()) && isatty(stdout())
}

/// The user's side of a terminal of an instance.
#[derive(Debug)]
pub(crate) struct Terminal {
    master: OwnedFd,
    /// The other side's path inside.
    pub(crate) path: PathBuf,
    /// Typed, but not yet taken by the other side.
    typed: Vec<u8>,
    input_ended: bool,
}

impl Terminal {
    /// Makes one in the instance whose PID 1 is `pid`.
    pub(crate) fn open(pid: i32) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let master = rustix::fs::open(format!("/proc/{pid}/root/dev/pts/ptmx"), flags, Mode::empty())?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes()));
        let terminal = Self { master, path, typed: Vec::new(), input_ended: false };
        terminal.resize();
        Ok(terminal)
    }

    /// Makes it as large as the user's own.
    pub(crate) fn resize(&self) {
        if let Ok(size) = tcgetwinsize(stdin()) {
            // Without a size programs still work.
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// Whether to wait for something to read from the user.
    pub(crate) fn wants_input(&self) -> bool {
        self.typed.is_empty() && !self.input_ended
    }

    /// Whether something waits for the other side to take it.
    pub(crate) fn has_input(&self) -> bool {
        !self.typed.is_empty()
    }

    /// Takes what the user has typed.
    pub(crate) fn read_input(&mut self) -> io::Result<()> {
        let mut part = [0; 4096];
        match rustix::io::read(stdin(), &mut part) {
            Ok(0) | Err(Errno::IO) => self.input_ended = true,
            Ok(count) => self.typed.extend_from_slice(&part[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.write_input()
    }

    /// Hands on as much of it as the other side takes.
    pub(crate) fn write_input(&mut self) -> io::Result<()> {
        match rustix::io::write(&self.master, &self.typed) {
            Ok(count) => drop(self.typed.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody is there any more.
            Err(Errno::IO) => self.typed.clear(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Shows what has been written inside so far; false when all who could write have ended.
    pub(crate) fn copy_output(&self) -> io::Result<bool> {
        let mut part = [0; 16384];
        loop {
            match rustix::io::read(&self.master, &mut part) {
                Ok(0) | Err(Errno::IO) => return Ok(false),
                Ok(count) => {
                    let mut out = io::stdout();
                    out.write_all(&part[..count])?;
                    out.flush()?;
                }
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

/// The user's terminal hands on every key as it is, until this is dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}
