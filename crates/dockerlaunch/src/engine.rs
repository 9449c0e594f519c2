//! A launch, from the facts to the running engine.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::fd::OwnedFd;

use dockerlaunch_plan::config::{Config, Engine};
use dockerlaunch_plan::rules::engine::{Missing, resolve};
use dockerlaunch_plan::{Facts, LaunchError, Plan, Problem, Stage, apply, plan};

use crate::apply::System;
use crate::{handoff, pid1, probe, sockets, sys};

/// Exit statuses of a launch that failed, as `docker run` and shells use them.
mod status {
    pub(super) const LAUNCHER_FAILED: u8 = 125;
    pub(super) const NOT_EXECUTABLE: u8 = 126;
    pub(super) const NOT_FOUND: u8 = 127;
}

/// A launch that failed: the problems, and the exit status that tells of them.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct LaunchFailure {
    /// The problems.
    #[source]
    pub error: LaunchError,
    /// 125, 126 or 127.
    pub status: u8,
    /// Whether the kernel started us, so that there is no one to return to.
    pub is_kernel_init: bool,
}

/// Whether the kernel itself started us as its init.
pub fn is_kernel_init() -> bool {
    probe::is_kernel_init()
}

/// As the kernel's init: mounts what is needed to see anything at all, and gives the arguments that the kernel command
/// line has for init. `None` for everybody else.
///
/// # Errors
/// `/dev`, `/proc` or `/sys` cannot be mounted.
pub fn kernel_arguments() -> Result<Option<Vec<String>>, LaunchFailure> {
    if !is_kernel_init() {
        return Ok(None);
    }
    Launch::new(Engine::default()).early()?;
    if !is_kernel_init() {
        // Nobody told us, but /proc now shows a pid namespace of somebody else's.
        return Ok(None);
    }
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    Ok(Some(dockerlaunch_plan::facts::kernel::parse_init_arguments(&cmdline)))
}

/// One launch.
#[derive(Debug)]
pub struct Launch {
    config: Config,
    inherited: Vec<OwnedFd>,
}

