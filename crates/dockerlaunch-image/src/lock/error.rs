//! Why a build cannot use a lockfile.

use crate::error::Hints;
use crate::fetch::FetchError;

/// A build cannot use a lockfile.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It was made for something else.
    #[error("the lockfile is for {what} {locked}, and the build is for {wanted}")]
    Differs {
        /// What differs.
        what: &'static str,
        /// In the lockfile.
        locked: String,
        /// In the build.
        wanted: String,
    },
    /// A package that the image needs is not in it.
    #[error("the lockfile lacks the package `{package}`")]
    Lacks {
        /// Its name.
        package: String,
    },
    /// No mirror has a package any longer.
    #[error("{package} {version}, which the lockfile names, is no longer on the mirror")]
    Gone {
        /// Its name.
        package: String,
        /// Its version.
        version: String,
        /// What the mirror said.
        #[source]
        source: Box<FetchError>,
    },
}

impl Hints for LockError {
    fn hints(&self) -> Vec<String> {
        let renew = || "renew it with `from-scratch lock --update` and the build's options".to_owned();
        match self {
            Self::Differs { .. } | Self::Lacks { .. } => vec![renew()],
            Self::Gone { .. } => vec![
                "take the package that came after it: `from-scratch lock --update`".to_owned(),
                "build from a mirror that keeps old packages, such as a snapshot of the archive: `--mirror URL`".to_owned(),
            ],
        }
    }
}
