//! `cargo xtask size`: what the image weighs by component and package, and whether anything grew that had no reason to.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::{command, output, workspace};

/// A file that is still of the same version, or is ours, may have grown by this share of its size.
const GROWTH: f64 = 0.02;

/// What is read of `from-scratch explain --json`.
#[derive(Deserialize)]
struct Explained {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    class: String,
    size: u64,
    origin: Origin,
}

#[derive(Deserialize)]
struct Origin {
    component: String,
    source: Source,
}

#[derive(Deserialize)]
struct Source {
    name: Option<String>,
    version: Option<String>,
}

/// A file as it was when the record was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// Package and version.
    from: String,
    size: u64,
}

type Record = BTreeMap<String, Known>;

impl Entry {
    fn from(&self) -> String {
        match (&self.origin.source.name, &self.origin.source.version) {
            (Some(name), Some(version)) => format!("{name} {version}"),
            _ => "ours".to_owned(),
        }
    }
}

pub(crate) fn run(record: bool) -> Result<ExitCode> {
    // The launcher in it is built for release in any case, and nothing else of ours is.
    let explain =
        ["cargo", "run", "--quiet", "--locked", "--package", "from-scratch", "--", "explain", "--json"];
    let explained: Explained = serde_json::from_str(&output(&mut command(&explain))?)?;
    print!("{}", table(&explained.entries));
    let now: Record = explained
        .entries
        .iter()
        // What the image says of itself is longer with each package, and so are the licences.
        .filter(|entry| entry.class == "file")
        .map(|entry| (entry.path.clone(), Known { from: entry.from(), size: entry.size }))
        .collect();
    if record {
        fs::write(place(), serde_json::to_string_pretty(&now)? + "\n")?;
        println!("written: docs/size.json");
        return Ok(ExitCode::SUCCESS);
    }
    let known =
        fs::read_to_string(place()).context("docs/size.json: `cargo xtask size --record` writes it")?;
    let grown = grown(&serde_json::from_str(&known)?, &now);
    if grown.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("\ngrown by more than {} % without a new version:\n{}", GROWTH * 100.0, grown.join("\n"));
    eprintln!("if that is meant: cargo xtask size --record");
    Ok(ExitCode::FAILURE)
}

fn place() -> PathBuf {
    workspace().join("docs/size.json")
}

/// Components, the largest first, and in each what its files come from.
fn table(entries: &[Entry]) -> String {
    let mut components: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
    for entry in entries {
        *components.entry(&entry.origin.component).or_default().entry(entry.from()).or_default() +=
            entry.size;
    }
    let mut components: Vec<(&str, u64, BTreeMap<String, u64>)> =
        components.into_iter().map(|(name, parts)| (name, parts.values().sum(), parts)).collect();
    components.sort_by_key(|(name, size, _)| (std::cmp::Reverse(*size), *name));
    let row = |size: u64, what: &str| format!("{:>8.2} MB  {what}\n", size as f64 / 1e6);
    let mut out = String::new();
    for (name, size, parts) in &components {
        out += &row(*size, name);
        let mut parts: Vec<_> = parts.iter().filter(|(_, size)| **size > 0).collect();
        parts.sort_by_key(|(from, size)| (std::cmp::Reverse(**size), from.as_str()));
        out.extend(parts.into_iter().map(|(from, size)| row(*size, &format!("  {from}"))));
    }
    out + &row(components.iter().map(|(_, size, _)| size).sum(), "in all")
}

/// A line for each file that is what it was, and larger.
fn grown(known: &Record, now: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, file) in now {
        if let Some(was) = known.get(path)
            && was.from == file.from
            && file.size as f64 > was.size as f64 * (1.0 + GROWTH)
        {
            let share = (file.size as f64 / was.size as f64 - 1.0) * 100.0;
            lines.push(format!("  {path} ({}): {} bytes, {share:.1} % more", file.from, file.size));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, component: &str, package: Option<(&str, &str)>, size: u64) -> Entry {
        let (name, version) = package.map(|(name, version)| (name.to_owned(), version.to_owned())).unzip();
        let origin = Origin { component: component.to_owned(), source: Source { name, version } };
        Entry { path: path.to_owned(), class: "file".to_owned(), size, origin }
    }

    #[test]
    fn components_are_shown_with_their_packages() {
        let entries = [
            entry("bin/dockerd", "engine", Some(("docker.io", "28")), 70_000_000),
            entry("bin/runc", "engine", Some(("runc", "1.3")), 10_000_000),
            entry("bin/link", "engine", None, 0),
            entry("bin/dockerlaunch", "launcher", None, 2_500_000),
        ];
        let expected = "   80.00 MB  engine\n   70.00 MB    docker.io 28\n   10.00 MB    runc 1.3\n    \
            2.50 MB  launcher\n    2.50 MB    ours\n   82.50 MB  in all\n";
        assert_eq!(table(&entries), expected);
    }

    #[test]
    fn only_what_grew_without_a_new_version_is_told() {
        let record = |files: &[(&str, &str, u64)]| -> Record {
            let one = |&(path, from, size): &(&str, &str, u64)| {
                (path.to_owned(), Known { from: from.to_owned(), size })
            };
            files.iter().map(one).collect()
        };
        let known =
            record(&[("a", "x 1", 1000), ("b", "x 1", 1000), ("c", "ours", 1000), ("d", "ours", 1000)]);
        let now = record(&[("a", "x 2", 5000), ("b", "x 1", 1020), ("c", "ours", 1021), ("e", "ours", 9)]);
        assert_eq!(grown(&known, &now), ["  c (ours): 1021 bytes, 2.1 % more"]);
    }
}
