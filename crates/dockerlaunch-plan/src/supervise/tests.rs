//! What the state machine does, by tables; and what it never does, over lives that nobody thought of.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const STOP: Duration = Duration::from_secs(8);
const ENGINE: i32 = 7;
const JOB: i32 = 8;

fn policy(job: bool) -> Policy {
    Policy { job, restart: Restart::No, readiness: true, drain: None, stop: STOP, keeps: false }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// How far a start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Nothing,
    EngineStarts,
    Ready,
    JobRuns,
    Stopping,
}

/// A supervisor at this stage, all at time 0.
fn at(stage: Stage, policy: Policy) -> Supervisor {
    let mut s = Supervisor::new(policy);
    let events: &[Event] = match stage {
        Stage::Nothing => &[],
        Stage::EngineStarts => &[Event::Time, Event::EngineStarted(ENGINE)],
        Stage::Ready => &[Event::Time, Event::EngineStarted(ENGINE), Event::Ready],
        Stage::JobRuns => &[Event::Time, Event::EngineStarted(ENGINE), Event::Ready, Event::JobStarted(JOB)],
        Stage::Stopping => {
            &[Event::Time, Event::EngineStarted(ENGINE), Event::Ready, Event::Signal(signal::TERM)]
        }
    };
    for event in events {
        s.react(Duration::ZERO, *event);
    }
    s
}

/// What is done, without what is told.
fn deeds(reactions: Vec<Reaction>) -> Vec<Reaction> {
    reactions.into_iter().filter(|r| !matches!(r, Reaction::Tell(_))).collect()
}

#[test]
fn every_signal_in_every_phase() {
    use Reaction::{EndEverything, Exit, Reload, SignalEngine, SignalJob};
    let term_engine: &[Reaction] = &[SignalEngine(signal::TERM)];
    let force: &[Reaction] = &[EndEverything];
    let rows: &[(Stage, bool, i32, &[Reaction])] = &[
        (Stage::Nothing, false, signal::TERM, &[EndEverything, Exit(143)]),
        (Stage::Nothing, false, signal::INT, &[EndEverything, Exit(130)]),
        (Stage::Nothing, false, signal::QUIT, &[EndEverything, Exit(131)]),
        (Stage::Nothing, true, signal::TERM, &[EndEverything, Exit(143)]),
        (Stage::Nothing, false, signal::HUP, &[]),
        (Stage::Nothing, false, signal::USR1, &[]),
        (Stage::EngineStarts, false, signal::TERM, term_engine),
        (Stage::EngineStarts, false, signal::INT, term_engine),
        (Stage::EngineStarts, false, signal::QUIT, term_engine),
        (Stage::EngineStarts, true, signal::TERM, term_engine),
        (Stage::EngineStarts, false, signal::HUP, &[]),
        (Stage::EngineStarts, false, signal::USR1, &[SignalEngine(signal::USR1)]),
        (Stage::Ready, false, signal::TERM, term_engine),
        (Stage::Ready, false, signal::INT, term_engine),
        (Stage::Ready, false, signal::QUIT, term_engine),
        (Stage::Ready, false, signal::HUP, &[Reload]),
        (Stage::Ready, false, signal::USR1, &[SignalEngine(signal::USR1)]),
        (Stage::JobRuns, true, signal::TERM, &[SignalJob(signal::TERM)]),
        (Stage::JobRuns, true, signal::INT, &[SignalJob(signal::INT)]),
        (Stage::JobRuns, true, signal::QUIT, &[SignalJob(signal::QUIT)]),
        (Stage::JobRuns, true, signal::HUP, &[Reload]),
        (Stage::JobRuns, true, signal::USR1, &[SignalJob(signal::USR1)]),
        (Stage::Stopping, false, signal::TERM, &[]),
        (Stage::Stopping, false, signal::INT, force),
        (Stage::Stopping, false, signal::QUIT, force),
        (Stage::Stopping, false, signal::HUP, &[]),
        (Stage::Stopping, false, signal::USR1, &[SignalEngine(signal::USR1)]),
    ];
    for (stage, job, number, wanted) in rows {
        let mut s = at(*stage, policy(*job));
        let reactions = deeds(s.react(ms(1), Event::Signal(*number)));
        assert_eq!(reactions, *wanted, "{stage:?}, job {job}, signal {number}");
    }
}

#[test]
fn the_engines_status_is_ours() {
    for status in 0..=255 {
        let mut s = at(Stage::Ready, policy(false));
        assert_eq!(s.react(ms(1), Event::Exited { pid: 9, status: 3 }), []);
        let exit = deeds(s.react(ms(2), Event::Exited { pid: ENGINE, status }));
        assert_eq!(exit, [Reaction::EndEverything, Reaction::Exit(status)]);
    }
}

