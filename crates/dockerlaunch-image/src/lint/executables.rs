//! Rules on what executables need in order to run.

use std::collections::BTreeMap;

use super::files::is_users;
use crate::elf::{self, ElfFacts, Versions};
use crate::tree::{Content, Kind, Tree};
use crate::{INTERPRETER, LIBRARY_DIR};

/// What the kernel reads of a file to find the interpreter (include/uapi/linux/binfmts.h).
const BINPRM_BUF_SIZE: u64 = 256;

/// The ELF files of a tree.
pub(super) struct Executables<'a> {
    all: BTreeMap<&'a str, (ElfFacts, Versions)>,
}

impl<'a> Executables<'a> {
    pub(super) fn of(tree: &'a Tree) -> Self {
        let read = |path: &str, content: &Content| -> Option<(ElfFacts, Versions)> {
            let bytes = content.bytes().ok()?;
            Some((elf::inspect(path, &bytes).ok()?, elf::versions(path, &bytes).ok()?))
        };
        // What cannot be read needs a library that is never there: so it is found, under its own name.
        let unreadable = || {
            let needed = vec!["(unreadable)".to_owned()];
            (ElfFacts { needed, ..ElfFacts::default() }, Versions::default())
        };
        let all =
            tree.iter().filter(|(path, _)| !is_users(tree, path)).filter_map(|(path, node)| {
                match &node.kind {
                    Kind::File(content) if elf::is_elf(content).is_ok_and(|is_elf| !is_elf) => None,
                    Kind::File(content) => Some((path, read(path, content).unwrap_or_else(unreadable))),
                    _ => None,
                }
            });
        Self { all: all.collect() }
    }

    /// Where a library of that name lies, when it is an ELF file.
    fn library(&self, name: &str) -> Option<&(ElfFacts, Versions)> {
        let loader = || self.all.get(INTERPRETER.trim_start_matches('/'));
        self.all
            .get(format!("{}/{name}", LIBRARY_DIR.trim_start_matches('/')).as_str())
            .or_else(|| loader().filter(|(facts, _)| facts.soname.as_deref() == Some(name)))
    }
}

/// A script names its interpreter by an absolute path, which a base image may have or not: ours must.
pub(super) fn scripts(tree: &Tree) -> Vec<String> {
    let interpreter = |content: &Content| {
        let head = content.head(BINPRM_BUF_SIZE).ok()?;
        let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
        String::from_utf8_lossy(line).split_whitespace().next().map(str::to_owned)
    };
    tree.iter()
        .filter(|(path, node)| node.mode & 0o111 != 0 && !is_users(tree, path))
        .filter_map(|(path, node)| match &node.kind {
            Kind::File(content) => Some((path, interpreter(content)?)),
            _ => None,
        })
        .filter(|(_, interpreter)| tree.resolve(interpreter).is_none())
        .map(|(path, interpreter)| format!("/{path} needs {interpreter}"))
        .collect()
}

pub(super) fn loaders(executables: &Executables<'_>) -> Vec<String> {
    let has_loader = executables.all.contains_key(INTERPRETER.trim_start_matches('/'));
    let wrong = executables.all.iter().filter(|(path, (facts, _))| {
        // The C library names an interpreter as well, for those who start it as a program; nobody here does.
        let library = path.starts_with(&format!("{}/", LIBRARY_DIR.trim_start_matches('/')));
        let program_ok = library
            || facts.interpreter.as_deref().is_none_or(|interpreter| {
                interpreter == INTERPRETER && has_loader && facts.rpath.as_deref() == Some(LIBRARY_DIR)
            });
        !program_ok || facts.runpath.is_some()
    });
    wrong.map(|(path, _)| format!("/{path}")).collect()
}

pub(super) fn missing_libraries(executables: &Executables<'_>) -> Vec<String> {
    let needed = executables
        .all
        .iter()
        .flat_map(|(path, (facts, _))| facts.needed.iter().map(move |name| (path, name)));
    needed
        .filter(|(_, name)| executables.library(name).is_none())
        .map(|(path, name)| format!("/{path} needs {name}"))
        .collect()
}

/// Of libraries that are missing altogether [`missing_libraries`] speaks.
pub(super) fn missing_versions(executables: &Executables<'_>) -> Vec<String> {
    let needed = executables
        .all
        .iter()
        .flat_map(|(path, (_, versions))| versions.needed.iter().map(move |needed| (path, needed)));
    needed
        .filter(|(_, (library, version))| {
            executables.library(library).is_some_and(|(_, there)| !there.defined.contains(version))
        })
        .map(|(path, (library, version))| format!("/{path} needs {version} of {library}"))
        .collect()
}
