//! What goes into the state machine, what comes out, and what the user wants of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Restart;

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
    /// The engine was started.
    EngineStarted(i32),
    /// The engine could not be started; its exit status.
    EngineFailed(i32),
    /// The engine serves requests (`READY=1`, sd_notify(3)).
    Ready,
    /// The job was started.
    JobStarted(i32),
    /// The job could not be started; its exit status.
    JobFailed(i32),
    /// What SIGTERM is held for has come about.
    Drained,
    /// What we exit with has ended.
    PeerGone,
    /// The time that [`super::Supervisor::wake`] asked for has come, or some other.
    Time,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Start the engine; what an earlier one left behind is cleaned first.
    StartEngine,
    /// Start the job.
    StartJob,
    /// Find out when [`Event::Drained`] is true.
    StartDrain,
    /// Send this signal to the engine.
    SignalEngine(i32),
    /// Send this signal to the job.
    SignalJob(i32),
    /// Bring the configuration up to date, then send SIGHUP to the engine.
    Reload,
    /// End what runs in containers, by force; the engine then cleans up after them.
    EndContainers,
    /// End everything under us, by force.
    EndEverything,
    /// Tell the user.
    Tell(News),
    /// Leave the loop with this exit status. Nothing follows.
    Exit(i32),
}

/// What is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// SIGTERM is held, at most this long.
    Draining(Duration),
    /// Everything is being stopped, within this time.
    Stopping(Duration),
    /// Not all has stopped in time, or somebody was impatient.
    Forced,
    /// The engine has ended with this status and is started again.
    Restarting {
        /// Its exit status.
        status: i32,
        /// After this pause.
        pause: Duration,
        /// For the how-manieth time in a row.
        times: u32,
    },
    /// The engine has failed and is not started again.
    EngineFailed {
        /// Its exit status.
        status: i32,
        /// Restarts before that, in a row.
        restarts: u32,
    },
}

/// What the user wants of the supervision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// A job follows when the engine is ready.
    pub job: bool,
    /// What follows the end of the engine.
    pub restart: Restart,
    /// The engine can tell us that it is ready.
    pub readiness: bool,
    /// SIGTERM is held, at most this long.
    pub drain: Option<Duration>,
    /// From the signal to stop until everything is ended.
    pub stop: Duration,
    /// The engine does not stop its containers when it ends (`live-restore`): they are asked when it has gone.
    pub keeps: bool,
}
