//! A file's bytes. Small files are held in memory; a large one lies in a file and is read when it is wanted: an image has
//! more of them than a build should have memory.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// A file without a name, which nobody else has.
    Ours(Arc<File>),
    /// A file of the user's, who may write into it.
    Users(Arc<(File, PathBuf)>),
}

/// A file of the user's is not what it was when the build began.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{}` was changed while the image was built", .0.display())]
pub(crate) struct Changed(PathBuf);

/// What to do about it.
pub(crate) const LEAVE_AS_IT_IS: &str =
    "leave the files and archives that the image gets as they are until it is built";

/// There is no room for what a build unpacks.
#[derive(Debug, thiserror::Error)]
#[error("cannot write into `{}`", place.display())]
pub(crate) struct NotKept {
    place: PathBuf,
    #[source]
    source: io::Error,
}

impl NotKept {
    /// The one behind an error of [`Content::keep`], if that is what went wrong.
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    pub(crate) fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

impl Content {
    /// Takes bytes and works out their digest.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        Self { held: Held::Memory(bytes), size, digest }
    }

    /// A file of the user's. A large one is not copied: it must stay as it is until the build has ended. What is no regular
    /// file, as a pipe, is read into a file without a name in the directory for temporary files.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() <= IN_MEMORY {
            return Self::keep(file, &std::env::temp_dir());
        }
        let mut hasher = Hasher::new(io::sink());
        io::copy(&mut &file, &mut hasher)?;
        let (digest, size, _) = hasher.finish();
        Ok(Self { held: Held::Users(Arc::new((file, path.to_owned()))), size, digest })
    }

    /// All that a reader has; what is large goes into a file without a name in this directory, or in that for temporary files
    /// where this one cannot be written.
    ///
    /// # Errors
    ///
    /// The reader's, as they are; those of writing as [`NotKept`].
    pub(crate) fn keep(mut reader: impl Read, directory: &Path) -> io::Result<Self> {
        let mut buffer = Vec::new();
        reader.by_ref().take(IN_MEMORY + 1).read_to_end(&mut buffer)?;
        if buffer.len() as u64 <= IN_MEMORY {
            return Ok(Self::new(buffer));
        }
        let not_kept = |source: io::Error| {
            io::Error::new(source.kind(), NotKept { place: directory.to_owned(), source })
        };
        let file = match tempfile::tempfile_in(directory) {
            Err(error)
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) =>
            {
                tempfile::tempfile()
            }
            other => other,
        };
        let mut hasher = Hasher::new(file.map_err(not_kept)?);
        while !buffer.is_empty() {
            hasher.write_all(&buffer).map_err(not_kept)?;
            buffer.clear();
            reader.by_ref().take(IN_MEMORY).read_to_end(&mut buffer)?;
        }
        let (digest, size, file) = hasher.finish();
        Ok(Self { held: Held::Ours(Arc::new(file)), size, digest })
    }

    /// All of the bytes.
    ///
    /// # Errors
    ///
    /// When they lie in a file that cannot be read, or that was changed.
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

    /// Reads from the beginning. Whoever reads to the end has read what the digest is of, or gets an error.
    pub(crate) fn reader(&self) -> Reader<'_> {
        let read = matches!(self.held, Held::Users(_)).then(|| Hasher::new(io::sink()));
        Reader { content: self, at: 0, read }
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
    /// All that was read of a file of the user's.
    read: Option<Hasher<io::Sink>>,
}

impl Reader<'_> {
    /// Passes over so many bytes, or as many as there are left, and says how many. What is not read is not compared with the
    /// digest.
    pub(crate) fn skip(&mut self, count: u64) -> u64 {
        let passed = count.min(self.content.size - self.at);
        self.at += passed;
        self.read = None;
        passed
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.content.size - self.at;
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..most];
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = match &self.content.held {
            Held::Memory(bytes) => {
                let at = usize::try_from(self.at).map_err(io::Error::other)?;
                (&bytes[at..]).read(buffer)?
            }
            Held::Ours(file) => file.read_at(buffer, self.at)?,
            Held::Users(file) => file.0.read_at(buffer, self.at)?,
        };
        self.at += count as u64;
        let mut is_right = count > 0;
        if let Some(mut read) = self.read.take() {
            read.write_all(&buffer[..count])?;
            if self.at == self.content.size {
                is_right &= read.finish().0 == self.content.digest;
            } else {
                self.read = Some(read);
            }
        }
        match &self.content.held {
            Held::Users(file) if !is_right => {
                Err(io::Error::new(ErrorKind::InvalidData, Changed(file.1.clone())))
            }
            _ if !is_right => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        for changed in [[vec![7; 5], large()[5..].to_vec()].concat(), b"less".to_vec(), vec![]] {
            let content = opened();
            fs::write(&path, changed).unwrap();
            let error = content.bytes().unwrap_err();
            assert!(
                error.to_string().ends_with("image.tar` was changed while the image was built"),
                "{error}"
            );
        }
        let content = opened();
        let other = directory.path().join("other");
        fs::write(&other, "other").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(content.bytes().unwrap(), large(), "the file that was opened is still there");
    }

    #[test]
    fn a_pipe_is_read_once_and_kept() {
        let (reader, mut writer) = io::pipe().unwrap();
        let thread = std::thread::spawn(move || writer.write_all(&large()));
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let content = Content::of_file(Path::new(&path));
        thread.join().unwrap().unwrap();
        assert_eq!(content.unwrap().bytes().unwrap(), large());
    }

    #[test]
    fn where_a_cache_cannot_be_written_temporary_files_serve() {
        // Where nobody can make a file, root neither.
        assert!(File::create_new("/sys/x").is_err());
        assert_eq!(Content::keep(large().as_slice(), Path::new("/sys")).unwrap().bytes().unwrap(), large());
    }

    #[test]
    fn who_reads_and_who_writes_is_told_apart() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::ConnectionReset.into())
            }
        }
        let error = Content::keep(large().as_slice().chain(Broken), &std::env::temp_dir()).unwrap_err();
        assert!(NotKept::of(&error).is_none(), "{error}");
        let error = Content::keep(large().as_slice(), Path::new("/nowhere")).unwrap_err();
        assert_eq!(NotKept::of(&error).unwrap().kind(), ErrorKind::NotFound);
    }
}
