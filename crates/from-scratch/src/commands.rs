//! The subcommands, one module each.

pub(crate) mod boot;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod down;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod lock;
pub(crate) mod logs;
pub(crate) mod ps;
pub(crate) mod up;

use crate::cli::InstanceArgs;
use crate::report::Hinted;
use crate::sandbox::state::{InstanceDir, Record, StateDir, Status};

/// Changing instances takes root; says so before anything is touched.
fn require_root(command: &str) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let program = crate::cli::program();
    let words = std::env::args().skip(1).map(|word| crate::cli::quoted(&word)).collect::<Vec<_>>().join(" ");
    Err(Hinted::new(format!("`{command}` needs root: an instance is namespaces, mounts and cgroups"))
        .hint(format!("run it as root: `sudo {program} {words}`"))
        .hint(format!("`{program} build` needs none"))
        .into())
}

/// The instance that the user means, if it is up.
fn running(args: &InstanceArgs) -> anyhow::Result<(InstanceDir, Record)> {
    let state = args.state.dir()?;
    let dir = state.instance(&args.name);
    let record = dir.record()?;
    match record.as_ref().map(Record::status) {
        Some(Status::Running | Status::Starting) => {}
        Some(Status::Dead) => {
            let error = Hinted::new(format!("the instance `{}` is dead: its PID 1 has ended", args.name))
                .hint(format!("see why: `{}`", args.command("logs")))
                .hint(format!("start it again: `{}`", args.command("up")));
            return Err(error.into());
        }
        None => return Err(not_up(&state, args).into()),
    }
    record.map(|record| (dir, record)).ok_or_else(|| anyhow::anyhow!("the instance has just gone"))
}

/// There is no such instance: names those that there are.
fn not_up(state: &StateDir, args: &InstanceArgs) -> Hinted {
    let error = Hinted::new(format!("the instance `{}` is not up", args.name));
    let names: Vec<String> = state
        .records()
        .unwrap_or_default()
        .iter()
        .filter(|record| record.status() == Status::Running)
        .map(|record| format!("`{}`", record.name))
        .collect();
    if names.is_empty() {
        error.hint(format!("no instance runs; start one: `{}`", args.command("up")))
    } else {
        error.hint(format!("these run: {}; choose with `--name`", names.join(", ")))
    }
}
