//! Which layer a file lies in: a new version of one component leaves the layers of the others as they are.

use crate::origin::{DESCRIPTION, EXTRA, LIBRARIES, LICENCE, Origin, PRELOAD, Source};
use crate::tree::Tree;

/// What one layer holds.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) tree: Tree,
}

/// The layer of everything small.
const OTHERS: &str = "others";

/// A layer's name, and the components whose files it has; the lowest layer first. What changes with every build of ours
/// comes last. Few layers on purpose: each costs a container engine a request, and the kernel a directory to look into.
const LAYERS: &[(&str, &[&str])] = &[
    ("libraries", &[LIBRARIES]),
    ("containerd", &[]),
    // The list of flags is what dockerd says of itself.
    ("engine", &["engine", "flags"]),
    ("cli", &["cli"]),
    ("plugins", &["buildx", "compose"]),
    ("git", &["git", "ssh"]),
    (OTHERS, &[]),
    ("extra", &[PRELOAD, EXTRA]),
    ("licences", &[LICENCE]),
    ("launcher", &["launcher"]),
    // It names the version of each package, so it changes with any of them.
    ("description", &[DESCRIPTION]),
];

/// Packages of the engine that have a layer of their own, as they are large and have versions of their own.
const CONTAINERD: &[&str] = &["containerd", "runc"];

fn layer_of(origin: Option<&Origin>) -> &'static str {
    let Some(origin) = origin else { return OTHERS };
    if let Source::Package { name, .. } = &origin.source
        && CONTAINERD.contains(&name.as_str())
    {
        return "containerd";
    }
    let named = LAYERS.iter().find(|(_, components)| components.contains(&origin.component.as_str()));
    named.map_or(OTHERS, |(name, _)| name)
}

/// The layers of a tree that hold anything; together they are the tree.
pub(super) fn parts(tree: &Tree) -> Vec<Part> {
    let part = |name| Part { name, tree: tree.part(|path| layer_of(tree.origin(path)) == name) };
    LAYERS.iter().map(|(name, _)| part(*name)).filter(|part| !part.tree.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tree::{Content, Kind};

    fn tree(engine: &str) -> Tree {
        let package = |component: &str, name: &str| {
            let (version, digest) = ("1".to_owned(), crate::Digest::of(b""));
            let source = Source::Package { name: name.to_owned(), version, digest, paths: vec![] };
            Arc::new(Origin::plain(component, source))
        };
        let mut tree = Tree::new();
        for (path, origin, text) in [
            ("usr/lib/x/bin/dockerd", package("engine", "docker.io"), engine),
            ("usr/lib/x/bin/containerd", package("engine", "containerd"), "c"),
            ("usr/lib/x/bin/ps", package("ps", "procps"), "p"),
            ("usr/lib/x/lib/libc.so.6", package(LIBRARIES, "libc6"), "l"),
            ("usr/lib/x/image.json", Arc::new(Origin::plain(DESCRIPTION, Source::Build)), engine),
        ] {
            tree.place(path, 0o644, Kind::File(Content::new(text.as_bytes())), &origin).unwrap();
        }
        tree.add_dir("usr/lib/x/empty", 0o700).unwrap();
        tree
    }

    #[test]
    fn layers_together_are_the_tree() {
        let whole = tree("1");
        let parts = parts(&whole);
        let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
        assert_eq!(names, ["libraries", "containerd", "engine", "others", "description"]);
        let mut again = Tree::new();
        for part in &parts {
            again.merge(&part.tree).unwrap();
        }
        assert!(again == whole);
        assert_eq!(
            parts[2].tree.get("usr/lib/x/bin").map(|node| node.mode),
            Some(0o755),
            "parents come along"
        );
        assert!(parts[2].tree.get("usr/lib/x/lib").is_none(), "and nothing else");
    }

    #[test]
    fn a_new_engine_leaves_the_other_layers_as_they_are() {
        let (one, other) = (tree("1"), tree("2"));
        let changed: Vec<&str> = parts(&one)
            .iter()
            .zip(parts(&other))
            .filter(|(one, other)| one.tree.digest() != other.tree.digest())
            .map(|(part, _)| part.name)
            .collect();
        assert_eq!(changed, ["engine", "description"]);
    }

    #[test]
    fn every_component_of_the_table_is_there() {
        let spec = crate::spec::Spec::embedded().unwrap();
        for name in LAYERS.iter().flat_map(|(_, components)| *components) {
            let ours = [LIBRARIES, LICENCE, DESCRIPTION, PRELOAD, EXTRA].contains(name);
            assert!(ours || spec.component(name).is_ok(), "{name}");
        }
    }
}
