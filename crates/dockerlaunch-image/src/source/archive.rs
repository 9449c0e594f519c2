//! Opening a suite: find the archive, verify its Release file, read its package index.

use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::apt::{AptSettings, AptSource};
use super::error::SourceError;
use super::packages::{Package, PackageIndex};
use super::release::{DateProblem, IndexEntry, Release, judge_dates};
use crate::digest::Digest;
use crate::fetch::{FetchError, Fetcher, Wanted};
use crate::request::BuildRequest;
use crate::verify::{OpenPgp, Verifier, VerifyError};

/// The distribution's keyring where Debian and its derivatives install it.
const DISTRIBUTION_KEYRINGS: &[&str] =
    &["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

/// A suite, with the suites that belong to it, opened and verified.
#[derive(Debug)]
pub struct Archive {
    /// Codename of the suite that was asked for.
    pub codename: String,
    /// What the user should know.
    pub warnings: Vec<String>,
    indexes: Vec<PackageIndex>,
}

/// A Release file that passed every check.
struct Opened {
    base: String,
    suite: String,
    url: String,
    release: Release,
    keyring: Vec<PathBuf>,
}

impl Archive {
    pub(crate) fn open(
        request: &BuildRequest,
        fetcher: &Fetcher<'_>,
        now: Timestamp,
    ) -> Result<Self, SourceError> {
        let apt = request.apt.clone().unwrap_or_else(AptSettings::from_host);
        let mut opener = Opener { request, fetcher, apt: &apt, now, expired: Vec::new() };
        let main = opener.open_main()?;
        let mut opened = Vec::new();
        let mut warnings = Vec::new();
        if is_stable(&main.release) {
            opened.extend(opener.open_joined(&main, std::slice::from_ref(&main.base), "updates")?);
            match opener.open_joined(&main, &opener.security_bases(&main.base), "security")? {
                Some(security) => opened.push(security),
                None => warnings.push(format!(
                    "no security archive for {} found: its packages may lack security fixes; name one with `--security-mirror URL`",
                    main.release.codename
                )),
            }
        }
        warnings.extend(expiry_warning(&opener.expired));
        let codename = main.release.codename.clone();
        opened.insert(0, main);
        let indexes = opened.iter().map(|one| opener.read_index(one)).collect::<Result<_, _>>()?;
        Ok(Self { codename, warnings, indexes })
    }

    /// The highest version of a package over all joined suites.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<Package> {
        self.indexes.iter().flat_map(|index| index.versions(name)).max_by(|a, b| a.version.cmp(&b.version))
    }
}

/// Testing and unstable get their fixes in the suite itself; their `-security` suites are empty.
fn is_stable(release: &Release) -> bool {
    !matches!(release.suite.as_str(), "testing" | "unstable" | "experimental")
}

