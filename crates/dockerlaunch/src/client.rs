//! Programs that use the engine: clients, health checks, waiting for readiness.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use dockerlaunch_plan::config::duration::show;
use dockerlaunch_plan::config::{DEFAULT_PATH, DEFAULT_SOCKET, client, first_words, nearest};
use dockerlaunch_plan::{Hint, Problem};

use crate::{handoff, preload, say, signals, sockets, sys};

/// Becomes the program, usually `docker`; returns only when that failed. It is told where the engine is; `DOCKER_HOST` and
/// the TLS variables of the environment stay as they are.
pub fn exec(command: &[OsString]) -> (Problem, u8) {
    let Some(mut client) = command_for(command) else {
        return (Problem::new("there is no command").hint("name one: `dockerlaunch ps`"), 2);
    };
    if let Err(error) = signals::unblock_all() {
        return (Problem::new("cannot reset the signal mask").cause(error.to_string()), 126);
    }
    let error = client.exec();
    let program = client.get_program().to_string_lossy();
    let mut problem = handoff::exec_failed(&program, &error);
    if let Some(meant) = meant(&program).filter(|_| error.kind() == io::ErrorKind::NotFound) {
        problem.hints.insert(0, Hint::new(format!("did you mean `{meant}`?")));
    }
    if SHELLS.contains(&program.rsplit('/').next().unwrap_or_default())
        && error.kind() == io::ErrorKind::NotFound
    {
        problem = problem
            .cause("this image has no shell")
            .remedy("a certificate needs none", "DOCKER_EXTRA_CA=/path/ca.crt")
            .remedy("nor does daemon.json", "DOCKERD_CONFIG_JSON={\"mtu\": 1450}")
            .remedy("nor an option", "DOCKERD_MTU=1450");
    }
    (problem.remedy("to start the engine, name it", "dockerlaunch dockerd …"), handoff::exec_status(&error))
}

/// What people begin with when they want to change something before the engine starts.
const SHELLS: [&str; 4] = ["sh", "bash", "ash", "dash"];

/// Runs the program and waits for its end; for the kernel's init, which must not become it. Returns its exit status.
pub fn run(command: &[OsString]) -> u8 {
    let Some(mut client) = command_for(command) else { return 2 };
    match sys::spawn_unblocked(&mut client).and_then(|mut child| child.wait()) {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        Err(error) => {
            let program = client.get_program().to_string_lossy();
            say::problem(&handoff::exec_failed(&program, &error));
            handoff::exec_status(&error)
        }
    }
}

/// Where the engine is, and its certificates.
fn environment() -> Vec<(&'static str, String)> {
    let env = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let is_socket = |path: &String| std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let places = [Some(DEFAULT_SOCKET.to_owned()), sockets::published(), rootless_socket()];
    let sockets: Vec<String> = places.into_iter().flatten().filter(is_socket).collect();
    client::environment(&env, &sockets, |path| std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0))
}

/// Where an engine of this user's own listens.
fn rootless_socket() -> Option<String> {
    let own = || Some(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
    let directory =
        std::env::var("XDG_RUNTIME_DIR").ok().filter(|directory| !directory.is_empty()).or_else(own);
    directory.map(|directory| format!("{directory}/docker.sock"))
}

fn command_for(command: &[OsString]) -> Option<Command> {
    let (program, args) = command.split_first()?;
    let mut client = Command::new(program);
    client.args(args).envs(environment());
    // The kernel gives its init none.
    if std::env::var_os("PATH").is_none_or(|path| path.is_empty()) {
        client.env("PATH", DEFAULT_PATH);
    }
    Some(client)
}

/// The word or installed program that is most like this one, unless it is a good name itself.
fn meant(program: &str) -> Option<String> {
    if program == "docker" {
        return None;
    }
    let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
    let folders = path.split(':').filter_map(|dir| std::fs::read_dir(dir).ok());
    let installed: Vec<String> =
        folders.flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let mut known: Vec<&str> = first_words().collect();
    known.extend(installed.iter().map(String::as_str));
    nearest(program, known.into_iter().filter(|name| *name != program)).map(str::to_owned)
}

/// How long the engine may take for one answer to a health check.
const HEALTH: Duration = Duration::from_secs(4);

/// Asks the engine once.
///
/// # Errors
/// It does not answer.
pub fn healthcheck(socket: &str) -> Result<(), Problem> {
    if preload::is_pending() {
        return Err(still_loading());
    }
    sockets::ping(socket, HEALTH).map_err(|error| not_answering(socket, HEALTH, &error))
}

fn still_loading() -> Problem {
    Problem::new("images are still being loaded into the engine")
        .remedy("give it more time", "dockerlaunch ready --timeout 10m")
}

fn not_answering(socket: &str, limit: Duration, error: &io::Error) -> Problem {
    let cause = match error.kind() {
        io::ErrorKind::TimedOut => format!("no answer within {}", show(limit)),
        _ => error.to_string(),
    };
    Problem::new(format!("the engine on `{socket}` does not answer"))
        .cause(cause)
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
            Ok(()) if !preload::is_pending() => return Ok(()),
            Ok(()) if left.is_zero() => return Err(still_loading()),
            Err(error) if left.is_zero() => {
                return Err(not_answering(socket, timeout, &error));
            }
            _ => std::thread::sleep(Duration::from_millis(50).min(left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_says_nothing_is_told_with_the_limit() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        let problem = ready(&path.to_string_lossy(), Duration::from_millis(100)).expect_err("silence");
        assert_eq!(problem.causes, ["no answer within 100ms"]);
    }
}
