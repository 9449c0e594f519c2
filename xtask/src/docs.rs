//! `cargo xtask docs`: writes the generated parts of the documents anew.

use std::process::ExitCode;

use anyhow::Result;

use crate::bench;
use crate::process::{command, output};

/// The tests that compare the documents with the code write them, when asked to.
const TABLES: &[(&str, &[&str])] = &[
    ("README.md: the requirements table", &["dockerlaunch-image", "--lib", "table::"]),
    ("docs/configuration.md: the variables", &["dockerlaunch-plan", "--test", "docs"]),
    ("docs/pains.md: the tests", &["dockerlaunch-plan", "--test", "pains", "the_page"]),
    ("docs/scenarios.md: the results", &["itest", "--lib", "results::"]),
    ("docs/requirements.md: the results", &["itest", "--lib", "prove::page::"]),
];

pub(crate) fn run() -> Result<ExitCode> {
    for (table, test) in TABLES {
        let words = [&["cargo", "test", "--quiet", "--package"], *test].concat();
        output(command(&words).env("UPDATE_DOCS", "1"))?;
        println!("{table}");
    }
    if let Some(record) = bench::Record::published()? {
        record.publish()?;
        println!("docs/bench.md: table and plot");
    }
    Ok(ExitCode::SUCCESS)
}
