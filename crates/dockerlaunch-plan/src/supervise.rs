//! The state machine of PID 1, without input or output: events in, reactions out.

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A signal reached us.
    Signal(i32),
    /// A child of ours, or an orphan that we inherited, ended.
    Exited {
        /// Its pid.
        pid: i32,
        /// Its exit status; 128 + n when signal n ended it.
        status: i32,
    },
    /// The engine serves requests (`READY=1`, sd_notify(3)).
    Ready,
    /// The job was started.
    JobStarted(i32),
    /// The job could not be started; its exit status.
    JobFailed(i32),
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Send this signal to the engine.
    SignalEngine(i32),
    /// Send this signal to the job.
    SignalJob(i32),
    /// Start the job.
    StartJob,
    /// Leave the loop with this exit status.
    Exit(i32),
}

/// Signals by number (signal(7)); the same on every architecture that we build for.
pub mod signal {
    #![allow(missing_docs)]
    pub const HUP: i32 = 1;
    pub const INT: i32 = 2;
    pub const QUIT: i32 = 3;
    pub const USR1: i32 = 10;
    pub const USR2: i32 = 12;
    pub const TERM: i32 = 15;
    pub const WINCH: i32 = 28;

    /// What is passed on to the engine.
    pub const FORWARDED: &[i32] = &[HUP, INT, QUIT, TERM, USR1, USR2, WINCH];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    None,
    Waiting,
    Running(i32),
    Done(i32),
}

/// Watches one engine, and in job mode one job.
#[derive(Debug, Clone, Copy)]
pub struct Supervisor {
    engine: i32,
    job: Job,
}

impl Supervisor {
    /// Watches the engine with this pid; `with_job`: a job follows when it is ready.
    pub fn new(engine: i32, with_job: bool) -> Self {
        Self { engine, job: if with_job { Job::Waiting } else { Job::None } }
    }

    /// What to do about an event.
    pub fn react(&mut self, event: Event) -> Vec<Reaction> {
        match event {
            // The engine follows when the job has ended.
            Event::Signal(number) => match self.job {
                Job::Running(_) => vec![Reaction::SignalJob(number)],
                _ => vec![Reaction::SignalEngine(number)],
            },
            Event::Exited { pid, status } if pid == self.engine => {
                let status = match self.job {
                    Job::Done(job) => job,
                    // The engine went before the job could end: success would be a lie.
                    Job::Waiting | Job::Running(_) => status.max(1),
                    Job::None => status,
                };
                match self.job {
                    Job::Running(_) => vec![Reaction::SignalJob(signal::TERM), Reaction::Exit(status)],
                    _ => vec![Reaction::Exit(status)],
                }
            }
            Event::Exited { pid, status } if self.job == Job::Running(pid) => self.finish(status),
            Event::Exited { .. } => vec![],
            Event::Ready if self.job == Job::Waiting => vec![Reaction::StartJob],
            Event::Ready => vec![],
            Event::JobStarted(pid) => {
                self.job = Job::Running(pid);
                vec![]
            }
            Event::JobFailed(status) => self.finish(status),
        }
    }

    fn finish(&mut self, status: i32) -> Vec<Reaction> {
        self.job = Job::Done(status);
        vec![Reaction::SignalEngine(signal::TERM)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_reach_the_engine_and_its_status_is_ours() {
        let mut s = Supervisor::new(7, false);
        assert_eq!(s.react(Event::Signal(signal::HUP)), [Reaction::SignalEngine(signal::HUP)]);
        assert_eq!(s.react(Event::Exited { pid: 9, status: 3 }), []);
        assert_eq!(s.react(Event::Ready), []);
        assert_eq!(s.react(Event::Exited { pid: 7, status: 143 }), [Reaction::Exit(143)]);
    }

    #[test]
    fn a_job_runs_when_ready_and_its_status_wins() {
        let mut s = Supervisor::new(7, true);
        assert_eq!(s.react(Event::Ready), [Reaction::StartJob]);
        assert_eq!(s.react(Event::JobStarted(8)), []);
        assert_eq!(s.react(Event::Ready), []);
        assert_eq!(s.react(Event::Signal(signal::TERM)), [Reaction::SignalJob(signal::TERM)]);
        assert_eq!(s.react(Event::Exited { pid: 8, status: 5 }), [Reaction::SignalEngine(signal::TERM)]);
        assert_eq!(s.react(Event::Exited { pid: 7, status: 0 }), [Reaction::Exit(5)]);
    }

    #[test]
    fn an_engine_that_dies_first_is_no_success() {
        let mut s = Supervisor::new(7, true);
        assert_eq!(s.react(Event::Exited { pid: 7, status: 0 }), [Reaction::Exit(1)]);
    }

    proptest::proptest! {
        /// Whatever happens before, the end of the engine ends us.
        #[test]
        fn the_engines_end_always_ends_us(before in proptest::collection::vec(0i32..40, 0..20), job: bool) {
            let mut s = Supervisor::new(7, job);
            for number in before {
                let event = match number {
                    0 => Event::Ready,
                    // The loop says so only after it was told to start the job.
                    33 if job => Event::JobStarted(8),
                    34 => Event::Exited { pid: 8, status: 1 },
                    35 => Event::Exited { pid: 99, status: 1 },
                    36 if job => Event::JobFailed(126),
                    n => Event::Signal(n),
                };
                s.react(event);
            }
            let reactions = s.react(Event::Exited { pid: 7, status: 0 });
            proptest::prop_assert!(matches!(reactions.last(), Some(Reaction::Exit(_))));
        }
    }
}
