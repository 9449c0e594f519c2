//! A process that is known again later, even across a reboot or after its number was given away.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process number together with what makes it unambiguous.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// Clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub(crate) start: u64,
    /// `/proc/sys/kernel/random/boot_id` at that time.
    pub(crate) boot: String,
}

/// A process that is held by descriptor: signals cannot reach another one.
#[derive(Debug)]
pub(crate) struct Held {
    fd: OwnedFd,
}

impl ProcessId {
    /// What identifies the process that has this number now.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let (start, _) = read_stat(pid)?;
        Ok(Self { pid, start, boot: boot_id()? })
    }

    /// Holds the process, if it is still the one that was recorded and has not ended.
    pub(crate) fn hold(&self) -> Option<Held> {
        if boot_id().ok()? != self.boot {
            return None;
        }
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Looked at only now: while we hold it, its number cannot be given to another one.
        let (start, state) = read_stat(self.pid).ok()?;
        (start == self.start && !matches!(state, 'Z' | 'X' | 'x')).then_some(Held { fd })
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.hold().is_some()
    }

    /// How long it has been running.
    pub(crate) fn uptime(&self) -> Option<Duration> {
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let since_boot: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        let ticks = rustix::param::clock_ticks_per_second();
        Duration::try_from_secs_f64(since_boot - self.start as f64 / ticks as f64).ok()
    }
}

impl Held {
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.fd, signal) {
            // It has ended meanwhile: that is what a signal to it is for.
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Waits until the process has ended; false when it has not within `patience`.
    pub(crate) fn wait(&self, patience: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Which boot of which kernel this is.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn read_stat(pid: i32) -> io::Result<(u64, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected /proc/PID/stat"))
}

/// Start time and state. The name before them may hold spaces and parentheses of its own.
fn parse_stat(stat: &str) -> Option<(u64, char)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_an_odd_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 200";
        assert_eq!(parse_stat(stat), Some((98765, 'S')));
        assert_eq!(parse_stat("42 (a"), None);
    }

    #[test]
    fn this_process_is_alive_and_its_namesake_is_not() {
        let this = ProcessId::of(std::process::id() as i32).expect("own stat");
        assert!(this.is_alive());
        assert!(this.uptime().is_some());
        let before = ProcessId { start: this.start - 1, ..this.clone() };
        let elsewhere = ProcessId { boot: "other".into(), ..this };
        assert!(!before.is_alive());
        assert!(!elsewhere.is_alive());
    }
}
