//! `cargo xtask size`.

use std::process::ExitCode;

use anyhow::{Result, bail};

pub(crate) fn run() -> Result<ExitCode> {
    bail!("nothing to weigh yet")
}
