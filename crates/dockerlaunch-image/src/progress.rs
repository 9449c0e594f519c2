//! What a build tells while it runs, and how it is asked to stop.

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
