//! Signals: blocked and read from a descriptor here, unblocked for whatever we start.

use std::io;

use dockerlaunch_plan::supervise::signal::FORWARDED;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What the kernel sends a process for its own faults, and when it touches a terminal from the background: not to be
/// passed on.
const OUR_OWN: [Signal; 9] = [
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGSEGV,
    Signal::SIGSYS,
    Signal::SIGTRAP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Blocks what we pass on to an engine, and gives the descriptor to read it from (signalfd(2)).
pub(crate) fn block() -> io::Result<SignalFd> {
    block_these(FORWARDED.iter().filter_map(|number| Signal::try_from(*number).ok()))
}

/// Blocks what the init of a container passes on: everything that has a name.
pub(crate) fn block_all() -> io::Result<SignalFd> {
    block_these(Signal::iterator().filter(|signal| !OUR_OWN.contains(signal)))
}

fn block_these(signals: impl Iterator<Item = Signal>) -> io::Result<SignalFd> {
    let set: SigSet = signals.chain([Signal::SIGCHLD]).collect();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// What is blocked now.
pub(crate) fn mask() -> SigSet {
    let mut mask = SigSet::empty();
    // Only asks, which cannot fail.
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, None, Some(&mut mask));
    mask
}

/// Blocks these, and only these.
pub(crate) fn set_mask(mask: &SigSet) -> io::Result<()> {
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None)?)
}

/// Blocks nothing any more: an exec passes the mask on, and dockerd would never see SIGTERM.
pub(crate) fn unblock_all() -> io::Result<()> {
    set_mask(&SigSet::empty())
}
