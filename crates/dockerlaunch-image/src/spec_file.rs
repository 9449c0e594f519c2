//! `from-scratch.toml`: what an image is made of, for those who would rather write it down than type it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::deb::normalise;
use crate::document::{self, Document, DocumentError};
use crate::error::Hints as _;
use crate::spec::{Spec, SpecError};
use crate::tree::Content;

/// The file's name, when none is given, in the working directory.
pub const SPEC_FILE: &str = "from-scratch.toml";

const REMEDY: &str = "docs/building.md has an example of every key";

/// Who may do what with a file that the user gives no mode.
const MODE: u32 = 0o644;

/// Longer than any file that belongs into an image.
const FILE_LIMIT: u64 = 1 << 30;

/// What the file says; what it does not say is left to the command line and its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecFile {
    /// Distribution suite.
    pub suite: Option<String>,
    /// Profile.
    pub profile: Option<String>,
    /// Components added.
    pub with: Vec<String>,
    /// Components left out.
    pub without: Vec<String>,
    /// Environment variables of the image.
    pub env: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Files of the user's own.
    pub files: Vec<ExtraFile>,
}

/// A file of the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraFile {
    /// Its place in the image, without the leading slash.
    pub to: String,
    /// Permission bits.
    pub mode: u32,
    /// What is in it.
    pub content: Content,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    suite: Option<String>,
    profile: Option<Spanned<String>>,
    #[serde(default)]
    with: Vec<Spanned<String>>,
    #[serde(default)]
    without: Vec<Spanned<String>>,
    #[serde(default)]
    env: BTreeMap<Spanned<String>, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    file: Vec<FileText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    from: Spanned<String>,
    to: Spanned<String>,
    mode: Option<Spanned<String>>,
}

impl SpecFile {
    /// Reads a spec file, and finds the files that it names beside it, which must stay as they are until the build has ended.
    ///
    /// # Errors
    ///
    /// With line and column of what is wrong.
    pub fn read(path: &Path) -> Result<Self, DocumentError> {
        let beside = path.parent().unwrap_or_else(|| Path::new(""));
        Self::parse(path, &document::read(path)?, &|name| read_file(&beside.join(name)))
    }

    /// Reads the text of a spec file; `path` is for messages, `read` for the content of the files that it names.
    ///
    /// # Errors
    ///
    /// With line and column of what is wrong.
    pub fn parse(
        path: &Path,
        text: &str,
        read: &dyn Fn(&str) -> Result<Content, String>,
    ) -> Result<Self, DocumentError> {
        let document = Document { path, text, remedy: REMEDY };
        let mut told: Text = document.parse()?;
        check_names(&document, &told)?;
        let mut env = BTreeMap::new();
        for (name, value) in std::mem::take(&mut told.env) {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if !name.get_ref().chars().all(plain) || name.get_ref().is_empty() || value.contains('\0') {
                let message =
                    format!("`{}` cannot be an environment variable", name.get_ref().escape_debug());
                let hint = "a name has letters, digits and underscores".to_owned();
                return Err(document.fault(name.span(), message, hint));
            }
            env.insert(name.into_inner(), value);
        }
        let mut files: Vec<ExtraFile> = Vec::new();
        for file in std::mem::take(&mut told.file) {
            let to = place(file.to.get_ref()).filter(|to| files.iter().all(|other| !overlap(&other.to, to)));
            let to = to.ok_or_else(|| {
                let hint = "write a path from `/` on without `.` and `..`, each once and none below another: to = \"/etc/docker/daemon.json\"";
                let message = format!("`{}` is no place for a file", file.to.get_ref().escape_debug());
                document.fault(file.to.span(), message, hint.to_owned())
            })?;
            let mode = match &file.mode {
                None => MODE,
                Some(text) => mode(text.get_ref()).ok_or_else(|| {
                    let hint = "write it in octal digits, as for chmod; nobody but the owner may write: mode = \"0755\"";
                    let message = format!("`{}` is no mode for a file of an image", text.get_ref().escape_debug());
                    document.fault(text.span(), message, hint.to_owned())
                })?,
            };
            let content = read(file.from.get_ref()).map_err(|reason| {
                let hint = "name a regular file; a relative path starts beside the spec file".to_owned();
                let message = format!("cannot read `{}`: {reason}", file.from.get_ref().escape_debug());
                document.fault(file.from.span(), message, hint)
            })?;
            files.push(ExtraFile { to, mode, content });
        }
        let Text { suite, profile, with, without, labels, .. } = told;
        let plain = |names: Vec<Spanned<String>>| names.into_iter().map(Spanned::into_inner).collect();
        let (profile, with, without) = (profile.map(Spanned::into_inner), plain(with), plain(without));
        Ok(Self { suite, profile, with, without, env, labels, files })
    }
}