#[test]
fn a_job_runs_when_ready_and_its_status_wins() {
    let mut s = at(Stage::EngineStarts, policy(true));
    assert_eq!(s.react(ms(1), Event::Ready), [Reaction::StartJob]);
    assert_eq!(s.react(ms(1), Event::JobStarted(JOB)), []);
    assert_eq!(s.react(ms(2), Event::Ready), []);
    let end = deeds(s.react(ms(3), Event::Exited { pid: JOB, status: 5 }));
    assert_eq!(end, [Reaction::SignalEngine(signal::TERM)]);
    let exit = s.react(ms(4), Event::Exited { pid: ENGINE, status: 0 });
    assert_eq!(exit.last(), Some(&Reaction::Exit(5)));
}

#[test]
fn an_engine_that_dies_under_a_job_is_no_success() {
    for (job, wanted) in [(0, 2), (9, 9)] {
        let mut s = at(Stage::JobRuns, policy(true));
        let died = deeds(s.react(ms(1), Event::Exited { pid: ENGINE, status: 2 }));
        assert_eq!(died, [Reaction::SignalJob(signal::TERM)]);
        let exit = s.react(ms(2), Event::Exited { pid: JOB, status: job });
        assert_eq!(exit.last(), Some(&Reaction::Exit(wanted)));
    }
    // A job that does not mind is ended by force, and containers have their time after it.
    let mut s = at(Stage::JobRuns, policy(true));
    s.react(ms(0), Event::Exited { pid: ENGINE, status: 0 });
    assert_eq!(s.wake(), Some(STOP / 4));
    assert_eq!(s.react(STOP / 4, Event::Time), [Reaction::SignalJob(signal::KILL)]);
    assert_eq!(s.react(STOP / 2, Event::Time), [Reaction::EndContainers]);
    // And one that had not begun yet never does.
    let mut s = at(Stage::EngineStarts, policy(true));
    let exit = s.react(ms(1), Event::Exited { pid: ENGINE, status: 0 });
    assert_eq!(exit.last(), Some(&Reaction::Exit(1)));
}

#[test]
fn a_job_that_cannot_be_started_has_the_status_for_that() {
    let mut s = at(Stage::EngineStarts, policy(true));
    s.react(ms(1), Event::Ready);
    assert_eq!(deeds(s.react(ms(1), Event::JobFailed(126))), [Reaction::SignalEngine(signal::TERM)]);
    let exit = s.react(ms(2), Event::Exited { pid: ENGINE, status: 0 });
    assert_eq!(exit.last(), Some(&Reaction::Exit(126)));
}

#[test]
fn one_deadline_containers_first() {
    assert_eq!(at(Stage::Stopping, Policy { stop: ms(20_000), ..policy(false) }).wake(), Some(ms(14_000)));
    // Those that an engine keeps have not been asked yet, while it is there.
    assert_eq!(at(Stage::Stopping, Policy { keeps: true, ..policy(false) }).wake(), Some(STOP));
    let mut s = at(Stage::Stopping, policy(false));
    assert_eq!(s.wake(), Some(ms(4000)));
    assert_eq!(s.react(ms(4000), Event::Time), [Reaction::EndContainers]);
    assert_eq!(s.wake(), Some(STOP));
    assert_eq!(deeds(s.react(STOP, Event::Time)), [Reaction::EndEverything]);
    assert_eq!(s.wake(), Some(STOP + AFTER_KILL));
    let mut stuck = s.clone();
    let exit = s.react(ms(8100), Event::Exited { pid: ENGINE, status: 137 });
    assert_eq!(exit.last(), Some(&Reaction::Exit(137)));
    assert_eq!(stuck.react(STOP + AFTER_KILL, Event::Time).last(), Some(&Reaction::Exit(137)));
}

#[test]
fn sigterm_is_held_while_it_drains() {
    let drains = Policy { drain: Some(ms(60_000)), ..policy(false) };
    let mut s = at(Stage::Ready, drains.clone());
    let held = deeds(s.react(ms(1), Event::Signal(signal::TERM)));
    assert_eq!(held, [Reaction::StartDrain]);
    assert_eq!(s.react(ms(2), Event::Signal(signal::TERM)), []);
    assert_eq!(s.react(ms(3), Event::Signal(signal::HUP)), [Reaction::Reload]);
    let term = [Reaction::SignalEngine(signal::TERM)];
    let (mut limit, mut impatient, mut gone) = (s.clone(), s.clone(), s.clone());
    assert_eq!(deeds(s.react(ms(9), Event::Drained)), term);
    assert_eq!(s.react(ms(10), Event::Drained), []);
    assert_eq!(limit.wake(), Some(ms(60_001)));
    assert_eq!(deeds(limit.react(ms(60_001), Event::Time)), term);
    assert_eq!(deeds(impatient.react(ms(9), Event::Signal(signal::INT))), term);
    let exit = gone.react(ms(9), Event::Exited { pid: ENGINE, status: 4 });
    assert_eq!(exit.last(), Some(&Reaction::Exit(4)));
    // There is nothing to hold it for before anybody could use the engine, nor beside a job.
    let mut starting = at(Stage::EngineStarts, drains.clone());
    assert_eq!(deeds(starting.react(ms(1), Event::Signal(signal::TERM))), term);
    let mut job = at(Stage::JobRuns, Policy { job: true, ..drains });
    assert_eq!(deeds(job.react(ms(1), Event::Signal(signal::TERM))), [Reaction::SignalJob(signal::TERM)]);
}

