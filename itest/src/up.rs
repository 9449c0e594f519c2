//! The environment of the `root_` tier: the image under `from-scratch up`, with no way out of its network namespace.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::{self, Outcome};
use crate::environment::{Environment, Exchange};
use crate::{image, interrupt, product, suite};

/// Where the exchange directory is mounted inside.
const EXCHANGE: &str = "/exchange";

/// Names an image that is unpacked already, to test one without building it.
pub(crate) const ROOTFS: &str = "FROM_SCRATCH_ROOTFS";

/// One named instance; dropping it takes it down with all its state.
#[derive(Debug)]
pub struct Instance {
    name: String,
    state: PathBuf,
    exchange: Exchange,
    socket: PathBuf,
    /// Options of `up`, and after `--` those of the engine.
    options: [Vec<String>; 2],
    variables: Vec<(String, String)>,
    down: bool,
}

/// How an instance is started.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// Options of `up`.
    pub up: &'a [&'a str],
    /// Options of the engine.
    pub engine: &'a [&'a str],
    /// Variables of the launcher.
    pub variables: &'a [(&'a str, &'a str)],
}

impl Instance {
    /// Starts one, with the base image in it, after clearing what a killed run left behind under the same name.
    pub fn start(purpose: &str) -> Result<Self> {
        Self::start_with(purpose, &Options::default())
    }

    /// [`Instance::start`], otherwise than by default.
    pub fn start_with(purpose: &str, options: &Options<'_>) -> Result<Self> {
        let instance = Self::start_bare(purpose, options)?;
        let environment: &dyn Environment = &instance;
        environment.docker_with_input(&["import", "-", image::BOX], &image::busybox_rootfs()?)?.success()?;
        Ok(instance)
    }

    /// An instance without any image in it.
    pub fn start_bare(purpose: &str, options: &Options<'_>) -> Result<Self> {
        let mut instance = Self::named(purpose, options);
        // What a killed run left behind.
        instance.remove()?;
        std::fs::create_dir_all(&instance.exchange.outside)?;
        instance.up()?;
        Ok(instance)
    }

    /// Takes down what is left of an earlier one.
    pub fn clear(purpose: &str) -> Result<()> {
        Self::named(purpose, &Options::default()).tear_down()
    }

    fn named(purpose: &str, options: &Options<'_>) -> Self {
        let name = product::instance_name(purpose);
        let outside = product::target().join("itest-run").join(purpose);
        Instance {
            name,
            // One for all: it holds the unpacked image, which is the same for each.
            state: product::target().join("itest-run/state"),
            exchange: Exchange { outside: outside.join("exchange"), inside: EXCHANGE.to_owned() },
            socket: PathBuf::new(),
            options: [options.up, options.engine]
                .map(|words| words.iter().map(ToString::to_string).collect()),
            variables: options
                .variables
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            down: false,
        }
    }

    /// Name for the command line.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The API socket on the host.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The state directory, which it shares with the other instances of this clone.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// What `ps --json` says of it.
    pub fn row(&self) -> Result<Option<Value>> {
        let mut ps = Command::new(product::from_scratch()?);
        ps.args(["ps", "--json", "--state-dir"]).arg(&self.state);
        let text = command::run(&mut ps, b"")?.success()?;
        let rows: Vec<Value> =
            serde_json::from_str(&text).with_context(|| format!("`ps --json` printed: {text}"))?;
        Ok(rows.into_iter().find(|row| row["name"] == self.name))
    }

    /// Its PID 1, as the host counts.
    pub fn pid(&self) -> Result<i64> {
        self.row()?.and_then(|row| row["pid"].as_i64()).context("`ps` tells no pid")
    }

    /// All that the launcher and the engine have said since the last start.
    pub fn log(&self) -> Result<String> {
        let outcome = command::run(&mut self.command("logs")?, b"")?;
        Ok(format!("{}{}", outcome.text(), outcome.stderr))
    }

