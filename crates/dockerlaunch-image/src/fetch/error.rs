//! Why something cannot be fetched.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::Hints;

/// Something cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server cannot be reached, or the connection broke and stayed broken.
    #[error("cannot fetch `{url}`")]
    Transport {
        /// What was to be fetched.
        url: String,
        /// What the last attempt met.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server says no.
    #[error("cannot fetch `{url}`: the server answered {status}")]
    Status {
        /// What was to be fetched.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// It cannot be what was asked for. Another attempt would not make it shorter.
    #[error("`{url}` is longer than {limit} bytes, which nothing of its kind is")]
    TooLong {
        /// What was to be fetched.
        url: String,
        /// What is allowed.
        limit: u64,
    },
    /// What came is not what was signed.
    #[error("`{url}` is not what the archive signed: expected {expected}, got {found}")]
    WrongDigest {
        /// What was fetched.
        url: String,
        /// Digest in the signed index.
        expected: Digest,
        /// Digest of what came.
        found: Digest,
    },
    /// `--offline`, and the cache does not have it.
    #[error("`{url}` is not in the cache, and `--offline` forbids fetching it")]
    Offline {
        /// What would have been fetched.
        url: String,
    },
    /// The cache cannot be written.
    #[error("cannot use the cache `{}`", path.display())]
    Cache {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No place for the cache.
    #[error("no place for the cache: neither XDG_CACHE_HOME nor HOME is set")]
    NoCacheDir,
    /// The user asked to stop.
    #[error("interrupted")]
    Cancelled,
}

impl Hints for FetchError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Transport { .. } => {
                let mut hints = vec![
                    "run the same command again: it goes on where it stopped".to_owned(),
                    "try another mirror with `--mirror URL`".to_owned(),
                ];
                if ureq::Proxy::try_from_env().is_some() {
                    hints.push("the proxy of this environment must allow CONNECT to the mirror's port; a mirror that is reached directly belongs into NO_PROXY".to_owned());
                }
                hints
            }
            Self::Status { status: 404, .. } => vec![
                "the mirror may have been updated just now: run the command again".to_owned(),
                "try another mirror with `--mirror URL`".to_owned(),
            ],
            Self::TooLong { .. } => vec!["check the address, and what a proxy makes of it".to_owned()],
            Self::Status { .. } => vec!["try another mirror with `--mirror URL`".to_owned()],
            Self::WrongDigest { .. } => vec![
                "the file was changed or damaged on its way, or a proxy serves an old copy: try another mirror with `--mirror URL`"
                    .to_owned(),
            ],
            Self::Offline { .. } => vec!["run once without `--offline`".to_owned()],
            Self::Cache { source, .. } => vec![cache_remedy(source.kind())],
            Self::NoCacheDir => vec!["name a place with `--cache-dir DIR`".to_owned()],
            Self::Cancelled => vec![],
        }
    }
}

/// What to do where the cache cannot be written.
pub(crate) fn cache_remedy(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space (about 1 GB), or name another place with `--cache-dir DIR`".to_owned()
        }
        _ => "name a writable place with `--cache-dir DIR`".to_owned(),
    }
}
