//! Unpacking: a `.deb` is an `ar` archive with a compressed tar in it. Only the files asked for are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, write_atomically};
use crate::digest::Digest;
use crate::error::Hints;
use crate::source::Package;

/// Changes when records of older versions no longer fit.
const RECORD_VERSION: u32 = 2;

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
            Self::Archive { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                vec![
                    "free some space (about 500 MB), or name another place with `--cache-dir DIR`".to_owned(),
                ]
            }
            Self::Archive { .. } => {
                vec!["try another suite with `--suite NAME`, or report the package".to_owned()]
            }
            Self::Damaged { path, .. } => vec![format!("remove `{}` and build again", path.display())],
        }
    }
}

/// What lies at a path of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Entry {
    /// A regular file; its digest where its content was kept.
    File { mode: u32, content: Option<Digest> },
    /// A symbolic link.
    Symlink(String),
    /// Anything else.
    Other,
}

/// What a package holds, by path without the leading slash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    version: u32,
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
    pub(crate) fn resolve<'a>(&'a self, path: &str) -> Option<(&'a str, u32, Option<Digest>)> {
        let mut path = path.to_owned();
        // As many links as the kernel follows; a circle ends here.
        for _ in 0..40 {
            match self.entries.get_key_value(&path)? {
                (found, Entry::File { mode, content }) => return Some((found, *mode, *content)),
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

/// Lists a package and keeps the content of the files that `wanted` names, from the cache where it has them.
pub(crate) fn contents(
    package: &Package,
    cache: &Cache,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Contents, UnpackError> {
    let record = cache.record("packages", &package.digest.hex());
    if let Some(contents) =
        fs::read(&record).ok().and_then(|bytes| serde_json::from_slice::<Contents>(&bytes).ok())
        && contents.version == RECORD_VERSION
        && has_all(&contents, cache, wanted)
    {
        return Ok(contents);
    }
    let failed = |source| UnpackError::Archive { package: package.name.clone(), source };
    let path = cache.blob(package.digest);
    let (found, _) = Digest::of_file(&path).map_err(failed)?;
    if found != package.digest {
        return Err(UnpackError::Damaged { package: package.name.clone(), path });
    }
    let mut keep = |digest: Digest, bytes: &[u8]| cache.write_blob(digest, bytes);
    let entries = read_data(File::open(&path).map_err(failed)?, wanted, &mut keep).map_err(failed)?;
    let mut contents = Contents { version: RECORD_VERSION, entries };
    // What a wanted link points to is known only when all is listed: then it takes a second look.
    let targets = contents.link_targets(wanted);
    if !targets.is_empty() {
        let wanted = |path: &str| wanted(path) || targets.contains(path);
        contents.entries =
            read_data(File::open(&path).map_err(failed)?, &wanted, &mut keep).map_err(failed)?;
    }
    let json = serde_json::to_vec(&contents).map_err(|error| failed(error.into()))?;
    write_atomically(&record, &json).map_err(failed)?;
    Ok(contents)
}

fn has_all(contents: &Contents, cache: &Cache, wanted: &dyn Fn(&str) -> bool) -> bool {
    contents.entries.keys().filter(|path| wanted(path)).all(|path| match contents.resolve(path) {
        Some((_, _, content)) => content.is_some_and(|digest| cache.blob(digest).exists()),
        None => true,
    })
}

type Keep<'a> = &'a mut dyn FnMut(Digest, &[u8]) -> io::Result<()>;

/// Reads the data part of a package.
fn read_data(
    deb: impl Read,
    wanted: &dyn Fn(&str) -> bool,
    keep: Keep<'_>,
) -> io::Result<BTreeMap<String, Entry>> {
    let mut archive = ar::Archive::new(deb);
    while let Some(member) = archive.next_entry() {
        let member = member?;
        let name = String::from_utf8_lossy(member.header().identifier()).trim_end_matches('/').to_owned();
        match name.as_str() {
            "data.tar" => return read_tar(member, wanted, keep),
            "data.tar.xz" => return read_tar(liblzma::read::XzDecoder::new(member), wanted, keep),
            "data.tar.gz" => return read_tar(flate2::read::GzDecoder::new(member), wanted, keep),
            "data.tar.zst" => return read_tar(zstd::Decoder::new(member)?, wanted, keep),
            _ => {}
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it has no data.tar that can be read"))
}

fn read_tar(
    reader: impl Read,
    wanted: &dyn Fn(&str) -> bool,
    keep: Keep<'_>,
) -> io::Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = merge_usr(normalise(&String::from_utf8_lossy(&entry.path_bytes())));
        let target = entry.link_name_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let kind = entry.header().entry_type();
        let found = match (kind, target) {
            (tar::EntryType::Regular, _) => {
                let mode = entry.header().mode()? & 0o7777;
                let mut content = None;
                if wanted(&path) {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    let digest = Digest::of(&bytes);
                    keep(digest, &bytes)?;
                    content = Some(digest);
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

    fn deb(member: &str, data: &[u8]) -> Vec<u8> {
        let mut builder = ar::Builder::new(Vec::new());
        for (name, bytes) in [("debian-binary", b"2.0\n".as_slice()), (member, data)] {
            builder.append(&ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64), bytes).unwrap();
        }
        builder.into_inner().unwrap()
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
            let mut kept = Vec::new();
            let entries = read_data(
                deb(member, &bytes).as_slice(),
                &|path| path.starts_with("usr/bin/"),
                &mut |_, bytes| {
                    kept.push(bytes.to_vec());
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(kept, [b"program"]);
            let contents = Contents { version: RECORD_VERSION, entries };
            let digest = Some(Digest::of(b"program"));
            for path in ["usr/bin/real", "usr/bin/soft", "usr/bin/hard", "usr/bin/old"] {
                assert_eq!(contents.resolve(path), Some(("usr/bin/real", 0o755, digest)), "{path}");
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
            filename: String::new(),
            size: bytes.len() as u64,
            digest,
            depends: vec![],
            base: String::new(),
        };
        for _ in 0..2 {
            let contents = contents(&package, &cache, &|path| path == "usr/bin/pasta").unwrap();
            assert_eq!(contents.resolve("usr/bin/pasta").unwrap().2, Some(Digest::of(b"program")));
        }
        std::fs::remove_file(cache.blob(Digest::of(b"program"))).unwrap();
        std::fs::write(cache.blob(digest), "other").unwrap();
        let error = contents(&package, &cache, &|path| path == "usr/bin/pasta").unwrap_err();
        assert!(matches!(error, UnpackError::Damaged { .. }), "a changed file is not unpacked");
    }

    #[test]
    fn what_is_no_package_is_an_error() {
        let mut keep = |_: Digest, _: &[u8]| Ok(());
        assert!(read_data(b"".as_slice(), &|_| true, &mut keep).is_err());
        assert!(read_data(deb("control.tar", b"").as_slice(), &|_| true, &mut keep).is_err());
        assert!(read_data(deb("data.tar.xz", b"nonsense").as_slice(), &|_| true, &mut keep).is_err());
    }

    #[test]
    fn links_in_a_circle_end() {
        let link = |target: &str| Entry::Symlink(target.to_owned());
        let entries = BTreeMap::from([("a".to_owned(), link("b")), ("b".to_owned(), link("a"))]);
        assert_eq!(Contents { version: RECORD_VERSION, entries }.resolve("a"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_data(bytes.as_slice(), &|_| true, &mut |_, _| Ok(()));
            let _ = read_data(deb("data.tar", &bytes).as_slice(), &|_| true, &mut |_, _| Ok(()));
        }
    }
}
