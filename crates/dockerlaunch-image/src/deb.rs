//! Unpacking: a `.deb` is an `ar` archive with a compressed tar in it. Only the files asked for are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use object::read::archive::ArchiveFile;

use crate::cache::Cache;
use crate::error::Hints;
use crate::fetch::cache_remedy;
use crate::file_content::NotKept;
use crate::limited::Limited;
use crate::progress::{Progress, Stoppable};
use crate::source::Package;
use crate::tree::Content;

/// A package cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Its archive is damaged or of an unknown kind.
    #[error("cannot unpack package {package}")]
    Archive {
        /// Its name.
        package: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The cached file changed since it was verified.
    #[error("package {package} in the cache is damaged")]
    Damaged {
        /// Its name.
        package: String,
        /// The file.
        path: PathBuf,
    },
}

impl Hints for UnpackError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Archive { source, .. } => vec![match NotKept::of(source) {
                Some(not_kept) => cache_remedy(not_kept.kind()),
                None => "try another suite with `--suite NAME`, or report the package".to_owned(),
            }],
            Self::Damaged { path, .. } => vec![format!("remove `{}` and build again", path.display())],
        }
    }
}

/// What lies at a path of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A regular file; its content where that was wanted.
    File { mode: u32, content: Option<Content> },
    /// A symbolic link.
    Symlink(String),
    /// Anything else.
    Other,
}

/// What a package holds, by path without the leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) entries: BTreeMap<String, Entry>,
}

impl Contents {
    /// Files whose content was not kept although a wanted link leads to them.
    fn link_targets(&self, wanted: &dyn Fn(&str) -> bool) -> BTreeSet<String> {
        self.entries
            .keys()
            .filter(|path| wanted(path))
            .filter_map(|path| self.resolve(path))
            .filter(|(_, _, content)| content.is_none())
            .map(|(target, _, _)| target.to_owned())
            .collect()
    }

    /// Follows symbolic links within the package, to a regular file.
    pub(crate) fn resolve<'a>(&'a self, path: &str) -> Option<(&'a str, u32, Option<&'a Content>)> {
        let mut path = path.to_owned();
        // As many links as the kernel follows; a circle ends here.
        for _ in 0..40 {
            match self.entries.get_key_value(&path)? {
                (found, Entry::File { mode, content }) => return Some((found, *mode, content.as_ref())),
                (found, Entry::Symlink(target)) => {
                    let directory = found.rsplit_once('/').map_or("", |(directory, _)| directory);
                    let joined = if target.starts_with('/') {
                        target.clone()
                    } else {
                        format!("{directory}/{target}")
                    };
                    path = merge_usr(normalise(&joined));
                }
                (_, Entry::Other) => return None,
            }
        }
        None
    }
}

