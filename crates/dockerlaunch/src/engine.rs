//! A launch, from the facts to the running engine.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use dockerlaunch_plan::config::{Config, Engine, EngineCommand};
use dockerlaunch_plan::facts::{Firewall, MERGED_CONFIG};
use dockerlaunch_plan::rules::engine::resolve;
use dockerlaunch_plan::rules::{cgroup_ns, daemon_json, engine, leftovers, listeners, resolver, stop};
use dockerlaunch_plan::supervise::AFTER_KILL;
use dockerlaunch_plan::{Executor, Facts, Plan, Problem, plan};

use crate::apply::System;
use crate::cgroup::Below;
use crate::end::{self, Mounts};
use crate::failure::{LaunchFailure, end_if_asked, failure, is_about_engine, status, status_of};
use crate::listener::{self, Listener};
use crate::names::Answering;
use crate::say::{self, say};
use crate::signals::{Signals, Watchdog};
use crate::timeline::Timeline;
use crate::{atomic, handoff, lines, output, pid1, probe, question, signals, sockets, sys};

mod prepare;

/// Whether the kernel itself started us as its init.
pub fn is_kernel_init() -> bool {
    probe::is_kernel_init()
}

/// As the kernel's init: mounts what is needed to see anything at all, and gives the arguments that the kernel command
/// line has for init. `None` for everybody else.
///
/// # Errors
/// `/proc` or `/sys` cannot be mounted.
pub fn kernel_arguments() -> Result<Option<Vec<String>>, LaunchFailure> {
    let sees_nothing = std::process::id() == 1 && !Path::new("/proc/self").exists();
    // Whoever says `container=` (systemd's container interface) is not the kernel, and may want only a plan of us.
    if sees_nothing && std::env::var_os("container").is_none() {
        Launch::new(Engine::default()).early()?;
    }
    if !is_kernel_init() {
        return Ok(None);
    }
    lines::keep_ctrl_alt_del();
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    Ok(Some(dockerlaunch_plan::facts::kernel::parse_init_arguments(&cmdline)))
}

/// One launch.
#[derive(Debug)]
pub struct Launch {
    config: Config,
    inherited: Vec<OwnedFd>,
    bound: Vec<Listener>,
    /// Cgroups of somebody else that were there before us; what we mount ourselves says nothing of the outer runtime.
    foreign_cgroups: Option<Vec<String>>,
    /// Tried once: it is the one look at the system that costs milliseconds.
    firewall: OnceCell<Firewall>,
    /// The lock of the data root.
    lock: Option<Option<std::fs::File>>,
    /// We have mounted something over the data root.
    covered: bool,
    timeline: Timeline,
    names: Option<Answering>,
}

