//! `from-scratch check`: whether Docker can run on this host, or with another kernel.

use std::io::Write as _;
use std::process::ExitCode;

use dockerlaunch::check::{check_file, check_host};

use crate::report::Hinted;

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Only read; else what only a try can tell is tried in namespaces that end with it
    #[arg(long)]
    no_probe: bool,
    /// Print JSON (docs/check.md)
    #[arg(long)]
    json: bool,
    /// Check this configuration of a kernel instead, plain or compressed with gzip
    #[arg(long, value_name = "FILE", conflicts_with = "no_probe")]
    config: Option<String>,
}

pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let checked = match &args.config {
        None => check_host(!args.no_probe),
        Some(file) => check_file(file).map_err(|problem| {
            let error = Hinted::new(problem.what).because(anyhow::anyhow!(problem.causes.join("; ")));
            problem.hints.into_iter().fold(error, |error, hint| error.hint(hint.text))
        })?,
    };
    let text = if args.json { serde_json::to_string_pretty(&checked)? + "\n" } else { checked.text() };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::from(u8::from(!checked.ok))),
    }
}
