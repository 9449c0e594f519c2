//! A step of the boot order, and what a rule may say about it.

use serde::{Deserialize, Serialize};

use crate::{Action, Config, Facts, Problem};

/// Name of a step, `area.what`; stable, since users read it in errors and in `plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StepId(pub &'static str);

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.0)
    }
}

/// When a step runs. Facts are read anew before each stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Needs no `/proc`: the kernel, or a bare sandbox, has just started us.
    Early,
    /// Everything else.
    Main,
    /// Of `Main`, but decided only once the user's hooks have run: what it stands on, they may still change.
    Late,
}

/// What a rule decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict")]
pub enum Verdict {
    /// These actions, in this order, are needed.
    Needed {
        /// The actions.
        actions: Vec<Action>,
    },
    /// Nothing to do: it is already so.
    Satisfied {
        /// What was seen.
        evidence: String,
    },
    /// Nothing to do: it does not concern this system or this configuration.
    Skipped {
        /// Why not.
        reason: String,
    },
    /// It cannot be done here.
    Blocked {
        /// What to tell the user.
        problem: Problem,
    },
}

impl Verdict {
    /// `Needed` with these actions, or `Satisfied` with the evidence when there are none.
    pub fn needed_or(actions: Vec<Action>, evidence: impl Into<String>) -> Self {
        if actions.is_empty() { Self::satisfied(evidence) } else { Self::Needed { actions } }
    }

    /// Already so.
    pub fn satisfied(evidence: impl Into<String>) -> Self {
        Self::Satisfied { evidence: evidence.into() }
    }

    /// Not our concern here.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped { reason: reason.into() }
    }
}

/// What a failure of the step means for the launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "on_failure")]
pub enum OnFailure {
    /// Docker cannot run without it.
    Abort,
    /// Docker runs, with this consequence.
    Degrade {
        /// What will not work.
        consequence: &'static str,
    },
}

/// One entry of the boot order.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name.
    pub id: StepId,
    /// When it runs.
    pub stage: Stage,
    /// Why Docker needs it.
    pub why: &'static str,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// Looks at configuration and facts, and decides.
    pub decide: fn(&Config, &Facts) -> Verdict,
}

/// A rule together with its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The rule's name.
    pub id: StepId,
    /// When it runs.
    pub stage: Stage,
    /// Why Docker needs it.
    pub why: &'static str,
    /// What its failure means.
    #[serde(flatten)]
    pub on_failure: OnFailure,
    /// What was decided.
    #[serde(flatten)]
    pub verdict: Verdict,
}
