//! `dir:` the unpacked root file system. It needs no root; without it all files belong to the user who builds.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::staging::StagedDir;
use super::{EmitError, Emitter, Written, write_error};
use crate::PRIVATE_DIR;
use crate::progress::{Progress, Stoppable, stop_if_cancelled};
use crate::tree::{Kind, Tree};

impl Emitter<'_> {
    pub(super) fn dir(&self, path: &Path) -> Result<Written, EmitError> {
        let tree = &self.trees.container;
        let staged = StagedDir::create(path, is_former)?;
        write_tree(tree, staged.path(), self.request.epoch, self.progress).map_err(write_error(path))?;
        staged.commit()?;
        Ok(Written { digest: tree.digest(), size: tree.size() })
    }
}

/// A directory as a build left it: an image, and all of it still with the one time that it was given. Whoever adds,
/// changes or removes anything leaves another time there, on the file or on its directory.
pub(super) fn is_former(path: &Path) -> bool {
    let time = fs::symlink_metadata(path.join(PRIVATE_DIR).join("image.json")).map(|file| time_of(&file));
    let all_below = |time| {
        let mut entries = fs::read_dir(path)?;
        entries.try_fold(true, |same, entry| Ok::<_, io::Error>(same && all_of(time, &entry?.path())?))
    };
    time.is_ok_and(|time| time.1 == 0 && all_below(time).unwrap_or(false))
}

/// Seconds and nanoseconds.
fn time_of(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

fn all_of(time: (i64, i64), path: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    let mut same = time_of(&metadata) == time;
    if same && metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            same = same && all_of(time, &entry?.path())?;
        }
    }
    Ok(same)
}

fn write_tree(tree: &Tree, root: &Path, epoch: u64, progress: &dyn Progress) -> io::Result<()> {
    let root_user = rustix::process::geteuid().is_root();
    for (path, node) in tree.iter() {
        stop_if_cancelled(progress)?;
        let place = root.join(path);
        match &node.kind {
            Kind::Dir => fs::create_dir(&place)?,
            Kind::File(content) => {
                let mut reader = Stoppable { inner: content.reader(), progress };
                io::copy(&mut reader, &mut File::create_new(&place)?)?;
            }
            Kind::Symlink(target) => symlink(target, &place)?,
        }
        if root_user {
            // A parent with the set-group-id bit would otherwise hand its group down.
            std::os::unix::fs::lchown(&place, Some(node.uid), Some(node.gid))?;
        }
        if !matches!(node.kind, Kind::Symlink(_)) {
            fs::set_permissions(&place, Permissions::from_mode(node.mode))?;
        }
    }
    // Times last and children first, because writing into a directory changes its own.
    let time = Timespec { tv_sec: i64::try_from(epoch).unwrap_or(i64::MAX), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
    for path in paths.into_iter().rev() {
        utimensat(CWD, root.join(path), &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
