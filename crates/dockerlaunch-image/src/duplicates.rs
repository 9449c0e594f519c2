//! Files that are there twice become one and a link, as they are in most packages: `libxt_SNAT.so` is `libxt_NAT.so`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::origin::Origin;
use crate::tree::{Conflict, Kind, Tree};

/// Smaller files take as much room as a link in their place.
pub(crate) const WORTH_A_LINK: u64 = 4096;

/// The same tree with one file a content, within each directory of each component. Across components it would make one
/// depend on another.
pub(crate) fn as_links(tree: &Tree) -> Result<Tree, Conflict> {
    let mut first = BTreeMap::new();
    let mut linked = Tree::new();
    for (path, node) in tree.iter() {
        let Some(origin) = tree.origin(path) else {
            match &node.kind {
                Kind::Dir => linked.add_dir(path, node.mode)?,
                Kind::File(content) => linked.add_file(path, node.mode, content.clone())?,
                Kind::Symlink(target) => linked.add_symlink(path, target)?,
            }
            continue;
        };
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (mut mode, mut kind) = (node.mode, node.kind.clone());
        if let Kind::File(content) = &node.kind
            && node.size() > WORTH_A_LINK
        {
            let same = (directory, &origin.component, node.mode, content.digest().to_string());
            match first.get(&same) {
                Some(other) => (mode, kind) = (0o777, Kind::Symlink(String::clone(other))),
                None => drop(first.insert(same, name.to_owned())),
            }
        }
        linked.place(path, mode, kind, &Arc::new(Origin::clone(origin)))?;
    }
    Ok(linked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Source;
    use crate::tree::Content;

    #[test]
    fn a_content_is_there_once_a_component_and_directory() {
        let origin = |component: &str| Arc::new(Origin::plain(component, Source::Build));
        let mut tree = Tree::new();
        let large = "x".repeat(5000);
        for (path, mode, component, text) in [
            ("a/DNAT.so", 0o644, "iptables", large.as_str()),
            ("a/NAT.so", 0o644, "iptables", &large),
            ("a/program", 0o755, "iptables", &large),
            ("a/theirs", 0o644, "other", &large),
            ("b/NAT.so", 0o644, "iptables", &large),
            ("a/small", 0o644, "iptables", "x"),
            ("a/tiny", 0o644, "iptables", "x"),
        ] {
            tree.place(path, mode, Kind::File(Content::new(text.as_bytes())), &origin(component)).unwrap();
        }
        tree.add_dir("empty", 0o700).unwrap();
        let linked = as_links(&tree).unwrap();
        let links: Vec<(&str, &Kind)> = linked
            .iter()
            .filter(|(_, node)| matches!(node.kind, Kind::Symlink(_)))
            .map(|(path, node)| (path, &node.kind))
            .collect();
        assert_eq!(links, [("a/NAT.so", &Kind::Symlink("DNAT.so".to_owned()))]);
        assert_eq!(linked.origin("a/NAT.so"), tree.origin("a/NAT.so"));
        assert_eq!(linked.iter().count(), tree.iter().count());
        assert_eq!(linked.get("empty"), tree.get("empty"));
    }
}
