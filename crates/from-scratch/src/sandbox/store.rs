//! What `up` has built and keeps: unpacked images, and the tools that it runs on the host.
//!
//! ```text
//! STATE/images/KEY      a link to the tree that this request made last
//! STATE/images/DIGEST/  the tree, the lower layer of its instances
//! STATE/tools/KEY/      likewise
//! ```
//!
//! A request that was built before is answered by its link, without a look at the archive. An image is never
//! changed in place, as instances may be running on it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dockerlaunch_image::{BuildError, BuildRequest, Digest, Event, Output, Progress};

use super::state::{StateDir, storage_error};
use crate::report::Hinted;

/// Enough of a digest to tell trees apart on one machine.
const SHORT: usize = 16;

/// The tree while it is being built.
const UNFINISHED: &str = "unfinished";

/// Trees of one kind.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

/// Who else may be at work in the store.
#[derive(Debug, Clone, Copy)]
enum Access {
    Shared,
    Exclusive,
}

/// A tree that stays as long as this is held; and longer, once an instance's record names it.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What tells it from others.
    pub(crate) digest: String,
    _lock: File,
}

impl Store {
    /// The images of instances.
    pub(crate) fn images(state: &StateDir) -> Self {
        Self { dir: state.path().join("images") }
    }

    /// What runs on the host.
    pub(crate) fn tools(state: &StateDir) -> Self {
        Self { dir: state.path().join("tools") }
    }

    /// The tree of this request: one that was built before, or, with `anew` or without one, a new one.
    pub(crate) fn get(
        &self,
        request: &BuildRequest,
        anew: bool,
        progress: &dyn Progress,
    ) -> anyhow::Result<Kept> {
        let key = key(request);
        let mut build = anew;
        loop {
            // Shared with others who only use what is there; not with somebody who builds or clears away.
            let lock = self.lock(if build { Access::Exclusive } else { Access::Shared }, progress)?;
            match self.find(&key) {
                Some((path, digest)) if !build => return Ok(Kept { path, digest, _lock: lock }),
                // Another one may have built it while this one waited.
                Some(_) if !anew => build = false,
                None if !build => build = true,
                _ => {
                    self.build(request, &key, progress)?;
                    build = false;
                }
            }
        }
    }

    /// Removes what no instance is made of, `used`, and no link leads to. Puts it off while others are at work.
    pub(crate) fn clear_unused(&self, used: &[PathBuf]) -> anyhow::Result<()> {
        if !self.dir.is_dir() {
            return Ok(());
        }
        let lock = self.lock_file()?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        let mut dirs = Vec::new();
        let mut linked = Vec::new();
        for entry in fs::read_dir(&self.dir)?.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(kind) if kind.is_symlink() => linked.extend(fs::canonicalize(entry.path())),
                _ => {}
            }
        }
        for dir in dirs {
            if !used.contains(&dir) && !linked.contains(&dir) {
                fs::remove_dir_all(&dir).map_err(|error| storage_error("remove", &dir, error))?;
            }
        }
        Ok(())
    }

    /// Removes the store itself, if it is empty because the first build failed, and nobody else is at work in it.
    pub(crate) fn remove_if_empty(&self) {
        let only_lock = || {
            fs::read_dir(&self.dir)
                .is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == "lock"))
        };
        if !only_lock() {
            return;
        }
        if let Ok(lock) = self.lock_file()
            && lock.try_lock().is_ok()
            && self.is_lock(&lock)
            && only_lock()
        {
            let _ = fs::remove_file(self.dir.join("lock"));
            let _ = fs::remove_dir(&self.dir);
        }
    }

    /// Waits for its turn, and not longer than the user does.
    fn lock(&self, access: Access, progress: &dyn Progress) -> anyhow::Result<File> {
        let mut told = false;
        loop {
            fs::create_dir_all(&self.dir).map_err(|error| storage_error("make", &self.dir, error))?;
            let file = self.lock_file()?;
            let tried = match access {
                Access::Shared => file.try_lock_shared(),
                Access::Exclusive => file.try_lock(),
            };
            match tried {
                // Removed meanwhile, if the first build of somebody else has failed.
                Ok(()) if !self.is_lock(&file) => continue,
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(storage_error("lock", &self.dir, error).into()),
                Err(TryLockError::WouldBlock) => {}
            }
            if progress.cancelled() {
                return Err(BuildError::Cancelled.into());
            }
            if !std::mem::replace(&mut told, true) {
                progress.event(Event::Step("waiting for another `up` that builds"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn lock_file(&self) -> anyhow::Result<File> {
        let path = self.dir.join("lock");
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        Ok(opened.map_err(|error| storage_error("open", &path, error))?)
    }

    fn is_lock(&self, file: &File) -> bool {
        let inode = |found: io::Result<fs::Metadata>| found.map(|found| found.ino()).ok();
        inode(fs::metadata(self.dir.join("lock"))) == inode(file.metadata())
    }

    /// The builder cannot know where else its output might go.
    fn explain(&self, error: BuildError) -> anyhow::Error {
        let error = anyhow::Error::from(error);
        let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        let full = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|error| kinds.contains(&error.kind()));
        if !full {
            return error;
        }
        Hinted::new(format!("cannot build into `{}`", self.dir.display()))
            .because(error)
            .hint("an image takes about 250 MB; to put it elsewhere: `--state-dir DIR`, and for downloads `--cache-dir DIR`")
            .into()
    }

    fn find(&self, key: &str) -> Option<(PathBuf, String)> {
        let digest = fs::read_link(self.dir.join(key)).ok()?;
        let path = self.dir.join(&digest);
        path.is_dir().then(|| (path, digest.display().to_string()))
    }

    fn build(&self, request: &BuildRequest, key: &str, progress: &dyn Progress) -> anyhow::Result<()> {
        // What a killed build has left, under the names that the builder gives.
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let name = entry.file_name();
            if name == UNFINISHED || name.to_string_lossy().starts_with(".from-scratch-") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let unfinished = self.dir.join(UNFINISHED);
        let request = BuildRequest { outputs: vec![Output::Dir(unfinished.clone())], ..request.clone() };
        let report = dockerlaunch_image::build(&request, progress).map_err(|error| self.explain(error))?;
        let digest = short(&report.tree_digest);
        let place = self.dir.join(&digest);
        if place.is_dir() {
            fs::remove_dir_all(&unfinished).map_err(|error| storage_error("remove", &unfinished, error))?;
        } else {
            fs::rename(&unfinished, &place).map_err(|error| storage_error("make", &place, error))?;
        }
        link(&digest, &self.dir.join(key))
            .map_err(|error| storage_error("make", &self.dir.join(key), error))
            .map_err(Into::into)
    }
}

/// Puts a link in place of another one, with no moment in between without any.
fn link(target: &str, path: &Path) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, &new)?;
    fs::rename(&new, path)
}

/// Where the image for a request is found again. It has the launcher in it, so with another one it is another key.
fn key(request: &BuildRequest) -> String {
    format!("by-request-{}", short(&request.fingerprint()))
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(SHORT).collect()
}
