//! Ctrl-C: whoever waits stops waiting, and what was started is taken down on the way out.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// A hang is no measurement.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// We were told to stop.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// All that mean to end.
pub(crate) const ALL: &[i32] = &[SIGINT, SIGTERM, SIGHUP];

/// What a terminal sends to everybody who runs in it.
pub(crate) const CTRL_C: &[i32] = &[SIGINT];

/// Status of a command that Ctrl-C has ended.
pub(crate) const STATUS: u8 = 130;

/// From now on these signals end us in order. Our children of the same terminal get them too, and end by themselves.
pub(crate) fn watch(signals: &[i32]) -> Result<()> {
    for signal in signals {
        signal_hook::flag::register(*signal, INTERRUPTED.clone())?;
    }
    Ok(())
}

pub(crate) fn happened() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

pub(crate) fn check() -> Result<()> {
    ensure!(!happened(), Interrupted);
    Ok(())
}

/// Waits for something, which must come.
pub(crate) fn until(what: &str, every: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !done()? {
        check()?;
        ensure!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::sleep(every);
    }
    Ok(())
}

/// Lets some time pass.
pub(crate) fn pause(time: Duration) -> Result<()> {
    let begun = Instant::now();
    until("a pause", Duration::from_millis(20), || Ok(begun.elapsed() >= time))
}
