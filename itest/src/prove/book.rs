//! `docs/requirements.json`, what the last recorded proof gave.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Not;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Inventory, Requirement, Verdict, Whole, page};
use crate::{Environment, product, results};

/// What came of the proof, in one run or in several.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
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
    /// Whether the scenarios were seen to open or execute it.
    pub opened: bool,
    /// Whether it is a link: of these the kernel tells only what they lead to.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub link: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untouched: Option<String>,
    /// When that was, and with what.
    pub run: String,
}

/// The day, and the versions of the engine and the kernel, in words.
pub(super) fn today_with(engine: &dyn Environment) -> Result<String> {
    let [docker, kernel, _] = results::versions(engine)?;
    Ok(format!("{} with Docker {docker} and kernel {kernel}", results::today()))
}

impl Row {
    pub(super) fn of(image: &Inventory, file: &Requirement, verdict: Verdict, whole: &Whole) -> Self {
        Row {
            path: file.path.clone(),
            component: file.component.clone(),
            with: image.components.clone(),
            package: file.package.clone(),
            through: file.through.clone(),
            proof: file.proof(),
            symptom: file.symptom.clone().unwrap_or_default(),
            verdict,
            opened: whole.opened.contains(&file.path),
            link: image.root.join(&file.path).is_symlink(),
            untouched: file.untouched.clone(),
            run: whole.run.clone(),
        }
    }

    pub(super) fn is_touched_or_explained(&self) -> bool {
        self.opened || self.link || self.untouched.is_some()
    }

    /// Whether both parts of the proof hold for it.
    pub fn is_good(&self) -> bool {
        self.verdict == Verdict::Proved && self.is_touched_or_explained()
    }
}

impl Recorded {
    /// All runs that there is something of, and of how many files.
    pub(super) fn runs(&self) -> BTreeMap<&str, usize> {
        let mut runs = BTreeMap::new();
        for row in &self.files {
            *runs.entry(row.run.as_str()).or_default() += 1;
        }
        runs
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
        let opened = self.files.iter().filter(|row| row.opened).count();
        let links = self.files.iter().filter(|row| !row.opened && row.link).count();
        let touched = self.files.iter().filter(|row| row.is_touched_or_explained()).count();
        let exempt: Vec<String> =
            self.exempt.iter().map(|(class, paths)| format!("{} {class}", paths.len())).collect();
        format!(
            "{} files: {} proved necessary, {} not needed by their scenario, {} that fail otherwise, {} without a proof that runs; \
             {opened} opened or executed by scenarios, {links} links, which fanotify does not see, {} not and explained, {} not and \
             unexplained; exempt: {}",
            self.files.len(),
            count(Verdict::Proved),
            count(Verdict::PassesWithout),
            count(Verdict::FailsOtherwise),
            count(Verdict::FailsWith) + count(Verdict::NoProof),
            touched - opened - links,
            self.files.len() - touched,
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

    /// Writes it down, in an order that shows what is new, and the page made of it.
    pub(super) fn write(&mut self) -> Result<()> {
        self.files.sort_by(|one, other| (&one.with, &one.path).cmp(&(&other.with, &other.path)));
        fs::write(document("requirements.json"), serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(document("requirements.md"), page::page(self))?;
        Ok(())
    }
}

pub(super) fn document(name: &str) -> PathBuf {
    product::workspace().join("docs").join(name)
}
