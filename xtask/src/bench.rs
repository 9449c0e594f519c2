//! `cargo xtask bench`.

use std::process::ExitCode;

use anyhow::{Result, bail};

pub(crate) fn run(_names: &[String]) -> Result<ExitCode> {
    bail!("nothing to measure yet")
}
