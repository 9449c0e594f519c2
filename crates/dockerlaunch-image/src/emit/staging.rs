//! A place beside the target to write into, which takes the target's name only when all is written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{EmitError, write_error};
use crate::digest::{Digest, Hasher};

/// Temporary names begin with this, so that what a killed build left behind is easy to know.
const PREFIX: &str = ".from-scratch-";

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// A file that replaces its target whole.
pub(super) struct StagedFile<'a> {
    target: &'a Path,
    writer: Hasher<BufWriter<tempfile::NamedTempFile>>,
}

impl<'a> StagedFile<'a> {
    pub(super) fn create(target: &'a Path) -> Result<Self, EmitError> {
        if let Ok(metadata) = fs::symlink_metadata(target)
            && !metadata.is_file()
        {
            return Err(EmitError::Exists { path: target.to_owned(), what: "is not a regular file" });
        }
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(parent(target))
            .map_err(write_error(target))?;
        Ok(Self { target, writer: Hasher::new(BufWriter::with_capacity(1 << 20, file)) })
    }

    /// Gives the file its name; returns the digest and size of what was written.
    pub(super) fn commit(self) -> Result<(Digest, u64), EmitError> {
        let fail = write_error(self.target);
        let (digest, size, writer) = self.writer.finish();
        let file = writer.into_inner().map_err(|error| fail(error.into_error()))?;
        // The mode that tempfile sets is cut by the umask; an output is the same under every one.
        fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .map_err(&fail)?;
        file.persist(self.target).map_err(|error| fail(error.error))?;
        Ok((digest, size))
    }
}

impl Write for StagedFile<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A directory that replaces its target whole.
pub(super) struct StagedDir<'a> {
    target: &'a Path,
    directory: tempfile::TempDir,
}

impl<'a> StagedDir<'a> {
    /// `ours` tells a former output, which may be replaced, from anything else.
    pub(super) fn create(target: &'a Path, ours: fn(&Path) -> bool) -> Result<Self, EmitError> {
        let exists = |what| EmitError::Exists { path: target.to_owned(), what };
        if let Ok(metadata) = fs::symlink_metadata(target) {
            if !metadata.is_dir() {
                return Err(exists("is not a directory"));
            }
            if !is_empty(target) && !ours(target) {
                return Err(exists("holds something that a build did not write"));
            }
        }
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent(target))
            .map_err(write_error(target))?;
        Ok(Self { target, directory })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Gives the directory its name, in one step; what stood there before is removed afterwards.
    pub(super) fn commit(self) -> Result<(), EmitError> {
        let fail = write_error(self.target);
        let staged = self.directory.path();
        fs::set_permissions(staged, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(&fail)?;
        match fs::rename(staged, self.target) {
            Ok(()) => {
                let _: PathBuf = self.directory.keep();
                Ok(())
            }
            // A former output is not empty: trade places with it, so that there is always one or the other.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                renameat_with(CWD, staged, CWD, self.target, RenameFlags::EXCHANGE)
                    .map_err(|errno| fail(errno.into()))?;
                self.directory.close().map_err(&fail)
            }
            Err(error) => Err(fail(error)),
        }
    }
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

/// Writes a new file with mode 0644, whatever the umask.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
}
