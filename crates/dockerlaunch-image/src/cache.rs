//! The content-addressed cache: everything is kept under the digest of what it is.
//!
//! ```text
//! blobs/sha256/HEX      verified downloads, decompressed indexes, layers
//! parts/HEX             downloads under way, each locked by its process; files without a name that a build unpacks into
//! releases/HEX/         the last InRelease of a suite, with its Last-Modified
//! layers/HEX.json       compressed layers by tree digest and compression
//! ```
//!
//! Nothing in it is believed: what is read is checked against what the signed Release file says, or against what was
//! made from that.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::digest::Digest;

#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        for directory in ["blobs/sha256", "parts", "releases", "layers"] {
            fs::create_dir_all(root.join(directory))?;
        }
        Ok(Self { root })
    }

    /// `$XDG_CACHE_HOME/from-scratch`, or `~/.cache/from-scratch`.
    pub(crate) fn default_root() -> Option<PathBuf> {
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
        Some(base.join("from-scratch"))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn blob(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn part(&self, digest: Digest) -> PathBuf {
        self.scratch().join(digest.hex())
    }

    pub(crate) fn release(&self, url: &str) -> PathBuf {
        self.root.join("releases").join(Digest::of(url.as_bytes()).hex())
    }

    /// Where a record about `key` is kept; `kind` is the directory.
    pub(crate) fn record(&self, kind: &str, key: &str) -> PathBuf {
        self.root.join(kind).join(format!("{}.json", Digest::of(key.as_bytes()).hex()))
    }

    /// The directory for files without a name, which are gone with the build.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("parts")
    }

    /// A blob's bytes, when it is here and still is what its name says.
    pub(crate) fn read_blob(&self, digest: Digest) -> Option<Vec<u8>> {
        let bytes = fs::read(self.blob(digest)).ok()?;
        (Digest::of(&bytes) == digest).then_some(bytes)
    }

    /// Keeps bytes whose digest is known.
    pub(crate) fn write_blob(&self, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        let path = self.blob(digest);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64) {
            return Ok(());
        }
        write_atomically(&path, bytes)
    }
}

/// Writes a file so that a reader sees the old or the new content, never a part.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
