//! `from-scratch down`: stops an instance and removes all of it but its data.

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::InstanceArgs;
use crate::sandbox::stop::{self, Ending};

/// Options of `down`.
#[derive(Debug, clap::Args)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Remove its images, containers and volumes too
    #[arg(long)]
    volumes: bool,
    /// Seconds until it is ended by force; it ends by itself within DOCKERLAUNCH_STOP_TIMEOUT (8s), as `up` had that
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=86_400))]
    timeout: u64,
}

pub(crate) fn run(args: &DownArgs) -> anyhow::Result<ExitCode> {
    super::require_root("down")?;
    let state = args.instance.state.dir()?;
    let name = &args.instance.name;
    let dir = state.instance(name);
    if !dir.path().is_dir() {
        eprintln!("the instance `{name}` is not there: nothing to do");
        return Ok(ExitCode::SUCCESS);
    }
    let lock = dir.lock()?;
    let record = match dir.record() {
        Ok(record) => record,
        Err(error) => {
            eprintln!("warning: {error:#}");
            stop::end_unrecorded(&dir)?;
            eprintln!("ended what ran as `{name}`");
            None
        }
    };
    match record {
        Some(record) => match stop::end(&dir, &record, Duration::from_secs(args.timeout))? {
            Ending::Orderly => eprintln!("stopped `{name}`"),
            Ending::WasDead => eprintln!("`{name}` had ended by itself; removed what was left"),
            Ending::Killed => {
                eprintln!("warning: killed `{name}`, as it did not stop within {} s", args.timeout)
            }
        },
        None => {
            dir.clear_run()?;
            eprintln!("`{name}` was not up");
        }
    }
    dir.clear_data(args.volumes)?;
    if dir.docker_data().is_dir() {
        eprintln!(
            "its images, containers and volumes stay for the next `up` (remove them: `{} --volumes`)",
            args.instance.command("down")
        );
    }
    dir.remove_if_empty(lock);
    Ok(ExitCode::SUCCESS)
}
