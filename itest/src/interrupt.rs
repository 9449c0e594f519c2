//! Ctrl-C in the middle of a run: what runs is ended, what was started is taken down.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static LISTENING: AtomicBool = AtomicBool::new(false);
/// 0 as long as none has come.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

thread_local! {
    /// How many [`Undoing`] this thread holds.
    static UNDOING: Cell<u32> = const { Cell::new(0) };
}

/// From now on a signal ends the programs that run, each as an error, instead of this process.
pub fn listen() -> Result<()> {
    if LISTENING.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        for signal in &mut signals {
            let is_first = SIGNAL.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            eprintln!("{}: everything is taken down", if is_first { "interrupted" } else { "wait" });
        }
    });
    Ok(())
}

/// The signal that came first, if any.
pub fn signal() -> Option<i32> {
    Some(SIGNAL.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}

/// Whether this process hears signals itself. Its children then are in groups of their own, which a terminal's Ctrl-C does
/// not reach: those that take down must not be ended by it.
pub fn is_heard() -> bool {
    LISTENING.load(Ordering::SeqCst)
}

/// Whether what this thread does is to be given up.
pub fn is_asked() -> bool {
    signal().is_some() && UNDOING.get() == 0
}

/// An error once a signal has come.
pub fn check() -> Result<()> {
    if is_asked() {
        bail!("interrupted");
    }
    Ok(())
}

/// As long as this is held, the thread takes down: a signal does not stop that.
#[derive(Debug)]
pub struct Undoing(());

/// Begins to take down.
pub fn undoing() -> Undoing {
    UNDOING.set(UNDOING.get() + 1);
    Undoing(())
}

impl Drop for Undoing {
    fn drop(&mut self) {
        UNDOING.set(UNDOING.get() - 1);
    }
}