impl Launch {
    /// A launch of this engine, configured by this process's environment. Takes over sockets that our starter hands
    /// over, so it comes before anything else opens a descriptor.
    pub fn new(engine: Engine) -> Self {
        let mut env: BTreeMap<String, String> = std::env::vars_os()
            .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
            .collect();
        // sd_listen_fds(3): the sockets are meant for us only if LISTEN_PID says so.
        let ours = env.get("LISTEN_PID").is_some_and(|pid| *pid == std::process::id().to_string());
        if !ours {
            env.remove("LISTEN_FDS");
        }
        let mut config = Config::new(engine, &env);
        let inherited = sys::take_inherited(config.inherited_sockets);
        config.inherited_sockets = inherited.len();
        sys::close_on_exec_from(sys::FIRST_SOCKET);
        Self { config, inherited }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Only to be planned, never carried out.
    #[must_use]
    pub fn only_looking(mut self) -> Self {
        self.config.only_looking = true;
        self
    }

    /// What a launch would do, without doing it.
    pub fn plan(&self) -> (Facts, Plan) {
        let facts = probe::probe(&self.config);
        let plan = plan(&self.config, &facts);
        (facts, plan)
    }

    /// Prepares the system and becomes the engine.
    ///
    /// # Errors
    /// What stops the launch, or the failed exec.
    pub fn exec(mut self) -> Result<Infallible, LaunchFailure> {
        let (facts, plan) = self.prepare()?;
        let sockets = self.sockets(&facts, &plan)?;
        let error = handoff::exec_engine(&plan.engine, &sockets);
        Err(self.failure(&facts, LaunchError { problems: vec![exec_failed(&plan.engine.program, &error)] }))
    }

    /// Prepares the system, starts the engine, and stays: forwards signals, reaps, and returns the engine's exit
    /// status, or that of `job`, a command that runs as soon as the engine is ready.
    ///
    /// # Errors
    /// What stops the launch. Once the engine runs, nothing here fails.
    pub fn supervise(mut self, job: Option<Vec<String>>) -> Result<i32, LaunchFailure> {
        let failed = |call: &str, error: &dyn std::fmt::Display| {
            Problem::new("cannot supervise the engine")
                .cause(format!("{call}: {error}"))
                .remedy("launch without supervision", "DOCKER_LAUNCH_REAP=false")
        };
        // First of all: a signal that comes while we prepare must wait, not kill.
        let signals = pid1::block_signals();
        let (facts, plan) = self.prepare()?;
        let signals = signals
            .map_err(|e| self.failure(&facts, LaunchError { problems: vec![failed("signalfd", &e)] }))?;
        let sockets = self.sockets(&facts, &plan)?;
        let watch = pid1::Watch { engine: &plan.engine, sockets, job, debug: self.config.debug };
        pid1::run(watch, &signals).map_err(|e| {
            self.failure(&facts, LaunchError { problems: vec![failed("start of the engine", &e)] })
        })
    }

    fn early(&self) -> Result<(), LaunchFailure> {
        let (facts, early) = self.plan();
        let mut executor = System { trace: self.config.debug };
        apply(&early, Stage::Early, &facts, &mut executor).map_err(|e| self.failure(&facts, e))?;
        Ok(())
    }

    /// Both stages, each on facts of its own.
    fn prepare(&self) -> Result<(Facts, Plan), LaunchFailure> {
        let mut executor = System { trace: self.config.debug };
        for notice in &self.config.engine.notices {
            eprintln!("dockerlaunch: {notice}");
        }
        self.early()?;
        let (facts, main) = self.plan();
        let report = apply(&main, Stage::Main, &facts, &mut executor).map_err(|e| self.failure(&facts, e))?;
        for problem in &report.degraded {
            warn(problem);
        }
        let (after, again) = self.plan();
        for (step, _) in again.needed().filter(|(step, _)| report.done.iter().any(|(id, _)| *id == step.id.0))
        {
            eprintln!("dockerlaunch: warning: step {} was done, but the system does not show it", step.id);
        }
        Ok((after, again))
    }

    fn sockets(&mut self, facts: &Facts, plan: &Plan) -> Result<Vec<OwnedFd>, LaunchFailure> {
        if !plan.engine.hands_over_sockets {
            return Ok(Vec::new());
        }
        let mut all: Vec<OwnedFd> = std::mem::take(&mut self.inherited);
        // Where the user named listeners of his own, only inherited sockets are added to them.
        if !self.config.engine.has_host_option() {
            let group = self.config.engine.option("--group", Some("-G")).unwrap_or("docker");
            let own = sockets::bind(&self.config.socket, group);
            all.push(own.map_err(|problem| self.failure(facts, LaunchError { problems: vec![problem] }))?);
        }
        Ok(all)
    }

    fn failure(&self, facts: &Facts, error: LaunchError) -> LaunchFailure {
        let engine_is_the_problem =
            error.problems.len() == 1 && self.config.engine.removed_option().is_none();
        let status = match resolve(&self.config, facts) {
            Err(Missing::NotFound) if engine_is_the_problem => status::NOT_FOUND,
            Err(Missing::NotExecutable) if engine_is_the_problem => status::NOT_EXECUTABLE,
            _ => status::LAUNCHER_FAILED,
        };
        LaunchFailure { error, status, is_kernel_init: facts.process.is_kernel_init }
    }
}

fn exec_failed(program: &str, error: &std::io::Error) -> Problem {
    Problem::new(format!("cannot execute the engine `{program}`"))
        .cause(format!("execve: {error}"))
        .hint("an engine of this image's architecture, with its loader, must be there")
}

/// One line for a step that only limits Docker; its remedy on the same line.
fn warn(problem: &Problem) {
    let causes = problem.causes.join("; ");
    let hint = problem.hints.first().map(|h| format!("; {}", h.text)).unwrap_or_default();
    eprintln!("dockerlaunch: warning: {}: {causes}{hint}", problem.what);
}