#[test]
fn a_crashed_engine_starts_again_until_the_policy_gives_up() {
    let mut s = at(Stage::EngineStarts, Policy { restart: Restart::OnFailure(Some(2)), ..policy(false) });
    let mut now = ms(0);
    for pause in [200, 400] {
        assert_eq!(deeds(s.react(now, Event::Exited { pid: ENGINE, status: 1 })), []);
        assert_eq!(s.wake(), Some(now + ms(pause)));
        assert_eq!(s.react(now + ms(pause - 1), Event::Time), []);
        now += ms(pause);
        assert_eq!(s.react(now, Event::Time), [Reaction::StartEngine]);
        s.react(now, Event::EngineStarted(ENGINE));
    }
    let end = s.react(now, Event::Exited { pid: ENGINE, status: 1 });
    let news = Reaction::Tell(News::EngineFailed { status: 1, restarts: 2 });
    assert_eq!(end, [news, Reaction::EndEverything, Reaction::Exit(1)]);
}

#[test]
fn a_minute_of_health_is_forgiven() {
    let mut s = at(Stage::Ready, Policy { restart: Restart::OnFailure(Some(1)), ..policy(false) });
    let mut now = ms(0);
    for _ in 0..3 {
        now += restart::HEALTHY;
        assert_eq!(deeds(s.react(now, Event::Exited { pid: ENGINE, status: 1 })), []);
        now += ms(200);
        assert_eq!(s.react(now, Event::Time), [Reaction::StartEngine]);
        s.react(now, Event::EngineStarted(ENGINE));
        s.react(now, Event::Ready);
    }
    let end = s.react(now + ms(59_999), Event::Exited { pid: ENGINE, status: 1 });
    assert_eq!(end.last(), Some(&Reaction::Exit(1)), "not well for long enough");
}

#[test]
fn in_the_pause_before_a_restart_a_stop_is_the_end() {
    let mut s = at(Stage::EngineStarts, Policy { restart: Restart::Always, ..policy(false) });
    s.react(ms(1), Event::Exited { pid: ENGINE, status: 3 });
    let exit = s.react(ms(2), Event::Signal(signal::TERM));
    assert_eq!(exit.last(), Some(&Reaction::Exit(3)));
}

#[test]
fn a_reload_waits_until_the_engine_can_take_it() {
    let mut s = at(Stage::EngineStarts, policy(false));
    assert_eq!(s.react(ms(1), Event::Signal(signal::HUP)), []);
    // However long that takes: a start may load a thousand containers.
    assert_eq!((s.wake(), s.react(ms(600_000), Event::Time)), (None, vec![]));
    assert_eq!(s.react(ms(600_001), Event::Ready), [Reaction::Reload]);
    // But where nothing can tell.
    let mut silent = at(Stage::EngineStarts, Policy { readiness: false, ..policy(false) });
    assert_eq!(silent.react(ms(1), Event::Signal(signal::HUP)), []);
    assert_eq!(silent.wake(), Some(SETTLED));
    assert_eq!(silent.react(SETTLED, Event::Time), [Reaction::Reload]);
    assert_eq!((silent.wake(), silent.react(SETTLED, Event::Time)), (None, vec![]));
}

#[test]
fn what_we_exit_with_stops_us_in_order() {
    let mut s = at(Stage::Ready, Policy { drain: Some(STOP), ..policy(false) });
    assert_eq!(deeds(s.react(ms(1), Event::PeerGone)), [Reaction::SignalEngine(signal::TERM)]);
    assert_eq!(s.react(ms(2), Event::PeerGone), []);
}

/// A system around the supervisor: processes that obey, or do not.
struct World {
    supervisor: Supervisor,
    now: Duration,
    engine: Option<i32>,
    job: Option<i32>,
    /// SIGTERMs by pid.
    terms: BTreeMap<i32, u32>,
    stopped_at: Option<Duration>,
    exit: Option<i32>,
    next_pid: i32,
    /// Processes end when told to; else only by force.
    obeys: bool,
    /// And not even by that: they hang in the kernel.
    stuck: bool,
}

