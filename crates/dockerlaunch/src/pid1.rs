//! The loop of PID 1: one signalfd, one readiness socket. What to do is decided in `dockerlaunch_plan::supervise`.

use std::ffi::OsString;
use std::fmt::{self, Debug, Formatter};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use dockerlaunch_plan::config::{EngineCommand, Settings};
use dockerlaunch_plan::report::{STARTS, Who};
use dockerlaunch_plan::supervise::{AFTER_KILL, Event, News, Policy, Reaction, Restart, Supervisor, signal};
use dockerlaunch_plan::{Problem, log};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::companion::Companion;
use crate::end::{self, Mounts, reap};
use crate::output::Output;
use crate::say::{self, say};
use crate::signals::Signals;
use crate::sockets::{self, Readiness};
use crate::sys;
use crate::timeline::Timeline;
use crate::{peer, preload};

mod children;

/// What to start and watch.
pub struct Watch<'a> {
    /// The engine.
    pub engine: &'a EngineCommand,
    /// Listening sockets for it.
    pub sockets: Vec<OwnedFd>,
    /// A command to run when it is ready.
    pub job: Option<Vec<OsString>>,
    /// Our settings.
    pub settings: &'a Settings,
    /// From the signal to stop until everything is ended.
    pub stop: Duration,
    /// The engine leaves its containers running when it ends.
    pub keeps: bool,
    /// What may stay mounted when everything has ended.
    pub mounts: Mounts,
    /// The data root, where there are images to load into an engine that is ready.
    pub preload: Option<String>,
    /// What the launch has spent its time on until now.
    pub timeline: Timeline,
    /// The engine's directory of what must not outlive the machine.
    pub exec_root: String,
    /// Removes what an engine that has ended left behind, before the next one starts.
    pub clean: Box<dyn FnMut() + 'a>,
    /// Brings the engine's configuration up to date, before it is told to read it again (SIGHUP).
    pub reload: Box<dyn FnMut() + 'a>,
}

impl Debug for Watch<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("engine", &self.engine).field("job", &self.job).finish_non_exhaustive()
    }
}

/// How it ended.
#[derive(Debug)]
pub struct End {
    /// The exit status.
    pub status: i32,
    /// The engine failed, and this tells how.
    pub failure: Option<Problem>,
    /// It was to end: somebody asked for it, or the job was over.
    pub stopped: bool,
}

/// Starts the engine and watches it until everything has ended.
///
/// # Errors
/// The engine's process could not be created at first. Later failures are warnings.
pub fn run(watch: Watch<'_>, signals: &Signals) -> io::Result<End> {
    adopt_orphans()?;
    watch.timeline.write();
    let readiness = match Readiness::bind() {
        Ok(readiness) => Some(readiness),
        // Only a job waits for it.
        Err(_) if watch.job.is_none() => None,
        Err(error) => return Err(error),
    };
    let policy = Policy {
        job: watch.job.is_some(),
        restart: watch.settings.restart,
        readiness: readiness.is_some(),
        drain: watch.settings.drain.as_ref().map(|_| watch.settings.drain_timeout),
        stop: watch.stop,
        keeps: watch.keeps,
    };
    let peer = watch.settings.exit_with.as_ref().map(peer::Watched::new).transpose()?;
    let log = watch.settings.engine_log.as_deref();
    let companion = watch.engine.containerd.as_ref().map(|what| Companion::new(what, watch.engine, log));
    let mut running = Loop {
        companion,
        state: Supervisor::new(policy),
        signals,
        readiness,
        peer,
        begun: Instant::now(),
        engine: 0,
        engine_start: Instant::now(),
        job: 0,
        drain: 0,
        loader: 0,
        output: Output::Ours,
        failure: None,
        stopped: false,
        forced: false,
        stop_by: None,
        end_by: None,
        watch,
    };
    let status = running.run()?;
    let by = running.end_by.unwrap_or_else(Instant::now);
    end::finish(&running.watch.mounts, by);
    running.output.finish(by);
    Ok(End { status, failure: running.failure, stopped: running.stopped })
}

