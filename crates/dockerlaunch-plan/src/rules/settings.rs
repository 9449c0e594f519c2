//! The launcher's own settings must make sense.

use crate::supervise::Restart;
use crate::{Config, Facts, Problem, Verdict};

/// What is wrong with them, all at once.
pub fn understood(config: &Config, _: &Facts) -> Verdict {
    if let Some(problem) = &config.mistakes {
        return Verdict::Blocked { problem: problem.clone() };
    }
    match needs_supervision(config).filter(|_| !config.supervise) {
        Some(name) => {
            let problem = Problem::new(format!("{name} asks for supervision, and there is none"))
                .cause("the launcher becomes the engine (DOCKER_LAUNCH_REAP=false, or the library's `exec`)")
                .remedy("let it stay", "DOCKER_LAUNCH_REAP=true");
            Verdict::Blocked { problem }
        }
        None => Verdict::satisfied("DOCKER_HOST and every DOCKERLAUNCH_* variable are understood"),
    }
}

/// A setting that only a launcher that stays can follow.
fn needs_supervision(config: &Config) -> Option<&'static str> {
    let settings = &config.settings;
    [
        (settings.restart != Restart::No, "DOCKERLAUNCH_RESTART"),
        (settings.drain.is_some(), "DOCKERLAUNCH_DRAIN"),
        (settings.exit_with.is_some(), "DOCKERLAUNCH_EXIT_WITH"),
        (settings.stop_timeout.is_some(), "DOCKERLAUNCH_STOP_TIMEOUT"),
    ]
    .into_iter()
    .find_map(|(asked, name)| asked.then_some(name))
}
