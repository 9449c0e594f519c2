//! The whole image as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Part, parts, share, short, summary};
use crate::contents::{Class, Contents, Entry};

/// Per cent of an image from which on a file has a line of its own.
const STANDS_ALONE: f64 = 0.5;

/// An image by components, the largest first: what each file or directory of files weighs, and its share.
#[must_use]
pub fn overview(contents: &Contents) -> String {
    let files = contents.entries.iter().filter(|entry| entry.class != Class::Link).count();
    let links = contents.entries.len() - files;
    let whole: u64 = contents.entries.iter().map(|entry| entry.size).sum();
    let mut out = format!(
        "{} for {}: {:.2} MB in {files} files and {links} links, out of {} packages\n\n  share         size\n",
        contents.suite,
        contents.architecture,
        whole as f64 / 1e6,
        contents.packages.len(),
    );
    for part in parts(contents) {
        let summary = summary(part.name);
        row(&mut out, contents, part.size, &format!("{}: {summary}", part.name));
        for (name, size) in lines(contents, &part) {
            row(&mut out, contents, size, &format!("  {name}"));
        }
    }
    out
}

fn row(out: &mut String, contents: &Contents, size: u64, what: &str) {
    let _ = writeln!(out, "{:>5.1} %  {:>8.2} MB  {what}", share(size, contents), size as f64 / 1e6);
}

/// The large files, and the others of each directory together.
fn lines(contents: &Contents, part: &Part<'_>) -> Vec<(String, u64)> {
    let files = part.entries.iter().filter(|entry| entry.class != Class::Link);
    let (large, small): (Vec<&Entry>, Vec<&Entry>) =
        files.copied().partition(|entry| share(entry.size, contents) >= STANDS_ALONE);
    let mut directories: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in small {
        let directory = short(&entry.path).rsplit_once('/').map_or("", |(directory, _)| directory);
        directories.entry(directory).or_default().push(entry);
    }
    let mut lines: Vec<(String, u64)> =
        large.iter().map(|entry| (short(&entry.path).to_owned(), entry.size)).collect();
    for (directory, files) in directories {
        let name = match files[..] {
            [one] => short(&one.path).to_owned(),
            _ => format!("{directory}/ ({} files)", files.len()),
        };
        lines.push((name, files.iter().map(|entry| entry.size).sum()));
    }
    lines.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    lines
}
