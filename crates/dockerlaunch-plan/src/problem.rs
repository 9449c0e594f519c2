//! What went wrong, why, and what to do about it.

use serde::{Deserialize, Serialize};

/// Something the user can do, and where there is one, the exact command or setting for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// The advice.
    pub text: String,
    /// What to type or set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Hint {
    /// Advice in words.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), command: None }
    }

    /// Advice with the exact command or setting.
    pub fn with(text: impl Into<String>, command: impl Into<String>) -> Self {
        Self { text: text.into(), command: Some(command.into()) }
    }
}

/// A failure or refusal, told so that the reader knows what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The step that it belongs to, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What could not be done; one line, no full stop.
    pub what: String,
    /// Causes, nearest first.
    pub causes: Vec<String>,
    /// Remedies; never empty for what stops a launch.
    pub hints: Vec<Hint>,
}

impl Problem {
    /// A problem without causes or hints yet.
    pub fn new(what: impl Into<String>) -> Self {
        Self { step: None, what: what.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// Adds a cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds a remedy in words.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(Hint::new(text));
        self
    }

    /// Adds a remedy with a command or setting.
    #[must_use]
    pub fn remedy(mut self, text: impl Into<String>, command: impl Into<String>) -> Self {
        self.hints.push(Hint::with(text, command));
        self
    }

    /// Names the step, with its place in the order.
    #[must_use]
    pub fn at(mut self, step: impl Into<String>) -> Self {
        self.step = Some(step.into());
        self
    }

    /// Whether it is a problem of this step.
    pub fn is_of_step(&self, id: &str) -> bool {
        self.step.as_deref().is_some_and(|step| step.split(',').next() == Some(id))
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(crate::render::problem(self).trim_end())
    }
}

impl std::error::Error for Problem {}
