//! Starts a program with an exact set of descriptors, a session of its own and no blocked signal.
//!
//! `std::process::Command` passes on the caller's signal mask and cannot place descriptors without `unsafe`;
//! `posix_spawn` does both.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::libc;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use rustix::io::fcntl_dupfd_cloexec;

/// Descriptors are first moved above this, so that placing one cannot overwrite another.
const OUT_OF_THE_WAY: RawFd = 100;

/// A program about to be started.
pub(crate) struct Spawn {
    program: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    actions: PosixSpawnFileActions,
    moved: Vec<OwnedFd>,
}

impl Spawn {
    /// `program` is a path: nothing is searched for.
    pub(crate) fn new(program: &Path, argv0: &OsStr) -> io::Result<Self> {
        Ok(Self {
            program: c_string(program.as_os_str())?,
            args: vec![c_string(argv0)?],
            env: Vec::new(),
            actions: PosixSpawnFileActions::init()?,
            moved: Vec::new(),
        })
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> io::Result<Self> {
        for arg in args {
            self.args.push(c_string(arg.as_ref())?);
        }
        Ok(self)
    }

    /// The whole environment, as `NAME=value`.
    pub(crate) fn env<S: AsRef<OsStr>>(mut self, env: impl IntoIterator<Item = S>) -> io::Result<Self> {
        for variable in env {
            self.env.push(c_string(variable.as_ref())?);
        }
        Ok(self)
    }

    /// This process's own environment.
    pub(crate) fn own_env(self) -> io::Result<Self> {
        self.env(std::env::vars_os().map(|(name, value)| {
            let mut variable = name;
            variable.push("=");
            variable.push(value);
            variable
        }))
    }

    /// Gives the program a descriptor under a fixed number.
    pub(crate) fn fd(mut self, fd: impl std::os::fd::AsFd, number: RawFd) -> io::Result<Self> {
        let moved = fcntl_dupfd_cloexec(fd, OUT_OF_THE_WAY)?;
        self.actions.add_dup2(moved.as_raw_fd(), number)?;
        self.moved.push(moved);
        Ok(self)
    }

    /// Opens a terminal as descriptor 0. The program leads a session, so this terminal becomes its own.
    pub(crate) fn terminal(mut self, path: &Path) -> io::Result<Self> {
        self.actions.add_open(0, path, nix::fcntl::OFlag::O_RDWR, nix::sys::stat::Mode::empty())?;
        self.actions.add_dup2(0, 1)?;
        self.actions.add_dup2(0, 2)?;
        Ok(self)
    }

    /// Starts it, as the leader of a new session.
    pub(crate) fn start(self) -> io::Result<i32> {
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_sigmask(&SigSet::empty())?;
        attributes.set_sigdefault(&SigSet::all())?;
        attributes.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
                | PosixSpawnFlags::from_bits_retain(libc::POSIX_SPAWN_SETSID.into()),
        )?;
        let pid = posix_spawn(self.program.as_c_str(), &self.actions, &attributes, &self.args, &self.env)?;
        Ok(pid.as_raw())
    }
}

/// Closes what the caller's shell may have left open beyond the descriptor `last`, as it would reach the programs
/// inside. To be called before this process has opened anything itself.
pub(crate) fn close_above(last: RawFd) -> io::Result<()> {
    let mut numbers: Vec<RawFd> = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for number in numbers.into_iter().filter(|number| *number > last) {
        // One of them was the listing's own, and is closed already.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

/// Leaves the keys of the caller's session behind, as they would be at hand inside.
pub(crate) fn leave_session_keyring() -> io::Result<()> {
    dockerlaunch::join_session_keyring().or_else(|error| match error.raw_os_error() {
        // A kernel without keys, or a filter that refuses the question refuses it inside as well.
        Some(libc::ENOSYS | libc::EPERM) => Ok(()),
        _ => Err(error),
    })
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}