/// When we are not PID 1, orphans come to us all the same (PR_SET_CHILD_SUBREAPER).
pub(crate) fn adopt_orphans() -> io::Result<()> {
    if std::process::id() != 1 {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    Ok(())
}

struct Loop<'a> {
    watch: Watch<'a>,
    state: Supervisor,
    signals: &'a Signals,
    readiness: Option<Readiness>,
    peer: Option<peer::Watched>,
    /// When time began.
    begun: Instant,
    /// Pids; 0 while there is none.
    engine: i32,
    job: i32,
    drain: i32,
    /// Loads images; the engine is not called ready before it has ended.
    loader: i32,
    engine_start: Instant,
    output: Output,
    companion: Option<Companion<'a>>,
    failure: Option<Problem>,
    stopped: bool,
    forced: bool,
    /// When all that was asked to end must have.
    stop_by: Option<Instant>,
    /// When all that was ended by force must be gone.
    end_by: Option<Instant>,
}

impl Loop<'_> {
    fn run(&mut self) -> io::Result<i32> {
        // Orphans that ended while the system was prepared; their SIGCHLD may have been read already.
        reap();
        // Whoever wants us to stop before anything runs, comes before it.
        let mut events = self.read_signals();
        events.push(Event::Time);
        loop {
            // In the order in which things happened; what follows from an event, before the next one.
            events.reverse();
            while let Some(mut event) = events.pop() {
                if let Event::Exited { pid, status } = &mut event {
                    if *pid == self.job {
                        self.job = 0;
                    }
                    if self.companion.as_mut().is_some_and(|c| c.ended(*pid, *status, self.stopped)) {
                        continue;
                    }
                    // We have killed it, for a reason that is told.
                    if *pid == self.engine && self.failure.is_some() {
                        *status = 1;
                    }
                }
                for reaction in self.state.react(self.begun.elapsed(), event) {
                    if let Reaction::Exit(status) = reaction {
                        return Ok(status);
                    }
                    events.extend(self.act(reaction)?);
                }
            }
            if let Some(problem) = self.companion.as_mut().and_then(Companion::given_up)
                && let Some(engine) = self.state.engine_pid()
                && !self.stopped
            {
                // It would wait a minute for what does not come.
                self.failure = Some(problem);
                send(engine, signal::KILL);
            }
            events = self.wait();
        }
    }

    /// Does it; gives what has come of it.
    fn act(&mut self, reaction: Reaction) -> io::Result<Option<Event>> {
        match reaction {
            Reaction::StartEngine => return self.start_engine().map(Some),
            Reaction::StartJob => return Ok(Some(self.start_job())),
            Reaction::StartDrain => return Ok(self.start_drain()),
            Reaction::SignalEngine(number) => send(self.engine, number),
            Reaction::SignalJob(number) => send(self.job, number),
            Reaction::Reload => {
                (self.watch.reload)();
                send(self.engine, signal::HUP);
            }
            Reaction::EndContainers => end::end_containers(),
            Reaction::EndEverything => {
                // The engine has ended: what it kept and what it used may do so in order, unless the time is over.
                if let Some(by) = self.stop_by.filter(|_| !self.forced)
                    && !end::stop_containers(by, || self.is_impatient())
                {
                    self.act(Reaction::Tell(News::Forced))?;
                }
                if let Some(companion) = self.companion.as_mut().filter(|_| !self.forced) {
                    companion.stop();
                }
                self.end_by.get_or_insert_with(|| Instant::now() + AFTER_KILL);
                end::end_everything();
            }
            Reaction::Tell(News::EngineFailed { status, restarts }) => {
                let log = self.watch.settings.engine_log.as_deref();
                self.failure.get_or_insert_with(|| {
                    log::engine_failed(status, restarts, &self.output.last_lines(), log)
                });
            }
            Reaction::Tell(news) => {
                if let Some((level, step, text)) = log::news(news) {
                    say::line(level, Some(step), format_args!("{text}"));
                }
                self.forced |= matches!(news, News::Forced);
                if let News::Stopping(time) = news {
                    self.stopped = true;
                    self.stop_by = Some(Instant::now() + time);
                    self.end_loader();
                    sockets::notify("STOPPING=1\n");
                    // No client shall wait for an engine that does not come any more.
                    self.watch.sockets.clear();
                }
            }
            Reaction::Exit(_) => {}
        }
        Ok(None)
    }

    fn start_engine(&mut self) -> io::Result<Event> {
        let is_first = self.engine == 0;
        if !is_first {
            (self.watch.clean)();
        }
        let start = Instant::now();
        self.failure = None;
        if let Some(companion) = &mut self.companion {
            // Where it has no way to say that it is ready, it is not for us to give up.
            companion.beside(self.readiness.is_none());
            companion.start();
        }
        if self.watch.preload.is_some() && self.readiness.is_some() {
            preload::pending(true);
        }
        match self.spawn_engine() {
            Ok(pid) => {
                self.watch.timeline.took(Who::Launcher, STARTS, start);
                self.engine = pid;
                self.engine_start = Instant::now();
                if self.watch.settings.restart == Restart::No {
                    // dockerd owns them now; a copy here would keep clients waiting after its end.
                    self.watch.sockets.clear();
                }
                Ok(Event::EngineStarted(pid))
            }
            Err(error) if is_first => Err(error),
            Err(error) => {
                say!(Warn, "the engine could not be started again: {error}");
                Ok(Event::EngineFailed(1))
            }
        }
    }

    /// Waits until something happens, and says what.
    fn wait(&mut self) -> Vec<Event> {
        let timeout = self.state.wake().map(|wake| wake.saturating_sub(self.begun.elapsed()));
        // A millisecond more, so as not to wake up a moment before the time.
        let pause = self.companion.as_ref().and_then(Companion::pause);
        let timeout = timeout.into_iter().chain(pause).min().map(|time| time + Duration::from_millis(1));
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        fds.extend(self.readiness.as_ref().map(|readiness| PollFd::new(readiness.socket(), PollFlags::IN)));
        fds.extend(self.peer.as_ref().map(|peer| PollFd::new(peer, PollFlags::IN)));
        let result = poll(&mut fds, timeout.as_ref());
        let peer_is_gone = self.peer.is_some() && fds.last().is_some_and(|peer| !peer.revents().is_empty());
        match result {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => say!(Warn, "poll: {error}"),
        }
        if let Some(companion) = self.companion.as_mut().filter(|c| c.pause() == Some(Duration::ZERO)) {
            companion.start();
        }
        // Before the signals: an engine that was ready, and then ended, was ready.
        let mut events = Vec::new();
        if self.readiness.as_ref().is_some_and(Readiness::says_ready) {
            self.companion.iter_mut().for_each(|companion| companion.beside(true));
            match self.start_loader() {
                Some(pid) => self.loader = pid,
                None if self.loader == 0 => events.push(self.ready()),
                None => {}
            }
        }
        events.extend(self.read_signals());
        events.push(Event::Time);
        if peer_is_gone {
            say!(Info["stop"], "what we exit with is over");
            self.peer = None;
            events.push(Event::PeerGone);
        }
        events
    }

    /// The engine is ready, and has the images that it shall have.
    fn ready(&mut self) -> Event {
        if self.watch.preload.is_some() {
            preload::pending(false);
        }
        say!(Info["ready"], "{} ms after the engine's start", self.engine_start.elapsed().as_millis());
        sockets::notify("READY=1\n");
        let log = self.output.lines_so_far();
        let own = self.watch.engine.containerd.as_ref().map(|own| own.socket.as_str());
        self.watch.timeline.ready(self.engine_start, &self.watch.exec_root, own, &log);
        Event::Ready
    }

    /// Whether somebody has asked once more, and with more than SIGTERM. What else came is of no use any more.
    fn is_impatient(&self) -> bool {
        let stops = |number| signal::STOP.contains(&number) && number != signal::TERM;
        std::iter::from_fn(|| self.signals.read()).any(|came| stops(came.meant().number))
    }

    fn read_signals(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut children = false;
        while let Some(came) = self.signals.read() {
            if came.is_child() {
                children = true;
            } else if self.job == 0 || !came.from_terminal {
                // The job is in the terminal's foreground group with us, and has got it already.
                events.push(Event::Signal(came.meant().number));
            }
        }
        if children {
            // Why a drain ended without having drained, it has told itself.
            let ended = reap().ended;
            let has = |pid| ended.iter().any(|(one, _)| *one == pid);
            if has(self.engine) {
                if has(self.loader) {
                    self.loader = 0;
                }
                self.end_loader();
            }
            for (pid, status) in ended {
                if pid == self.drain {
                    events.push(Event::Drained);
                } else if pid == self.loader {
                    events.extend(self.loaded(status));
                } else {
                    events.push(Event::Exited { pid, status });
                }
            }
        }
        events
    }
}

pub(crate) fn send(pid: i32, number: i32) {
    match sys::kill(pid, number) {
        Ok(()) => {}
        // It has just ended; its SIGCHLD is on the way.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
        Err(error) => say!(Warn, "signal {number} to {pid}: {error}"),
    }
}
