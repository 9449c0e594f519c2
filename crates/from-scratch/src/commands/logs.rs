//! `from-scratch logs`: what PID 1 and the engine of an instance write.

use std::fs::File;
use std::io::{self, Seek as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::InstanceArgs;
use crate::sandbox::state::Status;

/// How often `--follow` looks for more.
const PACE: Duration = Duration::from_millis(100);

/// Options of `logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Go on as more is written, until the instance ends
    #[arg(short, long)]
    follow: bool,
}

pub(crate) fn run(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let state = args.instance.state.dir()?;
    let dir = state.instance(&args.instance.name);
    // Of a dead one too: that is when one wants to read it.
    let Some(_) = dir.record()? else { return Err(super::not_up(&state, &args.instance).into()) };
    let path = dir.log();
    let mut log = File::open(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    loop {
        // Whoever keeps disks from filling up cuts the log; what is written then begins at its start.
        if log.metadata()?.len() < log.stream_position()? {
            log.rewind()?;
        }
        // Asked before reading: what is written until the end is then read as well.
        let over = !args.follow || dir.record()?.is_none_or(|record| record.status() == Status::Dead);
        match io::copy(&mut log, &mut io::stdout().lock()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            other => other.context("cannot copy the log")?,
        };
        if over {
            break;
        }
        std::thread::sleep(PACE);
    }
    Ok(ExitCode::SUCCESS)
}
