//! A file's bytes. Small files are held in memory; a large one lies in a file and is read when it is wanted: an image has
//! more of them than a build should have memory.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::digest::{Digest, Hasher};

/// The largest file that is held in memory: the few above it are nearly all of an image.
const IN_MEMORY: u64 = 1 << 20;

/// A file's bytes, by value or by reference, and their digest.
#[derive(Clone)]
pub struct Content {
    held: Held,
    size: u64,
    digest: Digest,
}

#[derive(Clone)]
enum Held {
    Memory(Arc<[u8]>),
    /// An open file, and when it was written where somebody else may write into it.
    File(Arc<File>, Option<SystemTime>),
}

impl Content {
    /// Takes bytes and works out their digest.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        Self { held: Held::Memory(bytes), size, digest }
    }

    /// A file of the user's. A large one is not copied: it must stay as it is until the build has ended.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() <= IN_MEMORY {
            let mut bytes = Vec::new();
            (&file).read_to_end(&mut bytes)?;
            return Ok(Self::new(bytes));
        }
        let written = file.metadata()?.modified()?;
        let mut hasher = Hasher::new(io::sink());
        io::copy(&mut &file, &mut hasher)?;
        let (digest, size, _) = hasher.finish();
        Ok(Self { held: Held::File(Arc::new(file), Some(written)), size, digest })
    }

    /// All that a reader has; what is large goes into a file without a name in this directory.
    pub(crate) fn keep(mut reader: impl Read, directory: &Path) -> io::Result<Self> {
        let mut begin = Vec::new();
        reader.by_ref().take(IN_MEMORY + 1).read_to_end(&mut begin)?;
        if begin.len() as u64 <= IN_MEMORY {
            return Ok(Self::new(begin));
        }
        let mut hasher = Hasher::new(tempfile::tempfile_in(directory)?);
        io::copy(&mut begin.chain(reader), &mut hasher)?;
        let (digest, size, file) = hasher.finish();
        Ok(Self { held: Held::File(Arc::new(file), None), size, digest })
    }

    /// All of the bytes.
    ///
    /// # Errors
    ///
    /// When they lie in a file that cannot be read, or that is another one by now.
    pub fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        if let Held::Memory(bytes) = &self.held {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).map_err(io::Error::other)?);
        self.reader().read_to_end(&mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    /// The first so many bytes, or all where there are fewer.
    pub(crate) fn head(&self, count: u64) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        self.reader().take(count).read_to_end(&mut head)?;
        Ok(head)
    }

    /// Reads from the beginning to the end, which is where it was when the digest was made.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { content: self, at: 0 }
    }

    /// Their number.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Their digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Content {}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes {}", self.size, self.digest)
    }
}

/// Reads a content.
pub(crate) struct Reader<'a> {
    content: &'a Content,
    at: u64,
}

impl Reader<'_> {
    /// Passes over so many bytes, or as many as there are left.
    pub(crate) fn skip(&mut self, count: u64) {
        self.at = self.at.saturating_add(count).min(self.content.size);
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.content.size - self.at;
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..most];
        let count = match &self.content.held {
            Held::Memory(bytes) => {
                let at = usize::try_from(self.at).map_err(io::Error::other)?;
                (&bytes[at..]).read(buffer)?
            }
            Held::File(file, written) => {
                let count = file.read_at(buffer, self.at)?;
                let changed = match written {
                    Some(written) => file.metadata()?.modified()? != *written,
                    None => false,
                };
                if changed || (count == 0 && most > 0) {
                    let told = "a file of the image was changed while the image was built";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, told));
                }
                count
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    fn large() -> Vec<u8> {
        (0..IN_MEMORY + 1000).map(|number| (number % 251) as u8).collect()
    }

    #[test]
    fn where_it_lies_makes_no_difference() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for bytes in [vec![], b"small".to_vec(), large()] {
            fs::write(&path, &bytes).unwrap();
            let contents = [
                Content::new(bytes.clone()),
                Content::keep(bytes.as_slice(), directory.path()).unwrap(),
                Content::of_file(&path).unwrap(),
            ];
            for content in contents {
                assert_eq!(content.bytes().unwrap(), bytes);
                assert_eq!(content.digest(), Digest::of(&bytes));
                assert_eq!(content.size(), bytes.len() as u64);
                assert_eq!(content.head(4).unwrap(), &bytes[..bytes.len().min(4)]);
            }
        }
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "what is kept has no name: {left:?}");
    }

    #[test]
    fn another_content_is_not_taken_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.tar");
        let opened = || {
            fs::write(&path, large()).unwrap();
            Content::of_file(&path).unwrap()
        };
        let content = opened();
        let later = SystemTime::now() + Duration::from_secs(1);
        File::options().append(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(content.bytes().unwrap_err().to_string().contains("was changed"));
        let content = opened();
        fs::write(&path, "less").unwrap();
        assert!(content.bytes().unwrap_err().to_string().contains("was changed"));
        let content = opened();
        let other = directory.path().join("other");
        fs::write(&other, "other").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(content.bytes().unwrap(), large(), "the file that was opened is still there");
    }
}
