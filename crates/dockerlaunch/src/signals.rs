//! Signals: blocked and read from a descriptor here, unblocked for whatever we start.

use std::io;

use dockerlaunch_plan::supervise::signal::FORWARDED;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Blocks what we handle, and gives the descriptor to read it from (signalfd(2)).
pub(crate) fn block() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    for number in FORWARDED {
        set.add(Signal::try_from(*number)?);
    }
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
