//! A copy of an image by hard links, from which one file at a time is taken away.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The copy; dropping it removes it.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) root: PathBuf,
    original: PathBuf,
}

/// A file that is away.
pub(super) struct Missing {
    from: PathBuf,
    to: PathBuf,
}

impl Copy {
    pub(super) fn of(original: &Path, root: &Path) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(root)?;
        }
        let copy = Copy { root: root.to_owned(), original: original.to_owned() };
        link_all(original, root).with_context(|| format!("copying `{}`", original.display()))?;
        Ok(copy)
    }

    /// Takes a file away.
    pub(super) fn without(&self, path: &str) -> Result<Missing> {
        let missing = Missing { from: self.original.join(path), to: self.root.join(path) };
        fs::remove_file(&missing.to).with_context(|| format!("removing `{}`", missing.to.display()))?;
        Ok(missing)
    }
}

impl Missing {
    pub(super) fn put_back(self) -> Result<()> {
        link(&self.from, &self.to)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("error: `{}` is left: {error}", self.root.display());
        }
    }
}

fn link_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link_all(&entry.path(), &to)?;
        } else {
            link(&entry.path(), &to)?;
        }
    }
    Ok(())
}

/// A symbolic link is made anew: another link to it would be one to what it points to.
fn link(from: &Path, to: &Path) -> Result<()> {
    if from.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else {
        fs::hard_link(from, to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_away_and_comes_back_and_the_original_stays() {
        let scratch = tempfile::tempdir().expect("a directory");
        let original = scratch.path().join("original");
        fs::create_dir_all(original.join("bin")).expect("made");
        fs::write(original.join("bin/tool"), "content").expect("written");
        symlink("tool", original.join("bin/name")).expect("linked");
        let copy = Copy::of(&original, &scratch.path().join("copy")).expect("copied");
        let read = |name: &str| fs::read_to_string(copy.root.join(name)).ok();
        for name in ["bin/tool", "bin/name"] {
            let missing = copy.without(name).expect("removed");
            assert_eq!(read("bin/name"), None, "without {name}");
            assert!(original.join(name).exists());
            missing.put_back().expect("back");
            assert_eq!(read("bin/name").as_deref(), Some("content"));
        }
        assert!(copy.root.join("bin/name").is_symlink());
        let root = copy.root.clone();
        drop(copy);
        assert!(!root.exists() && original.join("bin/tool").exists());
    }
}
