//! From a list of scenarios to tests: listing, one shared environment, taking it down again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::need;
use crate::{Environment, Need, Scenario};

/// An environment that is started by the first scenario that runs, and by none when they are only listed.
pub struct Shared<E> {
    start: fn() -> Result<E>,
    started: Mutex<Option<Result<Arc<E>, String>>>,
}

impl<E: 'static> Shared<E> {
    /// Nothing happens yet.
    pub const fn new(start: fn() -> Result<E>) -> Self {
        Shared { start, started: Mutex::new(None) }
    }

    /// The environment; a start that failed is not tried again for each scenario.
    pub fn get(&self) -> Result<Arc<E>> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started
            .get_or_insert_with(|| (self.start)().map(Arc::new).map_err(|error| told(&error)))
            .clone()
            .map_err(|error| anyhow!("the environment did not start: {error}"))
    }

    /// Gives it up. The last holder's `Drop` takes it down.
    pub fn take(&self) -> Option<Arc<E>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).take()?.ok()
    }
}

/// The tests of one binary.
pub struct Suite {
    prefix: &'static str,
    needs: &'static [Need],
    trials: Vec<Trial>,
    /// One of these a day.
    long: Vec<Trial>,
    /// Only with `--full`.
    longest: Vec<Trial>,
    /// A part of these a day.
    scenarios: Vec<Trial>,
    turns: Turns,
}

/// In how many days all scenarios have their turn, and how many days before another suite.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// As many parts.
    pub days: u64,
    /// So that two suites run other ones on the same day.
    pub ahead: u64,
}

/// The day of another run, to have the same turns.
const TODAY: &str = "FROM_SCRATCH_DAY";

impl Suite {
    /// `prefix` is the tier (`root_up`, `nested_self`); `needs` hold for every test of it.
    pub fn new(prefix: &'static str, needs: &'static [Need]) -> Self {
        Suite {
            prefix,
            needs,
            trials: vec![],
            long: vec![],
            longest: vec![],
            scenarios: vec![],
            turns: Turns { days: 1, ahead: 0 },
        }
    }

    /// Adds scenarios, run in an environment that they share, and in turn: see [`Suite::run`].
    pub fn scenarios<E: Environment + 'static>(
        mut self,
        turns: Turns,
        environment: &'static Shared<E>,
        scenarios: &'static [&'static [Scenario]],
    ) -> Self {
        for scenario in scenarios.iter().copied().flatten() {
            let run = move || {
                let environment = environment.get()?;
                (scenario.run)(&*environment).map_err(|error| {
                    anyhow!(
                        "{}
--- the engine's last lines
{}",
                        told(&error),
                        environment.log_tail()
                    )
                })
            };
            self = self.test(scenario.name, scenario.needs, run);
            let turn = if scenario.long { &mut self.long } else { &mut self.scenarios };
            turn.extend(self.trials.pop());
        }
        self.turns = turns;
        self
    }

    /// Adds one test that brings what it needs itself.
    pub fn test(
        mut self,
        name: &str,
        needs: &'static [Need],
        run: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        let name = format!("{}::{name}", self.prefix);
        let missing = need::missing(self.needs.iter().chain(needs));
        self.trials.push(match missing {
            None => Trial::test(name, move || guarded(run)),
            // `--ignored` runs such a test all the same; it must not pass then.
            Some(reason) => {
                let kind = reason.clone();
                Trial::test(name, move || Err(Failed::from(reason)))
                    .with_kind(kind)
                    .with_ignored_flag(!need::nothing_left_out())
            }
        });
        self
    }

    /// Adds one that takes long, and proves what others prove in another place: see [`Suite::run`].
    pub fn long(
        mut self,
        name: &str,
        needs: &'static [Need],
        run: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        self = self.test(name, needs, run);
        self.long.extend(self.trials.pop());
        self
    }

    /// Adds one that takes minutes: with `--full` alone, or where the command line names tests.
    pub fn longest(
        mut self,
        name: &str,
        needs: &'static [Need],
        run: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        self = self.test(name, needs, run);
        self.longest.extend(self.trials.pop());
        self
    }

    /// Of the long tests one a day is run, of the scenarios a part; all of them with `--full`, or where the command line
    /// names tests.
    fn choose(&mut self, names_tests: bool) {
        const DAY: u64 = 24 * 60 * 60;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let given = std::env::var(TODAY).ok().and_then(|day| day.parse().ok());
        let day: u64 = given.unwrap_or(now.as_secs() / DAY);
        let today = day + self.turns.ahead;
        let count = self.long.len().max(1) as u64;
        let all = self.trials.len() + self.scenarios.len() + self.long.len() + self.longest.len();
        if names_tests || need::all_of_it() {
            self.trials.append(&mut self.longest);
        }
        for (turns, days) in [(&mut self.scenarios, self.turns.days), (&mut self.long, count)] {
            let is_wanted = |index: u64| names_tests || need::all_of_it() || index % days == today % days;
            let wanted = turns.drain(..).zip(0..).filter(|(_, index)| is_wanted(*index));
            self.trials.extend(wanted.map(|(trial, _)| trial));
        }
        if self.trials.len() < all {
            println!(
                "{} of {all} tests have their turn ({TODAY}={day}); `--full` runs all of them",
                self.trials.len()
            );
        }
    }

    /// Runs what the command line asks for, then `finish`, whatever happened before.
    pub fn run(mut self, finish: impl FnOnce() -> Result<()>) -> ExitCode {
        let mut arguments = Arguments::from_args();
        // The engine is shared and the machine has two cores: order makes failures readable.
        arguments.test_threads.get_or_insert(1);
        self.choose(arguments.filter.is_some() || arguments.list);
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        match catch_unwind(AssertUnwindSafe(finish)) {
            Ok(Ok(())) => conclusion.exit_code(),
            Ok(Err(error)) => {
                eprintln!("error: taking the environment down: {}", told(&error));
                ExitCode::FAILURE
            }
            Err(_) => ExitCode::FAILURE,
        }
    }
}

fn guarded(run: impl FnOnce() -> Result<()>) -> Result<(), Failed> {
    run().map_err(|error| Failed::from(told(&error)))
}

/// The whole chain, a cause a line, without anyhow's backtrace: the way through the harness explains nothing.
pub fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n  because: ")
}
