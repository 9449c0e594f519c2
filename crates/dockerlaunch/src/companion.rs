//! Our containerd, beside the engine: started before it, started again when it ends, told to stop after it.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use dockerlaunch_plan::config::EngineCommand;
use dockerlaunch_plan::config::duration::show;
use dockerlaunch_plan::rules::containerd::{CONFIG, Containerd};
use dockerlaunch_plan::supervise::Beside;
use dockerlaunch_plan::{Problem, log};

use crate::end::reap;
use crate::handoff;
use crate::output;
use crate::say::say;
use crate::sys;

/// How long it may take to end once the engine has: it has nothing left to do.
const LEAVE: Duration = Duration::from_millis(500);

/// Our containerd.
#[derive(Debug)]
pub(crate) struct Companion<'a> {
    what: &'a Containerd,
    engine: &'a EngineCommand,
    log: Option<&'a str>,
    /// 0 while it does not run.
    pid: i32,
    /// When it was started last.
    started: Instant,
    /// When it is started again.
    again: Option<Instant>,
    ends: Beside,
    /// When time began.
    begun: Instant,
    /// Why it is not started again.
    given_up: Option<Problem>,
}

impl<'a> Companion<'a> {
    pub(crate) fn new(what: &'a Containerd, engine: &'a EngineCommand, log: Option<&'a str>) -> Self {
        let (started, begun) = (Instant::now(), Instant::now());
        let ends = Beside::default();
        Self { what, engine, log, pid: 0, started, again: None, ends, begun, given_up: None }
    }

    /// Its ends are counted anew, beside an engine that is ready, or that waits for it.
    pub(crate) fn beside(&mut self, engine_is_ready: bool) {
        self.ends = Beside::new(engine_is_ready);
    }

    /// Starts it, unless it runs.
    pub(crate) fn start(&mut self) {
        self.again = None;
        if self.pid != 0 {
            return;
        }
        self.started = Instant::now();
        match self.spawn() {
            Ok(pid) => self.pid = pid,
            Err(error) => self.failed(&format!("containerd cannot be started: {error}")),
        }
    }

    fn failed(&mut self, why: &str) {
        match self.ends.ended(self.begun.elapsed(), self.started.elapsed()) {
            Some(pause) => {
                say!(Warn, "{why}; it starts again in {}", show(pause));
                self.again = Some(Instant::now() + pause);
            }
            None => self.given_up = Some(log::containerd_failed(why, self.log)),
        }
    }

    /// Why it is not started again; told once.
    pub(crate) fn given_up(&mut self) -> Option<Problem> {
        self.given_up.take()
    }

    fn spawn(&self) -> io::Result<i32> {
        // The engine takes a socket that is there for one that is served, and gives up for a second.
        match fs::remove_file(&self.what.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let none: [std::os::fd::OwnedFd; 0] = [];
        let mut command: Command =
            handoff::command(self.what.program.as_ref(), &["--config", CONFIG], &none)?;
        handoff::in_engines_environment(&mut command, self.engine);
        command.env_remove("NOTIFY_SOCKET");
        match self.log {
            Some(log) => {
                let file = output::open_log(log)?;
                command.stdout(file.try_clone()?).stderr(file);
            }
            // Standard output may be a job's.
            None => {
                command.stdout(sys::stderr()?);
            }
        }
        // Nobody else would end it, and the next one waits for its files.
        sys::end_with_us(&mut command);
        Ok(command.process_group(0).spawn()?.id().cast_signed())
    }

    /// Somebody has ended; whether it was this one. While everything stops, it does not come again.
    pub(crate) fn ended(&mut self, pid: i32, status: i32, stops: bool) -> bool {
        let is_it = self.pid != 0 && self.pid == pid;
        if is_it {
            self.pid = 0;
        }
        if is_it && !stops {
            self.failed(&log::how_it_ended("containerd", status));
        }
        is_it
    }

    /// How long until it is to be started again.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.again.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// After the engine's end: it ends too, in order.
    pub(crate) fn stop(&mut self) {
        self.again = None;
        let pid = std::mem::take(&mut self.pid);
        if pid == 0 || sys::kill(pid, libc::SIGTERM).is_err() {
            return;
        }
        let until = Instant::now() + LEAVE;
        while Instant::now() < until {
            let reaped = reap();
            if !reaped.others_live || reaped.ended.iter().any(|(ended, _)| *ended == pid) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