/// Resolves `.` and `..` in a path and drops slashes at its ends.
pub(crate) fn normalise(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where a path of an older package lies today: `/bin`, `/sbin` and `/lib` are links into `/usr`.
fn merge_usr(path: String) -> String {
    let old = ["bin/", "sbin/", "lib/", "lib64/"].iter().any(|directory| path.starts_with(directory));
    if old { format!("usr/{path}") } else { path }
}

/// Lists a package and keeps the content of the files that `wanted` names.
///
/// Every build unpacks anew from the package that the signed index names. A note of what an earlier build had unpacked
/// would have to be believed, and whoever can change the note could put anything into the image.
pub(crate) fn contents(
    package: &Package,
    cache: &Cache,
    progress: &dyn Progress,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Contents, UnpackError> {
    let deb = cache.read_blob(package.digest).ok_or_else(|| UnpackError::Damaged {
        package: package.name.clone(),
        path: cache.blob(package.digest),
    })?;
    let read = |wanted: &dyn Fn(&str) -> bool| {
        read_data(&deb, &cache.scratch(), progress, wanted)
            .map(|entries| Contents { entries })
            .map_err(|source| UnpackError::Archive { package: package.name.clone(), source })
    };
    let contents = read(wanted)?;
    // What a wanted link points to is known only when all is listed: then it takes a second look.
    let targets = contents.link_targets(wanted);
    if targets.is_empty() {
        return Ok(contents);
    }
    read(&|path| wanted(path) || targets.contains(path))
}

/// Reads the data part of a package; what is large goes into files without a name in `scratch`.
pub(crate) fn read_data(
    deb: &[u8],
    scratch: &Path,
    progress: &dyn Progress,
    wanted: &dyn Fn(&str) -> bool,
) -> io::Result<BTreeMap<String, Entry>> {
    let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    for member in ArchiveFile::parse(deb).map_err(damaged)?.members() {
        let member = member.map_err(damaged)?;
        let name = String::from_utf8_lossy(member.name());
        let inner = member.data(deb).map_err(damaged)?;
        let member = Stoppable { inner, progress };
        match name.trim_end_matches('/') {
            "data.tar" => return read_tar(member, scratch, wanted),
            "data.tar.xz" => return read_tar(liblzma::read::XzDecoder::new(member), scratch, wanted),
            "data.tar.gz" => return read_tar(flate2::read::GzDecoder::new(member), scratch, wanted),
            "data.tar.zst" => return read_tar(zstd::Decoder::new(member)?, scratch, wanted),
            _ => {}
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it has no data.tar that can be read"))
}

fn read_tar(
    reader: impl Read,
    scratch: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> io::Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    let mut archive = tar::Archive::new(Limited::new(reader));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        // No package has them; without them a path would mean another file.
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let why = format!("`{}` is a path that leads out of it", path.escape_debug());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let path = merge_usr(normalise(&path));
        let target = entry.link_name_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let kind = entry.header().entry_type();
        let found = match (kind, target) {
            (tar::EntryType::Regular, _) => {
                let mode = entry.header().mode()? & 0o7777;
                let mut content = None;
                if wanted(&path) {
                    let kept = Content::keep(&mut entry, scratch)?;
                    if kept.size() != entry.size() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    content = Some(kept);
                }
                Entry::File { mode, content }
            }
            (tar::EntryType::Symlink, Some(target)) => Entry::Symlink(target),
            // A hard link is the same file under another name; for us a link to it says the same.
            (tar::EntryType::Link, Some(target)) => {
                Entry::Symlink(format!("/{}", merge_usr(normalise(&target))))
            }
            _ => Entry::Other,
        };
        entries.insert(path, found);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::limited::bomb;
    use crate::progress::{Halted, Silent};
    use proptest::prelude::*;

    fn tar_with(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            if *kind == tar::EntryType::Regular {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, content.as_bytes()).unwrap();
            } else {
                header.set_size(0);
                builder.append_link(&mut header, path, content).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    fn read(deb: &[u8], wanted: &dyn Fn(&str) -> bool) -> io::Result<BTreeMap<String, Entry>> {
        read_data(deb, &std::env::temp_dir(), &Silent, wanted)
    }

    fn deb(member: &str, data: &[u8]) -> Vec<u8> {
        let mut builder = ar::Builder::new(Vec::new());
        for (name, bytes) in [("debian-binary", b"2.0\n".as_slice()), (member, data)] {
            builder.append(&ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64), bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in ["/usr/bin/x", "../usr/bin/x", "./usr/../../bin/x", "usr/bin/.."] {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(0o755);
            header.set_size(0);
            // As it is: `set_path` would refuse what the test is about.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, &[][..]).unwrap();
            let error = read(&deb("data.tar", &builder.into_inner().unwrap()), &|_| true).unwrap_err();
            assert!(error.to_string().contains("leads out of it"), "{path}: {error}");
        }
    }

    #[test]
    fn wanted_files_are_kept_and_links_followed() {
        use tar::EntryType::{Link, Regular, Symlink};
        let tar = tar_with(&[
            ("./usr/bin/real", Regular, "program"),
            ("./usr/share/doc", Regular, "text"),
            ("./usr/bin/soft", Symlink, "../bin/real"),
            ("./usr/bin/hard", Link, "./usr/bin/real"),
            ("./usr/bin/loop", Symlink, "nowhere"),
            ("./bin/old", Symlink, "/bin/real"),
        ]);
        for (member, bytes) in [
            ("data.tar", tar.clone()),
            ("data.tar.zst", zstd::encode_all(tar.as_slice(), 1).unwrap()),
            ("data.tar.xz", {
                let mut packed = Vec::new();
                liblzma::read::XzEncoder::new(tar.as_slice(), 1).read_to_end(&mut packed).unwrap();
                packed
            }),
        ] {
            let entries = read(&deb(member, &bytes), &|path| path.starts_with("usr/bin/")).unwrap();
            let contents = Contents { entries };
            let program = Content::new(*b"program");
            for path in ["usr/bin/real", "usr/bin/soft", "usr/bin/hard", "usr/bin/old"] {
                assert_eq!(contents.resolve(path), Some(("usr/bin/real", 0o755, Some(&program))), "{path}");
            }
            assert_eq!(contents.resolve("usr/bin/loop"), None);
            assert_eq!(contents.entries["usr/share/doc"], Entry::File { mode: 0o755, content: None });
        }
    }

    #[test]
    fn what_a_wanted_link_leads_to_is_kept() {
        use tar::EntryType::{Link, Regular};
        let bytes = deb(
            "data.tar",
            &tar_with(&[
                ("./usr/bin/passt", Regular, "program"),
                ("./usr/bin/pasta", Link, "./usr/bin/passt"),
            ]),
        );
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path().to_owned()).unwrap();
        let digest = Digest::of(&bytes);
        cache.write_blob(digest, &bytes).unwrap();
        let package = Package {
            name: "passt".to_owned(),
            version: crate::Version::new("1"),
            architecture: String::new(),
            filename: String::new(),
            size: bytes.len() as u64,
            digest,
            depends: vec![],
            bases: vec![],
        };
        let found = contents(&package, &cache, &Silent, &|path| path == "usr/bin/pasta").unwrap();
        assert_eq!(found.resolve("usr/bin/pasta").unwrap().2, Some(&Content::new(*b"program")));
        assert!(contents(&package, &cache, &Halted, &|_| true).is_err(), "a stop is not kept waiting");
        std::fs::write(cache.blob(digest), "other").unwrap();
        let error = contents(&package, &cache, &Silent, &|path| path == "usr/bin/pasta").unwrap_err();
        assert!(matches!(error, UnpackError::Damaged { .. }), "a changed file is not unpacked");
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = deb("data.tar.zst", &bomb("./usr/bin/x"));
        for wanted in [true, false] {
            let error = read(&bomb, &|_| wanted).unwrap_err().to_string();
            assert!(error.contains("unpacks to more than"), "{error}");
        }
    }

    #[test]
    fn what_is_no_package_is_an_error() {
        assert!(read(b"", &|_| true).is_err());
        assert!(read(&deb("control.tar", b""), &|_| true).is_err());
        assert!(read(&deb("data.tar.xz", b"nonsense"), &|_| true).is_err());
    }

    #[test]
    fn links_in_a_circle_end() {
        let link = |target: &str| Entry::Symlink(target.to_owned());
        let entries = BTreeMap::from([("a".to_owned(), link("b")), ("b".to_owned(), link("a"))]);
        assert_eq!(Contents { entries }.resolve("a"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, &|_| true);
            let _ = read(&deb("data.tar", &bytes), &|_| true);
        }
    }
}
