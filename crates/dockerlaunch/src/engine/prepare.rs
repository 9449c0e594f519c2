//! What comes before the engine: stages, hooks, and a look at whether all is done.

use std::cell::OnceCell;
use std::time::Instant;

use dockerlaunch_plan::facts::Firewall;
use dockerlaunch_plan::report::Who;
use dockerlaunch_plan::rules::engine::resolve;
use dockerlaunch_plan::rules::{listeners, resolver};
use dockerlaunch_plan::{Facts, Plan, Problem, Report, Stage, apply, log, plan};

use super::{Launch, is_kernel_init};
use crate::apply::System;
use crate::failure::{LaunchFailure, failure, is_about_engine, status, status_of};
use crate::say::say;
use crate::signals::Signals;
use crate::{hooks, probe};

impl Launch {
    /// Does it, and writes down how long it took.
    fn timed<T>(&mut self, what: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let start = Instant::now();
        let result = act(self);
        self.timeline.took(Who::Launcher, what, start);
        result
    }

    pub(super) fn early(&mut self) -> Result<(), LaunchFailure> {
        let (facts, early) = self.timed("looks around", |launch| {
            let facts = probe::early();
            let early = plan(&launch.config, &facts);
            (facts, early)
        });
        let report = self.apply(&early, Stage::Early, &facts)?;
        report.degraded.iter().for_each(warn);
        Ok(())
    }

    /// Both stages, each on facts of its own, and the user's hooks.
    pub(super) fn prepare(&mut self, signals: Option<&mut Signals>) -> Result<(Facts, Plan), LaunchFailure> {
        self.early()?;
        self.timed("understands its settings", Self::read_environment);
        // As the kernel's init we first name the helper that loads modules: packet filters are tried after that.
        let is_init = is_kernel_init();
        if is_init {
            self.firewall = OnceCell::from(Firewall::default());
        }
        let (facts, main) = self.timed("looks around", |launch| launch.plan());
        self.foreign_cgroups = Some(facts.cgroups.foreign.clone());
        let mut report = self.apply(&main, Stage::Main, &facts)?;
        if !main.hooks.is_empty() || is_init {
            let limit = self.config.settings.hook_timeout;
            self.timed("runs hooks", |_| hooks::run(&main.hooks, &main.engine.env, limit, signals))
                .map_err(|problem| failure(&facts, vec![problem], status::LAUNCHER_FAILED))?;
            // What they have changed counts: only what is missing now is done, and the data root is settled only now.
            self.config.hooks_have_run = true;
            self.firewall = OnceCell::new();
            let (facts, anew) = self.timed("looks around", |launch| launch.plan());
            // What is not wanted any more must not reach the engine: it may have no TLS now.
            let wanted = listeners::decide(&self.config, &facts).unwrap_or_default().names();
            self.bound.retain(|listener| wanted.contains(&listener.name));
            self.names.take_if(|names| resolver::wanted(&self.config, &facts) != Some(names.address));
            report = self.apply(&anew, Stage::Main, &facts)?;
        }
        for problem in &report.degraded {
            warn(problem);
        }
        let (after, again) = self.timed("looks whether all is done", |launch| launch.plan());
        for (step, _) in again.needed().filter(|(step, _)| report.done.iter().any(|(id, _)| *id == step.id.0))
        {
            say!(Warn, "step {} was done, but the system does not show it", step.id);
        }
        // How full it is shows only now, where we have put the data root on something else.
        let is_new = |problem: &&Problem| self.covered && !report.degraded.contains(problem);
        again.degradations().into_iter().filter(is_new).for_each(warn);
        for (step, text) in log::decisions(&self.config, &after, &again) {
            say!(Info[step], "{text}");
        }
        for notice in &again.engine.notices {
            say!(Info, "{notice}");
        }
        for warning in &again.engine.warnings {
            say!(Warn, "{warning}");
        }
        Ok((after, again))
    }

    fn apply(&mut self, plan: &Plan, stage: Stage, facts: &Facts) -> Result<Report, LaunchFailure> {
        let mut executor = System::default();
        let result = apply(plan, stage, facts, &mut executor);
        self.bound.append(&mut executor.listeners);
        self.lock = self.lock.take().or(executor.lock);
        self.timeline.steps(&executor.steps);
        self.names = self.names.take().or(executor.names);
        let covers = |report: &Report| report.done.iter().any(|(id, _)| *id == "storage.disk");
        self.covered |= result.as_ref().is_ok_and(covers);
        result.map_err(|error| {
            // Only a missing engine has a status of its own, and only when that is all that is wrong.
            let status = match (&error.problems[..], resolve(&self.config, facts)) {
                ([only], Err(missing)) if is_about_engine(only) => status_of(missing),
                _ => status::LAUNCHER_FAILED,
            };
            failure(facts, error.problems, status)
        })
    }
}

/// One line for a step that only limits Docker; its remedy on the same line.
fn warn(problem: &Problem) {
    let causes = problem.causes.join("; ");
    let hint = problem.hints.first().map(|h| format!("; {}", h.text)).unwrap_or_default();
    say!(Warn, "{}: {causes}{hint}", problem.what);
}
