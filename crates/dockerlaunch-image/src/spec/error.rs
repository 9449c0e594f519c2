//! Why no image can be made of what was asked for.

use crate::error::Hints;

/// Which components make an image cannot be worked out.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A file of `image/` cannot be parsed.
    #[error("image/{file}: {message}")]
    Parse {
        /// Path under `image/`.
        file: String,
        /// What the TOML parser says.
        message: String,
    },
    /// No such component or profile.
    #[error("unknown {kind} `{name}`")]
    Unknown {
        /// `component` or `profile`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The name that is nearest to it.
        nearest: Option<String>,
        /// All there are.
        known: Vec<String>,
    },
    /// A component that every image needs is to be left out.
    #[error("component `{name}` cannot be left out")]
    Required {
        /// Its name.
        name: String,
        /// Why it is needed.
        why: String,
    },
    /// A component for the host is to go into an image.
    #[error("component `{name}` serves the host command and cannot be part of an image")]
    HostSide {
        /// Its name.
        name: String,
    },
    /// A component is both added and taken away.
    #[error("component `{name}` is given with both --with and --without")]
    Both {
        /// Its name.
        name: String,
    },
}

impl Hints for SpecError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Parse { .. } => vec!["correct the file and build again".to_owned()],
            Self::Unknown { nearest: Some(nearest), .. } => vec![format!("did you mean `{nearest}`?")],
            Self::Unknown { kind, known, .. } => vec![format!("the {kind}s are: {}", known.join(", "))],
            Self::Required { why, .. } => vec![why.clone()],
            Self::HostSide { .. } => {
                vec!["leave it out of --with; `from-scratch up` fetches it by itself".to_owned()]
            }
            Self::Both { name } => vec![format!("give `{name}` only once")],
        }
    }
}
