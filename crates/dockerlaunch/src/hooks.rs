//! The user's programs in `/etc/dockerlaunch/pre.d`, run before the engine starts.

use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use dockerlaunch_plan::Problem;
use dockerlaunch_plan::config::duration::show;
use dockerlaunch_plan::facts::{HOOKS, Hook};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::say::say;
use crate::signals::Signals;
use crate::{handoff, sys};

/// How often is looked whether a hook has ended, where no signal tells.
const INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// Runs them in order. A stop that is asked for meanwhile ends the one that runs, and the rest never begin: the caller
/// asks the signals for it.
///
/// # Errors
/// One cannot be executed, fails, or takes too long.
pub(crate) fn run(
    hooks: &[Hook],
    env: &[(String, String)],
    limit: Duration,
    mut signals: Option<&mut Signals>,
) -> Result<(), Problem> {
    for hook in hooks {
        if !hook.executable {
            say!(Warn, "hook {} is not executable: passed over (chmod +x)", hook.path);
            continue;
        }
        say!(Debug, "trace: hook {}", hook.path);
        match run_one(&hook.path, env, limit, signals.as_deref_mut()) {
            Ok(Ended::Itself(status)) if status.success() => {}
            Ok(Ended::Itself(status)) => return Err(failed(&hook.path, &ended(status))),
            Ok(Ended::Stopped) => return Ok(()),
            Ok(Ended::TooLate) => {
                return Err(failed(&hook.path, &format!("it has not ended within {}", show(limit)))
                    .remedy("give it more time", "DOCKERLAUNCH_HOOK_TIMEOUT=5m"));
            }
            Err(error) => return Err(not_executed(&hook.path, &error)),
        }
    }
    Ok(())
}

enum Ended {
    Itself(ExitStatus),
    TooLate,
    Stopped,
}

fn run_one(
    path: &str,
    env: &[(String, String)],
    limit: Duration,
    mut signals: Option<&mut Signals>,
) -> io::Result<Ended> {
    let mut command = Command::new(path);
    // Standard output belongs to a job, if there is one.
    command.envs(env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null()).stdout(sys::stderr()?);
    // A group of its own, to end it with all that it has started.
    command.current_dir("/").process_group(0);
    let mut child = sys::spawn_unblocked(&mut command)?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Itself(status));
        }
        let stopped = signals.as_deref_mut().is_some_and(|signals| signals.stop_asked().is_some());
        if stopped || start.elapsed() >= limit {
            end(&mut child);
            return Ok(if stopped { Ended::Stopped } else { Ended::TooLate });
        }
        let mut fds: Vec<PollFd<'_>> = signals
            .as_deref()
            .map(|signals| PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN))
            .into_iter()
            .collect();
        // An interrupted wait is as good as a short one.
        let _ = poll(&mut fds, Some(&INTERVAL));
    }
}

fn end(child: &mut Child) {
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let _ = child.wait();
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with status {code}"),
        (None, signal) => format!("signal {} ended it", signal.unwrap_or(0)),
    }
}

fn failed(path: &str, why: &str) -> Problem {
    Problem::new(format!("hook `{path}` failed, so the engine is not started"))
        .cause(why)
        .hint(format!("mend it, or take it out of {HOOKS}"))
}

fn not_executed(path: &str, error: &io::Error) -> Problem {
    let problem = failed(path, &format!("execve: {error}"));
    let mut problem = Problem { hints: handoff::exec_failed(path, error).hints, ..problem };
    match interpreter(path) {
        Some(name) => {
            problem = problem.cause(format!("it is a script for `{name}`, and this image may have no shell"));
        }
        None if !fs::read(path).unwrap_or_default().starts_with(b"\x7fELF") => {
            problem =
                problem.cause("it is neither a program (ELF) nor a script that names its interpreter (`#!`)");
        }
        None => {}
    }
    problem.hint(
        "a hook must be a static program, or the image must have what it needs: `from-scratch build --with shell` gives it /bin/sh",
    )
}

/// The program that a script's first line names.
fn interpreter(path: &str) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    String::from_utf8_lossy(line).split_whitespace().next().map(str::to_owned)
}
