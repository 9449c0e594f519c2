//! TOML files that people give to a build: what is wrong with one is told with its line and column.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::error::Hints;
use crate::spec::nearest;

/// Far more than any such file needs.
const LIMIT: u64 = 4 << 20;

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be understood.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
        /// What to do about it.
        hint: String,
    },
}

impl Hints for DocumentError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                vec!["check the name; relative paths start in the working directory".to_owned()]
            }
            Self::Read { .. } => vec!["name a readable file of text".to_owned()],
            Self::Invalid { hint, .. } => vec![hint.clone()],
        }
    }
}

/// A file's text, unless it is too long to be what it should be.
pub(crate) fn read(path: &Path) -> Result<String, DocumentError> {
    let fail = |source| DocumentError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let mut file = File::open(path).map_err(fail)?.take(LIMIT + 1);
    file.read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > LIMIT {
        return Err(fail(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 4 MB")));
    }
    Ok(text)
}

/// Writes a text, whole or not at all. What is no regular file, such as `/dev/stdout`, is written into and not replaced.
///
/// # Errors
///
/// When that fails; then a file that was there before still is.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    // What a link leads to is replaced, and the link stays.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::symlink_metadata(&target).is_ok_and(|metadata| !metadata.is_file()) || is_printed_to(&target) {
        return fs::write(path, text);
    }
    let path = target.as_path();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Whether it is where our output goes, as with `/dev/stdout` in a redirection: more may follow there.
fn is_printed_to(path: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let file = identity(path);
    let of_ours = |fd| identity(Path::new(fd));
    file.is_some() && ["/proc/self/fd/1", "/proc/self/fd/2"].into_iter().any(|fd| of_ours(fd) == file)
}

/// A document with the place of everything in it.
pub(crate) struct Document<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
    /// What to do about a fault that has no better remedy.
    pub(crate) remedy: &'static str,
}

impl Document<'_> {
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, DocumentError> {
        toml::from_str(self.text).map_err(|error| {
            let hint = misspelt(error.message()).unwrap_or_else(|| self.remedy.to_owned());
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            self.fault(error.span().unwrap_or(0..0), message, hint)
        })
    }

    /// What is wrong at a place.
    pub(crate) fn fault(&self, span: Range<usize>, message: String, hint: String) -> DocumentError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        DocumentError::Invalid {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
            hint,
        }
    }
}

/// The remedy for a key that nobody knows: serde's message has all that are known.
fn misspelt(message: &str) -> Option<String> {
    let mut words = message.strip_prefix("unknown field `")?.split('`').step_by(2);
    let found = words.next()?;
    let known: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    Some(match nearest(found, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the keys here are: {}", known.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[allow(dead_code, reason = "only read by serde")]
        profile: String,
        #[allow(dead_code, reason = "only read by serde")]
        #[serde(default)]
        with: Vec<String>,
    }

    fn error(text: &str) -> (String, Vec<String>) {
        let document = Document { path: Path::new("x.toml"), text, remedy: "see the manual" };
        let error = document.parse::<Sample>().unwrap_err();
        (error.to_string(), error.hints())
    }

    #[test]
    fn a_fault_has_a_line_and_a_column() {
        let (message, hints) = error("profile = \"a\"\nwith = [\"ä\", 7]\n");
        assert!(message.starts_with("x.toml:2:14: invalid type: integer"), "{message}");
        assert_eq!(hints, ["see the manual"]);
        let (message, _) = error("profile = \"a\"\n\n  with = [\n");
        assert!(message.starts_with("x.toml:4:") || message.starts_with("x.toml:3:"), "{message}");
        assert!(error("").0.contains("missing field `profile`"));
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest() {
        let (message, hints) = error("profile = \"a\"\nwiht = []\n");
        assert!(message.starts_with("x.toml:2:1: unknown field `wiht`"), "{message}");
        assert_eq!(hints, ["did you mean `with`?"]);
        assert_eq!(error("zzz = 1\n").1, ["the keys here are: profile, with"]);
    }

    #[test]
    fn a_file_is_replaced_and_a_link_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&file).unwrap());
        // Into nothing, at first: the link is there before the file.
        for (path, text) in [(&link, "none"), (&file, "one"), (&file, "two"), (&link, "three")] {
            let before = fs::exists(&file).unwrap().then(inode);
            write_whole(path, text).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert_ne!(before, Some(inode()), "written into, and half of it would be seen");
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(write_whole(&directory.path().join("gone/file"), "x").is_err());
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(error, DocumentError::Read { .. }));
        assert!(!read(Path::new("/nonexistent")).unwrap_err().hints().is_empty());
    }
}
