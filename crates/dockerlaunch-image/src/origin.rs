//! Where each file of an image comes from, and why it is there.

use serde::Serialize;

use crate::digest::Digest;
use crate::spec::Reason;

/// What shared libraries and their loader belong to: they come with the executables that need them, from whatever
/// component those are.
pub const LIBRARIES: &str = "libraries";

/// What the build itself says about the image.
pub const DESCRIPTION: &str = "description";

/// The terms under which packages' files are in the image.
pub const LICENCE: &str = "licences";

/// Archives of images that the user gave.
pub const PRELOAD: &str = "preload";

/// Files that the user gave.
pub const EXTRA: &str = "extra files";

/// Where a file comes from, and why it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Origin {
    /// Name of the component, or one of [`LIBRARIES`], [`DESCRIPTION`], [`PRELOAD`], [`EXTRA`].
    pub component: String,
    /// Where it comes from.
    pub source: Source,
    /// What the component says of it; libraries have no reason but what needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// For a library and the loader: paths of all files in the image that name it themselves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needed_by: Vec<String>,
}

/// Where the content of a file comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Source {
    /// Our own launcher.
    Launcher,
    /// A distribution package.
    Package {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// Digest of the `.deb`.
        digest: Digest,
        /// Paths in it; more than one when they were joined.
        paths: Vec<String>,
    },
    /// The tarball that the engine was taken from.
    Upstream {
        /// Digest of the tarball.
        digest: Digest,
        /// Path in it.
        path: String,
    },
    /// The component's own text or link.
    Component,
    /// What a program of the image said of itself.
    Program {
        /// Its path under the private directory.
        of: String,
    },
    /// The build.
    Build,
    /// The user.
    User,
}

impl Origin {
    /// An origin whose component says why.
    pub(crate) fn of(component: &str, source: Source, reason: &Reason) -> Self {
        Self { component: component.to_owned(), source, reason: Some(reason.clone()), needed_by: Vec::new() }
    }

    /// An origin outside of the components.
    pub(crate) fn plain(component: &str, source: Source) -> Self {
        Self { component: component.to_owned(), source, reason: None, needed_by: Vec::new() }
    }
}
