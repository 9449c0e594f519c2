//! Signals as something to poll for, so that an interrupted command can undo what it has done.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that are held back from now on, and read from a descriptor.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Holds back `signals` in this thread, and in those that it starts.
    pub(crate) fn hold(signals: &[Signal]) -> io::Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
        Ok(Self { fd: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    /// What would end a command from a terminal or a service manager.
    pub(crate) fn that_interrupt() -> io::Result<Self> {
        Self::hold(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT])
    }

    /// The next signal that has arrived, if any.
    pub(crate) fn next(&self) -> io::Result<Option<Signal>> {
        let Some(info) = self.fd.read_signal()? else { return Ok(None) };
        Ok(Some(Signal::try_from(info.ssi_signo as i32)?))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The command was told to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interrupted(pub(crate) Signal);

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stopped by {}", self.0.as_str())
    }
}

impl std::error::Error for Interrupted {}
