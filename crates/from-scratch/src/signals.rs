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

    /// What would end a command from a terminal or a service manager; not what is ignored, as by `nohup`.
    pub(crate) fn that_interrupt() -> io::Result<Self> {
        let ignored = ignored();
        let mut signals = vec![Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
        signals.retain(|signal| !is_in(ignored, *signal as i32));
        Self::hold(&signals)
    }

    /// The next signal that has arrived, if any.
    pub(crate) fn next(&self) -> io::Result<Option<Signal>> {
        let Some(info) = self.fd.read_signal()? else { return Ok(None) };
        Ok(Some(Signal::try_from(info.ssi_signo as i32)?))
    }
}

/// The signals that are ignored, as the bits of a word, that of signal 1 the lowest (proc_pid_status(5), `SigIgn`). What cannot be
/// read counts as none.
pub(crate) fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Whether a signal is in such a word.
pub(crate) fn is_in(word: u64, signal: i32) -> bool {
    word >> (signal - 1) & 1 == 1
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
