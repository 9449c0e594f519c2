//! Waits until the engine may be stopped: `dockerlaunch drain`, for a preStop hook, and the child of PID 1 that holds
//! SIGTERM.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use dockerlaunch_plan::Problem;
use dockerlaunch_plan::config::duration::show;
use dockerlaunch_plan::config::settings::Drain;

use crate::sockets;

/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long one answer of the engine may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Waits.
///
/// # Errors
/// The limit is reached, or there is no engine to ask.
pub fn wait(drain: &Drain, socket: &str, limit: Duration) -> Result<(), Problem> {
    let start = Instant::now();
    loop {
        let state = match drain {
            Drain::Delay(time) if start.elapsed() >= *time => Ok(true),
            Drain::Delay(_) => Ok(false),
            Drain::File(sign) => match Path::new(&sign.path).try_exists() {
                Ok(is_there) => Ok(is_there != sign.gone),
                Err(error) => Err(io::Error::other(format!("`{}`: {error}", sign.path))),
            },
            Drain::ContainersIdle => no_container_runs(socket, ANSWER.min(limit.max(INTERVAL))),
        };
        let waits_for = match (state, drain) {
            (Ok(true), _) => return Ok(()),
            // Nobody listens, so nothing of this engine's runs, and nothing will be answered.
            (Err(error), _)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Err(Problem::new(format!("there is no engine on `{socket}`"))
                    .cause(error.to_string())
                    .remedy("name its socket", "DOCKER_HOST=unix:///run/docker.sock"));
            }
            (Err(error), Drain::File(_)) => format!("nobody knows whether it is there: {error}"),
            (Err(error), _) => format!("the engine does not answer: {error}"),
            (Ok(false), Drain::ContainersIdle) => "containers still run".to_owned(),
            (Ok(false), Drain::File(sign)) if sign.gone => format!("`{}` is still there", sign.path),
            (Ok(false), Drain::File(sign)) => format!("`{}` is not there", sign.path),
            (Ok(false), Drain::Delay(time)) => format!("{} are not over", show(*time)),
        };
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(Problem::new(format!("not drained within {}", show(limit)))
                .cause(waits_for)
                .remedy("give it more time", "DOCKERLAUNCH_DRAIN_TIMEOUT=1h"));
        }
        std::thread::sleep(INTERVAL.min(left));
    }
}

/// Whether the engine lists no running container (`GET /containers/json`, Docker Engine API).
fn no_container_runs(socket: &str, timeout: Duration) -> io::Result<bool> {
    let (status, body) = sockets::get(socket, "/containers/json", timeout)?;
    if status != 200 {
        return Err(io::Error::other(format!("status {status}")));
    }
    Ok(body.trim_ascii() == b"[]")
}
