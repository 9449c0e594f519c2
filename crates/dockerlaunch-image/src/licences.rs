//! The terms under which the packages' files may be passed on, beside those files: most licences ask for just that.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::contents;
use crate::deb::Entry;
use crate::error::BuildError;
use crate::origin::{LICENCE, Origin, Source};
use crate::recipe::RecipeError;
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

/// What a line starts with that says whose text follows.
const HEADING: &str = "==== ";

const PREFACE: &str = "The terms under which the files of this image may be passed on, as the packages state them that the files \
come from.\n`image.json` beside this file says which packages those are, and in which version.\n";

/// Adds the text of every package that a file of the tree is out of, and the common ones that those name, as one file: what
/// several packages share is in it once.
pub(crate) fn add(tree: &mut Tree, resolver: &mut Resolver<'_>) -> Result<(), BuildError> {
    let packages: Vec<String> = contents::packages(tree).into_iter().map(str::to_owned).collect();
    let mut texts = Texts::default();
    let mut named = BTreeSet::new();
    for package in &packages {
        let holder = holder(package, resolver)?;
        if let Some(text) = text(&holder, &format!("{DOC}/{holder}/copyright"), resolver) {
            named.extend(common(&text));
            texts.add(package, text);
        }
    }
    if !named.is_empty() && resolver.exists(COMMON_PACKAGE) {
        resolver.open(&[COMMON_PACKAGE])?;
        for name in named {
            let path = format!("{COMMON}/{name}");
            if let Some(text) = text(COMMON_PACKAGE, &path, resolver) {
                texts.add(&format!("/{path}"), text);
            }
        }
    }
    if texts.0.is_empty() {
        return Ok(());
    }
    let origin = Arc::new(Origin::plain(LICENCE, Source::Build));
    let path = format!("{PRIVATE_DIR}/{LICENCES}");
    let content = Content::new(texts.file().into_bytes());
    tree.place(&path, 0o644, Kind::File(content), &origin).map_err(RecipeError::from)?;
    Ok(())
}

/// Texts in the order in which they were added, each with the names that it belongs to.
#[derive(Default)]
struct Texts(Vec<(Vec<String>, String)>);

impl Texts {
    fn add(&mut self, name: &str, text: String) {
        match self.0.iter_mut().find(|(_, known)| *known == text) {
            Some((names, _)) => names.push(name.to_owned()),
            None => self.0.push((vec![name.to_owned()], text)),
        }
    }

    fn file(&self) -> String {
        let texts = self.0.iter();
        let texts =
            texts.map(|(names, text)| format!("\n{HEADING}{}\n\n{}\n", names.join(" "), text.trim_end()));
        PREFACE.to_owned() + &texts.collect::<String>()
    }
}

/// The names over each text of such a file.
pub(crate) fn headings(file: &str) -> impl Iterator<Item = impl Iterator<Item = &str>> {
    file.lines().filter_map(|line| line.strip_prefix(HEADING)).map(|names| names.split(' '))
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

fn text(package: &str, path: &str, resolver: &Resolver<'_>) -> Option<String> {
    let (_, _, content) = resolver.get(package)?.contents.resolve(path)?;
    let bytes = content?.bytes().ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
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

    #[test]
    fn packages_that_share_a_text_share_a_heading() {
        let mut texts = Texts::default();
        for (package, text) in [("libssl", "A\n"), ("git", "B\nsee above\n"), ("openssl", "A\n")] {
            texts.add(package, text.to_owned());
        }
        let file = texts.file();
        assert!(file.ends_with("\n\n==== libssl openssl\n\nA\n\n==== git\n\nB\nsee above\n"), "{file}");
        let headings: Vec<Vec<&str>> = headings(&file).map(Iterator::collect).collect();
        assert_eq!(headings, [vec!["libssl", "openssl"], vec!["git"]]);
    }
}
