//! The lockfile: the packages of an image, each by version, place and digest.
//!
//! Whoever makes it has checked the archive's signature; afterwards the digests alone say what is right, and no index is
//! needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::contents::Contents;
use crate::digest::Digest;
use crate::document::{self, Document, DocumentError};
use crate::request::Arch;
use crate::source::Package;
use crate::source::packages::{SIZES, is_pool_path, is_word};
use crate::spec::Spec;
use crate::version::Version;

mod error;

pub use error::LockError;

/// The file's name when none is given.
pub const LOCK_FILE: &str = "image.lock";

/// Of the file's form.
const VERSION: u32 = 1;

const HEAD: &str = "# Made by `from-scratch lock`, renewed by `from-scratch lock --update`.\n\
    # `from-scratch build --locked` uses exactly these packages.\n\n";

/// The packages of an image, for one architecture or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    #[serde(deserialize_with = "known_version")]
    version: u32,
    /// Codename of the suite.
    #[serde(deserialize_with = "word")]
    pub suite: String,
    /// Digest of what this program knew of Docker's requirements.
    spec: Digest,
    /// Names of the image's components.
    #[serde(deserialize_with = "words")]
    pub components: Vec<String>,
    /// Digest of the tarball that the engine is taken from.
    #[serde(default)]
    engine: Option<Digest>,
    /// By architecture.
    #[serde(default, rename = "image")]
    images: Vec<LockedImage>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockedImage {
    #[serde(deserialize_with = "word")]
    architecture: String,
    #[serde(default, rename = "package")]
    packages: Vec<LockedPackage>,
}

/// A package of a lockfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockedPackage {
    #[serde(deserialize_with = "word")]
    name: String,
    #[serde(deserialize_with = "word")]
    version: String,
    #[serde(deserialize_with = "word")]
    architecture: String,
    #[serde(deserialize_with = "pool_path")]
    path: String,
    #[serde(deserialize_with = "sane_size")]
    size: u64,
    sha256: Digest,
}

fn known_version<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        VERSION => Ok(VERSION),
        other => {
            Err(D::Error::custom(format!("version {other} of the lockfile is unknown: expected {VERSION}")))
        }
    }
}

fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let list = Vec::<String>::deserialize(from)?;
    match list.iter().find(|text| !is_word(text)) {
        None => Ok(list),
        Some(text) => Err(D::Error::custom(format!("`{}` is no name of a component", text.escape_debug()))),
    }
}

fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if is_word(&text) {
        Ok(text)
    } else {
        Err(D::Error::custom(format!("`{}` is no name or version of a package", text.escape_debug())))
    }
}

fn pool_path<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if is_pool_path(&text) {
        Ok(text)
    } else {
        Err(D::Error::custom(format!("`{}` is no path below an archive's base", text.escape_debug())))
    }
}

fn sane_size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match u64::deserialize(from)? {
        size if SIZES.contains(&size) => Ok(size),
        other => Err(D::Error::custom(format!("{other} bytes are no size of a package"))),
    }
}

impl Lock {
    /// The lock of images that have just been put together, one an architecture.
    #[must_use]
    pub fn of(images: &[Contents]) -> Option<Self> {
        let first = images.first()?;
        let image = |contents: &Contents| LockedImage {
            architecture: contents.architecture.to_owned(),
            packages: contents
                .opened
                .iter()
                .map(|package| LockedPackage {
                    name: package.name.clone(),
                    version: package.version.clone(),
                    architecture: package.architecture.clone(),
                    path: package.path.clone(),
                    size: package.size,
                    sha256: package.digest,
                })
                .collect(),
        };
        Some(Self {
            version: VERSION,
            suite: first.suite.clone(),
            spec: Spec::digest(),
            components: first.components.clone(),
            engine: first.engine,
            images: images.iter().map(image).collect(),
        })
    }

    /// Reads a lockfile.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is damaged: with line and column.
    pub fn read(path: &Path) -> Result<Self, DocumentError> {
        Self::parse(path, &document::read(path)?)
    }

    /// Reads the text of a lockfile; `path` is for messages.
    ///
    /// # Errors
    ///
    /// When it is damaged: with line and column.
    pub fn parse(path: &Path, text: &str) -> Result<Self, DocumentError> {
        let remedy = "a lockfile is not written by hand: make it anew with `from-scratch lock --update`";
        let document = Document { path, text, remedy };
        let lock: Self = document.parse()?;
        for image in &lock.images {
            for (number, package) in image.packages.iter().enumerate() {
                if image.packages[..number].iter().any(|other| other.name == package.name) {
                    let quoted = format!("\"{}\"", package.name);
                    let at = text.rfind(&quoted).unwrap_or_default();
                    let message = format!("the package `{}` is there twice", package.name);
                    return Err(document.fault(at..at, message, remedy.to_owned()));
                }
            }
        }
        Ok(lock)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        document::write_whole(path, &self.to_text())
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        use fmt::Write as _;
        let list: Vec<String> = self.components.iter().map(|name| format!("\"{name}\"")).collect();
        let mut text = format!(
            "{HEAD}version = {VERSION}\nsuite = \"{}\"\nspec = \"{}\"\ncomponents = [{}]\n",
            self.suite,
            self.spec,
            list.join(", ")
        );
        if let Some(engine) = self.engine {
            let _ = writeln!(text, "engine = \"{engine}\"");
        }
        for image in &self.images {
            let _ = write!(text, "\n[[image]]\narchitecture = \"{}\"\n", image.architecture);
            for package in &image.packages {
                let LockedPackage { name, version, architecture, path, size, sha256 } = package;
                let _ = write!(
                    text,
                    "\n[[image.package]]\nname = \"{name}\"\nversion = \"{version}\"\n\
                     architecture = \"{architecture}\"\npath = \"{path}\"\nsize = {size}\nsha256 = \"{}\"\n",
                    sha256.hex()
                );
            }
        }
        text
    }

