//! What a build tells while it runs, and how it is asked to stop.

use std::io::{self, Read};

/// Something that happened during a build.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The next part of the work has begun.
    Step(&'a str),
    /// A download has begun. `resumed_from` bytes of it were there already.
    FetchStarted {
        /// File name of what is fetched.
        name: &'a str,
        /// Its whole size, where known.
        size: Option<u64>,
        /// How much of it an earlier run had fetched.
        resumed_from: u64,
    },
    /// More of a download has arrived.
    FetchAdvanced {
        /// File name of what is fetched.
        name: &'a str,
        /// Bytes that arrived since the last event.
        bytes: u64,
    },
    /// A download is complete and verified.
    FetchFinished {
        /// File name of what was fetched.
        name: &'a str,
    },
    /// Something that the user should know, once.
    Warning(&'a str),
}

/// Listens to a build. Called from several threads.
pub trait Progress: Sync {
    /// Told about each event as it happens.
    fn event(&self, event: Event<'_>);

    /// Asked often: whether the build should stop and leave nothing behind.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Says nothing and never stops a build.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: Event<'_>) {}
}

/// Ends reading or writing from within, when the user asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Stopped;

pub(crate) fn stop_if_cancelled(progress: &dyn Progress) -> io::Result<()> {
    if progress.cancelled() { Err(io::Error::other(Stopped)) } else { Ok(()) }
}

/// Reads until the user asks to stop: one file can take half a minute to compress.
pub(crate) struct Stoppable<'a, R> {
    pub(crate) inner: R,
    pub(crate) progress: &'a dyn Progress,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        stop_if_cancelled(self.progress)?;
        self.inner.read(buffer)
    }
}

/// Stops everything from the beginning.
#[cfg(test)]
pub(crate) struct Halted;

#[cfg(test)]
impl Progress for Halted {
    fn event(&self, _event: Event<'_>) {}

    fn cancelled(&self) -> bool {
        true
    }
}
