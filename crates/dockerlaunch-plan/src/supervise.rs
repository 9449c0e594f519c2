//! The state machine of PID 1, without input, output or clock: events and their times in, reactions out.
//!
//! One engine, started again when the policy says so; one job, if there is one; one way to stop, with one deadline.

use std::time::Duration;

mod beside;
mod event;
pub mod mounts;
mod restart;
pub mod signal;
mod tail;
pub mod tree;

pub use beside::Beside;
pub use event::{Event, News, Policy, Reaction};
pub use restart::Restart;
pub use tail::Tail;

/// After SIGKILL only the kernel's own work is left. All that follows a deadline has this time, so that the default one
/// and this fit into the ten seconds of `docker stop`.
pub const AFTER_KILL: Duration = Duration::from_millis(1500);

/// What the engine needs, once its containers have ended, to end itself: it waits 5 s for requests that are still open
/// (moby daemon/command/daemon.go, `apiShutdownCancel`).
const ENGINE_NEEDS: Duration = Duration::from_secs(6);

/// Where an engine has no way to say that it is ready, it is taken to be after this long.
const SETTLED: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    /// [`Reaction::StartEngine`] is being carried out.
    Starting,
    Running {
        pid: i32,
        started: Duration,
        ready: Option<Duration>,
        /// It has got its SIGTERM. dockerd counts them, and gives up its order at the third.
        told: bool,
    },
    /// It starts at this time; it has ended with this status before, unless this is the first start.
    Pausing { until: Duration, status: Option<i32> },
    /// It has ended with this status.
    Gone(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    None,
    Waiting,
    Running(i32),
    Done(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// SIGTERM is held until this time at most.
    Draining(Duration),
    Stopping {
        /// When the job is ended by force; `None`: done, or there is none.
        job: Option<Duration>,
        /// When containers are.
        containers: Option<Duration>,
        /// When all the rest is.
        all: Duration,
    },
    /// SIGKILL is out; by this time we go in any case.
    Ending(Duration),
    /// [`Reaction::Exit`] is out.
    Over,
}

/// Watches one engine, and in job mode one job.
#[derive(Debug, Clone)]
pub struct Supervisor {
    policy: Policy,
    engine: Engine,
    job: Job,
    phase: Phase,
    /// Restarts in a row.
    restarts: u32,
    /// A SIGHUP that came before the engine could take it.
    held_reload: bool,
}

impl Supervisor {
    /// Nothing is started yet: the first reaction is to [`Event::Time`], or to a signal that came before.
    pub fn new(policy: Policy) -> Self {
        let job = if policy.job { Job::Waiting } else { Job::None };
        let engine = Engine::Pausing { until: Duration::ZERO, status: None };
        Self { policy, engine, job, phase: Phase::Serving, restarts: 0, held_reload: false }
    }

    /// When to come back with [`Event::Time`], if nothing happens before.
    pub fn wake(&self) -> Option<Duration> {
        let phase = match self.phase {
            Phase::Serving | Phase::Over => None,
            Phase::Draining(until) | Phase::Ending(until) => Some(until),
            Phase::Stopping { job, containers, all } => job.into_iter().chain(containers).chain([all]).min(),
        };
        let engine = match self.engine {
            Engine::Pausing { until, .. } => Some(until),
            Engine::Running { started, ready: None, .. } if self.held_reload && !self.policy.readiness => {
                Some(started + SETTLED)
            }
            _ => None,
        };
        phase.into_iter().chain(engine).min()
    }

    /// What to do about an event; `now` never goes back.
    pub fn react(&mut self, now: Duration, event: Event) -> Vec<Reaction> {
        if self.phase == Phase::Over {
            return vec![];
        }
        match event {
            Event::Signal(signal::HUP) => self.reload(now),
            Event::Signal(number) if signal::STOP.contains(&number) => self.stop_signal(now, number),
            Event::Signal(number) => match (self.job, self.engine) {
                (Job::Running(_), _) => vec![Reaction::SignalJob(number)],
                (_, Engine::Running { .. }) => vec![Reaction::SignalEngine(number)],
                _ => vec![],
            },
            Event::Exited { pid, status } if self.engine_pid() == Some(pid) => self.engine_ended(now, status),
            Event::Exited { pid, status } if self.job == Job::Running(pid) => self.job_ended(now, status),
            Event::Exited { .. } => vec![],
            Event::EngineStarted(pid) => {
                self.engine = Engine::Running { pid, started: now, ready: None, told: false };
                if self.phase == Phase::Serving { vec![] } else { self.stop_engine() }
            }
            Event::EngineFailed(status) => self.engine_ended(now, status),
            Event::Ready => self.ready(now),
            Event::JobStarted(pid) if self.job == Job::Waiting => {
                self.job = Job::Running(pid);
                vec![]
            }
            Event::JobFailed(status) if self.job == Job::Waiting => self.job_ended(now, status),
            Event::JobStarted(_) | Event::JobFailed(_) => vec![],
            Event::Drained if matches!(self.phase, Phase::Draining(_)) => self.stop(now, signal::TERM),
            Event::PeerGone if matches!(self.phase, Phase::Serving | Phase::Draining(_)) => {
                self.stop(now, signal::TERM)
            }
            Event::Drained | Event::PeerGone => vec![],
            Event::Time => self.time(now),
        }
    }

    /// The engine, while it runs.
    pub fn engine_pid(&self) -> Option<i32> {
        match self.engine {
            Engine::Running { pid, .. } => Some(pid),
            _ => None,
        }
    }

    fn ready(&mut self, now: Duration) -> Vec<Reaction> {
        if let Engine::Running { ready, .. } = &mut self.engine {
            ready.get_or_insert(now);
        }
        let mut reactions = vec![];
        if self.job == Job::Waiting && self.phase == Phase::Serving {
            reactions.push(Reaction::StartJob);
        }
        if self.held_reload {
            reactions.extend(self.reload(now));
        }
        reactions
    }

    /// Before it is ready, SIGHUP would end dockerd: it has not asked for that signal yet.
    fn reload(&mut self, now: Duration) -> Vec<Reaction> {
        if !matches!(self.phase, Phase::Serving | Phase::Draining(_)) {
            return vec![];
        }
        let takes_it = match self.engine {
            Engine::Running { ready: Some(_), .. } => true,
            Engine::Running { started, ready: None, .. } => {
                !self.policy.readiness && now >= started + SETTLED
            }
            _ => false,
        };
        self.held_reload = !takes_it;
        if takes_it { vec![Reaction::Reload] } else { vec![] }
    }

    fn stop_signal(&mut self, now: Duration, number: i32) -> Vec<Reaction> {
        let serves = matches!(self.engine, Engine::Running { ready: Some(_), .. }) && self.job == Job::None;
        match (self.phase, self.policy.drain) {
            (Phase::Serving, Some(limit)) if number == signal::TERM && serves => {
                self.phase = Phase::Draining(now + limit);
                vec![Reaction::Tell(News::Draining(limit)), Reaction::StartDrain]
            }
            (Phase::Serving, _) => self.stop(now, number),
            // Whoever asks for more than SIGTERM does not want to wait.
            (Phase::Draining(_), _) if number != signal::TERM => self.stop(now, number),
            (Phase::Stopping { .. }, _) if number != signal::TERM => self.end_everything(now),
            _ => vec![],
        }
    }

    /// Begins the one stop, with its one deadline.
    fn stop(&mut self, now: Duration, number: i32) -> Vec<Reaction> {
        if self.job == Job::Waiting {
            self.job = Job::Done(128 + number);
        }
        if let Engine::Pausing { status, .. } = self.engine {
            self.engine = Engine::Gone(status.unwrap_or(128 + number));
        }
        self.held_reload = false;
        let time = self.policy.stop;
        let has_job = matches!(self.job, Job::Running(_));
        self.phase = Phase::Stopping {
            // Its containers, and then the engine, need the rest.
            job: has_job.then(|| now + time / 4),
            containers: (!self.policy.keeps).then(|| now + time - ENGINE_NEEDS.min(time / 2)),
            all: now + time,
        };
        let mut reactions = vec![Reaction::Tell(News::Stopping(time))];
        if has_job {
            // The engine follows when the job has ended.
            reactions.push(Reaction::SignalJob(number));
        } else {
            reactions.extend(self.stop_engine());
        }
        reactions
    }

    /// Tells the engine to stop, once, or goes when there is none any more.
    fn stop_engine(&mut self) -> Vec<Reaction> {
        match &mut self.engine {
            Engine::Running { told, .. } if !*told => {
                *told = true;
                vec![Reaction::SignalEngine(signal::TERM)]
            }
            Engine::Running { .. } | Engine::Starting => vec![],
            Engine::Pausing { .. } | Engine::Gone(_) => self.go(),
        }
    }

    fn engine_ended(&mut self, now: Duration, status: i32) -> Vec<Reaction> {
        if let Engine::Running { ready: Some(since), .. } = self.engine
            && now >= since + restart::HEALTHY
        {
            self.restarts = 0;
        }
        self.engine = Engine::Gone(status);
        let has_job = matches!(self.job, Job::Running(_));
        let pause = self.policy.restart.pause(status, self.restarts);
        match (self.phase, pause) {
            (Phase::Serving, Some(pause)) => {
                self.restarts += 1;
                self.engine = Engine::Pausing { until: now + pause, status: Some(status) };
                vec![Reaction::Tell(News::Restarting { status, pause, times: self.restarts })]
            }
            (Phase::Serving | Phase::Draining(_), _) => {
                let failed = status != 0 || self.policy.job;
                let news = News::EngineFailed { status, restarts: self.restarts };
                let mut reactions: Vec<_> = failed.then_some(Reaction::Tell(news)).into_iter().collect();
                reactions.extend(if has_job { self.stop(now, signal::TERM) } else { self.go() });
                reactions
            }
            // It has ended while the job still has its time.
            (Phase::Stopping { .. }, _) if has_job => vec![],
            _ => self.go(),
        }
    }

    fn job_ended(&mut self, now: Duration, status: i32) -> Vec<Reaction> {
        // The engine went before the job could end: success would be a lie.
        let status = match self.engine {
            Engine::Gone(engine) if status == 0 => engine.max(1),
            _ => status,
        };
        self.job = Job::Done(status);
        match &mut self.phase {
            Phase::Serving | Phase::Draining(_) => self.stop(now, signal::TERM),
            Phase::Stopping { job, .. } => {
                *job = None;
                self.stop_engine()
            }
            Phase::Ending(_) | Phase::Over => vec![],
        }
    }

    fn time(&mut self, now: Duration) -> Vec<Reaction> {
        let mut reactions = vec![];
        if let Engine::Pausing { until, .. } = self.engine
            && now >= until
        {
            self.engine = Engine::Starting;
            reactions.push(Reaction::StartEngine);
        }
        if self.held_reload {
            reactions.extend(self.reload(now));
        }
        let is_over = |at: &mut Option<Duration>| at.take_if(|at| now >= *at).is_some();
        match &mut self.phase {
            Phase::Draining(until) if now >= *until => reactions.extend(self.stop(now, signal::TERM)),
            Phase::Stopping { all, .. } if now >= *all => reactions.extend(self.end_everything(now)),
            Phase::Stopping { job, containers, .. } => {
                if is_over(job) {
                    reactions.push(Reaction::SignalJob(signal::KILL));
                }
                if is_over(containers) {
                    reactions.push(Reaction::EndContainers);
                }
            }
            Phase::Ending(until) if now >= *until => reactions.extend(self.go()),
            _ => {}
        }
        reactions
    }

    /// By force, and all at once; the engine's status is still worth a moment.
    fn end_everything(&mut self, now: Duration) -> Vec<Reaction> {
        let mut reactions = vec![Reaction::Tell(News::Forced), Reaction::EndEverything];
        self.phase = Phase::Ending(now + AFTER_KILL);
        if matches!(self.engine, Engine::Gone(_)) {
            reactions.extend(self.go());
        }
        reactions
    }

    fn go(&mut self) -> Vec<Reaction> {
        self.phase = Phase::Over;
        let engine = match self.engine {
            Engine::Gone(status) => status,
            // It did not even end by SIGKILL.
            _ => 128 + signal::KILL,
        };
        let status = match self.job {
            Job::None => engine,
            Job::Done(status) => status,
            Job::Waiting => engine.max(1),
            Job::Running(_) => 128 + signal::KILL,
        };
        vec![Reaction::EndEverything, Reaction::Exit(status)]
    }
}

#[cfg(test)]
mod tests;