impl World {
    fn new(policy: Policy, obeys: bool, stuck: bool) -> Self {
        let supervisor = Supervisor::new(policy);
        let (now, terms) = (Duration::ZERO, BTreeMap::new());
        World {
            supervisor,
            now,
            terms,
            obeys,
            stuck,
            engine: None,
            job: None,
            stopped_at: None,
            exit: None,
            next_pid: 10,
        }
    }

    fn happens(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let was_over = self.exit.is_some();
            let reactions = self.supervisor.react(self.now, event);
            assert!(!was_over || reactions.is_empty(), "after its exit: {reactions:?}");
            for reaction in reactions {
                assert_eq!(self.exit, None, "nothing follows an exit");
                self.act(reaction, &mut events);
            }
        }
    }

    fn act(&mut self, reaction: Reaction, events: &mut Vec<Event>) {
        let dies = |pid: &mut Option<i32>| pid.take().map(|pid| Event::Exited { pid, status: 143 });
        match reaction {
            Reaction::StartEngine => {
                assert_eq!(self.engine, None, "never two engines");
                self.next_pid += 1;
                self.engine = Some(self.next_pid);
                events.push(Event::EngineStarted(self.next_pid));
            }
            Reaction::StartJob => {
                self.next_pid += 1;
                self.job = Some(self.next_pid);
                events.push(Event::JobStarted(self.next_pid));
            }
            Reaction::SignalEngine(signal::TERM) => {
                *self.terms.entry(self.engine.expect("a living engine")).or_default() += 1;
                events.extend(dies(&mut self.engine).filter(|_| self.obeys));
            }
            Reaction::SignalJob(signal::TERM) => events.extend(dies(&mut self.job).filter(|_| self.obeys)),
            Reaction::SignalJob(signal::KILL) => events.extend(dies(&mut self.job).filter(|_| !self.stuck)),
            Reaction::EndEverything => {
                events.extend(dies(&mut self.engine).filter(|_| !self.stuck));
                events.extend(dies(&mut self.job).filter(|_| !self.stuck));
            }
            Reaction::Tell(News::Stopping(_)) => {
                assert_eq!(self.stopped_at, None, "one stop, one deadline");
                self.stopped_at = Some(self.now);
            }
            Reaction::Exit(status) => self.exit = Some(status),
            _ => {}
        }
    }

    /// Time goes on; whatever the supervisor wants to be woken for, it is.
    fn passes(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(wake) = self.supervisor.wake().filter(|wake| *wake <= end && self.exit.is_none()) {
            assert!(wake >= self.now || self.now == Duration::ZERO, "a time in the past again and again");
            self.now = self.now.max(wake);
            self.happens(Event::Time);
            assert!(self.supervisor.wake() != Some(wake), "woken for nothing");
        }
        self.now = end;
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    let restart = prop_oneof![
        Just(Restart::No),
        Just(Restart::Always),
        (0u32..3).prop_map(|n| Restart::OnFailure(Some(n)))
    ];
    (any::<(bool, bool, bool)>(), restart, proptest::option::of(0u64..30_000), 0u64..20_000).prop_map(
        |((job, readiness, keeps), restart, drain, stop)| Policy {
            job,
            restart,
            readiness,
            drain: drain.map(ms),
            stop: ms(stop),
            keeps,
        },
    )
}

fn what() -> impl Strategy<Value = u32> {
    0u32..12
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens: a stop ends within its deadline, no engine gets a second SIGTERM, and nothing follows the exit.
    #[test]
    fn every_life_has_one_orderly_end(
        policy in policies(),
        (obeys, stuck) in any::<(bool, bool)>(),
        life in proptest::collection::vec((what(), 0u64..9000), 0..25),
    ) {
        let mut world = World::new(policy.clone(), obeys, stuck);
        for (what, pause) in life {
            world.passes(ms(pause));
            let event = match what {
                0 | 1 => Event::Ready,
                2 => Event::Signal(signal::TERM),
                3 => Event::Signal(signal::INT),
                4 => Event::Signal(signal::HUP),
                5 => Event::Signal(signal::USR1),
                6 => Event::Drained,
                7 => Event::PeerGone,
                8 => Event::Time,
                9 => Event::Exited { pid: 9999, status: 1 },
                10 => world.engine.take().map_or(Event::Time, |pid| Event::Exited { pid, status: 1 }),
                _ => world.job.take().map_or(Event::Time, |pid| Event::Exited { pid, status: 0 }),
            };
            world.happens(event);
        }
        world.happens(Event::Signal(signal::TERM));
        world.passes(policy.drain.unwrap_or_default() + policy.stop + AFTER_KILL);
        prop_assert!(world.exit.is_some(), "{:?}", world.supervisor);
        prop_assert!(world.terms.values().all(|times| *times == 1), "{:?}", world.terms);
    }
}
