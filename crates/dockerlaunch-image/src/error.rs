//! What can go wrong in a build, each with what the user can do about it.

use crate::deb::UnpackError;
use crate::elf::ElfError;
use crate::emit::EmitError;
use crate::fetch::FetchError;
use crate::lint::Finding;
use crate::lock::LockError;
use crate::recipe::RecipeError;
use crate::source::SourceError;
use crate::spec::SpecError;
use crate::upstream::UpstreamError;

/// Remedies, told apart from the message so that they can be shown apart.
pub trait Hints {
    /// What the user can do, the most likely first.
    fn hints(&self) -> Vec<String>;
}

/// A build failed. Nothing that was asked for has been written, unless it is complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The components asked for make no image.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The archive cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The lockfile cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A package cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The engine's tarball cannot be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The image cannot be put together.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// An executable cannot be adapted.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The finished image breaks a rule of its own.
    #[error("the image breaks {} of its own rules: {}", .0.len(), list(.0))]
    Lint(Vec<Finding>),
    /// An output cannot be written.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The user asked to stop.
    #[error("interrupted; nothing is left half made")]
    Cancelled,
}

fn list(findings: &[Finding]) -> String {
    const SHOWN: usize = 5;
    let mut text = findings.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if findings.len() > SHOWN {
        text.push_str(&format!("; and {} more", findings.len() - SHOWN));
    }
    text
}

impl Hints for BuildError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Spec(error) => error.hints(),
            Self::Source(error) => error.hints(),
            Self::Lock(error) => error.hints(),
            Self::Fetch(error) => error.hints(),
            Self::Unpack(error) => error.hints(),
            Self::Upstream(error) => error.hints(),
            Self::Recipe(error) => error.hints(),
            Self::Elf(error) => error.hints(),
            Self::Emit(error) => error.hints(),
            Self::Lint(_) => {
                vec!["this is a fault of image/components or of this program: please report it".to_owned()]
            }
            Self::Cancelled => {
                vec!["run the same command again: complete and partial downloads are kept".to_owned()]
            }
        }
    }
}
