//! `from-scratch build`.

use std::process::ExitCode;

/// Options of `build`; `up` takes the same ones through `SourceArgs`.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// What goes into the image, and where it comes from: shared by `build` and `up`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SourceArgs {
    /// Distribution suite that the packages come from
    #[arg(long, default_value = "forky")]
    pub(crate) suite: String,
}

pub(crate) fn run(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    let _ = &args.source.suite;
    Ok(ExitCode::SUCCESS)
}
