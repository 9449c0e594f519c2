//! Ctrl-C: whoever waits stops waiting, and what was started is taken down on the way out.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// A hang is no measurement.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// The bench was told to stop.
#[derive(Debug)]
pub(super) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// From now on these signals end the bench in order. Its children of the same terminal get them too, and end by themselves.
pub(super) fn watch() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, INTERRUPTED.clone())?;
    }
    Ok(())
}

pub(super) fn happened() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

pub(super) fn check() -> Result<()> {
    ensure!(!happened(), Interrupted);
    Ok(())
}

/// Waits for something, which must come.
pub(super) fn until(what: &str, every: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !done()? {
        check()?;
        ensure!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::sleep(every);
    }
    Ok(())
}

/// Lets some time pass.
pub(super) fn pause(time: Duration) -> Result<()> {
    let begun = Instant::now();
    until("a pause", Duration::from_millis(20), || Ok(begun.elapsed() >= time))
}