    /// Names all that it says, for the fingerprint of a build.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_text().as_bytes())
    }

    /// The packages for a build, from these bases.
    pub(crate) fn packages(
        &self,
        arch: Arch,
        components: &[String],
        engine: Option<Digest>,
        bases: &[String],
    ) -> Result<BTreeMap<String, Package>, LockError> {
        let differs = |what, locked: &str, wanted: &str| LockError::Differs {
            what,
            locked: locked.to_owned(),
            wanted: wanted.to_owned(),
        };
        if self.components != components {
            return Err(differs("the components", &self.components.join(", "), &components.join(", ")));
        }
        if self.spec != Spec::digest() {
            return Err(differs(
                "the requirements",
                &format!("of another release of this program ({})", &self.spec.hex()[..12]),
                &format!("those of this one ({})", &Spec::digest().hex()[..12]),
            ));
        }
        if self.engine != engine {
            let told = |engine: Option<Digest>| engine.map_or("of the suite".to_owned(), |d| d.to_string());
            return Err(differs("the engine", &told(self.engine), &told(engine)));
        }
        let image = self.images.iter().find(|image| image.architecture == arch.name()).ok_or_else(|| {
            let locked: Vec<&str> = self.images.iter().map(|image| image.architecture.as_str()).collect();
            differs("the architecture", &locked.join(", "), arch.name())
        })?;
        let package = |locked: &LockedPackage| Package {
            name: locked.name.clone(),
            version: Version::new(&locked.version),
            architecture: locked.architecture.clone(),
            filename: locked.path.clone(),
            size: locked.size,
            digest: locked.sha256,
            depends: Vec::new(),
            bases: bases.to_vec(),
        };
        Ok(image.packages.iter().map(|locked| (locked.name.clone(), package(locked))).collect())
    }

    /// What is different in another lock, line by line.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.suite != newer.suite {
            lines.push(format!("suite {} -> {}", self.suite, newer.suite));
        }
        lines.extend(added_and_removed(&self.components, &newer.components, "component"));
        if self.engine != newer.engine {
            let told = |engine: Option<Digest>| engine.map_or("the suite's".to_owned(), |d| d.to_string());
            lines.push(format!("engine {} -> {}", told(self.engine), told(newer.engine)));
        }
        let several = self.images.len().max(newer.images.len()) > 1;
        let empty = Vec::new();
        let architectures: BTreeSet<&String> =
            self.images.iter().chain(&newer.images).map(|image| &image.architecture).collect();
        for architecture in architectures {
            let of = |lock: &'_ Self| -> BTreeMap<String, LockedPackage> {
                let image = lock.images.iter().find(|image| image.architecture == *architecture);
                let packages = image.map_or(&empty, |image| &image.packages);
                packages.iter().map(|package| (package.name.clone(), package.clone())).collect()
            };
            let (old, new) = (of(self), of(newer));
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let place = if several { format!(" ({architecture})") } else { String::new() };
                match (old.get(name), new.get(name)) {
                    (Some(old), Some(new)) if old.version != new.version => {
                        lines.push(format!("{name} {} -> {}{place}", old.version, new.version));
                    }
                    (Some(old), Some(new)) if old.sha256 != new.sha256 => {
                        lines
                            .push(format!("{name} {}: another file of the same version{place}", new.version));
                    }
                    (None, Some(new)) => lines.push(format!("+ {name} {}{place}", new.version)),
                    (Some(old), None) => lines.push(format!("- {name} {}{place}", old.version)),
                    _ => {}
                }
            }
        }
        if lines.is_empty() && self.spec != newer.spec {
            lines.push("the requirements of this release, and no package".to_owned());
        }
        lines
    }
}

fn added_and_removed(old: &[String], new: &[String], what: &str) -> Vec<String> {
    let added = new.iter().filter(|name| !old.contains(name)).map(|name| format!("+ {what} {name}"));
    let removed = old.iter().filter(|name| !new.contains(name)).map(|name| format!("- {what} {name}"));
    added.chain(removed).collect()
}

#[cfg(test)]
mod tests;
