//! Who signed a Release file, and whether that is good enough.
//!
//! The cryptography is a library's behind [`Verifier`]; the policy is ours, in [`policy`], as a table with tests.

mod openpgp;
pub mod policy;

use std::fmt;
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
    #[error("cannot read the keyring `{}`: {reason}", path.display())]
    Keyring {
        /// The key file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// No keys at all.
    #[error("no keyring found to verify the archive's signature with")]
    NoKeyring,
    /// Not clear-signed text.
    #[error("the file is not signed")]
    NotSigned,
    /// It was clear-signed text, and can no longer be read as such.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// No signature is good; one reason for each.
    #[error("no acceptable signature: {}", .0.join("; "))]
    NoneAcceptable(Vec<String>),
}

impl VerifyError {
    /// What the matter is with a file that cannot be read as clear-signed text.
    pub(crate) fn unreadable(file: &[u8], error: &dyn fmt::Display) -> Self {
        const BEGIN: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
        let begun = file.windows(BEGIN.len()).any(|window| window == BEGIN);
        if begun { Self::Damaged(brief(error)) } else { Self::NotSigned }
    }
}

/// An error of rpgp without the rest of the input, which its parser puts at the end.
fn brief(error: &dyn fmt::Display) -> String {
    let text = error.to_string();
    text.split(" Error(").next().unwrap_or_default().to_owned()
}

impl Hints for VerifyError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Keyring { .. } => vec!["name a readable OpenPGP keyring with `--keyring FILE`".to_owned()],
            Self::NoKeyring => vec![
                "install the package `debian-archive-keyring`, or name a keyring with `--keyring FILE`".to_owned(),
            ],
            Self::Damaged(_) => {
                vec!["somebody changed the file on its way, or it broke: try another mirror with `--mirror URL`".to_owned()]
            }
            Self::NotSigned => {
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
