//! Signals: blocked and read from a descriptor here, unblocked for whatever we start.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dockerlaunch_plan::supervise::signal::{HANDLED, RTMIN_3, STOP, meant};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::say::say;
use crate::{probe, sys};

/// Origin of a signal that the terminal sent (sigaction(2), `si_code`).
const SI_KERNEL: i32 = 0x80;

/// A signal that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    /// Its number.
    pub(crate) number: i32,
    /// The terminal sent it, and to its whole foreground group.
    pub(crate) from_terminal: bool,
}

impl Came {
    /// As the supervision takes it.
    pub(crate) fn meant(self) -> Self {
        Self { number: meant(self.number), ..self }
    }

    pub(crate) fn is_child(self) -> bool {
        self.number == Signal::SIGCHLD as i32
    }
}

/// Signals, blocked and readable.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    stop: Option<i32>,
    /// We are the kernel's init: what comes from the kernel is Ctrl-Alt-Del, and for us alone.
    is_machines: bool,
}

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

impl Signals {
    /// Blocks what the supervision handles, and opens the descriptor to read it from (signalfd(2)).
    ///
    /// # Errors
    /// That of signalfd(2).
    pub fn block() -> io::Result<Self> {
        Self::block_these(handled())
    }

    /// The same with what the init of a container passes on: everything else, those of real time too.
    pub(crate) fn block_all() -> io::Result<Self> {
        let mut set = SigSet::all();
        OUR_OWN.iter().for_each(|signal| set.remove(*signal));
        Self::block_these(set)
    }

    fn block_these(set: SigSet) -> io::Result<Self> {
        // Where our starter ignores it, we would never hear of a child's end, and its status would be lost.
        sys::default_action(libc::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd, stop: None, is_machines: probe::is_kernel_init() })
    }

    /// Before the engine runs: whether somebody wants us to stop. Other signals mean nothing yet, and are forgotten.
    pub fn stop_asked(&mut self) -> Option<i32> {
        while let Some(came) = self.read() {
            let came = came.meant();
            if STOP.contains(&came.number) {
                self.stop = self.stop.or(Some(came.number));
            }
        }
        self.stop
    }

    /// The next one, if there is one.
    pub(crate) fn read(&self) -> Option<Came> {
        let info = self.fd.read_signal().ok()??;
        let from_terminal = info.ssi_code == SI_KERNEL && !self.is_machines;
        Some(Came { number: info.ssi_signo.cast_signed(), from_terminal })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How long a signal that asks for a stop may wait to be taken.
const TAKEN: Duration = Duration::from_secs(5);

/// While we prepare, ends the process where nobody takes a stop that is asked for: whoever should waits for something that
/// does not come, such as a file on a volume whose server is gone.
#[derive(Debug)]
pub(crate) struct Watchdog(Arc<AtomicBool>);

impl Watchdog {
    /// Not for the kernel's init, which must never end.
    pub(crate) fn start() -> Self {
        let prepared = Arc::new(AtomicBool::new(probe::is_kernel_init()));
        let over = Arc::clone(&prepared);
        let watch = move || {
            let mut since = None;
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
                let Some(number) = STOP.iter().copied().chain([RTMIN_3]).find(|n| sys::is_pending(*n)) else {
                    since = None;
                    continue;
                };
                if since.get_or_insert_with(Instant::now).elapsed() >= TAKEN && !over.load(Ordering::Relaxed)
                {
                    say!(Error, "signal {number} came, and what we wait for does not: the launch ends here");
                    std::process::exit(128 + meant(number));
                }
            }
        };
        // Without it, what hangs goes on to hang.
        let _ = thread::Builder::new().name("watchdog".into()).stack_size(64 * 1024).spawn(watch);
        Self(prepared)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn handled() -> SigSet {
    sys::signal_set(HANDLED.iter().copied().chain([libc::SIGCHLD]))
}

/// As PID 1, keeps what comes from now on: the kernel drops signals that a PID 1 neither blocks nor handles, and a stop
/// that was asked for in the first milliseconds would be lost.
pub fn keep_as_pid1() {
    if std::process::id() == 1 {
        let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&handled()), None);
    }
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
