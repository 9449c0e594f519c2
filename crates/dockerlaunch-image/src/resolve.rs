//! From package names to unpacked packages: newest version, fetched together, unpacked on all cores.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Mutex;

use crate::deb::{self, Contents};
use crate::error::BuildError;
use crate::fetch::{FetchError, Fetcher, Wanted};
use crate::progress::Progress;
use crate::source::{Archive, Package};
use crate::tree::Content;

/// A package that has been fetched, verified and listed.
#[derive(Debug)]
pub(crate) struct OpenPackage {
    pub(crate) package: Package,
    pub(crate) contents: Contents,
}

/// Opens packages of one archive, each once.
pub(crate) struct Resolver<'a> {
    archive: &'a Archive,
    fetcher: &'a Fetcher<'a>,
    progress: &'a dyn Progress,
    patterns: Vec<glob::Pattern>,
    opened: BTreeMap<String, OpenPackage>,
}

impl<'a> Resolver<'a> {
    /// `patterns` name the files whose content is kept; libraries are kept always.
    pub(crate) fn new(
        archive: &'a Archive,
        fetcher: &'a Fetcher<'a>,
        progress: &'a dyn Progress,
        patterns: Vec<glob::Pattern>,
    ) -> Self {
        Self { archive, fetcher, progress, patterns, opened: BTreeMap::new() }
    }

    /// Fetches and unpacks these packages, as far as they are not open yet.
    pub(crate) fn open(&mut self, names: &[&str]) -> Result<(), BuildError> {
        let mut packages = Vec::new();
        for &name in names {
            if self.opened.contains_key(name) || packages.iter().any(|package: &Package| package.name == name)
            {
                continue;
            }
            packages.push(self.archive.newest(name).ok_or_else(|| self.archive.lacks(name))?);
        }
        let wanted: Vec<Wanted> = packages
            .iter()
            .map(|package| Wanted {
                urls: package.bases.iter().map(|base| format!("{base}/{}", package.filename)).collect(),
                digest: package.digest,
                size: package.size,
            })
            .collect();
        self.fetcher.blobs(&wanted).map_err(|error| self.archive.explain(error, &packages))?;
        self.unpack(packages)
    }

    fn unpack(&mut self, packages: Vec<Package>) -> Result<(), BuildError> {
        let queue = Mutex::new(packages);
        let results = Mutex::new(Vec::new());
        let keep =
            |path: &str| is_library(path) || self.patterns.iter().any(|pattern| matches(pattern, path));
        let cache = self.fetcher.cache;
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while !self.progress.cancelled() {
                        let Some(package) = queue.lock().ok().and_then(|mut queue| queue.pop()) else {
                            return;
                        };
                        let result = deb::contents(&package, cache, self.progress, &keep);
                        if let Ok(mut results) = results.lock() {
                            results.push(result.map(|contents| OpenPackage { package, contents }));
                        }
                    }
                });
            }
        });
        if self.progress.cancelled() {
            return Err(BuildError::Cancelled);
        }
        for result in results.into_inner().unwrap_or_default() {
            let open = result?;
            self.opened.insert(open.package.name.clone(), open);
        }
        Ok(())
    }

    /// Keeps what was made of a file.
    pub(crate) fn keep(&self, bytes: impl Read) -> Result<Content, FetchError> {
        let path = self.fetcher.cache.scratch();
        Content::keep(bytes, &path).map_err(|source| FetchError::Cache { path, source })
    }

    /// A package that is open.
    pub(crate) fn get(&self, name: &str) -> Option<&OpenPackage> {
        self.opened.get(name)
    }

    /// All open packages, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &OpenPackage> {
        self.opened.values()
    }

    /// What a package depends on, by its newest version.
    pub(crate) fn depends(&self, name: &str) -> Vec<String> {
        self.archive.newest(name).map(|package| package.depends).unwrap_or_default()
    }

    /// Whether the archive has a package of that name.
    pub(crate) fn exists(&self, name: &str) -> bool {
        self.archive.newest(name).is_some()
    }
}

/// `*` does not cross a slash.
pub(crate) fn matches(pattern: &glob::Pattern, path: &str) -> bool {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    pattern.matches_with(path, options)
}

/// A shared library where the loader looks: `lib` or `usr/lib`, or one architecture directory below.
pub(crate) fn is_library(path: &str) -> bool {
    let Some((directory, name)) = path.rsplit_once('/') else { return false };
    let directory = directory.strip_prefix("usr/").unwrap_or(directory);
    let plain = directory == "lib" || directory == "lib64";
    let by_arch =
        directory.strip_prefix("lib/").is_some_and(|arch| !arch.contains('/') && arch.contains("-linux-"));
    (plain || by_arch) && (name.ends_with(".so") || name.contains(".so."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_lie_where_the_loader_looks() {
        for path in [
            "usr/lib/x86_64-linux-gnu/libc.so.6",
            "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
            "lib/liba.so",
        ] {
            assert!(is_library(path), "{path}");
        }
        for path in [
            "usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libc.so.6",
            "usr/lib/x86_64-linux-gnu/xtables/libxt_tcp.so",
            "usr/lib/systemd/libsystemd-shared.so",
            "usr/share/x.so.1",
            "libc.so.6",
        ] {
            assert!(!is_library(path), "{path}");
        }
    }
}
