//! `docs/requirements.json`, what the last recorded proof gave.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Inventory, Requirement, Verdict, page};
use crate::{Environment, product, results};

/// One run of the proof.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its day.
    pub date: String,
    /// The engine's version.
    pub docker: String,
    /// The kernel's.
    pub kernel: String,
    /// All files that must be proved.
    pub files: Vec<Row>,
    /// Those that need not, by class.
    pub exempt: BTreeMap<String, BTreeSet<String>>,
}

/// A file, what is claimed of it, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Without the leading slash.
    pub path: String,
    /// The component that it belongs to.
    pub component: String,
    /// Which component the image has besides those of the default profile.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub with: String,
    /// Package and version.
    pub package: String,
    /// Of a library: the file that cannot do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// The scenario or test.
    pub proof: String,
    /// What its failure shows.
    pub symptom: String,
    /// How that ended.
    pub verdict: Verdict,
    /// Whether the scenarios opened it.
    pub opened: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untouched: Option<String>,
}

impl Row {
    pub(super) fn of(image: &Inventory, file: &Requirement, verdict: Verdict, opened: bool) -> Self {
        let is_link = image.root.join(&file.path).is_symlink();
        let proof = file.proofs.iter().find_map(|name| super::Proof::called(name).map(super::Proof::name));
        Row {
            path: file.path.clone(),
            component: file.component.clone(),
            with: image.components.clone(),
            package: file.package.clone(),
            through: file.through.clone(),
            proof: proof.map_or_else(|| file.proofs.join(", "), str::to_owned),
            symptom: file.symptom.clone().unwrap_or_default(),
            verdict,
            // The kernel tells of what a link leads to.
            opened: opened || is_link,
            untouched: file.untouched.clone(),
        }
    }

    pub(super) fn is_touched_or_explained(&self) -> bool {
        self.opened || self.untouched.is_some()
    }

    /// Whether both parts of the proof hold for it.
    pub fn is_good(&self) -> bool {
        self.verdict == Verdict::Proved && self.is_touched_or_explained()
    }
}

impl Recorded {
    /// Asks for day and versions.
    pub(super) fn look(&mut self, engine: &dyn Environment) -> Result<()> {
        [self.docker, self.kernel, _] = results::versions(engine)?;
        self.date = results::today();
        Ok(())
    }

    pub(super) fn exempt(&mut self, image: &Inventory) {
        for (class, paths) in &image.exempt {
            self.exempt.entry((*class).to_owned()).or_default().extend(paths.iter().cloned());
        }
    }

    /// How many are exempt of all files and links, in percent.
    pub(super) fn exempt_share(&self) -> f64 {
        let exempt: usize = self.exempt.values().map(BTreeSet::len).sum();
        100.0 * exempt as f64 / (exempt + self.files.len()).max(1) as f64
    }

    pub(super) fn summary(&self) -> String {
        let count = |verdict| self.files.iter().filter(|row| row.verdict == verdict).count();
        let touched = self.files.iter().filter(|row| row.opened).count();
        let explained = self.files.iter().filter(|row| !row.opened && row.untouched.is_some()).count();
        let exempt: Vec<String> =
            self.exempt.iter().map(|(class, paths)| format!("{} {class}", paths.len())).collect();
        format!(
            "{} files: {} proved necessary, {} not needed by their scenario, {} that fail otherwise, {} without a proof that runs; \
             {touched} touched by scenarios, {explained} not and explained, {} not and unexplained; exempt: {}",
            self.files.len(),
            count(Verdict::Proved),
            count(Verdict::PassesWithout),
            count(Verdict::FailsOtherwise),
            count(Verdict::FailsWith) + count(Verdict::NoProof),
            self.files.len() - touched - explained,
            exempt.join(", "),
        )
    }

    /// Takes over what an earlier run has of files that are still there and were not proved now.
    pub(super) fn keep(&mut self, earlier: Recorded, images: &[Inventory]) {
        let is_there = |row: &Row| match images.iter().find(|image| image.components == row.with) {
            Some(image) => image.files.iter().any(|file| file.path == row.path),
            None => true,
        };
        for row in earlier.files.into_iter().filter(is_there) {
            if self.files.iter().all(|new| new.path != row.path) {
                self.files.push(row);
            }
        }
        for (class, paths) in earlier.exempt {
            self.exempt.entry(class).or_default().extend(paths);
        }
    }

    /// What is written down.
    pub(super) fn read() -> Result<Self> {
        let path = document("requirements.json");
        let text = fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("`{}`", path.display()))
    }

    /// Writes it down, and the page made of it.
    pub(super) fn write(&self) -> Result<()> {
        fs::write(document("requirements.json"), serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(document("requirements.md"), page::page(self))?;
        Ok(())
    }
}

pub(super) fn document(name: &str) -> PathBuf {
    product::workspace().join("docs").join(name)
}
