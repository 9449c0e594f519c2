//! What proves a file: a scenario under `up`, or a test that starts an instance of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::environments::scenarios;
use crate::scenarios::sweep;
use crate::suite::told;
use crate::up::{Instance, Options, ROOTFS};
use crate::{Environment, Scenario, command, firewall, interrupt, need, public_names, small_files, userns};

/// A test that brings an instance of its own; its name is without that of its suite.
#[derive(Debug)]
pub struct Test {
    name: &'static str,
    run: fn() -> Result<()>,
}

/// Those that can prove a file.
const TESTS: &[Test] = &[
    Test { name: "firewall::both_backends_pain_1", run: firewall::both_backends },
    Test { name: "public_names::lead_to_programs", run: public_names::in_a_new_instance },
    Test { name: "small_files::read_by_the_engine", run: small_files::read_by_the_engine },
    Test { name: "userns::remapped", run: userns::remapped },
];

/// The word before a test's name on the command line of a process that runs it alone.
pub const WORD: &str = "--trial";

/// A test starts more than one instance.
const DEADLINE: Duration = Duration::from_secs(400);

/// One of them.
#[derive(Debug, Clone, Copy)]
pub enum Proof {
    /// Runs in an instance that is started for it.
    Scenario(&'static Scenario),
    /// Starts its own.
    Test(&'static Test),
}

/// How it went.
#[derive(Debug)]
pub(super) enum Fate {
    Passed,
    /// With all that was shown.
    Failed(String),
}

impl Proof {
    /// By its name as it stands in the data, a test's with that of its suite in front.
    pub fn called(name: &str) -> Option<Self> {
        let own = name.split_once("::").map_or(name, |(_, own)| own);
        let scenario = scenarios().find(|scenario| scenario.name == name || scenario.name == own);
        let test = || TESTS.iter().find(|test| test.name == name || test.name == own);
        scenario.map(Proof::Scenario).or_else(|| test().map(Proof::Test))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Proof::Scenario(scenario) => scenario.name,
            Proof::Test(test) => test.name,
        }
    }
}

/// Runs the test of this name; the image is in the environment.
pub(super) fn run_alone(name: &str) -> Result<ExitCode> {
    interrupt::listen()?;
    let test = TESTS.iter().find(|test| test.name == name).with_context(|| format!("no test `{name}`"))?;
    (test.run)().map(|()| ExitCode::SUCCESS)
}

/// An unpacked image to be tried.
pub(super) struct Trial<'a> {
    root: &'a Path,
}

impl<'a> Trial<'a> {
    pub(super) fn at(root: &'a Path) -> Self {
        Trial { root }
    }

    /// Runs a proof in an instance of its own. An instance that does not start is a failure of the proof.
    pub(super) fn alone(&self, proof: Proof) -> Result<Fate> {
        let fate = match proof {
            Proof::Test(test) => self.test(test)?,
            Proof::Scenario(scenario) => match self.start() {
                Err(error) => Fate::Failed(told(&error)),
                Ok(mut instance) => {
                    let fate = scenario_in(&instance, scenario);
                    instance.tear_down()?;
                    fate
                }
            },
        };
        interrupt::check()?;
        Ok(fate)
    }

    /// Runs scenarios in one instance, then tests, and hands on how each went.
    pub(super) fn shared(
        &self,
        proofs: &[Proof],
        mut went: impl FnMut(Proof, Fate, Duration) -> Result<()>,
        look: impl FnOnce(&dyn Environment) -> Result<()>,
    ) -> Result<()> {
        let mut instance = self.start().context("the image as it is")?;
        look(&instance)?;
        for proof in proofs {
            let begun = Instant::now();
            let Proof::Scenario(scenario) = proof else { continue };
            let fate = match need::missing(scenario.needs) {
                Some(reason) => Fate::Failed(reason),
                None => scenario_in(&instance, scenario),
            };
            interrupt::check()?;
            if let Fate::Failed(_) = &fate {
                sweep(&instance)?;
            }
            went(*proof, fate, begun.elapsed())?;
        }
        instance.tear_down()?;
        for proof in proofs {
            let begun = Instant::now();
            if let Proof::Test(_) = proof {
                went(*proof, self.alone(*proof)?, begun.elapsed())?;
            }
        }
        Ok(())
    }

    fn start(&self) -> Result<Instance> {
        let root = self.root.to_str().context("a path in UTF-8")?;
        Instance::start_with("prove", &Options { up: &["--rootfs", root], ..Options::default() })
    }

    /// In a process of its own: the image that its instances take stands in the environment.
    fn test(&self, test: &Test) -> Result<Fate> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args([WORD, test.name]).env(ROOTFS, self.root);
        let outcome = command::run_within(&mut command, b"", DEADLINE)?;
        match outcome.status {
            0 => Ok(Fate::Passed),
            1 => Ok(Fate::Failed(outcome.stderr)),
            status => bail!("`{}` ended with {status}: {}", outcome.command, outcome.stderr),
        }
    }
}

fn scenario_in(instance: &Instance, scenario: &Scenario) -> Fate {
    let result = catch_unwind(AssertUnwindSafe(|| (scenario.run)(instance)))
        .unwrap_or_else(|_| Err(anyhow!("it panicked")));
    match result {
        Ok(()) => Fate::Passed,
        Err(error) => {
            let log = instance.log().unwrap_or_else(|error| told(&error));
            Fate::Failed(format!("{}\n--- the engine's log\n{log}", told(&error)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_and_tests_are_found_by_their_names() {
        let name = |name| Proof::called(name).map(Proof::name);
        assert_eq!(name("running::top_pain_29"), Some("running::top_pain_29"));
        assert_eq!(name("root_up::running::top_pain_29"), Some("running::top_pain_29"));
        assert_eq!(name("root_up::userns::remapped"), Some("userns::remapped"));
        assert_eq!(name("running::top"), None);
    }
}
