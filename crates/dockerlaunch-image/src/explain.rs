//! What an image holds, told to people: as a table, as a picture, and one file or component in depth.

mod depth;
mod overview;
mod treemap;
mod users;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::PRIVATE_DIR;
use crate::contents::{Contents, Entry};
use crate::origin::{DESCRIPTION, EXTRA, LIBRARIES, LICENCE, PRELOAD};
use crate::spec::Spec;

pub use depth::{ComponentDepth, Depth, FileDepth, Unknown, depth};
pub use overview::overview;
pub use treemap::treemap;
use users::saved_without;

/// What belongs together in an image: the files of a component, or those that have none.
struct Part<'a> {
    name: &'a str,
    entries: Vec<&'a Entry>,
    size: u64,
}

/// An image for programs: all that it holds, and its parts, the largest first.
#[derive(Debug, Serialize)]
pub struct Overview<'a> {
    parts: Vec<PartSize<'a>>,
    #[serde(flatten)]
    contents: &'a Contents,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PartSize<'a> {
    name: &'a str,
    size: u64,
    /// Its own size, and that of libraries that nothing else needs.
    saved_without: u64,
}

impl<'a> Overview<'a> {
    /// Of all that an image holds.
    #[must_use]
    pub fn of(contents: &'a Contents) -> Self {
        let size = |part: Part<'a>| PartSize {
            name: part.name,
            size: part.size,
            saved_without: saved_without(contents, part.name),
        };
        Self { parts: parts(contents).into_iter().map(size).collect(), contents }
    }
}

/// The parts of an image, the largest first.
fn parts(contents: &Contents) -> Vec<Part<'_>> {
    let mut parts: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in &contents.entries {
        parts.entry(component(entry)).or_default().push(entry);
    }
    let mut parts: Vec<Part<'_>> = parts
        .into_iter()
        .map(|(name, entries)| Part { name, size: entries.iter().map(|entry| entry.size).sum(), entries })
        .collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.size));
    parts
}

fn component(entry: &Entry) -> &str {
    entry.origin.as_ref().map_or("unknown", |origin| origin.component.as_str())
}

/// What a part is, in one line.
fn summary(name: &str) -> &str {
    match name {
        LIBRARIES => "shared libraries and their loader, for executables of all components",
        DESCRIPTION => "what the image says about itself",
        LICENCE => "the terms under which the packages' files may be passed on",
        EXTRA => "your own",
        PRELOAD => "archives of images that Docker has from its first start on",
        name => Spec::embedded()
            .ok()
            .and_then(|spec| spec.component(name).ok())
            .map_or("", |component| &component.summary),
    }
}

/// A path as people name it: in the private directory without that.
fn short(path: &str) -> &str {
    path.strip_prefix(PRIVATE_DIR).and_then(|path| path.strip_prefix('/')).unwrap_or(path)
}

/// A size in the unit that suits it; MB = 10^6 bytes.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        1_000_000.. => format!("{:.1} MB", bytes as f64 / 1e6),
        1000.. => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{bytes} bytes"),
    }
}

/// Per cent of the whole.
fn share(bytes: u64, contents: &Contents) -> f64 {
    let whole: u64 = contents.entries.iter().map(|entry| entry.size).sum();
    bytes as f64 * 100.0 / whole.max(1) as f64
}

#[cfg(test)]
mod tests;
