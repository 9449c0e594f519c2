//! Rules over facts give a [`Plan`]; [`apply`] hands its actions to an [`Executor`], in order.

use serde::Serialize;

use crate::config::EngineCommand;
use crate::config::settings::Medium;
use crate::facts::Hook;
use crate::step::{OnFailure, Stage, Step, Verdict};
use crate::{Action, Config, Facts, Problem, RULES, diagnose, rules};

/// All steps, in boot order, with their verdicts, and the engine's command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// Programs of the user that run when the steps are done; what they change is seen before the engine starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// What is started at the end.
    pub engine: EngineCommand,
}

/// Decides every step. Later rules see the system as the earlier ones will leave it.
pub fn plan(config: &Config, facts: &Facts) -> Plan {
    let mut predicted = facts.clone();
    let steps = RULES
        .iter()
        .map(|rule| {
            let decided = match rule.stage {
                Stage::Late if hooks_are_to_come(facts) => Verdict::skipped("hooks may still change it"),
                Stage::Late if devices_are_to_come(config, facts) => {
                    Verdict::skipped("the disk is looked at once there is a /dev")
                }
                _ => (rule.decide)(config, &predicted),
            };
            let verdict = match decided {
                Verdict::Needed { actions } if actions.is_empty() => Verdict::satisfied("nothing is missing"),
                Verdict::Blocked { problem } => {
                    Verdict::Blocked { problem: problem.at(place(rule.id.0, rule.why)) }
                }
                other => other,
            };
            if let Verdict::Needed { actions } = &verdict {
                actions.iter().for_each(|action| action.predict(&mut predicted));
            }
            Step { id: rule.id, stage: rule.stage, why: rule.why, on_failure: rule.on_failure, verdict }
        })
        .collect();
    Plan { steps, hooks: facts.hooks.clone(), engine: rules::engine::command(config, &predicted) }
}

/// A data root that is locked for the engine of this place shows that they have run.
fn hooks_are_to_come(facts: &Facts) -> bool {
    facts.hooks.iter().any(|hook| hook.executable) && !facts.storage.locked
}

/// The kernel's init sees disks only once all else is mounted; then it looks again, with or without hooks.
fn devices_are_to_come(config: &Config, facts: &Facts) -> bool {
    facts.process.is_kernel_init
        && matches!(config.settings.storage, Some(Medium::Device(_)))
        && !config.hooks_have_run
        && !facts.storage.locked
}

/// `cgroup.v2, 7 of 19: why`: names a step and its place in the boot order.
fn place(id: &str, why: &str) -> String {
    let position = RULES.iter().position(|r| r.id.0 == id).map_or(0, |i| i + 1);
    format!("{id}, {position} of {}: {why}", RULES.len())
}

impl Plan {
    /// The steps of one stage; those after the hooks are of the main one.
    pub fn stage(&self, stage: Stage) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |s| s.stage == stage || stage == Stage::Main && s.stage > stage)
    }

    /// What stops the launch: the problems of blocked steps that Docker cannot do without.
    pub fn blockers(&self) -> Vec<&Problem> {
        self.problems(|on_failure| on_failure == OnFailure::Abort)
    }

    /// The problems of blocked steps that Docker can do without.
    pub fn degradations(&self) -> Vec<&Problem> {
        self.problems(|on_failure| on_failure != OnFailure::Abort)
    }

    fn problems(&self, wanted: impl Fn(OnFailure) -> bool) -> Vec<&Problem> {
        let of = |step: &'_ Step| wanted(step.on_failure);
        self.steps
            .iter()
            .filter(|step| of(step))
            .filter_map(|step| match &step.verdict {
                Verdict::Blocked { problem } => Some(problem),
                _ => None,
            })
            .collect()
    }

    /// Blocks a step for what only a look at the real engine has shown.
    pub fn block(&mut self, id: &str, problem: Problem) {
        for step in self.steps.iter_mut().filter(|step| step.id.0 == id) {
            step.verdict = Verdict::Blocked { problem: problem.clone().at(place(step.id.0, step.why)) };
        }
    }

    /// The steps that want something done.
    pub fn needed(&self) -> impl Iterator<Item = (&Step, &[Action])> {
        self.steps.iter().filter_map(|step| match &step.verdict {
            Verdict::Needed { actions } => Some((step, actions.as_slice())),
            _ => None,
        })
    }
}

/// Performs actions. The launcher's executor makes system calls; tests have others.
pub trait Executor {
    /// The actions that follow are this step's.
    fn begin(&mut self, _step: &'static str) {}

    /// Performs one action.
    ///
    /// # Errors
    /// What the kernel said.
    fn run(&mut self, action: &Action) -> Result<(), ActionError>;
}

/// Why an action failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{call}: {reason}")]
pub struct ActionError {
    /// The system call, or what stands for it, such as `fsconfig(FSCONFIG_CMD_CREATE)`.
    pub call: String,
    /// The kernel's answer in words.
    pub reason: String,
    /// The error number; 0 when there is none.
    pub errno: i32,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Steps performed, with the number of their actions.
    pub done: Vec<(&'static str, usize)>,
    /// Steps that failed but only limit Docker.
    pub degraded: Vec<Problem>,
}

/// The launch cannot go on; every problem known at that point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))]
pub struct LaunchError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// Performs the steps of one stage. A failed step that Docker can do without is reported and left; all blocked steps
/// are told together, before anything is touched.
///
/// # Errors
/// The blocked steps, or the first failed action, of steps that Docker cannot do without.
pub fn apply(
    plan: &Plan,
    stage: Stage,
    facts: &Facts,
    executor: &mut dyn Executor,
) -> Result<Report, LaunchError> {
    let blockers: Vec<Problem> =
        if stage == Stage::Main { plan.blockers().into_iter().cloned().collect() } else { vec![] };
    if !blockers.is_empty() {
        return Err(LaunchError { problems: blockers });
    }
    let mut report = Report::default();
    for step in plan.stage(stage) {
        match &step.verdict {
            Verdict::Needed { actions } => {
                executor.begin(step.id.0);
                match actions.iter().find_map(|a| executor.run(a).err().map(|e| (a, e))) {
                    None => report.done.push((step.id.0, actions.len())),
                    Some((action, error)) => {
                        let problem = diagnose::failed(action, &error, facts).at(place(step.id.0, step.why));
                        match step.on_failure {
                            OnFailure::Abort => return Err(LaunchError { problems: vec![problem] }),
                            OnFailure::Degrade { consequence } => {
                                report.degraded.push(problem.cause(consequence))
                            }
                        }
                    }
                }
            }
            Verdict::Blocked { problem } => report.degraded.push(problem.clone()),
            Verdict::Satisfied { .. } | Verdict::Skipped { .. } => {}
        }
    }
    Ok(report)
}
