//! `from-scratch exec`: a command inside a running instance.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::InstanceArgs;
use crate::report;
use crate::sandbox::join;
use crate::spawn;

/// Options of `exec`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// The command, looked for inside, and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &ExecArgs) -> anyhow::Result<ExitCode> {
    super::require_root("exec")?;
    // Standard input, output and error go in, nothing else that is open here.
    spawn::close_above(2)?;
    let (_, record) = super::running(&args.instance)?;
    let Some(process) = record.process else {
        anyhow::bail!("the instance `{}` is still about to start", args.instance.name);
    };
    match join::run(&process, &args.command) {
        Ok(status) => Ok(ExitCode::from(status)),
        Err(not_started) => {
            eprint!("{}", report::render(&not_started.error));
            Ok(ExitCode::from(not_started.status))
        }
    }
}
