//! What Docker requires of user space, as tables for documents, made from the components.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use crate::explain::size;
use crate::spec::{Component, Reason, Spec};

/// Marks in a document between which a table stands.
pub const MARKS: (&str, &str) = ("<!-- requirements -->", "<!-- /requirements -->");

/// What a build said about sizes: of `explain --json`, the part that documents show.
#[derive(Debug, Clone, Deserialize)]
pub struct Sizes {
    /// Codename of the suite.
    pub suite: String,
    /// Version of the engine.
    pub engine: String,
    /// What leaving it out saves, by component.
    pub saved: BTreeMap<String, u64>,
}

/// One line a component: what it is, why it is there, how to do without it, and what that saves.
#[must_use]
pub fn overview(spec: &Spec, sizes: &Sizes) -> String {
    let mut out =
        "| component | what | why | can it be left out | saves |\n|---|---|---|---|---:|\n".to_owned();
    let mut row = |name: &str, what: &str, why: &str, leave_out: &str| {
        let saved = sizes.saved.get(name).map_or("–".to_owned(), |bytes| size(*bytes));
        let _ =
            writeln!(out, "| `{name}` | {} | {} | {} | {saved} |", cell(what), cell(why), cell(leave_out));
    };
    for component in spec.components.iter().filter(|component| !component.host) {
        let Component { name, summary, why, leave_out, .. } = component;
        row(name, summary, why, leave_out);
    }
    row(
        "libraries",
        "Shared libraries and their loader, where several of these need them",
        "The executables of Debian's packages are linked dynamically.",
        "no: they come with what needs them, and go with it",
    );
    row(
        "licences",
        "Licence texts of the packages",
        "Most licences ask for their text beside the files.",
        "no",
    );
    let _ = writeln!(
        out,
        "\nSizes: Docker {} of {}, each with the libraries that nothing else needs.",
        sizes.engine, sizes.suite
    );
    out
}

/// One line a file or set of files, under the heading of its component.
#[must_use]
pub fn files(spec: &Spec) -> String {
    let mut out = String::new();
    for component in spec.components.iter().filter(|component| !component.host) {
        let _ = write!(
            out,
            "\n## {}\n\n{}\n\n| file | package | serves | why | can it be left out | proof |\n|---|---|---|---|---|---|\n",
            component.name, component.summary
        );
        for (name, package, reason) in rows(component) {
            let Reason { feature, why, leave_out, proof, .. } = reason;
            let [feature, why, leave_out, proof] = [feature, why, leave_out, proof].map(|text| cell(text));
            let _ = writeln!(out, "| `{name}` | {package} | {feature} | {why} | {leave_out} | {proof} |");
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
#[must_use]
pub fn replace(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(MARKS.0)?;
    let (_, after) = rest.split_once(MARKS.1)?;
    Some(format!("{before}{}\n{table}{}{after}", MARKS.0, MARKS.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo xtask docs` writes it anew.
    fn says(document: &str, table: &str) {
        let path = format!("{}/../../{document}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect(document);
        let wanted = replace(&text, table).expect("marks");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, wanted).expect("write");
        } else {
            assert!(text == wanted, "{document} is out of date: run `cargo xtask docs`");
        }
    }

    #[test]
    fn the_readme_says_what_the_components_say() {
        let sizes = serde_json::from_str(include_str!("../../../docs/image.json")).expect("sizes");
        says("README.md", &overview(Spec::embedded().expect("spec"), &sizes));
    }

    #[test]
    fn the_page_of_requirements_says_what_the_components_say() {
        says("docs/components.md", &files(Spec::embedded().expect("spec")));
    }
}
