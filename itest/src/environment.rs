//! Where scenarios run.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::Outcome;

/// A directory that the test can write and programs inside can read.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Its path for the test.
    pub outside: PathBuf,
    /// Its path for programs inside.
    pub inside: String,
}

/// A place where our image runs with its engine started.
pub trait Environment: Send + Sync {
    /// Short name, for messages.
    fn name(&self) -> &str;

    /// Runs a program inside, beside the engine (its namespaces, its root), with `input` on standard input.
    fn exec(&self, argv: &[&str], input: &[u8]) -> Result<Outcome>;

    /// Like [`Environment::exec`], with a terminal as standard input and output.
    fn exec_tty(&self, argv: &[&str]) -> Result<Outcome>;

    /// Stops the engine in order and starts it again over the same state. Returns how the stop went.
    fn restart(&self) -> Result<Outcome>;

    /// The shared directory: what the image's own client reads files from, for there is no shell to write them.
    fn exchange(&self) -> &Exchange;

    /// The end of the engine's log, to explain a failure.
    fn log_tail(&self) -> String;

    /// Stops it and removes all that it had. Dropping it does the same, and can only print what went wrong.
    fn take_down(&mut self) -> Result<()>;
}

impl dyn Environment + '_ {
    /// The image's own `docker` client with these arguments.
    pub fn try_docker(&self, args: &[&str]) -> Result<Outcome> {
        self.docker_with_input(args, b"")
    }

    /// The same, for a command that must succeed: its output as text.
    pub fn docker(&self, args: &[&str]) -> Result<String> {
        self.try_docker(args)?.success()
    }

    /// The same, with something on standard input.
    pub fn docker_with_input(&self, args: &[&str], input: &[u8]) -> Result<Outcome> {
        let argv: Vec<&str> = std::iter::once("docker").chain(args.iter().copied()).collect();
        self.exec(&argv, input)
    }

    /// Removes containers and whatever else carries these names; what is not there is no error.
    pub fn remove(&self, containers: &[&str]) -> Result<()> {
        let args: Vec<&str> = ["rm", "--force", "--volumes"].iter().chain(containers).copied().collect();
        self.docker(&args).map(drop)
    }
}

impl Exchange {
    /// A fresh directory below the shared one, on both sides.
    pub fn directory(&self, name: &str) -> Result<Exchange> {
        let outside = self.outside.join(name);
        if outside.exists() {
            std::fs::remove_dir_all(&outside)?;
        }
        std::fs::create_dir_all(&outside)?;
        Ok(Exchange { outside, inside: format!("{}/{name}", self.inside) })
    }

    /// Writes a file into it.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
        Ok(std::fs::write(self.outside.join(name), content)?)
    }
}
