//! Who needs a library: through other libraries, up to the programs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::component;
use crate::contents::{Contents, Entry};
use crate::origin::LIBRARIES;

/// Entries by path.
pub(super) fn by_path(contents: &Contents) -> BTreeMap<&str, &Entry> {
    contents.entries.iter().map(|entry| (entry.path.as_str(), entry)).collect()
}

/// The shortest way from a program to a library, for each component that needs it; the program first.
pub(super) fn chains<'a>(contents: &'a Contents, library: &'a str) -> BTreeMap<&'a str, Vec<&'a str>> {
    let entries = by_path(contents);
    let mut chains = BTreeMap::new();
    let mut seen = BTreeSet::from([library]);
    let mut open = VecDeque::from([vec![library]]);
    while let Some(chain) = open.pop_front() {
        let Some(entry) = chain.first().and_then(|path| entries.get(path)) else { continue };
        if component(entry) != LIBRARIES {
            chains.entry(component(entry)).or_insert(chain);
            continue;
        }
        for above in entry.origin.iter().flat_map(|origin| &origin.needed_by) {
            if seen.insert(above) {
                open.push_back([&[above.as_str()], chain.as_slice()].concat());
            }
        }
    }
    chains
}

/// Bytes by which an image is smaller without a component: its files, and the libraries that nothing else needs.
pub(super) fn saved_without(contents: &Contents, name: &str) -> u64 {
    let alone = |entry: &Entry| {
        let users = chains(contents, &entry.path);
        component(entry) == LIBRARIES && !users.is_empty() && users.keys().all(|user| *user == name)
    };
    contents
        .entries
        .iter()
        .filter(|entry| component(entry) == name || alone(entry))
        .map(|entry| entry.size)
        .sum()
}