    /// `from-scratch` with this instance's name and state directory.
    pub fn command(&self, subcommand: &str) -> Result<Command> {
        let mut command = Command::new(product::from_scratch()?);
        command.arg(subcommand).arg("--name").arg(&self.name).arg("--state-dir").arg(&self.state);
        Ok(command)
    }

    /// Starts it (again): the same state directory, the same options.
    pub fn up(&mut self) -> Result<()> {
        let outcome = self.run_up()?;
        let text = outcome.success()?;
        let socket = text
            .lines()
            .find_map(|line| line.split("unix://").nth(1))
            .with_context(|| format!("`up` printed no socket: {text}"))?;
        self.socket = socket.trim_matches(['\'', '"', ' ']).into();
        Ok(())
    }

    /// Runs `up` and reports how it went.
    pub fn run_up(&self) -> Result<Outcome> {
        let mut up = self.command("up")?;
        up.envs(self.variables.iter().map(|(name, value)| (name, value)));
        up.args(["--network", "none", "-v"])
            .arg(format!("{}:{EXCHANGE}", self.exchange.outside.display()))
            .args(std::env::var_os(ROOTFS).iter().flat_map(|dir| ["--rootfs".as_ref(), dir.as_os_str()]))
            .args(&self.options[0])
            .arg("--")
            .args(&self.options[1]);
        // The first one on a machine downloads the packages.
        command::run_within(&mut up, b"", Duration::from_secs(600))
    }

    /// Stops it in order and keeps its state.
    pub fn down(&self) -> Result<Outcome> {
        command::run(&mut self.command("down")?, b"")?.exits(0)
    }

    /// Stops it and removes all that it had; then looks whether that is true.
    pub fn tear_down(&mut self) -> Result<()> {
        let _undoing = interrupt::undoing();
        self.down = true;
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        command::run(self.command("down")?.arg("--volumes"), b"")?.exits(0)?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let data = self.state.join(&self.name);
        let state = data.display().to_string();
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&state)).collect();
        ensure!(left.is_empty(), "`down` left mounts behind: {left:#?}");
        ensure!(!data.exists(), "`down --volumes` left `{state}` behind");
        if self.exchange.outside.exists() {
            std::fs::remove_dir_all(&self.exchange.outside).context("removing the exchange directory")?;
        }
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !self.down
            && let Err(error) = self.tear_down()
        {
            eprintln!("error: instance `{}` was not taken down: {}", self.name, suite::told(&error));
        }
    }
}

impl Environment for Instance {
    fn name(&self) -> &str {
        &self.name
    }

    fn exec(&self, argv: &[&str], input: &[u8]) -> Result<Outcome> {
        command::run(self.command("exec")?.arg("--").args(argv), input)
    }

    fn exec_tty(&self, argv: &[&str]) -> Result<Outcome> {
        let mut exec = self.command("exec")?;
        exec.arg("--").args(argv);
        on_a_terminal(&exec)
    }

    fn restart(&self) -> Result<Outcome> {
        let stop = self.down()?;
        self.run_up()?.success()?;
        Ok(stop)
    }

    fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    fn log_tail(&self) -> String {
        let text = self.log().unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    fn take_down(&mut self) -> Result<()> {
        self.tear_down()
    }
}

/// Runs a command with a terminal on both ends, as `script` gives it.
pub fn on_a_terminal(program: &Command) -> Result<Outcome> {
    let line = std::iter::once(program.get_program())
        .chain(program.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")))
        .collect::<Vec<_>>()
        .join(" ");
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--echo", "never", "--command", &line, "/dev/null"]);
    command::run(&mut script, b"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_a_terminal_and_the_status_comes_through() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "test -t 0 && test -t 1 && echo 'it is'; exit 4"]);
        let outcome = on_a_terminal(&shell).expect("runs");
        assert_eq!((outcome.text().as_str(), outcome.status), ("it is", 4));
    }
}