/// One warning, however many Release files have expired.
fn expiry_warning(expired: &[(String, Timestamp, &'static str)]) -> Option<String> {
    let (_, _, reason) = expired.first()?;
    let list: Vec<String> =
        expired.iter().map(|(suite, until, _)| format!("{suite} was valid until {until}")).collect();
    Some(format!("{}; accepted because {reason}", list.join(", ")))
}

struct Opener<'a> {
    request: &'a BuildRequest,
    fetcher: &'a Fetcher<'a>,
    apt: &'a AptSettings,
    now: Timestamp,
    expired: Vec<(String, Timestamp, &'static str)>,
}

impl Opener<'_> {
    fn open_main(&mut self) -> Result<Opened, SourceError> {
        let suite = self.request.suite.clone();
        if let Some(mirror) = &self.request.mirror {
            let base = mirror.trim_end_matches('/').to_owned();
            let keyring = self.keyring(None);
            return self
                .open_suite(&base, &suite, &[&suite], keyring)?
                .ok_or_else(|| SourceError::UnknownSuite { suite, tried: vec![base] });
        }
        let candidates = candidates(&self.apt.sources);
        if candidates.is_empty() {
            return Err(SourceError::NoMirror);
        }
        let (mut failure, mut foreign) = (None, false);
        for source in &candidates {
            let keyring = self.keyring(Some(source));
            match self.open_suite(&source.uri, &suite, &[&suite], keyring) {
                Ok(Some(opened)) if opened.release.origin == "Debian" => return Ok(opened),
                Ok(Some(_)) => foreign = true,
                Ok(None) => {}
                Err(error @ SourceError::Fetch(FetchError::Cancelled)) => return Err(error),
                // Another archive may do; the first failure is told when none does.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(match failure {
            Some(error) => error,
            None if foreign => SourceError::NotDebian { suite },
            None => SourceError::UnknownSuite {
                suite,
                tried: candidates.into_iter().map(|source| source.uri.clone()).collect(),
            },
        })
    }

    /// Opens `CODENAME-KIND` on the first base that has it.
    fn open_joined(
        &mut self,
        main: &Opened,
        bases: &[String],
        kind: &str,
    ) -> Result<Option<Opened>, SourceError> {
        let suite = format!("{}-{kind}", main.release.codename);
        let alias = format!("{}-{kind}", main.release.suite);
        for base in bases {
            if let Some(opened) = self.open_suite(base, &suite, &[&suite, &alias], main.keyring.clone())? {
                return Ok(Some(opened));
            }
        }
        Ok(None)
    }

    fn security_bases(&self, main: &str) -> Vec<String> {
        if let Some(mirror) = &self.request.security_mirror {
            return vec![mirror.trim_end_matches('/').to_owned()];
        }
        let sibling = format!("{main}-security");
        if self.request.mirror.is_some() {
            return vec![sibling];
        }
        let mut bases: Vec<String> = self
            .apt
            .sources
            .iter()
            .filter(|source| source.suites.iter().any(|suite| suite.contains("-security")))
            .map(|source| source.uri.clone())
            .collect();
        bases.push(sibling);
        bases.dedup();
        bases
    }

    fn keyring(&self, source: Option<&AptSource>) -> Vec<PathBuf> {
        if let Some(keyring) = &self.request.keyring {
            return vec![keyring.clone()];
        }
        if let Some(found) = DISTRIBUTION_KEYRINGS.iter().map(Path::new).find(|path| path.exists()) {
            return vec![found.to_owned()];
        }
        source.map(|source| source.signed_by.clone()).unwrap_or_default()
    }

    /// Fetches and checks one Release file; `None` when the archive does not have the suite.
    fn open_suite(
        &mut self,
        base: &str,
        suite: &str,
        names: &[&str],
        keyring: Vec<PathBuf>,
    ) -> Result<Option<Opened>, SourceError> {
        let url = format!("{base}/dists/{suite}/InRelease");
        let Some(bytes) = self.fetcher.release(&url)? else { return Ok(None) };
        let untrusted = |source| SourceError::Verify { url: url.clone(), source };
        let text =
            String::from_utf8(bytes).map_err(|error| untrusted(VerifyError::NotSigned(Box::new(error))))?;
        let verified =
            OpenPgp::from_files(&keyring).and_then(|keys| keys.verify(&text, self.now)).map_err(untrusted)?;
        let release = Release::parse(&verified.text)
            .map_err(|source| SourceError::Release { url: url.clone(), source })?;
        if !names.iter().any(|name| release.is_called(name)) {
            return Err(SourceError::WrongSuite { url, asked: suite.to_owned(), found: release.codename });
        }
        self.check_dates(&release, &url, suite)?;
        Ok(Some(Opened { base: base.to_owned(), suite: suite.to_owned(), url, release, keyring }))
    }

    fn check_dates(&mut self, release: &Release, url: &str, suite: &str) -> Result<(), SourceError> {
        match judge_dates(release, self.now) {
            None => Ok(()),
            Some(DateProblem::Future(_)) if !self.apt.check_date => Ok(()),
            Some(DateProblem::Future(date)) => Err(SourceError::Future { url: url.to_owned(), date }),
            Some(DateProblem::Expired(until)) => {
                let reason = if self.request.allow_expired {
                    "of `--allow-expired`"
                } else if !(self.apt.check_valid_until && self.apt.check_date) {
                    "apt on this host is configured not to check it"
                } else {
                    return Err(SourceError::Expired { url: url.to_owned(), until });
                };
                self.expired.push((suite.to_owned(), until, reason));
                Ok(())
            }
        }
    }

    fn read_index(&self, opened: &Opened) -> Result<PackageIndex, SourceError> {
        let arch = self.request.arch.name();
        let path = format!("main/binary-{arch}/Packages");
        let plain = opened.release.index(&path);
        let kept = plain.and_then(|entry| self.fetcher.cache.read_blob(entry.digest));
        let bytes = match kept {
            Some(bytes) => bytes,
            None => self.fetch_index(opened, &path, plain)?,
        };
        Ok(PackageIndex::new(String::from_utf8_lossy(&bytes).into_owned(), &opened.base))
    }

    fn fetch_index(
        &self,
        opened: &Opened,
        path: &str,
        plain: Option<IndexEntry>,
    ) -> Result<Vec<u8>, SourceError> {
        let missing = || SourceError::NoIndex { url: opened.url.clone(), arch: self.request.arch.name() };
        let compressed = ["xz", "gz"].iter().find_map(|&kind| {
            let path = format!("{path}.{kind}");
            opened.release.index(&path).map(|entry| (kind, path, entry))
        });
        let (kind, path, entry) =
            compressed.or_else(|| plain.map(|entry| ("", path.to_owned(), entry))).ok_or_else(missing)?;
        let directory = format!("{}/dists/{}", opened.base, opened.suite);
        let mut urls = vec![format!("{directory}/{path}")];
        if opened.release.by_hash {
            // By hash a mirror that is being updated still answers with the index that this Release file lists.
            let (parent, _) = path.rsplit_once('/').unwrap_or(("", &path));
            urls.insert(0, format!("{directory}/{parent}/by-hash/SHA256/{}", entry.digest.hex()));
        }
        let wanted = Wanted { urls, digest: entry.digest, size: entry.size };
        self.fetcher.blob(&wanted)?;
        let read = || self.fetcher.cache.read_blob(entry.digest);
        let Some(packed) = read() else {
            // The cached copy is damaged: fetch it anew.
            let path = self.fetcher.cache.blob(entry.digest);
            std::fs::remove_file(&path).map_err(|source| FetchError::Cache { path, source })?;
            self.fetcher.blob(&wanted)?;
            return read()
                .ok_or_else(missing)
                .and_then(|packed| self.decompress(opened, kind, &packed, plain));
        };
        self.decompress(opened, kind, &packed, plain)
    }

    fn decompress(
        &self,
        opened: &Opened,
        kind: &str,
        packed: &[u8],
        plain: Option<IndexEntry>,
    ) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        let result = match kind {
            "xz" => liblzma::read::XzDecoder::new(packed).read_to_end(&mut bytes),
            "gz" => flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes),
            _ => std::io::Cursor::new(packed).read_to_end(&mut bytes),
        };
        result.map_err(|source| SourceError::Decompress { url: opened.url.clone(), source })?;
        if let Some(entry) = plain {
            let found = Digest::of(&bytes);
            if found != entry.digest {
                let url = opened.url.clone();
                return Err(FetchError::WrongDigest { url, expected: entry.digest, found }.into());
            }
            let path = self.fetcher.cache.blob(entry.digest);
            self.fetcher
                .cache
                .write_blob(entry.digest, &bytes)
                .map_err(|source| FetchError::Cache { path, source })?;
        }
        Ok(bytes)
    }
}

