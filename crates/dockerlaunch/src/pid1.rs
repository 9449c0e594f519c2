//! The loop of PID 1: one signalfd, one readiness socket. What to do is decided in `dockerlaunch_plan::supervise`.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::time::Instant;

use dockerlaunch_plan::config::EngineCommand;
use dockerlaunch_plan::supervise::{Event, Reaction, Supervisor, signal};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};

use crate::say::say;
use crate::{handoff, signals, sockets};

/// What to start and watch.
#[derive(Debug)]
pub struct Watch<'a> {
    /// The engine.
    pub engine: &'a EngineCommand,
    /// Listening sockets for it.
    pub sockets: Vec<OwnedFd>,
    /// A command to run when it is ready.
    pub job: Option<Vec<OsString>>,
    /// Tell when it is ready.
    pub debug: bool,
}

/// Signals, blocked and readable.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// Blocks the signals that the loop handles.
///
/// # Errors
/// That of signalfd(2).
pub fn block_signals() -> io::Result<Signals> {
    signals::block().map(Signals)
}

impl Signals {
    /// The number of a signal that wants us to end, if one has come. The others are for an engine that runs.
    pub(crate) fn wants_end(&self) -> Option<i32> {
        let ends = |number: &i32| matches!(*number, signal::INT | signal::QUIT | signal::TERM);
        std::iter::from_fn(|| self.0.read_signal().ok().flatten())
            .map(|info| info.ssi_signo.cast_signed())
            .find(ends)
    }
}

/// Starts the engine and watches it until it ends; returns the exit status.
///
/// # Errors
/// The engine's process could not be created. Later failures are warnings.
pub fn run(watch: Watch<'_>, signals: &Signals) -> io::Result<i32> {
    adopt_orphans()?;
    // Orphans that ended while the system was prepared; their SIGCHLD may have been read already.
    reap(&mut Vec::new());
    let start = Instant::now();
    let readiness = match sockets::Readiness::bind() {
        Ok(readiness) => Some(readiness),
        // Only a job waits for it.
        Err(_) if watch.job.is_none() => None,
        Err(error) => return Err(error),
    };
    let mut command = handoff::command(watch.engine.program.as_ref(), &watch.engine.args, &watch.sockets)?;
    command.envs(watch.engine.env.iter().map(|(k, v)| (k, v)));
    if let Some(readiness) = &readiness {
        command.env("NOTIFY_SOCKET", readiness.path());
    }
    // A group of its own: Ctrl-C on a terminal reaches us, and us alone passes it on.
    let engine = command.process_group(0).spawn()?;
    let engine = i32::try_from(engine.id()).unwrap_or(-1);
    // dockerd owns them now; a copy here would keep clients waiting after its end.
    drop(watch.sockets);
    let mut state = Supervisor::new(engine, watch.job.is_some());
    let mut job = 0;
    let mut ready = false;
    loop {
        let socket = readiness.as_ref().map(sockets::Readiness::socket);
        for event in wait(signals, job != 0, socket, &mut ready) {
            if event == Event::Ready && watch.debug {
                say!(
                    "trace: ready {:.0} ms after the start of the engine",
                    start.elapsed().as_secs_f64() * 1e3
                );
            }
            let mut events = vec![event];
            while let Some(event) = events.pop() {
                for reaction in state.react(event) {
                    match reaction {
                        Reaction::SignalEngine(number) => send(engine, number),
                        Reaction::SignalJob(number) => send(job, number),
                        Reaction::StartJob => {
                            let started = start_job(watch.job.as_deref().unwrap_or_default(), watch.engine);
                            events.push(match started {
                                Ok(pid) => {
                                    job = pid;
                                    Event::JobStarted(pid)
                                }
                                Err(error) => {
                                    say!("the command could not be started: {error}");
                                    Event::JobFailed(126)
                                }
                            });
                        }
                        Reaction::Exit(status) => return Ok(status),
                    }
                }
            }
        }
    }
}

/// Runs a command as the init of a container does, and returns its exit status.
///
/// # Errors
/// Its process could not be created.
pub fn init(command: &[OsString]) -> io::Result<i32> {
    let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let signals = Signals(signals::block_all()?);
    adopt_orphans()?;
    let child = handoff::plain_command(program, args).spawn()?;
    let child = i32::try_from(child.id()).unwrap_or(-1);
    let mut state = Supervisor::new(child, false);
    loop {
        for reaction in wait(&signals, true, None, &mut true).into_iter().flat_map(|event| state.react(event))
        {
            match reaction {
                Reaction::SignalEngine(number) => send(child, number),
                Reaction::Exit(status) => return Ok(status),
                Reaction::SignalJob(_) | Reaction::StartJob => {}
            }
        }
    }
}

/// When we are not PID 1, orphans come to us all the same (PR_SET_CHILD_SUBREAPER).
fn adopt_orphans() -> io::Result<()> {
    if std::process::id() != 1 {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    Ok(())
}

/// Origin of a signal that the terminal sent (sigaction(2), `si_code`). A child in the terminal's foreground group with us
/// has got it already.
const SI_KERNEL: i32 = 0x80;

/// Waits until something happens, and says what.
fn wait(
    signals: &Signals,
    shares_terminal: bool,
    readiness: Option<&UnixDatagram>,
    ready: &mut bool,
) -> Vec<Event> {
    let mut fds = vec![PollFd::from_borrowed_fd(signals.0.as_fd(), PollFlags::IN)];
    fds.extend(readiness.filter(|_| !*ready).map(|socket| PollFd::new(socket, PollFlags::IN)));
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => say!("warning: poll: {error}"),
    }
    let mut events = Vec::new();
    let mut children = false;
    while let Ok(Some(signal)) = signals.0.read_signal() {
        let number = signal.ssi_signo.cast_signed();
        if number == Signal::SIGCHLD as i32 {
            children = true;
        } else if !shares_terminal || signal.ssi_code != SI_KERNEL {
            events.push(Event::Signal(number));
        }
    }
    if let Some(socket) = readiness.filter(|_| !*ready)
        && sockets::says_ready(socket)
    {
        *ready = true;
        events.push(Event::Ready);
    }
    if children {
        reap(&mut events);
    }
    events
}

/// Takes the status of every child that has ended, ours or inherited: several may hide behind one SIGCHLD.
fn reap(events: &mut Vec<Event>) {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => events.push(Event::Exited { pid: pid.as_raw(), status }),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                events.push(Event::Exited { pid: pid.as_raw(), status: 128 + signal as i32 });
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                say!("warning: waitpid: {error}");
                return;
            }
        }
    }
}

fn start_job(command: &[OsString], engine: &EngineCommand) -> io::Result<i32> {
    let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut job = handoff::command(program, args, &[])?;
    job.envs(engine.env.iter().filter(|(k, _)| k == "PATH").map(|(k, v)| (k, v)));
    Ok(i32::try_from(job.spawn()?.id()).unwrap_or(-1))
}

fn send(pid: i32, number: i32) {
    match Signal::try_from(number).map(|signal| kill(Pid::from_raw(pid), signal)) {
        // It has just ended; its SIGCHLD is on the way.
        Ok(Ok(()) | Err(Errno::ESRCH)) => {}
        Ok(Err(error)) | Err(error) => say!("warning: signal {number} to {pid}: {error}"),
    }
}
