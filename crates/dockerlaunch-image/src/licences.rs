//! The terms under which the packages' files may be passed on, beside those files: most licences ask for just that.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::deb::Entry;
use crate::error::BuildError;
use crate::origin::{LICENCE, Origin, Source};
use crate::recipe::{self, RecipeError};
use crate::resolve::Resolver;
use crate::tree::{Content, Kind, Tree};
use crate::{LICENCES, PRIVATE_DIR};

/// Where packages keep theirs.
const DOC: &str = "usr/share/doc";

/// Where the texts are that many packages' own text only names, and the package that has them.
const COMMON: &str = "usr/share/common-licenses";
const COMMON_PACKAGE: &str = "base-files";

/// The files of packages that licence texts are in.
pub(crate) fn patterns() -> Vec<glob::Pattern> {
    [format!("{DOC}/*/copyright"), format!("{COMMON}/*")]
        .iter()
        .filter_map(|text| glob::Pattern::new(text).ok())
        .collect()
}

/// Adds the text of every package that a file of the tree is out of, and the common ones that those name.
pub(crate) fn add(tree: &mut Tree, resolver: &mut Resolver<'_>) -> Result<(), BuildError> {
    let packages: BTreeSet<String> = tree
        .iter()
        .filter_map(|(path, _)| match &tree.origin(path)?.source {
            Source::Package { name, .. } => Some(name.clone()),
            _ => None,
        })
        .collect();
    let mut named = BTreeSet::new();
    for package in &packages {
        let holder = holder(package, resolver)?;
        if let Some(content) = place(tree, package, &holder, &format!("{DOC}/{holder}/copyright"), resolver)?
        {
            named.extend(common(&String::from_utf8_lossy(content.bytes())));
        }
    }
    if named.is_empty() || !resolver.exists(COMMON_PACKAGE) {
        return Ok(());
    }
    resolver.open(&[COMMON_PACKAGE])?;
    for name in named {
        place(tree, &format!("common/{name}"), COMMON_PACKAGE, &format!("{COMMON}/{name}"), resolver)?;
    }
    Ok(())
}

/// The package with the text: packages of one source may share a directory of documentation, which belongs to one.
fn holder(package: &str, resolver: &mut Resolver<'_>) -> Result<String, BuildError> {
    let shared =
        resolver.get(package).and_then(|open| match open.contents.entries.get(&format!("{DOC}/{package}")) {
            Some(Entry::Symlink(target)) => Some(target.clone()),
            _ => None,
        });
    let Some(other) = shared.and_then(|target| target.rsplit('/').next().map(str::to_owned)) else {
        return Ok(package.to_owned());
    };
    if resolver.exists(&other) {
        resolver.open(&[&other])?;
    }
    Ok(other)
}

fn place(
    tree: &mut Tree,
    to: &str,
    package: &str,
    from: &str,
    resolver: &Resolver<'_>,
) -> Result<Option<Content>, RecipeError> {
    let Some(open) = resolver.get(package) else { return Ok(None) };
    let Some((found, _, Some(content))) = open.contents.resolve(from) else { return Ok(None) };
    let origin = Origin::plain(LICENCE, recipe::source(open, vec![found.to_owned()]));
    let path = format!("{PRIVATE_DIR}/{LICENCES}/{to}");
    tree.place(&path, 0o644, Kind::File(content.clone()), &Arc::new(origin))?;
    Ok(Some(content.clone()))
}

/// The common texts that a package's own text names.
fn common(text: &str) -> Vec<String> {
    let end = |c: char| !(c.is_ascii_alphanumeric() || "-.+".contains(c));
    text.split(&format!("/{COMMON}/"))
        .skip(1)
        .filter_map(|rest| rest.split(end).next())
        .map(|name| name.trim_end_matches('.').to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_texts_are_named_by_path() {
        let text = "see /usr/share/common-licenses/GPL-2.\n /usr/share/common-licenses/LGPL-2.1'\n\
            the directory /usr/share/common-licenses/ and `/usr/share/common-licenses/Apache-2.0`";
        assert_eq!(common(text), ["GPL-2", "LGPL-2.1", "Apache-2.0"]);
        assert_eq!(common("none"), [""; 0]);
    }
}
