//! The command line: one variant a subcommand, one module each in `commands/`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::sandbox;
use crate::sandbox::name::InstanceName;
use crate::sandbox::state::StateDir;

/// The subcommand by which `up` starts itself again; not for people.
pub(crate) const STAGE: &str = "__stage";

/// That by which `boot` starts qemu; not for people.
pub(crate) const WITH_PARENT: &str = "__with-parent";

const DEFAULT_STATE_DIR: &str = "/var/lib/from-scratch";

/// Docker from scratch: build the image, run it without a container engine.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the image from signed distribution packages (needs no root)
    Build(Box<commands::build::BuildArgs>),
    /// Say what an image holds, file by file: where from, why, and what leaving it out costs (writes nothing)
    Explain(Box<commands::explain::ExplainArgs>),
    /// Write down which packages an image is made of, for `build --locked`
    Lock(Box<commands::lock::LockArgs>),
    /// Start Docker, without any container engine; returns when Docker answers
    Up(Box<commands::up::UpArgs>),
    /// Run a command inside a running instance
    Exec(commands::exec::ExecArgs),
    /// Show what the engine of an instance writes
    Logs(commands::logs::LogsArgs),
    /// List the instances
    Ps(commands::ps::PsArgs),
    /// Say whether Docker can run on this host; changes nothing
    Check(commands::check::CheckArgs),
    /// Stop an instance and remove all of it but its data
    Down(commands::down::DownArgs),
    /// Start the image as a virtual machine, under qemu; returns when it has powered off (needs no root)
    Boot(Box<commands::boot::BootArgs>),
    /// Print a script for a shell that completes these commands and their options
    Completions(commands::completions::CompletionsArgs),
    #[command(name = STAGE, hide = true)]
    Stage,
    #[command(name = WITH_PARENT, hide = true)]
    WithParent {
        parent: i32,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<std::ffi::OsString>,
    },
}

/// Where the state of the instances lies.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StateArgs {
    /// Where instances keep their state and their data
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
}

/// Which instance is meant.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct InstanceArgs {
    /// Name of the instance
    #[arg(long, default_value = "default")]
    pub(crate) name: InstanceName,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

impl InstanceArgs {
    /// How the user would call a subcommand for the same instance: the program as it was called now, and the options
    /// that are not the default's.
    pub(crate) fn command(&self, subcommand: &str) -> String {
        let mut command = format!("{} {subcommand}", program());
        if self.name.as_str() != "default" {
            command += &format!(" --name {}", self.name);
        }
        if self.state.state_dir.as_os_str() != DEFAULT_STATE_DIR {
            command += &format!(" --state-dir {}", quoted(&self.state.state_dir.to_string_lossy()));
        }
        command
    }
}

/// This program as it was called: `cargo run` has it under a path that is not in `PATH`.
pub(crate) fn program() -> String {
    let called = std::env::args().next().filter(|name| !name.is_empty());
    called.map_or_else(|| "from-scratch".to_owned(), |name| quoted(&name))
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

impl StateArgs {
    pub(crate) fn dir(&self) -> anyhow::Result<StateDir> {
        StateDir::new(&self.state_dir)
    }
}

impl Cli {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Build(args) => commands::build::run(&args),
            Command::Explain(args) => commands::explain::run(&args),
            Command::Lock(args) => commands::lock::run(&args),
            Command::Up(args) => commands::up::run(&args),
            Command::Exec(args) => Ok(commands::exec::run(&args).unwrap_or_else(|error| {
                eprint!("{}", crate::report::render(&error));
                ExitCode::from(sandbox::join::OURS)
            })),
            Command::Logs(args) => commands::logs::run(&args),
            Command::Ps(args) => commands::ps::run(&args),
            Command::Check(args) => commands::check::run(&args),
            Command::Down(args) => commands::down::run(&args),
            Command::Completions(args) => commands::completions::run(&args),
            Command::Boot(args) => commands::boot::run(&args),
            Command::Stage => sandbox::stage::run(),
            Command::WithParent { parent, words } => crate::machine::run::with_parent(parent, &words),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("/a-b/c.sock"), "/a-b/c.sock");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