fn read_file(path: &Path) -> Result<Content, String> {
    let told = |error: std::io::Error| error.to_string();
    let metadata = fs::metadata(path).map_err(told)?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if metadata.len() > FILE_LIMIT {
        return Err("it is longer than 1 GB".to_owned());
    }
    Content::of_file(path).map_err(told)
}

/// Whether there are such a profile and such components, and an image can be with and without them.
fn check_names(document: &Document<'_>, told: &Text) -> Result<(), DocumentError> {
    let fault = |span, error: SpecError| {
        let hint = error.hints().join("; ");
        document.fault(span, error.to_string(), hint)
    };
    // Where the data of the program itself is broken the build says so.
    let Ok(spec) = Spec::embedded() else { return Ok(()) };
    if let Some(profile) = &told.profile {
        spec.profile(profile.get_ref()).map_err(|error| fault(profile.span(), error))?;
    }
    for name in &told.with {
        spec.added(name.get_ref()).map_err(|error| fault(name.span(), error))?;
    }
    for name in &told.without {
        spec.left_out(name.get_ref()).map_err(|error| fault(name.span(), error))?;
        if told.with.iter().any(|other| other.get_ref() == name.get_ref()) {
            return Err(fault(name.span(), SpecError::Both { name: name.get_ref().clone() }));
        }
    }
    Ok(())
}

/// Directories of every system: engines and kernels mount into them or make files in them.
const DIRECTORIES: &[&str] = &[
    "bin", "boot", "dev", "etc", "home", "lib", "lib64", "mnt", "opt", "proc", "root", "run", "sbin", "srv",
    "sys", "tmp", "usr", "var",
];

/// A path in the image as trees have it.
fn place(text: &str) -> Option<String> {
    let path = text.strip_prefix('/')?;
    let plain = path == normalise(path) && !path.is_empty() && !path.chars().any(char::is_control);
    let mounted = ["dev/", "proc/", "sys/"].iter().any(|directory| path.starts_with(directory));
    (plain && !mounted && !DIRECTORIES.contains(&path)).then(|| path.to_owned())
}