/// apt's archives without repetition, those that look like the distribution's first.
fn candidates(sources: &[AptSource]) -> Vec<AptSource> {
    let mut unique: Vec<AptSource> = Vec::new();
    for source in sources {
        if !unique.iter().any(|other| other.uri == source.uri) {
            unique.push(source.clone());
        }
    }
    unique.sort_by_key(|source| !source.uri.ends_with("/debian"));
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str) -> AptSource {
        AptSource { uri: uri.to_owned(), suites: vec![], signed_by: vec![] }
    }

    #[test]
    fn debians_own_archive_is_asked_first_and_once() {
        let list = [
            source("http://a/x"),
            source("http://b/debian"),
            source("http://a/x"),
            source("http://c/debian"),
        ];
        let uris: Vec<String> = candidates(&list).into_iter().map(|source| source.uri).collect();
        assert_eq!(uris, ["http://b/debian", "http://c/debian", "http://a/x"]);
    }

    #[test]
    fn expired_release_files_make_one_warning() {
        assert_eq!(expiry_warning(&[]), None);
        let until: Timestamp = "2026-11-06T08:08:01Z".parse().unwrap();
        let list = [("forky".to_owned(), until, "of `--allow-expired`"), ("x".to_owned(), until, "")];
        assert_eq!(
            expiry_warning(&list).unwrap(),
            "forky was valid until 2026-11-06T08:08:01Z, x was valid until 2026-11-06T08:08:01Z; accepted because of `--allow-expired`"
        );
    }
}
