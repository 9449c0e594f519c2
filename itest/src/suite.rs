//! From a list of scenarios to tests: listing, one shared environment, taking it down again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::{Environment, Need, Scenario, interrupt, need};

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
    trials: Vec<(When, Trial)>,
    turns: Turns,
}

/// When one runs; all of them where the command line names tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// A part of these a day: with `--full` too, which runs all of them in `cargo xtask scenario`.
    Scenario,
    /// One of these a day; with `--full` each.
    Long,
    /// With `--full` alone.
    Full,
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
        Suite { prefix, needs, trials: vec![], turns: Turns { days: 1, ahead: 0 } }
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
                scenario.run_in(&*environment).map_err(|error| {
                    let log = environment.log_tail();
                    anyhow!("{}\n--- the engine's last lines\n{log}", told(&error))
                })
            };
            let when = if scenario.long { When::Long } else { When::Scenario };
            self = self.add(when, scenario.name, scenario.needs, run);
        }
        self.turns = turns;
        self
    }

    /// Adds one test that brings what it needs itself.
    pub fn test(
        self,
        name: &str,
        needs: &'static [Need],
        run: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        self.add(When::Always, name, needs, run)
    }

    /// Adds one that takes long, and proves what others prove in another place: see [`Suite::run`].
    pub fn long(
        self,
        name: &str,
        needs: &'static [Need],
        run: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        self.add(When::Long, name, needs, run)
    }

    /// Adds one that takes minutes: with `--full` alone, or where the command line names tests.
    pub fn longest(
        self,
        name: &str,
        needs: &'static [Need],
        run: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        self.add(When::Full, name, needs, run)
    }

    fn add(
        mut self,
        when: When,
        name: &str,
        needs: &'static [Need],
        run: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        let name = format!("{}::{name}", self.prefix);
        let missing = need::missing(self.needs.iter().chain(needs));
        let trial = match missing {
            None => Trial::test(name, move || guarded(run)),
            // `--ignored` runs such a test all the same; it must not pass then.
            Some(reason) => {
                let kind = reason.clone();
                Trial::test(name, move || Err(Failed::from(reason)))
                    .with_kind(kind)
                    .with_ignored_flag(!need::nothing_left_out())
            }
        };
        self.trials.push((when, trial));
        self
    }

    /// Those that have their turn on this day.
    fn choose(self, day: u64, full: bool) -> Vec<Trial> {
        let today = day + self.turns.ahead;
        let all = self.trials.len();
        let long = self.trials.iter().filter(|(when, _)| *when == When::Long).count() as u64;
        let (mut scenarios, mut longs) = (0.., 0..);
        let mut has_turn = |when| match when {
            When::Always => true,
            When::Scenario => {
                scenarios.next().map(|index: u64| index % self.turns.days) == Some(today % self.turns.days)
            }
            When::Long => longs.next() == Some(today % long) || full,
            When::Full => full,
        };
        let chosen: Vec<Trial> =
            self.trials.into_iter().filter(|(when, _)| has_turn(*when)).map(|(_, trial)| trial).collect();
        if chosen.len() < all {
            let others = if full { "`cargo xtask scenario`" } else { "`cargo xtask test --full`" };
            println!(
                "{} of {all} tests have their turn ({TODAY}={day}); {others} runs the others",
                chosen.len()
            );
        }
        chosen
    }

    /// Runs what the command line asks for, then `finish`, whatever happened before. Of the long tests one a day is run, with
    /// `--full` each; of the scenarios a part; all of both where the command line names tests.
    pub fn run(self, finish: impl FnOnce() -> Result<()>) -> ExitCode {
        let mut arguments = Arguments::from_args();
        // The engine is shared and the machine has two cores: order makes failures readable.
        arguments.test_threads.get_or_insert(1);
        let all_of_them = arguments.filter.is_some() || arguments.list;
        let chosen = if all_of_them {
            self.trials.into_iter().map(|(_, trial)| trial).collect()
        } else {
            match today() {
                Ok(day) => self.choose(day, need::all_of_it()),
                Err(error) => {
                    eprintln!("error: {}", told(&error));
                    return ExitCode::FAILURE;
                }
            }
        };
        // After Ctrl-C the rest fails at once, and what runs is taken down as after any failure.
        if !arguments.list
            && let Err(error) = interrupt::listen()
        {
            eprintln!("error: {}", told(&error));
            return ExitCode::FAILURE;
        }
        let conclusion = libtest_mimic::run(&arguments, chosen);
        let undoing = interrupt::undoing();
        let finished = catch_unwind(AssertUnwindSafe(finish));
        drop(undoing);
        match (finished, interrupt::signal()) {
            (Ok(Ok(())), None) => conclusion.exit_code(),
            (Ok(Ok(())), Some(signal)) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
            (Ok(Err(error)), _) => {
                eprintln!("error: taking the environment down: {}", told(&error));
                ExitCode::FAILURE
            }
            (Err(_), _) => ExitCode::FAILURE,
        }
    }
}

/// The days since 1970, or what [`TODAY`] says.
pub(crate) fn today() -> Result<u64> {
    const DAY: u64 = 24 * 60 * 60;
    match std::env::var(TODAY) {
        Ok(day) => day.parse().map_err(|_| anyhow!("{TODAY}={day}: it must be a number, as a run prints it")),
        Err(_) => {
            Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / DAY)
        }
    }
}

fn guarded(run: impl FnOnce() -> Result<()>) -> Result<(), Failed> {
    interrupt::check().and_then(|()| run()).map_err(|error| Failed::from(told(&error)))
}

/// The whole chain, a cause a line, without anyhow's backtrace: the way through the harness explains nothing.
pub fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n  because: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_and_no_day_has_all() {
        let chosen = |day, full| {
            let mut suite = Suite::new("turns", &[]);
            suite.turns = Turns { days: 4, ahead: 1 };
            let scenario = |suite: Suite, name| suite.add(When::Scenario, name, &[], || Ok(()));
            suite = ["a", "b", "c", "d", "e"].into_iter().fold(suite, scenario);
            suite = suite.long("long1", &[], || Ok(())).test("always", &[], || Ok(()));
            suite = suite.long("long2", &[], || Ok(())).longest("full", &[], || Ok(()));
            let chosen = suite.choose(day, full);
            chosen
                .iter()
                .map(|trial| trial.name().trim_start_matches("turns::").to_owned())
                .collect::<Vec<_>>()
        };
        let on = |day| chosen(day, false);
        assert_eq!(on(3), ["a", "e", "long1", "always"]);
        assert_eq!(on(4), ["b", "always", "long2"]);
        assert_eq!(on(5), ["c", "long1", "always"]);
        assert_eq!(on(6), ["d", "always", "long2"]);
        assert_eq!(on(7), on(3));
        assert_eq!(chosen(3, true), ["a", "e", "long1", "always", "long2", "full"]);
    }
}
