//! The Packages index: one stanza a package.

use std::ops::{Range, RangeInclusive};

use crate::digest::Digest;
use crate::version::Version;

/// A package as an index describes it.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// The architecture it is for, or `all`.
    pub architecture: String,
    /// Path of the file below the archive's base URL.
    pub filename: String,
    /// Size of the file.
    pub size: u64,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Names of the packages it depends on; of alternatives, all.
    pub depends: Vec<String>,
    /// Base URLs of the archives that have it, or may have it; the best place first.
    pub bases: Vec<String>,
}

/// The fields that [`Package`] is made of. They are a third of the text.
const FIELDS: [&str; 8] =
    ["Package", "Version", "Architecture", "Filename", "Size", "SHA256", "Pre-Depends", "Depends"];

/// A Packages index. Stanzas are found by name and parsed when asked for: it has 60 MB, and 70 000 of them.
#[derive(Debug)]
pub struct PackageIndex {
    /// The fields that matter, a line each, stanza after stanza.
    text: String,
    base: String,
    /// Where they lie, by name; of one name in the order of the text.
    stanzas: Vec<Range<usize>>,
}

impl PackageIndex {
    /// Keeps what matters of each package, and notes where.
    #[must_use]
    pub fn new(whole: &str, base: &str) -> Self {
        let (mut text, mut stanzas) = (String::new(), Vec::new());
        for stanza in whole.split("\n\n") {
            let start = text.len();
            for line in stanza.lines() {
                if line.split_once(':').is_some_and(|(name, _)| FIELDS.contains(&name)) {
                    text.push_str(line);
                    text.push('\n');
                }
            }
            if field(&text[start..], "Package").is_some() {
                stanzas.push(start..text.len());
            } else {
                text.truncate(start);
            }
        }
        text.shrink_to_fit();
        stanzas.sort_by(|a, b| field(&text[a.clone()], "Package").cmp(&field(&text[b.clone()], "Package")));
        Self { text, base: base.to_owned(), stanzas }
    }

    /// All versions of a package in this index. Stanzas that lack what a download needs are passed over.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = Package> {
        let name_of = |stanza: &Range<usize>| field(&self.text[stanza.clone()], "Package");
        let first = self.stanzas.partition_point(|stanza| name_of(stanza) < Some(name));
        let rest = self.stanzas.get(first..).unwrap_or_default().iter();
        rest.take_while(move |stanza| name_of(stanza) == Some(name))
            .filter_map(|stanza| parse_stanza(&self.text[stanza.clone()], &self.base))
    }
}

/// Only what a lockfile takes: an index says nothing else of a package that can be fetched.
fn parse_stanza(stanza: &str, base: &str) -> Option<Package> {
    let depends = [field(stanza, "Pre-Depends"), field(stanza, "Depends")];
    let word = |name| field(stanza, name).filter(|text| is_word(text));
    Some(Package {
        name: word("Package")?.to_owned(),
        version: Version::new(word("Version")?),
        architecture: word("Architecture")?.to_owned(),
        filename: field(stanza, "Filename").filter(|path| is_pool_path(path))?.to_owned(),
        size: field(stanza, "Size")?.parse().ok().filter(|size| SIZES.contains(size))?,
        digest: field(stanza, "SHA256")?.parse().ok()?,
        depends: depends.into_iter().flatten().flat_map(parse_relation).collect(),
        bases: vec![base.to_owned()],
    })
}

/// Bytes that a package may have: none of a distribution is larger.
pub(crate) const SIZES: RangeInclusive<u64> = 1..=4 << 30;

/// A name, version or architecture as it may stand in a message.
pub(crate) fn is_word(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.:~_".contains(c);
    !text.is_empty() && text.chars().all(plain)
}

/// A path that stays below the archive's base, whatever a server makes of addresses.
pub(crate) fn is_pool_path(path: &str) -> bool {
    let printable = path.chars().all(|c| c.is_ascii_graphic() && !"?#\\".contains(c));
    printable && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// The names in a relation field: `a (>= 1) | b, c:any` gives a, b, c.
fn parse_relation(text: &str) -> impl Iterator<Item = String> {
    text.split([',', '|'])
        .filter_map(|item| item.split_whitespace().next())
        .map(|name| name.split([':', '(']).next().unwrap_or(name).to_owned())
}

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "Package: a\nVersion: 1\nArchitecture: all\nDepends: b (>= 2) | c:any, d(= 1)\nPre-Depends: e\nFilename: pool/a.deb\n\
        Size: 5\nSHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\n\
        Package: b\nVersion: 1\n\n\
        Package: a\nVersion: 2\nArchitecture: all\nFilename: pool/a2.deb\nSize: 5\n\
        SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";

    #[test]
    fn stanzas_are_found_by_name() {
        let index = PackageIndex::new(TEXT, "http://x");
        let versions: Vec<Package> = index.versions("a").collect();
        assert_eq!(versions.len(), 2);
        assert_eq!(versions[0].depends, ["e", "b", "c", "d"]);
        assert_eq!(versions[1].filename, "pool/a2.deb");
        assert_eq!(index.versions("b").count(), 0, "nothing to fetch");
        assert_eq!(index.versions("z").count(), 0);
    }

    #[test]
    fn what_no_archive_says_of_a_package_is_passed_over() {
        let versions = |change: (&str, &str)| {
            let stanza = "Package: a\nVersion: 1:2~b+c-3\nArchitecture: all\nFilename: pool/main/a/a_2.deb\nSize: 5\n\
                SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";
            assert!(stanza.contains(change.0));
            PackageIndex::new(&stanza.replace(change.0, change.1), "").versions("a").count()
        };
        assert_eq!(versions(("Size: 5", "Size: 6")), 1);
        let path = "pool/main/a/a_2.deb";
        for change in [
            (path, "/etc/passwd"),
            (path, "pool/../../x"),
            (path, "./x"),
            (path, "a//b"),
            (path, "pool/a.deb?x=y"),
            (path, "pool/a\x1b[2J.deb"),
            ("Filename: pool/main/a/a_2.deb\n", ""),
            ("Size: 5", "Size: 0"),
            ("Size: 5", "Size: -1"),
            ("Size: 5", "Size: 99999999999999999999"),
            ("Size: 5", "Size: 4294967297"),
            ("Version: 1:2~b+c-3", "Version: 1 2"),
            ("Version: 1:2~b+c-3", "Version: 1\x1b[2J"),
            ("Architecture: all\n", ""),
            ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "e3b0"),
        ] {
            assert_eq!(versions(change), 0, "{change:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(\\PC|\n){0,200}") {
            let index = PackageIndex::new(&format!("Package: a\n{text}"), "");
            let _ = index.versions("a").count();
        }
    }
}
