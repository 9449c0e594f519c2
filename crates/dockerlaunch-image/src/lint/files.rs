//! Rules on paths, owners, permissions, origins and content.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::contents;
use crate::duplicates::WORTH_A_LINK;
use crate::origin::{EXTRA, PRELOAD};
use crate::tree::{Kind, Node, Tree};
use crate::{CLI_PLUGIN_DIR, LICENCES, PRIVATE_DIR, licences};

/// Far above what any profile holds; only a mistake gets here.
const SIZE_LIMIT: u64 = 500_000_000;

/// Anything else could overwrite a base image's own files, links or modes when the tar is added to it.
pub(super) fn foreign(tree: &Tree) -> Vec<String> {
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
    paths(tree, |path, node| {
        let ours = path == PRIVATE_DIR || path.starts_with(&format!("{PRIVATE_DIR}/"));
        let parent = parents.contains(&path) && node.kind == Kind::Dir && node.mode == 0o755;
        let public = path
            .rsplit_once('/')
            .is_some_and(|(directory, _)| ["usr/bin", "usr/local/bin", CLI_PLUGIN_DIR].contains(&directory))
            && matches!(node.kind, Kind::Symlink(_));
        // What the user adds is where the user wants it.
        let below = format!("{path}/");
        let above_users = node.kind == Kind::Dir
            && tree.iter().any(|(other, _)| other.starts_with(&below) && is_users(tree, other));
        !(ours || parent || public || is_users(tree, path) || above_users)
    })
}

pub(super) fn dangling(tree: &Tree) -> Vec<String> {
    paths(tree, |path, node| matches!(node.kind, Kind::Symlink(_)) && tree.resolve(path).is_none())
}

/// Programs that act for another user, and directories in which the last word is another's.
pub(super) fn special_permissions(tree: &Tree) -> Vec<String> {
    modes(tree, 0o7000)
}

pub(super) fn writable_by_others(tree: &Tree) -> Vec<String> {
    modes(tree, 0o022)
}

fn modes(tree: &Tree, refused: u32) -> Vec<String> {
    tree.iter()
        .filter(|(_, node)| !matches!(node.kind, Kind::Symlink(_)) && node.mode & refused != 0)
        .map(|(path, node)| format!("/{path} has mode {:o}", node.mode))
        .collect()
}

/// Directories need no reason but what is in them.
pub(super) fn unowned(tree: &Tree) -> Vec<String> {
    paths(tree, |path, node| node.kind != Kind::Dir && tree.origin(path).is_none())
}

/// Packages that a file comes from; the texts themselves need none.
pub(super) fn without_licence(tree: &Tree) -> Vec<String> {
    let packages = contents::packages(tree);
    let file = tree.get(&format!("{PRIVATE_DIR}/{LICENCES}"));
    let text = match file.map(|node| &node.kind) {
        Some(Kind::File(content)) => content.bytes().unwrap_or_default(),
        _ => Cow::default(),
    };
    let text = String::from_utf8_lossy(&text);
    let told: BTreeSet<&str> = licences::headings(&text).flatten().collect();
    packages.difference(&told).map(|name| (*name).to_owned()).collect()
}

pub(super) fn duplicates(tree: &Tree) -> Vec<String> {
    let mut by_content: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for (path, node) in tree.iter().filter(|(path, _)| !is_users(tree, path)) {
        if let Kind::File(content) = &node.kind
            && node.size() > WORTH_A_LINK
        {
            // As `duplicates` links them: across components one would depend on another.
            let directory = path.rsplit_once('/').map(|(directory, _)| directory);
            let component = tree.origin(path).map(|origin| &origin.component);
            let same = (directory, component, node.mode, content.digest().to_string());
            by_content.entry(same).or_default().push(path);
        }
    }
    let twice = by_content.into_values().filter(|paths| paths.len() > 1);
    twice.map(|paths| format!("/{}", paths.join(" = /"))).collect()
}

pub(super) fn too_large(tree: &Tree) -> Vec<String> {
    let sizes = tree.iter().filter(|(path, _)| !is_users(tree, path));
    let size: u64 = sizes.map(|(_, node)| node.size()).sum();
    if size > SIZE_LIMIT { vec![format!("{size} bytes, more than {SIZE_LIMIT}")] } else { vec![] }
}

/// What the user adds is as the user wants it.
pub(super) fn is_users(tree: &Tree, path: &str) -> bool {
    tree.origin(path).is_some_and(|origin| [EXTRA, PRELOAD].contains(&origin.component.as_str()))
}

fn paths(tree: &Tree, broken: impl Fn(&str, &Node) -> bool) -> Vec<String> {
    tree.iter().filter(|(path, node)| broken(path, node)).map(|(path, _)| format!("/{path}")).collect()
}
