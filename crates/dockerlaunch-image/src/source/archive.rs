//! Opening a suite: find the archive, verify its Release file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::apt::{AptSettings, AptSource};
use super::error::SourceError;
use super::index;
use super::packages::{Package, PackageIndex};
use super::release::{DateProblem, Release, judge_dates};
use crate::error::BuildError;
use crate::fetch::{FetchError, Fetcher};
use crate::lock::{Lock, LockError};
use crate::recipe::RecipeError;
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
    /// The packages of a lockfile, in place of the indexes.
    locked: Option<BTreeMap<String, Package>>,
}

/// A Release file that passed every check.
pub(super) struct Opened {
    pub(super) base: String,
    pub(super) suite: String,
    pub(super) url: String,
    pub(super) release: Release,
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
            match opener.open_joined(&main, &security_bases(request, &apt, &main.base), "security")? {
                Some(security) => opened.push(security),
                None => warnings.push(format!(
                    "this image is without {0}'s security fixes: there is no {0}-security on {1}; name its archive with `--security-mirror URL`",
                    main.release.codename,
                    security_bases(request, &apt, &main.base).join(", ")
                )),
            }
        }
        warnings.extend(expiry_warning(&opener.expired));
        let codename = main.release.codename.clone();
        opened.insert(0, main);
        let indexes =
            opened.iter().map(|one| index::read(one, request.arch, fetcher)).collect::<Result<_, _>>()?;
        Ok(Self { codename, warnings, indexes, locked: None })
    }

    /// The packages of a lockfile. Its digests say what is right, whatever a mirror has now.
    pub(crate) fn locked(
        request: &BuildRequest,
        lock: &Lock,
        components: &[String],
    ) -> Result<Self, BuildError> {
        let apt = request.apt.clone().unwrap_or_else(AptSettings::from_host);
        let mut bases = match &request.mirror {
            Some(mirror) => vec![mirror.trim_end_matches('/').to_owned()],
            None => candidates(&apt.sources).into_iter().map(|source| source.uri).collect(),
        };
        // Without a network no place is asked, and a machine without apt knows none.
        if bases.is_empty() && request.offline {
            bases.push(String::new());
        }
        let Some(main) = bases.first().cloned() else { return Err(SourceError::NoMirror.into()) };
        for base in security_bases(request, &apt, &main) {
            if !bases.contains(&base) {
                bases.push(base);
            }
        }
        if request.suite != lock.suite {
            let (locked, wanted) = (lock.suite.clone(), request.suite.clone());
            return Err(LockError::Differs { what: "the suite", locked, wanted }.into());
        }
        let packages = lock.packages(
            request.arch,
            components,
            request.engine.as_ref().map(|engine| engine.digest),
            &bases,
        )?;
        let codename = lock.suite.clone();
        Ok(Self { codename, warnings: Vec::new(), indexes: Vec::new(), locked: Some(packages) })
    }

    /// Names of all packages that a lockfile names.
    pub(crate) fn locked_names(&self) -> Vec<&str> {
        self.locked.iter().flat_map(BTreeMap::keys).map(String::as_str).collect()
    }

    /// Why there is no package of that name.
    pub(crate) fn lacks(&self, name: &str) -> BuildError {
        let (package, suite) = (name.to_owned(), self.codename.clone());
        match self.locked {
            Some(_) => LockError::Lacks { package }.into(),
            None => RecipeError::NoPackage { package, suite }.into(),
        }
    }

    /// What a failed download of these packages means.
    pub(crate) fn explain(&self, error: FetchError, packages: &[Package]) -> BuildError {
        let FetchError::Status { url, status: 404 } = &error else { return error.into() };
        match packages.iter().find(|package| url.ends_with(&format!("/{}", package.filename))) {
            Some(package) if self.locked.is_some() => LockError::Gone {
                package: package.name.clone(),
                version: package.version.to_string(),
                source: Box::new(error),
            }
            .into(),
            _ => error.into(),
        }
    }

    /// The highest version of a package over all joined suites.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<Package> {
        if let Some(locked) = &self.locked {
            return locked.get(name).cloned();
        }
        self.indexes.iter().flat_map(|index| index.versions(name)).max_by(|a, b| a.version.cmp(&b.version))
    }
}

/// Testing and unstable get their fixes in the suite itself; their `-security` suites are empty.
fn is_stable(release: &Release) -> bool {
    !matches!(release.suite.as_str(), "testing" | "unstable" | "experimental")
}

fn is_debian(release: &Release) -> bool {
    release.origin == "Debian"
}

/// The distribution's keyring may also sign what is not the distribution; a keyring that the user names is the user's
/// own choice.
fn may_come_from(release: &Release, own_keyring: bool) -> bool {
    own_keyring || is_debian(release)
}

