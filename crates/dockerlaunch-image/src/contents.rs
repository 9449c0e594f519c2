//! What an image holds, file by file, with where each comes from and why it is there.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::build::PackageRecord;
use crate::digest::Digest;
use crate::origin::{DESCRIPTION, LICENCE, Origin, Source};
use crate::tree::{Kind, Tree};

/// All that an image holds.
#[derive(Debug, Clone, Serialize)]
pub struct Contents {
    /// Codename of the suite.
    pub suite: String,
    /// The image's architecture.
    pub architecture: &'static str,
    /// Names of the components.
    pub components: Vec<String>,
    /// The packages that files were taken from, by name.
    pub packages: Vec<PackageRecord>,
    /// These and the others that were looked into, as for a library or a licence's text: what a lockfile names.
    #[serde(skip)]
    pub opened: Vec<PackageRecord>,
    /// Digest of the tarball that the engine was taken from, in place of packages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Digest>,
    /// Digest of the container image's tree.
    pub tree_digest: Digest,
    /// All files and links of the container image, by path.
    pub entries: Vec<Entry>,
}

/// A file or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Where it lies, without the leading slash.
    pub path: String,
    /// What it is there for, by and large.
    pub class: Class,
    /// Permission bits.
    pub mode: u32,
    /// Its bytes; 0 for a link.
    pub size: u64,
    /// Digest of a file's content, as it lies in the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What a link points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Where it comes from and why; `None` only by a mistake, which a lint finds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Kinds of entries: only files must be proved necessary one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A file that something needs.
    File,
    /// Another name of a file.
    Link,
    /// What the image says about itself, or a program of it about itself.
    Metadata,
    /// The terms under which a file is there.
    Licence,
}

/// Names of the packages that a tree's files come from.
pub(crate) fn packages(tree: &Tree) -> BTreeSet<&str> {
    tree.iter()
        .filter_map(|(path, _)| match &tree.origin(path)?.source {
            Source::Package { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect()
}

/// The files and links of a tree.
pub(crate) fn entries(tree: &Tree) -> Vec<Entry> {
    tree.iter()
        .filter_map(|(path, node)| {
            let origin = tree.origin(path).cloned();
            let (class, digest, target) = match &node.kind {
                Kind::Dir => return None,
                Kind::Symlink(target) => (Class::Link, None, Some(target.clone())),
                Kind::File(content) => {
                    let class = match &origin {
                        Some(origin) if origin.component == LICENCE => Class::Licence,
                        Some(origin) if origin.component == DESCRIPTION => Class::Metadata,
                        Some(Origin { source: Source::Program { .. }, .. }) => Class::Metadata,
                        _ => Class::File,
                    };
                    (class, Some(content.digest()), None)
                }
            };
            let (path, mode, size) = (path.to_owned(), node.mode, node.size());
            Some(Entry { path, class, mode, size, digest, target, origin })
        })
        .collect()
}
