//! A run as it is written down; table and plot come out of this alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::instance::{Instance, NAME};
use super::line::Line;
use super::machine::{self, Machine};
use super::{Bench, page, plot};
use crate::process::{command, output, workspace};

const VERSION: u32 = 1;

const FILE: &str = "bench.json";
const PLOT: &str = "bench.svg";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Of this form.
    pub(crate) version: u32,
    pub(crate) date: String,
    /// With `+` behind it, if the tree had changes.
    pub(crate) commit: String,
    pub(crate) rounds: usize,
    pub(crate) machine: Machine,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) lines: Vec<Line>,
}

impl Record {
    /// Without any lines yet. The instance that it asks unpacks the image: what is warm later is warm from here on.
    pub(super) fn begin(bench: &Bench) -> Result<Self> {
        let machine = Machine::this()?;
        let instance = Instance::new(bench, NAME)?;
        instance.up()?;
        let commit = output(&mut command(&["git", "rev-parse", "--short=12", "HEAD"]))?;
        let changes = output(&mut command(&["git", "status", "--porcelain"]))?;
        Ok(Record {
            version: VERSION,
            date: Timestamp::now().to_string().chars().take(10).collect(),
            commit: commit + if changes.is_empty() { "" } else { "+" },
            rounds: bench.rounds,
            machine,
            versions: machine::versions(&instance)?,
            lines: Vec::new(),
        })
    }

    fn parse(text: &str) -> Result<Self> {
        let record: Record = serde_json::from_str(text)?;
        ensure!(record.version == VERSION, "version {} of the figures, not {VERSION}", record.version);
        Ok(record)
    }

    /// A line of text for each line: a diff shows which have changed.
    fn text(&self) -> Result<String> {
        let head = serde_json::to_string_pretty(&Record { lines: Vec::new(), ..self.clone() })?;
        let lines = self.lines.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        let lines = format!("\"lines\": [\n    {}\n  ]", lines.join(",\n    "));
        Ok(head.replacen("\"lines\": []", &lines, 1) + "\n")
    }

    /// What the documents show now, if anything.
    pub(crate) fn published() -> Result<Option<Self>> {
        let path = workspace().join("docs/bench").join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path)?;
        Self::parse(&text).map(Some).with_context(|| format!("reading `{}`", path.display()))
    }

    /// Figures and plot, and the page's table.
    pub(crate) fn publish(&self) -> Result<()> {
        let directory = workspace().join("docs/bench");
        fs::create_dir_all(&directory)?;
        self.keep(&directory)?;
        let page = workspace().join("docs/bench.md");
        let text = page::with_block(&fs::read_to_string(&page)?, &page::block(self))?;
        fs::write(page, text).map_err(Into::into)
    }

    /// Figures and plot.
    pub(super) fn keep(&self, directory: &Path) -> Result<()> {
        fs::write(directory.join(FILE), self.text()?)?;
        fs::write(directory.join(PLOT), plot::svg(self)).map_err(Into::into)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::line::Bar;
    use super::*;

    /// One of each kind.
    pub(crate) const EXAMPLE: &str = r#"{
  "version": 1,
  "date": "2026-11-26",
  "commit": "0123456789ab",
  "rounds": 3,
  "machine": {
    "cpu": "A <fast> & small CPU",
    "cores": 2,
    "memory_gb": 8.3,
    "arch": "x86_64",
    "kernel": "6.18.5",
    "cgroups": "hybrid",
    "load": 0.25
  },
  "versions": {
    "Engine": "28.5.2",
    "from-scratch": "0.1.0",
    "image": "forky@sha256:0123"
  },
  "lines": [
    {"name":"container","what":"`docker stop`","unit":"ms","ours":[300.0,280.5,290.0],"bare":[2100.0,2000.0,2200.0],"bar":{"at_most":1000.0}},
    {"name":"up","what":"warm `up`","unit":"ms","ours":[400.0,410.0],"bare":[200.0,190.0],"bar":{"times":{"factor":1.15,"plus":100.0}}},
    {"name":"memory","what":"idle & settled","unit":"MB","ours":[90.0],"bare":[100.0],"bar":{"less_by":8.0}},
    {"name":"run","what":"`docker run --rm`","unit":"ms","ours":[300.0],"bare":[300.0]},
    {"name":"image","what":"image as `tar:`","unit":"MB","ours":[195.8],"bar":{"at_most":200.0}}
  ]
}
"#;

    pub(crate) fn example() -> Record {
        Record::parse(EXAMPLE).expect("an example")
    }

    #[test]
    fn its_form_stays() {
        let record = example();
        assert_eq!(record.lines[1].bar, Some(Bar::Times { factor: 1.15, plus: 100.0 }));
        assert!(record.lines[4].bare.is_empty());
        assert_eq!(record.text().expect("text"), EXAMPLE);
    }

    #[test]
    fn another_form_is_refused() {
        let error = Record::parse(&EXAMPLE.replacen("1", "2", 1)).expect_err("version 2").to_string();
        assert_eq!(error, "version 2 of the figures, not 1");
    }

    #[test]
    fn the_documents_show_the_figures() {
        let Some(record) = Record::published().expect("docs/bench/bench.json") else { return };
        let read = |name: &str| fs::read_to_string(workspace().join("docs").join(name)).expect("a document");
        let page = read("bench.md");
        let wanted = page::with_block(&page, &page::block(&record)).expect("marks");
        assert!(
            page == wanted && read("bench/bench.svg") == plot::svg(&record),
            "docs/bench.md or docs/bench/bench.svg is out of date: run `cargo xtask docs`"
        );
    }
}
