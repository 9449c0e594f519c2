//! Programs that use the engine: clients, health checks, waiting for readiness.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use dockerlaunch_plan::{Problem, render};

use crate::{handoff, say, sockets};

/// Becomes the program, usually `docker`; returns only when that failed. Clients find the engine on its default
/// socket; `DOCKER_HOST` and the TLS variables of the environment stay as they are.
pub fn exec(command: &[String]) -> (Problem, u8) {
    let Some((program, args)) = command.split_first() else {
        return (Problem::new("there is no command").hint("name one: `dockerlaunch ps`"), 2);
    };
    let error = Command::new(program).args(args).exec();
    let status = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    let problem = Problem::new(format!("cannot execute `{program}`"))
        .cause(error.to_string())
        .remedy("to start the engine, name it", "dockerlaunch dockerd …");
    (problem, status)
}

/// Runs the program and waits for its end; for the kernel's init, which must not become it. Returns its exit status.
pub fn run(command: &[String]) -> u8 {
    let Some((program, args)) = command.split_first() else { return 2 };
    match Command::new(program).args(args).status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        Err(error) => {
            say::error(&render::problem(&handoff::exec_failed(program, &error)));
            handoff::exec_status(&error)
        }
    }
}

/// How long the engine may take for one answer to a health check.
const HEALTH: Duration = Duration::from_secs(4);

/// Asks the engine once.
///
/// # Errors
/// It does not answer.
pub fn healthcheck(socket: &str) -> Result<(), Problem> {
    sockets::ping(socket, HEALTH).map_err(|error| not_answering(socket, &error))
}

fn not_answering(socket: &str, error: &io::Error) -> Problem {
    Problem::new(format!("the engine on `{socket}` does not answer"))
        .cause(error.to_string())
        .hint("see the engine's log (`docker logs`, or standard error of dockerlaunch)")
}

/// Waits until the engine answers.
///
/// # Errors
/// It did not within `timeout`.
pub fn ready(socket: &str, timeout: Duration) -> Result<(), Problem> {
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        // The socket exists before the engine, so a ping may wait as long as we do.
        match sockets::ping(socket, left.max(Duration::from_millis(1))) {
            Ok(()) => return Ok(()),
            Err(error) if left.is_zero() => {
                return Err(not_answering(socket, &error));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50).min(left)),
        }
    }
}
