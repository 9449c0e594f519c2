//! Why an archive cannot be used, and what to do about it.

use std::path::PathBuf;

use jiff::Timestamp;

use super::release::ReleaseError;
use crate::error::Hints;
use crate::fetch::FetchError;
use crate::verify::VerifyError;

/// Suites to suggest when one is not found.
const KNOWN_SUITES: &[&str] = &["forky", "trixie", "bookworm", "testing", "stable", "sid", "unstable"];

/// The archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// apt has no archive configured and none was named.
    #[error("no package mirror found: apt on this host has none that speaks http")]
    NoMirror,
    /// No archive has the suite.
    #[error("suite `{suite}` is not on {}", tried.join(", "))]
    UnknownSuite {
        /// What was asked for.
        suite: String,
        /// Where it was looked for.
        tried: Vec<String>,
    },
    /// Archives answered, but none is the distribution's.
    #[error("no archive found that has `{suite}` and is Debian's own")]
    NotDebian {
        /// What was asked for.
        suite: String,
    },
    /// The signature is missing or not acceptable.
    #[error("cannot trust `{url}`")]
    Verify {
        /// The Release file.
        url: String,
        /// Why.
        #[source]
        source: VerifyError,
    },
    /// The signed text makes no sense.
    #[error("cannot use `{url}`")]
    Release {
        /// The Release file.
        url: String,
        /// Why.
        #[source]
        source: ReleaseError,
    },
    /// `Valid-Until` has passed.
    #[error("`{url}` was valid until {until} only")]
    Expired {
        /// The Release file.
        url: String,
        /// Its date.
        until: Timestamp,
    },
    /// `Date` lies in the future.
    #[error("`{url}` is dated {date}, in the future")]
    Future {
        /// The Release file.
        url: String,
        /// Its date.
        date: Timestamp,
    },
    /// The signed file describes another suite.
    #[error("`{url}` describes suite `{found}`, not `{asked}`")]
    WrongSuite {
        /// The Release file.
        url: String,
        /// What was asked for.
        asked: String,
        /// What it says.
        found: String,
    },
    /// An older state than one seen before.
    #[error("`{url}` is of {date}, older than what it was before: {known}")]
    Older {
        /// The Release file.
        url: String,
        /// Its date.
        date: Timestamp,
        /// The date of the one before.
        known: Timestamp,
        /// Where that one is kept.
        kept: PathBuf,
    },
    /// No packages for this architecture.
    #[error("`{url}` has no packages for {arch}")]
    NoIndex {
        /// The Release file.
        url: String,
        /// Debian's name of the architecture.
        arch: &'static str,
    },
    /// The index, though its digest is right, cannot be decompressed.
    #[error("cannot decompress the package index of `{url}`")]
    Decompress {
        /// The Release file.
        url: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl Hints for SourceError {
    fn hints(&self) -> Vec<String> {
        let another = || "try another mirror with `--mirror URL`".to_owned();
        match self {
            Self::NoMirror => vec!["name a Debian mirror with `--mirror URL`".to_owned()],
            Self::UnknownSuite { suite, .. } => {
                let nearest = crate::spec::nearest(suite, KNOWN_SUITES.iter().copied());
                let near = nearest.filter(|near| near != suite).map(|near| format!("did you mean `{near}`?"));
                near.into_iter().chain([another()]).collect()
            }
            Self::NotDebian { .. } => vec![
                "name a Debian mirror with `--mirror URL`".to_owned(),
                "for an archive of another maker, name its keys with `--mirror URL --keyring FILE`".to_owned(),
            ],
            Self::Verify { source, .. } => source.hints(),
            Self::Release { .. } | Self::Decompress { .. } | Self::WrongSuite { .. } => vec![another()],
            Self::Expired { .. } => vec![
                "the mirror no longer follows the archive: try another with `--mirror URL`".to_owned(),
                "accept it as it is, without later fixes, with `--allow-expired`".to_owned(),
            ],
            Self::Future { .. } => vec!["set this host's clock".to_owned()],
            Self::Older { kept, .. } => vec![
                "the mirror is out of date, or somebody withholds fixes: try again later, or another mirror with `--mirror URL`".to_owned(),
                format!("if the archive was really set back, remove `{}`", kept.display()),
            ],
            Self::NoIndex { .. } => vec!["choose another architecture or suite".to_owned()],
            Self::Fetch(error) => error.hints(),
        }
    }
}
