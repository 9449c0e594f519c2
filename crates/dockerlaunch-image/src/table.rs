//! The requirements table of the README, made from the components.

use std::fmt::Write as _;

use crate::spec::{Component, Reason, Spec};

/// Marks in the README between which the table stands.
pub const MARKS: (&str, &str) = ("<!-- requirements -->", "<!-- /requirements -->");

/// What Docker requires of user space, as a Markdown table: one line a file or set of files of an image.
pub fn requirements(spec: &Spec) -> String {
    let mut out =
        "| file | package | serves | why | can it be left out |\n|---|---|---|---|---|\n".to_owned();
    for component in spec.components.iter().filter(|c| !c.host) {
        for (name, package, reason) in rows(component) {
            let Reason { feature, why, leave_out, .. } = reason;
            let _ =
                writeln!(out, "| `{name}` | {package} | {feature} | {} | {} |", cell(why), cell(leave_out));
        }
    }
    out
}

fn rows(component: &Component) -> Vec<(String, &str, &Reason)> {
    let launchers = component.launchers.iter().map(|f| (f.to.clone(), "ours", &f.reason));
    let files = component.files.iter().map(|f| {
        let name = if f.to.ends_with('/') { format!("{}*", f.to) } else { f.to.clone() };
        (name, f.package.as_str(), &f.reason)
    });
    let links = component.links.iter().map(|l| (l.to.clone(), "link", &l.reason));
    let sets = component
        .link_sets
        .iter()
        .map(|s| (format!("{}/{{{}}}", s.directory, s.names.join(",")), "link", &s.reason));
    let texts = component.texts.iter().map(|t| (t.to.clone(), "ours", &t.reason));
    let lists = component.flag_lists.iter().map(|l| (l.to.clone(), "generated", &l.reason));
    launchers.chain(files).chain(links).chain(sets).chain(texts).chain(lists).collect()
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|")
}

/// The text with a new table between its marks; `None` when it has no marks.
pub fn replace(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(MARKS.0)?;
    let (_, after) = rest.split_once(MARKS.1)?;
    Some(format!("{before}{}\n{table}{}{after}", MARKS.0, MARKS.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The README's table is the components' table. `cargo xtask docs` writes it anew.
    #[test]
    fn the_readme_says_what_the_components_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
        let readme = std::fs::read_to_string(path).expect("README.md");
        let wanted = replace(&readme, &requirements(Spec::embedded().expect("spec"))).expect("marks");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, wanted).expect("write");
        } else {
            assert!(readme == wanted, "README.md is out of date: run `cargo xtask docs`");
        }
    }
}
