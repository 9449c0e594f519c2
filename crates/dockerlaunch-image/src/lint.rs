//! Rules that every finished image keeps. A finding is a fault of ours, not of the user.

use std::collections::BTreeSet;
use std::fmt;

use crate::elf::{self, ElfFacts};
use crate::origin::EXTRA;
use crate::tree::{Kind, Tree};
use crate::{CLI_PLUGIN_DIR, INTERPRETER, LIBRARY_DIR, PRELOADED, PRIVATE_DIR};

/// Far above what any profile holds; only a mistake gets here.
const SIZE_LIMIT: u64 = 400_000_000;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the rule.
    pub rule: &'static str,
    /// What breaks it.
    pub subject: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.subject, self.rule)
    }
}

type Rule = (&'static str, fn(&Tree) -> Vec<String>);

const RULES: &[Rule] = &[
    ("only the private directory and public names", foreign_paths),
    ("links lead somewhere", dangling_links),
    ("executables use the private loader and libraries", loaders),
    ("every library that is needed is there", missing_libraries),
    ("no file has special permissions or can be written by others", odd_modes),
    ("the image is of a sane size", too_large),
];

/// Checks all rules; findings are sorted.
pub(crate) fn lint(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES
        .iter()
        .flat_map(|(rule, check)| check(tree).into_iter().map(|subject| Finding { rule, subject }))
        .collect();
    findings.sort_by(|a, b| (a.rule, &a.subject).cmp(&(b.rule, &b.subject)));
    findings
}

/// Anything else could overwrite a base image's own files, links or modes when the tar is added to it.
fn foreign_paths(tree: &Tree) -> Vec<String> {
    let parents = [
        "usr",
        "usr/bin",
        "usr/lib",
        "usr/local",
        "usr/local/bin",
        "usr/libexec",
        "usr/libexec/docker",
        CLI_PLUGIN_DIR,
    ];
    tree.iter()
        .filter(|(path, node)| {
            let ours = *path == PRIVATE_DIR || path.starts_with(&format!("{PRIVATE_DIR}/"));
            let parent = parents.contains(path) && node.kind == Kind::Dir && node.mode == 0o755;
            let public = path.rsplit_once('/').is_some_and(|(directory, _)| {
                ["usr/bin", "usr/local/bin", CLI_PLUGIN_DIR].contains(&directory)
            }) && matches!(node.kind, Kind::Symlink(_));
            // What the user adds is where the user wants it.
            let extra = |path| tree.origin(path).is_some_and(|origin| origin.component == EXTRA);
            let below = format!("{path}/");
            let above_extra = node.kind == Kind::Dir
                && tree.iter().any(|(other, _)| other.starts_with(&below) && extra(other));
            !(ours || parent || public || extra(path) || above_extra)
        })
        .map(|(path, _)| format!("/{path}"))
        .collect()
}

fn dangling_links(tree: &Tree) -> Vec<String> {
    tree.iter()
        .filter(|(path, node)| matches!(node.kind, Kind::Symlink(_)) && tree.resolve(path).is_none())
        .map(|(path, _)| format!("/{path}"))
        .collect()
}

fn executables(tree: &Tree) -> impl Iterator<Item = (&str, ElfFacts)> {
    tree.iter().filter_map(|(path, node)| match &node.kind {
        Kind::File(content) if elf::is_elf(content.bytes()) => {
            // What cannot be read needs a library that is never there: so it is found, under its own name.
            let unreadable = || ElfFacts { needed: vec!["(unreadable)".to_owned()], ..ElfFacts::default() };
            Some((path, elf::inspect(path, content.bytes()).unwrap_or_else(|_| unreadable())))
        }
        _ => None,
    })
}

fn loaders(tree: &Tree) -> Vec<String> {
    let has_loader = tree.get(INTERPRETER.trim_start_matches('/')).is_some();
    executables(tree)
        .filter(|(path, facts)| {
            // The C library names an interpreter as well, for those who start it as a program; nobody here does.
            let library = path.starts_with(&format!("{}/", LIBRARY_DIR.trim_start_matches('/')));
            let program_ok = library
                || facts.interpreter.as_deref().is_none_or(|interpreter| {
                    interpreter == INTERPRETER && has_loader && facts.rpath.as_deref() == Some(LIBRARY_DIR)
                });
            !program_ok || facts.runpath.is_some()
        })
        .map(|(path, _)| format!("/{path}"))
        .collect()
}

fn missing_libraries(tree: &Tree) -> Vec<String> {
    let library_dir = LIBRARY_DIR.trim_start_matches('/');
    let mut there: BTreeSet<String> = tree
        .iter()
        .filter_map(|(path, _)| path.strip_prefix(library_dir)?.strip_prefix('/').map(str::to_owned))
        .collect();
    let loader = INTERPRETER.trim_start_matches('/');
    there.extend(executables(tree).filter(|(path, _)| *path == loader).filter_map(|(_, facts)| facts.soname));
    executables(tree)
        .flat_map(|(path, facts)| {
            let missing: Vec<String> =
                facts.needed.into_iter().filter(|name| !there.contains(name)).collect();
            missing.into_iter().map(move |name| format!("/{path} needs {name}"))
        })
        .collect()
}

fn odd_modes(tree: &Tree) -> Vec<String> {
    tree.iter()
        .filter(|(_, node)| {
            !matches!(node.kind, Kind::Symlink(_)) && (node.mode & !0o777 != 0 || node.mode & 0o022 != 0)
        })
        .map(|(path, node)| format!("/{path} has mode {:o}", node.mode))
        .collect()
}

fn too_large(tree: &Tree) -> Vec<String> {
    // What the user adds is as large as the user wants.
    let preloaded = format!("{PRIVATE_DIR}/{PRELOADED}/");
    let sizes = tree.iter().filter(|(path, _)| !path.starts_with(&preloaded));
    let size: u64 = sizes.map(|(_, node)| node.size()).sum();
    if size > SIZE_LIMIT { vec![format!("{size} bytes, more than {SIZE_LIMIT}")] } else { vec![] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Content;

    fn file(text: &str) -> Content {
        Content::new(text.as_bytes())
    }

    fn sound() -> Tree {
        let mut tree = Tree::new();
        tree.add_file("usr/lib/dockerlaunch/bin/x", 0o755, file("#!")).unwrap();
        tree.add_symlink("usr/bin/x", "../lib/dockerlaunch/bin/x").unwrap();
        tree.add_symlink("usr/local/bin/x", "../../lib/dockerlaunch/bin/x").unwrap();
        tree.add_symlink("usr/libexec/docker/cli-plugins/x", "../../../lib/dockerlaunch/bin/x").unwrap();
        tree
    }

    fn subjects(tree: &Tree) -> Vec<String> {
        lint(tree).into_iter().map(|finding| finding.subject).collect()
    }

    #[test]
    fn a_sound_tree_has_no_findings() {
        assert_eq!(lint(&sound()), []);
    }

    #[test]
    fn each_rule_finds_its_fault() {
        for path in [
            "bin/sh",
            "etc/passwd",
            "usr/bin/real",
            "usr/lib/other",
            "usr/libexec/docker/x",
            "tmp/x",
            "usr/bin/deep/x",
        ] {
            let mut tree = sound();
            tree.add_file(path, 0o755, file("")).unwrap();
            assert!(subjects(&tree).contains(&format!("/{path}")), "{path}");
        }
        let mut tree = sound();
        tree.add_symlink("usr/bin/gone", "../lib/dockerlaunch/bin/gone").unwrap();
        assert_eq!(subjects(&tree), ["/usr/bin/gone"]);
        let mut tree = sound();
        tree.add_file("usr/lib/dockerlaunch/s", 0o4755, file("")).unwrap();
        tree.add_file("usr/lib/dockerlaunch/w", 0o666, file("")).unwrap();
        assert_eq!(subjects(&tree).len(), 2);
    }

    #[test]
    fn executables_as_packaged_are_found() {
        let mut tree = sound();
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        tree.add_file("usr/lib/dockerlaunch/bin/test", 0o755, Content::new(bytes)).unwrap();
        let subjects = subjects(&tree);
        assert!(subjects.contains(&"/usr/lib/dockerlaunch/bin/test".to_owned()));
        assert!(subjects.iter().any(|subject| subject.contains("needs libc.so.6")));
    }
}
