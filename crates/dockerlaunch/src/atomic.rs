//! Files that are there whole or not at all, and at no moment with other modes than theirs.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

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
    let start = format!(".{}.", name.to_string_lossy());
    clear_away(parent, &start);
    let new = parent.join(format!("{start}{:016x}", OsRng.next_u64()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let new = new.to_string_lossy().into_owned();
    let written = file.write_all(content).and_then(|()| {
        // Whatever the umask says.
        file.set_permissions(fs::Permissions::from_mode(mode))
    });
    finish(&new, |_| written)?;
    Ok(new)
}

/// Nobody takes that long over one file: who has begun it, has been killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Removes what a predecessor did not finish; it may be a key.
fn clear_away(directory: &Path, start: &str) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(start));
        let is_ours = random.is_some_and(|r| r.len() == 16 && r.bytes().all(|b| b.is_ascii_hexdigit()));
        let age =
            || entry.metadata().and_then(|about| about.modified()).ok().and_then(|time| time.elapsed().ok());
        if is_ours && age().is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
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
    fn what_a_killed_predecessor_left_is_cleared_away() {
        let dir = tempfile::tempdir().expect("dir");
        let put = |name: &str, age: u64| {
            let file = fs::File::create(dir.path().join(name)).expect("file");
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).expect("time");
        };
        put(".key.pem.0123456789abcdef", 4000);
        put(".key.pem.0123456789abcdee", 10);
        put(".key.pem.backup", 4000);
        replace(&dir.path().join("key.pem").to_string_lossy(), b"x", 0o600).expect("write");
        assert_eq!(names(dir.path()), [".key.pem.0123456789abcdee", ".key.pem.backup", "key.pem"]);
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