/// Whether one is the other, or is below it.
fn overlap(one: &str, other: &str) -> bool {
    let below = |path: &str, of: &str| {
        path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(one, other) || below(other, one)
}

/// Only what the lints of an image allow.
fn mode(text: &str) -> Option<u32> {
    let mode = u32::from_str_radix(text, 8).ok()?;
    (text.bytes().all(|digit| digit.is_ascii_digit()) && mode & !0o755 == 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SpecFile, DocumentError> {
        SpecFile::parse(Path::new("from-scratch.toml"), text, &|name| match name {
            "gone" => Err("No such file".to_owned()),
            name => Ok(Content::new(name.as_bytes())),
        })
    }

    const WHOLE: &str = r#"
suite = "trixie"
profile = "minimal"
with = ["cli"]
without = ["etc"]

[env]
DOCKERD_DEBUG = "true"

[labels]
"com.example.team" = "build"

[[file]]
from = "daemon.json"
to = "/etc/docker/daemon.json"

[[file]]
from = "hook"
to = "/etc/dockerlaunch/hook"
mode = "0755"
"#;

    #[test]
    fn all_keys_are_understood() {
        let spec = parse(WHOLE).unwrap();
        assert_eq!(spec.suite.as_deref(), Some("trixie"));
        assert_eq!(spec.profile.as_deref(), Some("minimal"));
        assert_eq!((spec.with, spec.without), (vec!["cli".to_owned()], vec!["etc".to_owned()]));
        assert_eq!(spec.env["DOCKERD_DEBUG"], "true");
        assert_eq!(spec.labels["com.example.team"], "build");
        let file = |to: &str, mode, text: &str| ExtraFile {
            to: to.to_owned(),
            mode,
            content: Content::new(text.as_bytes()),
        };
        let expected = [
            file("etc/docker/daemon.json", 0o644, "daemon.json"),
            file("etc/dockerlaunch/hook", 0o755, "hook"),
        ];
        assert_eq!(spec.files, expected);
        assert_eq!(parse("").unwrap(), SpecFile::default());
    }

    #[test]
    fn faults_have_a_place_and_a_remedy() {
        let file = |line: &str| format!("[[file]]\nfrom = \"a\"\nto = \"/a\"\n{line}\n");
        for (text, expected, hint) in [
            ("profil = \"x\"".to_owned(), ":1:1: unknown field `profil`", "did you mean `profile`?"),
            ("with = \"cli\"".to_owned(), ":1:8: invalid type: string", "docs/building.md"),
            ("suite = \"a\"\nsuite = \"b\"".to_owned(), ":2:1: duplicate key", "docs/building.md"),
            ("[env]\n\"A B\" = \"1\"".to_owned(), ":2:1: `A B` cannot be", "underscores"),
            (file("mode = \"4755\""), ":4:8: `4755` is no mode", "octal"),
            (file("mode = \"0666\""), ":4:8: `0666` is no mode", "octal"),
            (file("mode = \"rw\""), ":4:8: `rw` is no mode", "octal"),
            (file("mod = \"1\""), ":4:1: unknown field `mod`", "did you mean `mode`?"),
            (file("[[file]]\nfrom = \"b\"\nto = \"/a\""), ":6:6: `/a` is no place", "each once"),
            (
                file("[[file]]\nfrom = \"gone\"\nto = \"/b\""),
                ":5:8: cannot read `gone`: No such file",
                "beside",
            ),
            ("[[file]]\nfrom = \"a\"\nto = \"/../a\"".to_owned(), ":3:6: `/../a` is no place", "from `/` on"),
            ("[[file]]\nfrom = \"a\"\nto = \"a\"".to_owned(), ":3:6: `a` is no place", "from `/` on"),
            ("[[file]]\nfrom = \"a\"\nto = \"/\"".to_owned(), ":3:6: `/` is no place", "from `/` on"),
            ("[[file]]\nfrom = \"a\"\nto = \"/etc\"".to_owned(), ":3:6: `/etc` is no place", "from `/` on"),
            (
                "[[file]]\nfrom = \"a\"\nto = \"/sys/x\"".to_owned(),
                ":3:6: `/sys/x` is no place",
                "from `/` on",
            ),
            (file("[[file]]\nfrom = \"b\"\nto = \"/a/b\""), ":6:6: `/a/b` is no place", "below another"),
            ("profile = \"defualt\"".to_owned(), ":1:11: unknown profile `defualt`", "default"),
            ("with = [\"cli\",\n\"clii\"]".to_owned(), ":2:1: unknown component `clii`", "cli"),
            (
                "without = [\"engine\"]".to_owned(),
                ":1:12: component `engine` cannot be left out",
                "no container starts",
            ),
            ("with = [\"passt\"]".to_owned(), ":1:9: component `passt` serves the host", "by itself"),
            (
                "with = [\"git\"]\nwithout = [\"xz\", \"git\"]".to_owned(),
                ":2:18: component `git` is given with both",
                "only once",
            ),
            ("without = [\"gti\"]".to_owned(), ":1:12: unknown component `gti`", "git"),
        ] {
            let error = parse(&text).expect_err(&text);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.hints().iter().any(|told| told.contains(hint)), "{text}: {:?}", error.hints());
        }
    }
}
