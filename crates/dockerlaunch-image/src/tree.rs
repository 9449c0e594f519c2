//! The image's files: paths, metadata, content. A tree is the same however, wherever and by whom it is made.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::digest::Digest;
pub use crate::file_content::Content;
use crate::origin::Origin;

/// A file system tree. Paths have no leading slash; parents always exist and sort before their children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
    /// Where files and links come from. Directories come from nowhere: they are what the paths need.
    origins: BTreeMap<String, Arc<Origin>>,
}

/// One file, directory or link. Owner and group are always 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Permission bits.
    pub mode: u32,
    /// User id of the owner.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// What it is.
    pub kind: Kind,
}

impl Node {
    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(content) => content.size(),
            _ => 0,
        }
    }
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File(Content),
    /// A symbolic link and what it points to.
    Symlink(String),
}

/// Two different things were to stand at one path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two different files were to be `/{path}`{}", told(.components))]
pub struct Conflict {
    /// The path.
    pub path: String,
    /// The components that want them, where that is known.
    pub components: Vec<String>,
}

fn told(components: &[String]) -> String {
    match components {
        [one, other] => format!(": one of `{one}`, the other of `{other}`"),
        _ => String::new(),
    }
}

impl Tree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a regular file, and its parents with mode 0755.
    ///
    /// # Errors
    ///
    /// When something else stands at the path.
    pub fn add_file(&mut self, path: &str, mode: u32, content: Content) -> Result<(), Conflict> {
        self.add(path, mode, Kind::File(content), None)
    }

    /// Adds a symbolic link, and its parents with mode 0755.
    ///
    /// # Errors
    ///
    /// When something else stands at the path.
    pub fn add_symlink(&mut self, path: &str, target: &str) -> Result<(), Conflict> {
        self.add(path, 0o777, Kind::Symlink(target.to_owned()), None)
    }

    /// Adds a directory, and its parents with mode 0755.
    ///
    /// # Errors
    ///
    /// When something else stands at the path.
    pub fn add_dir(&mut self, path: &str, mode: u32) -> Result<(), Conflict> {
        self.add(path, mode, Kind::Dir, None)
    }

    /// Adds what lies somewhere and says where it comes from. Of two equal files at one path the first one's origin stays.
    ///
    /// # Errors
    ///
    /// When something else stands at the path.
    pub fn place(&mut self, path: &str, mode: u32, kind: Kind, origin: &Arc<Origin>) -> Result<(), Conflict> {
        self.add(path, mode, kind, Some(origin))
    }

    fn add(
        &mut self,
        path: &str,
        mode: u32,
        kind: Kind,
        origin: Option<&Arc<Origin>>,
    ) -> Result<(), Conflict> {
        let path = crate::deb::normalise(path);
        if let Some((parent, _)) = path.rsplit_once('/') {
            match self.nodes.get(parent) {
                Some(Node { kind: Kind::Dir, .. }) => {}
                Some(_) => return Err(self.conflict(parent, origin)),
                None => self.add(parent, 0o755, Kind::Dir, None)?,
            }
        }
        let node = Node { mode, uid: 0, gid: 0, kind };
        match self.nodes.get(&path) {
            Some(other) if *other != node => Err(self.conflict(&path, origin)),
            _ => {
                if let Some(origin) = origin {
                    self.origins.entry(path.clone()).or_insert_with(|| Arc::clone(origin));
                }
                self.nodes.insert(path, node);
                Ok(())
            }
        }
    }

    fn conflict(&self, path: &str, origin: Option<&Arc<Origin>>) -> Conflict {
        let there = self.origins.get(path);
        let components = there.into_iter().chain(origin).map(|origin| origin.component.clone()).collect();
        Conflict { path: path.to_owned(), components }
    }

    /// Where a file or link comes from.
    #[must_use]
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        self.origins.get(path).map(Arc::as_ref)
    }

    /// Adds all of another tree.
    ///
    /// # Errors
    ///
    /// When the two have different things at one path.
    pub fn merge(&mut self, other: &Self) -> Result<(), Conflict> {
        other.iter().try_for_each(|(path, node)| {
            self.add(path, node.mode, node.kind.clone(), other.origins.get(path))
        })
    }

    /// Adds a directory of the host under `prefix`: kernel modules, for one. Owners become 0, special files are left out.
    ///
    /// # Errors
    ///
    /// When something cannot be read, or stands there already.
    pub fn add_host_dir(&mut self, host: &Path, prefix: &str) -> io::Result<()> {
        let taken = |conflict: Conflict| io::Error::new(io::ErrorKind::AlreadyExists, conflict);
        for entry in fs::read_dir(host)? {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|name| {
                io::Error::new(io::ErrorKind::InvalidData, format!("name is not UTF-8: {}", name.display()))
            })?;
            let path = format!("{prefix}/{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.add_dir(&path, 0o755).map_err(taken)?;
                self.add_host_dir(&entry.path(), &path)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path())?;
                self.add_symlink(&path, &target.to_string_lossy()).map_err(taken)?;
            } else if kind.is_file() {
                let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
                let mode = if executable { 0o755 } else { 0o644 };
                self.add_file(&path, mode, Content::of_file(&entry.path())?).map_err(taken)?;
            }
        }
        Ok(())
    }

    /// The files and links that `wanted` names, and the empty directories, each with its parents.
    pub(crate) fn part(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let mut part = Self::new();
        for (path, node) in &self.nodes {
            let below = format!("{path}/");
            let next = self.nodes.range(below.clone()..).next();
            let holds = next.is_some_and(|(next, _)| next.starts_with(&below));
            if holds || !wanted(path) {
                continue;
            }
            if let Some(origin) = self.origins.get(path) {
                part.origins.insert(path.clone(), Arc::clone(origin));
            }
            part.nodes.insert(path.clone(), node.clone());
            for (at, _) in path.match_indices('/') {
                if let Some(parent) = self.nodes.get(&path[..at]) {
                    part.nodes.insert(path[..at].to_owned(), parent.clone());
                }
            }
        }
        part
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// All nodes, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Bytes of all regular files.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.iter().map(|(_, node)| node.size()).sum()
    }

    /// One digest over every path, all metadata and all content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut text = String::new();
        for (path, node) in self.iter() {
            let kind = match &node.kind {
                Kind::Dir => "dir".to_owned(),
                Kind::File(content) => content.digest().to_string(),
                Kind::Symlink(target) => format!("-> {target}"),
            };
            text.push_str(&format!("{path}\0{:o} {} {} {kind}\0", node.mode, node.uid, node.gid));
        }
        Digest::of(text.as_bytes())
    }

    /// Follows symbolic links within the tree; `None` when the path leads nowhere.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<&str> {
        let mut path = crate::deb::normalise(path);
        for _ in 0..40 {
            match self.nodes.get_key_value(&path) {
                Some((_, Node { kind: Kind::Symlink(target), .. })) => {
                    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                    path = if target.starts_with('/') {
                        crate::deb::normalise(target)
                    } else {
                        crate::deb::normalise(&format!("{directory}/{target}"))
                    };
                }
                Some((found, _)) => return Some(found),
                None => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(text: &str) -> Content {
        Content::new(text.as_bytes())
    }

    #[test]
    fn parents_are_made_and_come_first() {
        let mut tree = Tree::new();
        tree.add_file("usr/lib/x/a", 0o644, file("1")).unwrap();
        let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["usr", "usr/lib", "usr/lib/x", "usr/lib/x/a"]);
        assert_eq!(tree.size(), 1);
    }

    #[test]
    fn a_path_has_one_content() {
        let mut tree = Tree::new();
        tree.add_file("a", 0o644, file("1")).unwrap();
        tree.add_file("a", 0o644, file("1")).unwrap();
        let conflict = || Conflict { path: "a".to_owned(), components: vec![] };
        assert_eq!(tree.add_file("a", 0o644, file("2")), Err(conflict()));
        assert_eq!(tree.add_symlink("a/b", "x"), Err(conflict()));
    }

    #[test]
    fn a_conflict_names_both_components() {
        let of = |component: &str| Arc::new(Origin::plain(component, crate::Source::Component));
        let mut tree = Tree::new();
        tree.place("a", 0o644, Kind::File(file("1")), &of("engine")).unwrap();
        tree.place("a", 0o644, Kind::File(file("1")), &of("cli")).unwrap();
        assert_eq!(tree.origin("a").unwrap().component, "engine", "the first one's stays");
        let error = tree.place("a", 0o644, Kind::File(file("2")), &of("cli")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "two different files were to be `/a`: one of `engine`, the other of `cli`"
        );
    }

    #[test]
    fn links_are_followed_within_the_tree() {
        let mut tree = Tree::new();
        tree.add_file("usr/lib/p/bin/x", 0o755, file("1")).unwrap();
        tree.add_symlink("usr/bin/x", "../lib/p/bin/x").unwrap();
        tree.add_symlink("usr/bin/abs", "/usr/bin/x").unwrap();
        tree.add_symlink("usr/bin/loop", "loop").unwrap();
        tree.add_symlink("usr/bin/gone", "../gone").unwrap();
        assert_eq!(tree.resolve("usr/bin/abs"), Some("usr/lib/p/bin/x"));
        assert_eq!(tree.resolve("usr/bin/loop"), None);
        assert_eq!(tree.resolve("usr/bin/gone"), None);
    }

    proptest! {
        #[test]
        fn the_digest_does_not_depend_on_the_order(mut names in prop::collection::hash_set("[a-z]{1,3}(/[a-z]{4,6})?", 1..8)) {
            names.retain(|name| !name.is_empty());
            let names: Vec<String> = names.into_iter().collect();
            let build = |names: &mut dyn Iterator<Item = &String>| {
                let mut tree = Tree::new();
                for name in names {
                    tree.add_file(&format!("top/{name}.f"), 0o644, file(name)).ok();
                }
                tree
            };
            let forward = build(&mut names.iter());
            let backward = build(&mut names.iter().rev());
            prop_assert_eq!(forward.digest(), backward.digest());
            prop_assert!(forward == backward);
        }

        #[test]
        fn any_change_changes_the_digest(mode in 0u32..0o777, text in "[a-z]{0,5}") {
            let mut tree = Tree::new();
            tree.add_file("a", mode, file(&text)).unwrap();
            let mut other = Tree::new();
            other.add_file("a", mode ^ 1, file(&text)).unwrap();
            let mut third = Tree::new();
            third.add_file("a", mode, file(&format!("{text}x"))).unwrap();
            prop_assert_ne!(tree.digest(), other.digest());
            prop_assert_ne!(tree.digest(), third.digest());
        }
    }
}
