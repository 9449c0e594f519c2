//! `cargo xtask scenario` and `cargo xtask prove`: gets what the chosen scenarios need, then becomes itest's runner of them.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, anyhow};

use crate::process::{command, output, target};
use crate::provision::{self, Need};
use crate::tiers::TIERS;

/// Becomes this program of itest's.
pub(crate) fn run(program: &str, words: &[String]) -> Result<ExitCode> {
    // The whole workspace decides on the features of its libraries: alone, the runner would be compiled anew.
    output(&mut command(&["cargo", "build", "--locked", "--workspace", "--bin", program]))?;
    let runner = || {
        let mut runner = Command::new(target().join("debug").join(program));
        runner.args(words).stdin(Stdio::null());
        runner
    };
    if !words.iter().any(|word| word == "--list") {
        let listed = runner().arg("--needs").stderr(Stdio::inherit()).output()?;
        if !listed.status.success() {
            return Ok(ExitCode::FAILURE);
        }
        let listed = String::from_utf8(listed.stdout)?;
        let needs = listed.lines().map(called).collect::<Result<Vec<_>>>()?;
        for (need, error) in provision::provide(&needs) {
            println!("could not get {}: {error:#}", need.told());
        }
    }
    // In our place, so that a signal meant for us reaches it.
    Err(runner().exec()).context("starting it")
}

/// What itest calls so. A program's package is the one that a tier names.
fn called(name: &str) -> Result<Need> {
    let known = TIERS.iter().flat_map(|tier| tier.needs).copied();
    let is_it = |need: &Need| match need {
        Need::Program(program, _) => name == format!("Program({program:?})"),
        other => name == format!("{other:?}"),
    };
    known.filter(is_it).min().ok_or_else(|| anyhow!("no tier of `cargo xtask test` knows how to get {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_known_by_their_names_in_itest() {
        assert_eq!(called("Busybox").expect("known"), Need::Busybox);
        assert_eq!(called("Program(\"script\")").expect("known"), Need::Program("script", "bsdutils"));
        assert!(called("Program(\"telepathy\")").expect_err("unknown").to_string().contains("telepathy"));
    }
}
