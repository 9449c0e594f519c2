//! Files that are there whole or not at all, and at no moment with other modes than theirs.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rand_core::{OsRng, RngCore};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Puts a file in the place of whatever has that name; whoever reads it meanwhile finds the old one or the new one.
pub(crate) fn replace(path: &str, content: &[u8], mode: u32) -> io::Result<()> {
    finish(&write_beside(path, content, mode)?, |new| fs::rename(new, path))
}

/// Puts a file where none is. One that somebody else has put there meanwhile stays, and is as good; an empty one, which a
/// crash can leave behind, does not.
pub(crate) fn create(path: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let is_empty = fs::metadata(path).is_ok_and(|meta| meta.len() == 0);
    finish(&write_beside(path, content, mode)?, |new| {
        if is_empty {
            return fs::rename(new, path);
        }
        match renameat_with(CWD, new, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::EXIST) => fs::remove_file(new),
            // Not every file system can do that (NFS), but each can refuse a second name.
            Err(_) => match fs::hard_link(new, path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => fs::remove_file(new),
            },
        }
    })
}

/// The file under a name of its own in the same directory, parents included.
fn write_beside(path: &str, content: &[u8], mode: u32) -> io::Result<String> {
    let path = Path::new(path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    create_parents(parent)?;
    let new = parent.join(format!(".{}.{:016x}", name.to_string_lossy(), OsRng.next_u64()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let new = new.to_string_lossy().into_owned();
    let written = file.write_all(content).and_then(|()| {
        // Whatever the umask says.
        file.set_permissions(fs::Permissions::from_mode(mode))
    });
    finish(&new, |_| written)?;
    Ok(new)
}

/// Directories that anybody may enter, whatever the umask says.
fn create_parents(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        create_parents(parent)?;
    }
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => fs::set_permissions(directory, fs::Permissions::from_mode(0o755)),
    }
}

/// The last step; when it fails nothing stays behind.
fn finish(new: &str, step: impl FnOnce(&str) -> io::Result<()>) -> io::Result<()> {
    step(new).inspect_err(|_| {
        let _ = fs::remove_file(new);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("stat").permissions().mode() & 0o7777
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("list").flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_replaced_whole_with_their_own_mode() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("a/b/file");
        let text = path.to_string_lossy().into_owned();
        replace(&text, b"one", 0o666).expect("new");
        assert_eq!((fs::read(&path).expect("read"), mode(&path)), (b"one".to_vec(), 0o666));
        replace(&text, b"two", 0o600).expect("over");
        assert_eq!((fs::read(&path).expect("read"), mode(&path)), (b"two".to_vec(), 0o600));
        assert_eq!(mode(&dir.path().join("a/b")), 0o755);
        assert_eq!(names(&dir.path().join("a/b")), ["file"], "nothing else is left");
    }

    #[test]
    fn only_an_empty_file_gives_way_to_a_new_one() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("key.pem");
        let text = path.to_string_lossy().into_owned();
        fs::write(&path, "").expect("empty");
        create(&text, b"one", 0o600).expect("over the empty one");
        create(&text, b"two", 0o600).expect("as good");
        assert_eq!(fs::read(&path).expect("read"), b"one");
        assert_eq!(names(dir.path()), ["key.pem"], "nothing else is left");
    }

    #[test]
    fn what_cannot_be_finished_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("dir");
        fs::create_dir(dir.path().join("taken")).expect("dir");
        let path = dir.path().join("taken").to_string_lossy().into_owned();
        assert!(replace(&path, b"x", 0o600).is_err(), "a directory");
        assert_eq!(names(dir.path()), ["taken"]);
    }
}
