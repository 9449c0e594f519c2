//! The shared libraries of an image: what executables need, what those libraries need, until nothing is missing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::elf::{self, ElfFacts};
use crate::error::BuildError;
use crate::recipe::RecipeError;
use crate::resolve::{Resolver, is_library};
use crate::tree::Content;
use crate::{INTERPRETER, LIBRARY_DIR};

/// An executable or library that needs libraries.
#[derive(Debug, Clone)]
pub(crate) struct Needing {
    /// Its path in the image.
    pub(crate) path: String,
    /// The package that has it; its dependencies are searched.
    pub(crate) package: String,
    pub(crate) facts: ElfFacts,
}

/// A library found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Library {
    pub(crate) package: String,
    /// Its path in the package.
    pub(crate) from: String,
    pub(crate) content: Content,
    /// Paths in the image of what names it.
    pub(crate) needed_by: BTreeSet<String>,
}

/// The libraries by soname, and the loader.
#[derive(Debug, Default)]
pub(crate) struct Closure {
    pub(crate) libraries: BTreeMap<String, Library>,
    pub(crate) loader: Option<Library>,
}

/// Where a library lies in the image.
pub(crate) fn library_path(soname: &str) -> String {
    format!("{}/{soname}", LIBRARY_DIR.trim_start_matches('/'))
}

/// Where the loader lies in the image.
pub(crate) fn loader_path() -> String {
    INTERPRETER.trim_start_matches('/').to_owned()
}

/// Finds all libraries that `roots` need, opening the packages that have them.
///
/// It begins anew after each package that it opened: what is found then depends on which packages there are and not on
/// the order in which they were opened.
pub(crate) fn close(roots: &[Needing], resolver: &mut Resolver<'_>) -> Result<Closure, BuildError> {
    loop {
        let (closure, missing) = find_all(roots, resolver)?;
        if missing.is_empty() {
            return Ok(closure);
        }
        let next = missing
            .iter()
            .map(|(soname, needing)| next_package(soname, needing, resolver))
            .collect::<Result<BTreeSet<_>, _>>()?;
        resolver.open(&next.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
}

/// What the open packages have of it, and what they lack.
fn find_all(
    roots: &[Needing],
    resolver: &Resolver<'_>,
) -> Result<(Closure, Vec<(String, Needing)>), BuildError> {
    let loader_name = roots
        .iter()
        .find_map(|root| root.facts.interpreter.as_deref())
        .map(|path| path.rsplit('/').next().unwrap_or(path).to_owned());
    let mut closure = Closure::default();
    let mut missing = Vec::new();
    let mut open: VecDeque<(String, Needing)> = VecDeque::new();
    for root in roots {
        let loader = loader_name.iter().filter(|_| root.facts.interpreter.is_some());
        let names = root.facts.needed.iter().chain(loader).cloned();
        open.extend(names.map(|name| (name, root.clone())));
    }
    while let Some((soname, needing)) = open.pop_front() {
        let is_loader = loader_name.as_ref() == Some(&soname);
        let known = if is_loader { closure.loader.as_mut() } else { closure.libraries.get_mut(&soname) };
        if let Some(library) = known {
            library.needed_by.insert(needing.path);
            continue;
        }
        let Some(mut library) = find(&soname, resolver) else {
            missing.push((soname, needing));
            continue;
        };
        library.needed_by.insert(needing.path);
        let bytes = library.content.bytes().map_err(RecipeError::Read)?;
        let facts = elf::inspect(&soname, &bytes)?;
        drop(bytes);
        let path = if is_loader { loader_path() } else { library_path(&soname) };
        let child = Needing { path, package: library.package.clone(), facts };
        open.extend(child.facts.needed.iter().map(|name| (name.clone(), child.clone())));
        if is_loader {
            closure.loader = Some(library);
        } else {
            closure.libraries.insert(soname, library);
        }
    }
    Ok((closure, missing))
}

/// Looks for a library in the packages that are open.
fn find(soname: &str, resolver: &Resolver<'_>) -> Option<Library> {
    resolver.iter().find_map(|open| {
        let path = open
            .contents
            .entries
            .keys()
            .find(|path| is_library(path) && path.ends_with(&format!("/{soname}")))?;
        let (from, _, content) = open.contents.resolve(path)?;
        Some(Library {
            package: open.package.name.clone(),
            from: from.to_owned(),
            content: content?.clone(),
            needed_by: BTreeSet::new(),
        })
    })
}

/// The package most likely to have a library, among the dependencies of what needs it that are not open yet.
fn next_package(soname: &str, needing: &Needing, resolver: &Resolver<'_>) -> Result<String, RecipeError> {
    let guess = guess(soname);
    let mut queue = VecDeque::from(resolver.depends(&needing.package));
    let mut seen = BTreeSet::new();
    let mut candidates = Vec::new();
    while let Some(name) = queue.pop_front() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let likely = name == guess || name.strip_suffix("t64") == Some(&guess);
        if resolver.get(&name).is_none() && resolver.exists(&name) {
            if likely {
                return Ok(name);
            }
            candidates.push(name.clone());
        }
        // Programs that a package depends on bring their own libraries along; only libraries lead further.
        if name.starts_with("lib") {
            queue.extend(resolver.depends(&name));
        }
    }
    candidates.into_iter().find(|name| name.starts_with("lib")).ok_or_else(|| RecipeError::NoLibrary {
        soname: soname.to_owned(),
        needed_by: format!("/{}", needing.path),
        package: needing.package.clone(),
    })
}

/// Debian names a library's package after its soname: `libfoo.so.1` is in `libfoo1`, `libfoo2.so.1` in `libfoo2-1`.
fn guess(soname: &str) -> String {
    // Older than that rule.
    if soname == "libz.so.1" {
        return "zlib1g".to_owned();
    }
    let (base, number) = soname.split_once(".so.").unwrap_or((soname.trim_end_matches(".so"), ""));
    let base = base.replace('_', "-").to_lowercase();
    let dash = if base.ends_with(|last: char| last.is_ascii_digit()) { "-" } else { "" };
    format!("{base}{dash}{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names_follow_sonames() {
        for (soname, package) in [
            ("libc.so.6", "libc6"),
            ("libproc2.so.1", "libproc2-1"),
            ("libgcc_s.so.1", "libgcc-s1"),
            ("libnetfilter_conntrack.so.3", "libnetfilter-conntrack3"),
            ("libip4tc.so.2", "libip4tc2"),
            ("libz.so.1", "zlib1g"),
            ("libnss.so", "libnss"),
        ] {
            assert_eq!(guess(soname), package);
        }
    }
}
