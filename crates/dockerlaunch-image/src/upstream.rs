//! The engine out of a static tarball, in the layout of Docker's own `docker-VERSION.tgz`: `docker/dockerd` and its
//! fellows, in place of the distribution's packages.
//!
//! Nothing of it gets into an output before all of it has been read and found right.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::Hints;
use crate::fetch::{FetchError, Fetcher, cache_remedy};
use crate::file_content::NotKept;
use crate::limited::Limited;
use crate::spec::nearest;
use crate::tree::Content;

/// Components whose files come from the tarball.
pub(crate) const COMPONENTS: &[&str] = &["engine", "cli"];

/// Several times as much as any release has.
const PACKED_LIMIT: u64 = 512 << 20;

/// The directory that holds everything.
const DIRECTORY: &str = "docker/";

/// A tarball of the engine, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// A path, or an address that begins with `http://` or `https://`.
    pub location: String,
    /// Its digest, which alone says that it is the right one.
    pub digest: Digest,
}

/// The engine's tarball cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It cannot be read.
    #[error("cannot read the engine `{location}`")]
    Read {
        /// Where it is.
        location: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be fetched.
    #[error("cannot fetch the engine `{location}`")]
    Fetch {
        /// Where it is.
        location: String,
        /// Why.
        #[source]
        source: Box<FetchError>,
    },
    /// It is another one.
    #[error("the engine `{location}` is not the one that was asked for: expected {expected}, got {found}")]
    WrongDigest {
        /// Where it is.
        location: String,
        /// What was asked for.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// It is damaged, or no tarball.
    #[error("the engine `{location}` cannot be unpacked")]
    Archive {
        /// Where it is.
        location: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has something in it that does not belong there.
    #[error("the engine `{location}` has `{path}` in it, {why}")]
    Entry {
        /// Where it is.
        location: String,
        /// The entry.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It lacks a program.
    #[error("the engine `{location}` has no `docker/{name}`")]
    Lacks {
        /// Where it is.
        location: String,
        /// The program.
        name: String,
        /// What it has that is most like it.
        nearest: Option<String>,
    },
}

impl Hints for UpstreamError {
    fn hints(&self) -> Vec<String> {
        let layout =
            "the layout is that of Docker's static releases: `docker/dockerd`, `docker/containerd` and so on";
        match self {
            Self::Read { .. } => vec!["name a readable file or an address: `--engine FILE|URL`".to_owned()],
            Self::Fetch { .. } => vec![
                "check the address; a tarball that was fetched by other means is named by its path: `--engine FILE`"
                    .to_owned(),
            ],
            Self::WrongDigest { .. } => vec![
                "compare `--engine-sha256` with what the engine's maker has published".to_owned(),
                "the file may have been changed or cut off on its way: fetch it anew".to_owned(),
            ],
            Self::Archive { source, .. } if let Some(not_kept) = NotKept::of(source) => {
                vec![cache_remedy(not_kept.kind())]
            }
            Self::Archive { .. } => {
                vec!["fetch the tarball anew, and compare its digest".to_owned(), layout.to_owned()]
            }
            Self::Entry { .. } => vec![layout.to_owned()],
            Self::Lacks { name, nearest, .. } => {
                let near = nearest.as_ref().map(|near| format!("it has `docker/{near}`"));
                let without =
                    (name == "docker").then(|| "leave the client out with `--without cli`".to_owned());
                near.into_iter().chain(without).chain([layout.to_owned()]).collect()
            }
        }
    }
}

/// The programs of a tarball.
#[derive(Debug)]
pub(crate) struct Programs {
    location: String,
    pub(crate) digest: Digest,
    files: BTreeMap<String, Content>,
}

impl Programs {
    /// The program of this name.
    pub(crate) fn get(&self, name: &str) -> Result<&Content, UpstreamError> {
        self.files.get(name).ok_or_else(|| UpstreamError::Lacks {
            location: self.location.clone(),
            name: name.to_owned(),
            nearest: nearest(name, self.files.keys().map(String::as_str)).map(str::to_owned),
        })
    }
}

impl Engine {
    /// Fetches or reads the tarball, checks it and unpacks it.
    pub(crate) fn open(&self, fetcher: &Fetcher<'_>) -> Result<Programs, crate::BuildError> {
        let bytes = if self.location.contains("://") { self.fetch(fetcher)? } else { self.read()? };
        let found = Digest::of(&bytes);
        if found != self.digest {
            let (location, expected) = (self.location.clone(), self.digest);
            return Err(UpstreamError::WrongDigest { location, expected, found }.into());
        }
        Ok(unpack(&self.location, &bytes, &fetcher.cache.scratch())?)
    }

    fn read(&self) -> Result<Vec<u8>, UpstreamError> {
        let fail = |source| UpstreamError::Read { location: self.location.clone(), source };
        let file = File::open(PathBuf::from(&self.location)).map_err(fail)?;
        let mut bytes = Vec::new();
        file.take(PACKED_LIMIT + 1).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > PACKED_LIMIT { Err(fail(too_long())) } else { Ok(bytes) }
    }

    fn fetch(&self, fetcher: &Fetcher<'_>) -> Result<Vec<u8>, crate::BuildError> {
        if let Some(bytes) = fetcher.cache.read_blob(self.digest) {
            return Ok(bytes);
        }
        let bytes = match fetcher.whole(&self.location, PACKED_LIMIT) {
            // Mirrors have nothing to do with it, so it is not their remedies that help.
            Err(
                error @ (FetchError::Transport { .. }
                | FetchError::Status { .. }
                | FetchError::TooLong { .. }),
            ) => {
                let (location, source) = (self.location.clone(), Box::new(error));
                return Err(UpstreamError::Fetch { location, source }.into());
            }
            result => result?,
        };
        // What is not the right one is not kept.
        if Digest::of(&bytes) == self.digest {
            let path = fetcher.cache.blob(self.digest);
            let kept = fetcher.cache.write_blob(self.digest, &bytes);
            kept.map_err(|source| FetchError::Cache { path, source })?;
        }
        Ok(bytes)
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than any release of Docker")
}

pub(crate) fn unpack(location: &str, bytes: &[u8], scratch: &Path) -> Result<Programs, UpstreamError> {
    let fail = |source| UpstreamError::Archive { location: location.to_owned(), source };
    let plain: Box<dyn Read + '_> = match bytes {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Box::new(liblzma::read::XzDecoder::new(bytes)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(bytes).map_err(fail)?),
        _ => Box::new(bytes),
    };
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(Limited::new(plain));
    for entry in archive.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let wrong = |why| UpstreamError::Entry {
            location: location.to_owned(),
            path: path.escape_debug().to_string(),
            why,
        };
        let path = path.strip_prefix("./").unwrap_or(&path);
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(wrong("a path that leads out of it"));
        }
        match entry.header().entry_type() {
            tar::EntryType::Directory | tar::EntryType::XGlobalHeader => continue,
            tar::EntryType::Regular => {}
            _ => return Err(wrong("which is no regular file: a link or a device has no place there")),
        }
        let name = path.strip_prefix(DIRECTORY).filter(|name| !name.is_empty() && !name.contains('/'));
        let name = name.ok_or_else(|| wrong("outside of `docker/`"))?.to_owned();
        // As much is kept as arrives, and not as the header promises.
        let content = Content::keep(&mut entry, scratch).map_err(fail)?;
        if content.size() != entry.size() {
            return Err(fail(io::ErrorKind::UnexpectedEof.into()));
        }
        if files.insert(name, content).is_some() {
            return Err(wrong("twice"));
        }
    }
    // The tar may end before the file does, and its checksum stands at the end.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(fail)?;
    Ok(Programs { location: location.to_owned(), digest: Digest::of(bytes), files })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;
    use crate::cache::Cache;
    use crate::limited::bomb;
    use crate::progress::Silent;
    use tar::EntryType::{Link, Regular, Symlink};

    fn tarball(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_size(if *kind == Regular { content.len() as u64 } else { 0 });
            // As it is: `set_path` would refuse what the test is about.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            if *kind != Regular {
                header.set_link_name("/etc").unwrap();
            }
            header.set_cksum();
            builder.append(&header, if *kind == Regular { content } else { b"".as_slice() }).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn opened(bytes: &[u8]) -> Result<Programs, UpstreamError> {
        unpack("x.tgz", bytes, &std::env::temp_dir())
    }

    fn refused(bytes: &[u8]) -> String {
        let error = opened(bytes).unwrap_err();
        assert!(!error.hints().is_empty());
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}")
    }

    #[test]
    fn programs_are_found_by_name() {
        let plain = tarball(&[("docker/dockerd", Regular, b"d"), ("./docker/containerd", Regular, b"c")]);
        for bytes in [gzip(&plain), zstd::encode_all(plain.as_slice(), 1).unwrap(), plain.clone()] {
            let programs = opened(&bytes).unwrap();
            assert_eq!(programs.get("dockerd").unwrap().bytes().unwrap(), b"d".as_slice());
            let error = programs.get("dockrd").unwrap_err();
            assert_eq!(error.to_string(), "the engine `x.tgz` has no `docker/dockrd`");
            assert_eq!(error.hints()[0], "it has `docker/dockerd`");
        }
    }

    #[test]
    fn entries_that_lead_elsewhere_are_refused() {
        for (entries, expected) in [
            (vec![("../dockerd", Regular, b"".as_slice())], "leads out of it"),
            (vec![("docker/../../etc/passwd", Regular, b"")], "leads out of it"),
            (vec![("/etc/passwd", Regular, b"")], "leads out of it"),
            (vec![("docker/x", Symlink, b""), ("docker/x/passwd", Regular, b"")], "no regular file"),
            (vec![("docker/x", Link, b"")], "no regular file"),
            (vec![("dockerd", Regular, b"")], "outside of `docker/`"),
            (vec![("docker/a/b", Regular, b"")], "outside of `docker/`"),
            (vec![("docker/dockerd", Regular, b"1"), ("docker/dockerd", Regular, b"2")], "twice"),
        ] {
            let told = refused(&tarball(&entries));
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn what_is_cut_off_or_no_tarball_is_refused() {
        let whole = gzip(&tarball(&[("docker/dockerd", Regular, &[7; 100_000])]));
        for end in [whole.len() / 2, whole.len() - 9, 30] {
            assert!(refused(&whole[..end]).contains("cannot be unpacked"), "{end}");
        }
        assert!(refused(&b"<html>not found</html>".repeat(100)).contains("cannot be unpacked"));
    }

    /// Serves these bytes to so many clients, and returns where.
    fn served(bytes: Vec<u8>, clients: usize) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/docker-1.tgz", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().take(clients) {
                let mut stream = stream.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).unwrap();
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()).unwrap();
                stream.write_all(&bytes).unwrap();
            }
        });
        address
    }

    #[test]
    fn an_address_is_fetched_once_and_only_the_right_one_kept() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path().to_owned()).unwrap();
        let bytes = gzip(&tarball(&[("docker/dockerd", Regular, b"d")]));
        let (right, wrong) = (Digest::of(&bytes), Digest::of(b"another"));
        let location = served(bytes, 2);
        let open = |digest, offline| {
            let fetcher = Fetcher::new(&cache, offline, Duration::from_secs(20), &Silent);
            Engine { location: location.clone(), digest }.open(&fetcher)
        };
        let error = open(wrong, false).unwrap_err().to_string();
        assert!(error.contains(&wrong.to_string()) && error.contains(&right.to_string()), "{error}");
        assert!(open(right, true).is_err(), "what was wrong was kept");
        assert_eq!(open(right, false).unwrap().get("dockerd").unwrap().bytes().unwrap(), b"d".as_slice());
        assert!(open(right, true).is_ok(), "it is fetched again");
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = bomb("docker/dockerd");
        let told = refused(&bomb);
        assert!(told.contains("unpacks to more than"), "{told}");
    }
}
