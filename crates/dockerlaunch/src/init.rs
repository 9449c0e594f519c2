//! `docker-init`: the init of a container that was started with `--init`.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};

use crate::end::reap;
use crate::handoff;
use crate::pid1::{adopt_orphans, send};
use crate::signals::Signals;

/// Runs a command as the init of a container does: passes every signal on, reaps, and returns the command's exit status.
///
/// # Errors
/// Its process could not be created.
pub fn run(command: &[OsString]) -> io::Result<i32> {
    let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let signals = Signals::block_all()?;
    adopt_orphans()?;
    let child = handoff::plain_command(program, args).spawn()?.id().cast_signed();
    loop {
        let mut fds = [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        // An interrupted wait is as good as one that has ended.
        let _ = poll(&mut fds, None);
        while let Some(came) = signals.read() {
            // It is in the terminal's foreground group with us, and has got from there what that sends.
            if !came.is_child() && !came.from_terminal {
                send(child, came.number);
            }
        }
        if let Some((_, status)) = reap().ended.into_iter().find(|(pid, _)| *pid == child) {
            return Ok(status);
        }
    }
}
