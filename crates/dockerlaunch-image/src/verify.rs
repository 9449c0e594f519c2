//! Who signed a Release file, and whether that is good enough.
//!
//! The cryptography is a library's behind [`Verifier`]; the policy is ours, in [`policy`], as a table with tests.

mod openpgp;
pub mod policy;

use std::path::PathBuf;

use jiff::Timestamp;

pub use openpgp::OpenPgp;

use crate::error::Hints;

/// Signed text and who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The text that the signature covers, and nothing else of the file.
    pub text: String,
    /// Fingerprint of the key that made the accepted signature.
    pub signer: String,
}

/// Checks clear-signed text against a set of keys.
pub trait Verifier {
    /// Returns the signed text when at least one signature is good by the policy.
    ///
    /// # Errors
    ///
    /// When none is, with the reason for each.
    fn verify(&self, clear_signed: &str, now: Timestamp) -> Result<Verified, VerifyError>;
}

/// A signature cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A key file cannot be read or parsed.
    #[error("cannot read the keyring `{}`", path.display())]
    Keyring {
        /// The key file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No keys at all.
    #[error("no keyring found to verify the archive's signature with")]
    NoKeyring,
    /// Not clear-signed text.
    #[error("the file is not signed")]
    NotSigned(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No signature is good; one reason for each.
    #[error("no acceptable signature: {}", .0.join("; "))]
    NoneAcceptable(Vec<String>),
}

impl Hints for VerifyError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Keyring { .. } => vec!["name a readable OpenPGP keyring with `--keyring FILE`".to_owned()],
            Self::NoKeyring => vec![
                "install the package `debian-archive-keyring`, or name a keyring with `--keyring FILE`".to_owned(),
            ],
            Self::NotSigned(_) => {
                vec!["the mirror may be answering with an error page: try another with `--mirror URL`".to_owned()]
            }
            Self::NoneAcceptable(_) => vec![
                "when the keyring is older than the suite, update the package `debian-archive-keyring` or give `--keyring FILE`"
                    .to_owned(),
                "when the keys are right, somebody changed the file on its way: try another mirror with `--mirror URL`"
                    .to_owned(),
            ],
        }
    }
}
