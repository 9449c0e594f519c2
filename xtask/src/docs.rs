//! `cargo xtask docs`: writes the generated parts of the documents anew.

use std::process::ExitCode;

use anyhow::Result;

use crate::process::{command, output};

/// The test that compares the README with the components writes it, when asked to.
pub(crate) fn run() -> Result<ExitCode> {
    let test = ["cargo", "test", "--quiet", "--package", "dockerlaunch-image", "--lib", "table::"];
    output(command(&test).env("UPDATE_DOCS", "1"))?;
    println!("README.md: the requirements table");
    Ok(ExitCode::SUCCESS)
}