/// One warning, however many Release files have expired.
fn expiry_warning(expired: &[(String, Timestamp, &'static str)]) -> Option<String> {
    let (_, _, reason) = expired.first()?;
    let list: Vec<String> =
        expired.iter().map(|(suite, until, _)| format!("{suite} was valid until {until}")).collect();
    Some(format!("{}; accepted because {reason}", list.join(", ")))
}

/// Which of its names a suite must have been asked for by.
#[derive(Clone, Copy)]
enum Name {
    /// `Suite` or `Codename`.
    Any,
    /// `Codename` alone.
    Codename,
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
                .open_suite(&base, &suite, Name::Any, keyring)?
                .ok_or_else(|| SourceError::UnknownSuite { suite: suite.clone(), tried: vec![base] })
                .and_then(|opened| self.check_origin(opened, &suite));
        }
        let candidates = candidates(&self.apt.sources);
        if candidates.is_empty() {
            return Err(SourceError::NoMirror);
        }
        let (mut failure, mut foreign) = (None, false);
        for source in &candidates {
            let keyring = self.keyring(Some(source));
            match self.open_suite(&source.uri, &suite, Name::Any, keyring) {
                Ok(Some(opened)) if is_debian(&opened.release) => return Ok(opened),
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
        for base in bases {
            // `stable-security` would not do: last year that was another distribution's.
            match self.open_suite(base, &suite, Name::Codename, main.keyring.clone()) {
                Ok(Some(opened)) => return self.check_origin(opened, &suite).map(Some),
                Ok(None) => {}
                // It was not there when the cache was filled either.
                Err(SourceError::Fetch(FetchError::Offline { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn check_origin(&self, opened: Opened, suite: &str) -> Result<Opened, SourceError> {
        if may_come_from(&opened.release, self.request.keyring.is_some()) {
            Ok(opened)
        } else {
            Err(SourceError::NotDebian { suite: suite.to_owned() })
        }
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
        name: Name,
        keyring: Vec<PathBuf>,
    ) -> Result<Option<Opened>, SourceError> {
        let url = format!("{base}/dists/{suite}/InRelease");
        let Some(mut fetched) = self.fetcher.release(&url, false)? else { return Ok(None) };
        let mut checked = self.check(&fetched.bytes, &url, suite, name, &keyring);
        if fetched.kept && !self.request.offline && checked.is_err() {
            // The kept file is damaged or out of date, whatever the server says about its age.
            let Some(anew) = self.fetcher.release(&url, true)? else { return Ok(None) };
            fetched = anew;
            checked = self.check(&fetched.bytes, &url, suite, name, &keyring);
        }
        let release = checked?;
        if !fetched.kept {
            self.check_not_older(&release, &url, &keyring)?;
        }
        self.fetcher.keep_release(&url, &fetched)?;
        Ok(Some(Opened { base: base.to_owned(), suite: suite.to_owned(), url, release, keyring }))
    }

    /// Checks signature, name and dates.
    fn check(
        &mut self,
        bytes: &[u8],
        url: &str,
        suite: &str,
        name: Name,
        keyring: &[PathBuf],
    ) -> Result<Release, SourceError> {
        let release = self.parse_signed(bytes, url, keyring)?;
        let right = match name {
            Name::Any => release.is_called(suite),
            Name::Codename => release.codename == suite,
        };
        if !right {
            let (url, asked) = (url.to_owned(), suite.to_owned());
            return Err(SourceError::WrongSuite { url, asked, found: release.codename });
        }
        self.check_dates(&release, url, suite)?;
        Ok(release)
    }

    fn parse_signed(&self, bytes: &[u8], url: &str, keyring: &[PathBuf]) -> Result<Release, SourceError> {
        let untrusted = |source| SourceError::Verify { url: url.to_owned(), source };
        let text =
            std::str::from_utf8(bytes).map_err(|error| untrusted(VerifyError::unreadable(bytes, &error)))?;
        let verified =
            OpenPgp::from_files(keyring).and_then(|keys| keys.verify(text, self.now)).map_err(untrusted)?;
        Release::parse(&verified.text).map_err(|source| SourceError::Release { url: url.to_owned(), source })
    }

    /// An old state of an archive is validly signed too, and lacks the fixes that came later.
    fn check_not_older(&self, release: &Release, url: &str, keyring: &[PathBuf]) -> Result<(), SourceError> {
        let known = self
            .fetcher
            .kept_release(url)
            .and_then(|bytes| self.parse_signed(&bytes, url, keyring).ok())
            .filter(|known| known.codename == release.codename && known.date > release.date);
        match known {
            Some(known) => Err(SourceError::Older {
                url: url.to_owned(),
                date: release.date,
                known: known.date,
                kept: self.fetcher.cache.release(url),
            }),
            None => Ok(()),
        }
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
}

/// Where the security archive may be.
fn security_bases(request: &BuildRequest, apt: &AptSettings, main: &str) -> Vec<String> {
    if let Some(mirror) = &request.security_mirror {
        return vec![mirror.trim_end_matches('/').to_owned()];
    }
    let sibling = format!("{main}-security");
    if request.mirror.is_some() {
        return vec![sibling];
    }
    let mut bases: Vec<String> = apt
        .sources
        .iter()
        .filter(|source| source.suites.iter().any(|suite| suite.contains("-security")))
        .map(|source| source.uri.clone())
        .collect();
    bases.push(sibling);
    bases.dedup();
    bases
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
    fn another_maker_needs_a_keyring_of_the_users_own() {
        let by = |origin: &str| {
            let text = format!("Origin: {origin}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n");
            Release::parse(&text).unwrap()
        };
        assert!(may_come_from(&by("Debian"), false));
        assert!(!may_come_from(&by("Somebody"), false));
        assert!(!may_come_from(&by(""), false));
        assert!(may_come_from(&by("Somebody"), true));
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