impl Launch {
    /// A launch of this engine, configured by this process's environment. Takes over sockets that our starter hands
    /// over, so it comes before anything else opens a descriptor.
    pub fn new(engine: Engine) -> Self {
        let timeline = Timeline::default();
        let mut env: BTreeMap<String, String> = std::env::vars_os()
            .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
            .collect();
        // sd_listen_fds(3): the sockets are meant for us only if LISTEN_PID says so.
        let ours = env.get("LISTEN_PID").is_some_and(|pid| *pid == std::process::id().to_string());
        if !ours {
            env.remove("LISTEN_FDS");
        }
        let mut config = Config::new(engine, &env);
        // Relative to where we were started: to prepare a system may change that.
        config.socket = absolute(&config.socket);
        if config.engine.program.contains('/') {
            config.engine.program = absolute(&config.engine.program);
        }
        say::configure(&config.settings);
        handoff::trace("the launcher runs", std::process::id());
        let inherited = sys::take_inherited(config.inherited_sockets);
        config.inherited_sockets = inherited.len();
        sys::close_on_exec_from(sys::FIRST_SOCKET);
        Self {
            config,
            inherited,
            bound: Vec::new(),
            foreign_cgroups: None,
            firewall: OnceCell::new(),
            lock: None,
            covered: false,
            names: None,
            timeline,
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Only to be planned, never carried out.
    #[must_use]
    pub fn only_looking(mut self) -> Self {
        self.config.only_looking = true;
        self.read_environment();
        self
    }

    /// Tries nothing either.
    #[must_use]
    pub fn only_reading(mut self) -> Self {
        self.config.only_reading = true;
        self.only_looking()
    }

    /// For a probe that no launch depends on: it waits for no disk.
    fn looking(&self) -> Config {
        Config { only_looking: true, ..self.config.clone() }
    }

    /// Understands what the environment sets, for which it may take the engine's own list of flags.
    fn read_environment(&mut self) {
        if !self.config.environment.needs_flags() {
            self.config.apply_environment(Ok(&[]));
            return;
        }
        let candidates = self.config.engine.candidates(&self.config.path);
        // Without an engine there is nothing to configure, and its absence is told.
        let Some(engine) = candidates.iter().find(|path| Path::new(path).exists()) else { return };
        let flags = question::flags(engine);
        self.config.apply_environment(flags.as_deref().map_err(String::as_str));
    }

    /// What a launch would do, and what the engine itself says about its configuration.
    pub fn check(&self) -> (Facts, Plan) {
        let (facts, mut plan) = self.plan();
        let has_problem = |id: &str| plan.blockers().iter().any(|p| p.is_of_step(id));
        if !has_problem("engine")
            && !has_problem("config")
            && let Err(problem) = question::before_start(&self.config, &facts, &plan.engine)
        {
            plan.block("config", problem);
        }
        (facts, plan)
    }

    /// Merges the user's daemon.json anew for an engine that runs and will be told to read it again. Returns what to tell;
    /// where the engine reads the user's own file, there is nothing to do.
    ///
    /// # Errors
    /// The file is broken, or the merged one cannot be written. The engine then keeps what it has.
    pub fn refresh_configuration(config: &Config, engine: &EngineCommand) -> Result<Vec<String>, Problem> {
        let file = probe::Probe { root: "/".into() }.config_file(config);
        let Some((content, notices)) = daemon_json::refresh(config, &file, &engine.args)? else {
            return Ok(vec![]);
        };
        let written = if file.merged.as_ref() == Some(&content) {
            Ok(())
        } else {
            atomic::replace(MERGED_CONFIG, content.as_bytes(), 0o600)
        };
        written.map(|()| notices).map_err(|error| {
            Problem::new(format!("cannot write `{MERGED_CONFIG}`"))
                .cause(error.to_string())
                .hint("free some space on /run, then send HUP again")
        })
    }

    /// What a launch would do, without doing it.
    pub fn plan(&self) -> (Facts, Plan) {
        let tried = self.firewall.get().is_none().then(|| probe::begin_firewall(&self.config)).flatten();
        let mut facts = probe::probe(&self.config);
        let found = || tried.map(|tried| tried.finish(&self.config)).unwrap_or_default();
        facts.firewall = self.firewall.get_or_init(found).clone();
        facts.listening = self.listening(&facts);
        if let Some(at_first) = &self.foreign_cgroups {
            facts.cgroups.foreign.clone_from(at_first);
        }
        facts.storage.locked |= self.lock.is_some();
        let plan = plan(&self.config, &facts);
        (facts, plan)
    }

    /// Where we listen already, by what we have bound or what our starter handed over.
    fn listening(&self, facts: &Facts) -> Vec<String> {
        let wanted = listeners::decide(&self.config, facts).map(|l| l.names()).unwrap_or_default();
        let inherited = |name: &String| self.inherited.iter().any(|socket| listener::is(socket, name));
        let bound = self.bound.iter().map(|listener| listener.name.clone());
        let names = self.names.iter().map(|names| resolver::name(names.address));
        bound.chain(names).chain(wanted.into_iter().filter(inherited)).collect()
    }

    /// Prepares the system and becomes the engine.
    ///
    /// # Errors
    /// What stops the launch, or the failed exec.
    pub fn exec(self) -> Result<Infallible, LaunchFailure> {
        let mask = signals::mask();
        let failure = self.become_engine();
        // It is for the caller to go on.
        let _ = signals::set_mask(&mask);
        failure
    }

    fn become_engine(mut self) -> Result<Infallible, LaunchFailure> {
        self.config.supervise = false;
        self.inform_if_asked()?;
        // As PID 1 we would lose a signal that comes while we prepare, and the engine never hear of it.
        let mut signals = Signals::block();
        let watchdog = Watchdog::start();
        let (facts, plan) = self.prepare(signals.as_mut().ok())?;
        end_if_asked(signals.as_mut().ok(), &facts)?;
        drop(watchdog);
        let log = self.engine_log(&facts)?;
        let sockets = self.sockets();
        self.timeline.write();
        let error = handoff::exec_engine(&plan.engine, &sockets, self.lock.take().flatten().as_ref(), log);
        Err(self.exec_failed(&facts, &plan.engine.program, &error))
    }

    /// Prepares the system, starts the engine, and stays: forwards signals, reaps, and returns the engine's exit
    /// status, or that of `job`, a command that runs as soon as the engine is ready.
    ///
    /// The engine is started through this very program: `main` must call [`crate::run_if_asked`] first of all. Every
    /// child and further descendant of this process is taken for the engine's, and ended with it.
    ///
    /// # Errors
    /// What stops the launch. Once the engine runs, nothing here fails.
    pub fn supervise(mut self, job: Option<Vec<OsString>>) -> Result<i32, LaunchFailure> {
        self.config.supervise = true;
        if job.is_none() {
            self.inform_if_asked()?;
        }
        // First of all: a signal that comes while we prepare must wait, not kill.
        let signals = Signals::block();
        // What hooks leave running as well. Where it fails, it does so again and is told.
        let _ = pid1::adopt_orphans();
        let result = self.stay(job, signals);
        // Of a PID 1 the kernel ends it.
        if result.is_err() && std::process::id() != 1 {
            end::finish(&Mounts::default(), Instant::now() + AFTER_KILL);
        }
        result
    }

    fn stay(
        mut self,
        job: Option<Vec<OsString>>,
        mut signals: io::Result<Signals>,
    ) -> Result<i32, LaunchFailure> {
        let is_job = job.is_some();
        let watchdog = Watchdog::start();
        let (facts, plan) = self.prepare(signals.as_mut().ok())?;
        if facts.process.is_kernel_init {
            lines::connect();
        }
        let failed = |call: &str, error: &dyn std::fmt::Display| {
            let problem = Problem::new("cannot supervise the engine").cause(format!("{call}: {error}"));
            let problem = if is_job {
                problem.hint("make /run writable: there the engine says that it is ready for the job")
            } else {
                problem.remedy("launch without supervision", "DOCKER_LAUNCH_REAP=false")
            };
            failure(&facts, vec![problem], status::LAUNCHER_FAILED)
        };
        let mut signals = signals.map_err(|e| failed("signalfd", &e))?;
        end_if_asked(Some(&mut signals), &facts)?;
        drop(watchdog);
        self.engine_log(&facts)?;
        if let Some((program, _)) = job.as_deref().and_then(<[OsString]>::split_first)
            && let Some(error) = handoff::missing(program, &plan.engine)
        {
            return Err(self.exec_failed(&facts, &program.to_string_lossy(), &error));
        }
        let sockets = self.sockets();
        sockets::publish(&listeners::decide(&self.config, &facts).unwrap_or_default().unix_paths());
        if let Some(names) = self.names.take()
            && let Err(error) = names.start(facts.network.local_resolvers.clone())
        {
            say!(Warn, "containers cannot ask for names: {error}");
        }
        let watch = pid1::Watch {
            engine: &plan.engine,
            sockets,
            job,
            settings: &self.config.settings,
            stop: stop::time(&self.config, &facts),
            keeps: stop::keeps(&self.config, &facts),
            mounts: self.mounts(&facts),
            preload: (!facts.storage.preloaded.is_empty()).then(|| facts.storage.place.clone()),
            timeline: std::mem::take(&mut self.timeline),
            exec_root: engine::exec_root(&self.config, &facts.daemon_json),
            clean: Box::new(|| self.clean()),
            reload: Box::new(|| self.merge_again(&plan.engine)),
        };
        let end = pid1::run(watch, &signals).map_err(|e| failed("start of the engine", &e))?;
        // An engine that was to end has not failed; and where a job has begun, the status is the job's.
        let why = || if end.stopped { None } else { self.why_it_failed(&facts, &plan, end.status) };
        if let Some(problem) = why().or(end.failure) {
            say::problem(&problem);
        }
        Ok(end.status)
    }

    /// Before the engine reads its configuration again: merges the user's file anew. A broken one leaves all as it is.
    fn merge_again(&self, engine: &EngineCommand) {
        match Self::refresh_configuration(&self.config, engine) {
            Ok(notices) => notices.iter().for_each(|notice| say!(Info, "{notice}")),
            Err(problem) => say::problem(&problem),
        }
    }

    /// Before an engine is started again: what the one before has left behind.
    fn clean(&self) {
        let facts = probe::probe(&self.looking());
        for live in facts.leftovers.pid_files.iter().filter(|file| file.is_live()) {
            say!(Warn, "{} still runs, so {} stays", live.program, live.path);
        }
        for action in leftovers::removals(&facts) {
            if let Err(error) = System::default().run(&action) {
                say!(Warn, "cannot {action}: {error}");
            }
        }
    }

    /// Where the engine mounts, by the names that the kernel uses.
    fn mounts(&self, facts: &Facts) -> Mounts {
        let (config, file) = (&self.config, &facts.daemon_json);
        let dirs = [engine::data_root(config, file), engine::exec_root(config, file)];
        let real = |dir: String| match std::fs::canonicalize(&dir) {
            Ok(path) => path.to_string_lossy().into_owned(),
            // It comes with the engine.
            Err(_) => dir.replacen("/var/run/", "/run/", 1),
        };
        let dirs: Vec<String> = dirs.map(real).into();
        Mounts {
            ours: dirs.first().filter(|_| self.covered).cloned(),
            dirs,
            before: facts.mounts.clone(),
            cgroups: cgroup_ns::is_ours_alone(config, facts).then(Below::now),
        }
    }

    /// The file for the engine's output, if the user wants one.
    fn engine_log(&self, facts: &Facts) -> Result<Option<std::fs::File>, LaunchFailure> {
        let Some(path) = &self.config.settings.engine_log else { return Ok(None) };
        output::open_log(path).map(Some).map_err(|error| {
            let problem = Problem::new(format!("cannot write the engine's log `{path}`"))
                .cause(error.to_string())
                .remedy(
                    "name a file in a directory that exists and can be written",
                    "DOCKERLAUNCH_ENGINE_LOG=/var/log/dockerd.log",
                );
            failure(facts, vec![problem], status::LAUNCHER_FAILED)
        })
    }

    /// What to tell when the engine has ended with this status. dockerd ends with 1 when it cannot start.
    fn why_it_failed(&self, facts: &Facts, plan: &Plan, status: i32) -> Option<Problem> {
        let suspect = self.config.engine.suspect_option().filter(|_| status != 0);
        let validated = || question::after_start(&plan.engine, &facts.config_file.path).err();
        suspect.or_else(|| if status == 1 { validated() } else { None })
    }

    /// For `--version` and the like the engine is run as it is: nothing needs to be prepared for that.
    fn inform_if_asked(&self) -> Result<(), LaunchFailure> {
        if !self.config.engine.only_informs() || is_kernel_init() {
            return Ok(());
        }
        let facts = probe::probe(&self.looking());
        let plan = plan(&self.config, &facts);
        if let Err(missing) = resolve(&self.config, &facts) {
            let problems = plan.blockers().into_iter().filter(|p| is_about_engine(p)).cloned().collect();
            return Err(failure(&facts, problems, status_of(missing)));
        }
        let engine = EngineCommand { args: self.config.engine.args.clone(), ..plan.engine };
        let error = handoff::exec_engine(&engine, &[], None, None);
        Err(self.exec_failed(&facts, &engine.program, &error))
    }

    /// Everything that the engine takes over.
    fn sockets(&mut self) -> Vec<OwnedFd> {
        let bound = std::mem::take(&mut self.bound).into_iter().map(|listener| listener.socket);
        std::mem::take(&mut self.inherited).into_iter().chain(bound).collect()
    }

    fn exec_failed(&self, facts: &Facts, program: &str, error: &std::io::Error) -> LaunchFailure {
        failure(facts, vec![handoff::exec_failed(program, error)], handoff::exec_status(error))
    }
}

fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |full| full.to_string_lossy().into_owned())
}
