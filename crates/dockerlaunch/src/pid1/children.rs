//! What the loop starts besides containerd: the engine, a job, a drain, and what loads images.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use dockerlaunch_plan::config::EngineCommand;
use dockerlaunch_plan::config::variables::{CERT_PATH, HOST, TLS_VERIFY};
use dockerlaunch_plan::supervise::{Event, Restart, signal};

use super::{Loop, Watch, send};
use crate::output::Output;
use crate::say::say;
use crate::{end, handoff, sockets};

impl Loop<'_> {
    pub(super) fn spawn_engine(&mut self) -> io::Result<i32> {
        let Watch { engine, settings, .. } = self.watch;
        let mut command = handoff::command(engine.program.as_ref(), &engine.args, &self.watch.sockets)?;
        handoff::in_engines_environment(&mut command, engine);
        if let Some(readiness) = &self.readiness {
            // What an engine before this one said is no longer true.
            readiness.says_ready();
            command.env("NOTIFY_SOCKET", readiness.path());
        }
        let keep = settings.restart != Restart::No;
        let job = self.watch.job.is_some();
        self.output = Output::of(&mut command, settings.engine_log.as_deref(), keep, job)?;
        // A group of its own: Ctrl-C on a terminal reaches us, and us alone passes it on.
        let child = command.process_group(0).spawn();
        for socket in &self.watch.sockets {
            // No other child of ours shall keep them open.
            rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
        }
        Ok(child?.id().cast_signed())
    }

    pub(super) fn start_job(&mut self) -> Event {
        let command = self.watch.job.as_deref().unwrap_or_default();
        match spawn_job(command, self.watch.engine) {
            Ok(pid) => {
                self.job = pid;
                Event::JobStarted(pid)
            }
            Err(error) => {
                say!(Error, "the command could not be started: {error}");
                Event::JobFailed(126)
            }
        }
    }

    /// It waits for the engine's answers, so it is a process of its own: ourselves.
    pub(super) fn start_drain(&mut self) -> Option<Event> {
        let limit = format!("{}ms", self.watch.settings.drain_timeout.as_millis());
        match Command::new("/proc/self/exe").arg0("dockerlaunch").args(["drain", "--timeout", &limit]).spawn()
        {
            Ok(child) => {
                self.drain = child.id().cast_signed();
                None
            }
            Err(error) => {
                say!(Warn, "cannot drain: {error}");
                Some(Event::Drained)
            }
        }
    }

    /// A process of its own: what is loaded may be large, and the engine slow.
    pub(super) fn start_loader(&self) -> Option<i32> {
        let data_root = self.watch.preload.as_deref().filter(|_| self.loader == 0 && !self.stopped)?;
        let socket = sockets::published()?;
        match handoff::preload_command(&socket, data_root).spawn() {
            Ok(child) => Some(child.id().cast_signed()),
            Err(error) => {
                say!(Warn, "images are not loaded: {error}");
                None
            }
        }
    }

    /// The engine has ended or is to end: there is nobody to talk to any more.
    pub(super) fn end_loader(&mut self) {
        if self.loader != 0 {
            send(std::mem::take(&mut self.loader), signal::KILL);
        }
    }

    /// The engine is ready, unless it has ended while images were loaded into it.
    pub(super) fn loaded(&mut self, status: i32) -> Option<Event> {
        self.loader = 0;
        if status != 0 {
            say!(Warn, "images are not all loaded: what loads them ended with status {status}");
        }
        end::process(self.engine).map(|_| self.ready())
    }
}

fn spawn_job(command: &[OsString], engine: &EngineCommand) -> io::Result<i32> {
    let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut job = handoff::command(program, args, &[])?;
    // The programs that it finds on this PATH must work.
    job.envs(engine.tools_env());
    // The engine that it has brought along is here, whatever a CI system says of the one that others use.
    if let Some(socket) = sockets::published() {
        job.env(HOST, format!("unix://{socket}")).env_remove(TLS_VERIFY).env_remove(CERT_PATH);
    }
    Ok(job.spawn()?.id().cast_signed())
}
