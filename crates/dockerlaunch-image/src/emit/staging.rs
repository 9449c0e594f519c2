//! A place beside the target to write into, which takes the target's name only when all is written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, CWD, RenameFlags, access, renameat_with};
use tempfile::{NamedTempFile, TempDir};

use super::{EmitError, write_error};
use crate::digest::{Digest, Hasher};

/// Temporary names begin with this, so that what a killed build left behind is easy to know, and nobody's own files are
/// taken for it.
const PREFIX: &str = ".from-scratch-unfinished-";

/// How many letters and digits follow.
const RANDOM: usize = 12;

/// A temporary is locked as soon as it is there; one that is older than this and is not locked belongs to nobody.
const STALE: Duration = Duration::from_secs(60);

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Whether a file can be written there.
pub(super) fn check_file(target: &Path) -> Result<(), EmitError> {
    match fs::symlink_metadata(target) {
        Ok(metadata) if !metadata.is_file() => {
            Err(EmitError::Exists { path: target.to_owned(), what: "is not a regular file" })
        }
        _ => check_parent(target),
    }
}

/// Whether a directory can be written there. `former` tells an output of before, which may be replaced, from anything
/// else.
pub(super) fn check_dir(target: &Path, former: fn(&Path) -> bool) -> Result<(), EmitError> {
    let exists = |what| Err(EmitError::Exists { path: target.to_owned(), what });
    match fs::symlink_metadata(target) {
        Ok(metadata) if !metadata.is_dir() => exists("is not a directory"),
        Ok(_) if !is_empty(target) && !former(target) => {
            exists("holds something that a build did not write, or was changed since")
        }
        _ => check_parent(target),
    }
}

fn check_parent(target: &Path) -> Result<(), EmitError> {
    access(parent(target), Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|errno| write_error(target)(errno.into()))
}

/// A temporary file, for as long as it is not given another name.
pub(super) fn temporary_file(directory: &Path) -> io::Result<NamedTempFile> {
    clear_stale(directory);
    let file = tempfile::Builder::new().prefix(PREFIX).rand_bytes(RANDOM).tempfile_in(directory)?;
    // Where nothing can be locked nothing will be cleared away either.
    let _ = file.as_file().try_lock();
    Ok(file)
}

fn temporary_dir(directory: &Path) -> io::Result<(TempDir, File)> {
    clear_stale(directory);
    let made = tempfile::Builder::new().prefix(PREFIX).rand_bytes(RANDOM).tempdir_in(directory)?;
    let lock = lock(made.path())?;
    Ok((made, lock))
}

/// Marks a directory as in use, where directories can be locked.
fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    let _ = file.try_lock();
    Ok(file)
}

/// Removes what killed builds have left in a directory. What cannot be removed is in nobody's way.
fn clear_stale(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).unwrap_or_default();
        let ours = random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let Ok(kind) = entry.file_type() else { continue };
        if !ours || !(kind.is_file() || kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::open(&path) else { continue };
        let Ok(metadata) = file.metadata() else { continue };
        let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        if is_own && file.try_lock().is_ok() && age.is_some_and(|age| age > STALE) {
            let _ = if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
}

/// A file that replaces its target whole.
pub(super) struct StagedFile<'a> {
    target: &'a Path,
    writer: Hasher<BufWriter<NamedTempFile>>,
}

impl<'a> StagedFile<'a> {
    pub(super) fn create(target: &'a Path) -> Result<Self, EmitError> {
        let file = temporary_file(parent(target)).map_err(write_error(target))?;
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
    former: fn(&Path) -> bool,
    directory: TempDir,
    _lock: File,
}

impl<'a> StagedDir<'a> {
    /// What `former` tells is as for [`check_dir`], which has been asked before.
    pub(super) fn create(target: &'a Path, former: fn(&Path) -> bool) -> Result<Self, EmitError> {
        let (directory, lock) = temporary_dir(parent(target)).map_err(write_error(target))?;
        Ok(Self { target, former, directory, _lock: lock })
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
                // Somebody may have put something there since the build began.
                check_dir(self.target, self.former)?;
                // As a temporary it must not be taken for one that a killed build has left.
                let _lock = lock(self.target).map_err(&fail)?;
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
