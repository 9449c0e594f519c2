//! A launch that failed, and its exit status.

use dockerlaunch_plan::rules::engine::Missing;
use dockerlaunch_plan::{Facts, LaunchError, Problem};

use crate::signals::Signals;

/// Exit statuses of a launch that failed, as `docker run` and shells use them.
pub(crate) mod status {
    pub(crate) const LAUNCHER_FAILED: u8 = 125;
    pub(crate) const NOT_EXECUTABLE: u8 = 126;
    pub(crate) const NOT_FOUND: u8 = 127;
    /// And the signal's number.
    pub(crate) const SIGNALLED: u8 = 128;
}

/// A launch that failed: the problems, and the exit status that tells of them.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct LaunchFailure {
    /// The problems.
    #[source]
    pub error: LaunchError,
    /// 125, 126, 127, or 128 and the number of a signal that ended it.
    pub status: u8,
    /// Whether the kernel started us, so that there is no one to return to.
    pub is_kernel_init: bool,
}

/// One with these problems.
pub(crate) fn failure(facts: &Facts, problems: Vec<Problem>, status: u8) -> LaunchFailure {
    LaunchFailure { error: LaunchError { problems }, status, is_kernel_init: facts.process.is_kernel_init }
}

/// Ends the launch where a signal asked for it while we prepared: nothing is started then.
pub(crate) fn end_if_asked(signals: Option<&mut Signals>, facts: &Facts) -> Result<(), LaunchFailure> {
    let Some(number) = signals.and_then(Signals::stop_asked) else { return Ok(()) };
    let problem = Problem::new("the launch was ended before the engine was started")
        .cause(format!("signal {number} came"))
        .hint("start it again; the system is prepared");
    Err(failure(facts, vec![problem], status::SIGNALLED + u8::try_from(number).unwrap_or(0)))
}

/// Whether the problem is that of the step `engine`.
pub(crate) fn is_about_engine(problem: &Problem) -> bool {
    problem.is_of_step("engine")
}

pub(crate) fn status_of(missing: Missing) -> u8 {
    match missing {
        Missing::NotFound => status::NOT_FOUND,
        Missing::NotExecutable => status::NOT_EXECUTABLE,
    }
}
