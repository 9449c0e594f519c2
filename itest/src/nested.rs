//! The image as a privileged container of an outer engine: our own under `up`, or one of the distribution's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::build;
use crate::command::{Outcome, eventually};
use crate::environment::{Environment, Exchange};
use crate::image::{self, BOX};
use crate::interrupt;
use crate::suite;
use crate::up::{Instance, Options};

/// An engine to nest in, with our image in it.
pub fn outer(purpose: &str) -> Result<Instance> {
    outer_with(purpose, &[], "")
}

/// [`outer`] with options for its dockerd, and an image in it with these components beside those of the default profile.
pub fn outer_with(purpose: &str, engine_options: &[&str], components: &str) -> Result<Instance> {
    let instance = Instance::start_with(purpose, &Options { engine: engine_options, ..Options::default() })?;
    let archive = build::output_with(purpose, "docker", "image.tar", components)?;
    std::fs::rename(archive, instance.exchange().outside.join("image.tar"))?;
    let environment: &dyn Environment = &instance;
    let loaded = environment.docker(&["load", "-i", "/exchange/image.tar"])?;
    ensure!(loaded.contains(build::IMAGE), "load said: {loaded}");
    Ok(instance)
}

/// The outer engine's client: its program, and options that come before each command.
pub type Client = &'static [&'static str];

/// The client of most.
pub const DOCKER: Client = &["docker"];

/// A running container with an engine of its own; dropping it removes it and its volumes.
pub struct Nested {
    outer: Arc<Instance>,
    client: Client,
    container: String,
    exchange: Exchange,
    is_gone: bool,
}

impl Nested {
    /// `docker run --name NAME --privileged -d IMAGE ARGS…`, as the seed has it, but for the exchange directory.
    pub fn run(outer: Arc<Instance>, container: &str, image: &str, args: &[&str]) -> Result<Self> {
        Self::run_with(outer, container, image, &[], args)
    }

    /// The same, with options for `docker run`.
    pub fn run_with(
        outer: Arc<Instance>,
        container: &str,
        image: &str,
        options: &[&str],
        args: &[&str],
    ) -> Result<Self> {
        Self::run_by(DOCKER, outer, container, image, options, args)
    }

    /// The same, by another client than Docker's.
    pub fn run_by(
        client: Client,
        outer: Arc<Instance>,
        container: &str,
        image: &str,
        options: &[&str],
        args: &[&str],
    ) -> Result<Self> {
        let shared = outer.exchange().directory(container)?;
        let mount = format!("{}:/exchange", shared.inside);
        let exchange = Exchange { outside: PathBuf::from(&shared.outside), inside: "/exchange".to_owned() };
        let nested = Nested { outer, client, container: container.to_owned(), exchange, is_gone: false };
        let head = ["run", "--name", container, "--privileged", "-v", &mount, "-d"];
        let words = head.iter().chain(options).chain([&image]).chain(args);
        nested.client(&words.copied().collect::<Vec<_>>(), b"")?.success()?;
        nested.wait()?;
        Ok(nested)
    }

    fn client(&self, args: &[&str], input: &[u8]) -> Result<Outcome> {
        let words: Vec<&str> = self.client.iter().chain(args).copied().collect();
        self.outer.exec(&words, input)
    }

    /// With the base image in it, so that scenarios can run.
    pub fn with_base_image(self) -> Result<Self> {
        let environment: &dyn Environment = &self;
        environment.docker_with_input(&["import", "-", BOX], &image::busybox_rootfs()?)?.success()?;
        Ok(self)
    }

    /// Name of the container in the outer engine.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// A command of the outer engine's client.
    pub fn outer(&self) -> &dyn Environment {
        &*self.outer
    }

    /// Until the inner engine answers; a container that has ended will not, and its log says why.
    fn wait(&self) -> Result<()> {
        let inner: &dyn Environment = self;
        eventually("the nested engine answers", Duration::from_secs(60), || {
            let inspect = ["inspect", "--format", "{{.State.Status}}", &self.container];
            let running = self.client(&inspect, b"")?.success()?;
            ensure!(running == "running", "container `{}` is {running}", self.container);
            inner.docker(&["ps"]).map(|_| true)
        })
        .map_err(|error| error.context(self.log_tail()))
    }

    /// A container runs in it and ends with the status of its program.
    pub fn runs_a_container(&self) -> Result<()> {
        let inner: &dyn Environment = self;
        let said =
            inner.try_docker(&["run", "--rm", BOX, "sh", "-c", "echo from deep inside; exit 3"])?.exits(3)?;
        ensure!(said.text() == "from deep inside", "{}", said.text());
        Ok(())
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        if !self.is_gone
            && let Err(error) = self.take_down()
        {
            eprintln!("error: container `{}` was not removed: {}", self.container, suite::told(&error));
        }
    }
}

impl Environment for Nested {
    fn name(&self) -> &str {
        &self.container
    }

    fn exec(&self, argv: &[&str], input: &[u8]) -> Result<Outcome> {
        let args: Vec<&str> = ["exec", "-i", &self.container].iter().chain(argv).copied().collect();
        self.client(&args, input)
    }

    fn exec_tty(&self, argv: &[&str]) -> Result<Outcome> {
        let head = ["exec", "-it", &self.container];
        let words: Vec<&str> = self.client.iter().chain(&head).chain(argv).copied().collect();
        self.outer.exec_tty(&words)
    }

    fn restart(&self) -> Result<Outcome> {
        // More than `docker stop` gives by default: how long the stop takes is for the scenario to judge.
        let stop = self.client(&["stop", "--time", "60", &self.container], b"")?.exits(0)?;
        let inspect = ["inspect", "--format", "{{.State.ExitCode}}", &self.container];
        let status = self.client(&inspect, b"")?.success()?;
        ensure!(status == "0", "after `docker stop` the exit status is {status}\n{}", self.log_tail());
        self.client(&["start", &self.container], b"")?.success()?;
        self.wait()?;
        Ok(stop)
    }

    fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    fn log_tail(&self) -> String {
        match self.client(&["logs", "--tail", "25", &self.container], b"") {
            Ok(outcome) => format!("{}{}", outcome.text(), outcome.stderr),
            Err(error) => format!("{error:#}"),
        }
    }

    fn take_down(&mut self) -> Result<()> {
        let _undoing = interrupt::undoing();
        self.is_gone = true;
        self.client(&["rm", "--force", "--volumes", &self.container], b"")?.success().map(drop)
    }
}
