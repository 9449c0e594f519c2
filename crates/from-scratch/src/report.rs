//! What the user sees when a command fails: the error, its causes, and what to do about it.
//!
//! Advice is a channel of its own, not a tail on the message: any error in the chain may carry hints
//! (`Hinted`), and all of them are told after the causes.

use std::error::Error;
use std::fmt;

use dockerlaunch_image::{BuildError, DocumentError, Hints as _};
use serde::{Deserialize, Serialize};

/// An error that knows what the user can do about it.
#[derive(Debug)]
pub(crate) struct Hinted {
    what: String,
    hints: Vec<String>,
    source: Option<Box<dyn Error + Send + Sync + 'static>>,
}

impl Hinted {
    /// An error that says `what` went wrong.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hints: Vec::new(), source: None }
    }

    /// Adds one thing that the user can do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds what lies underneath.
    #[must_use]
    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync + 'static>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Hinted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// An error taken apart: to be shown, or to be handed to another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The error, and what lies underneath.
    causes: Vec<String>,
    hints: Vec<String>,
}

impl Report {
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let mut report = Self { causes: Vec::new(), hints: Vec::new() };
        for cause in error.chain() {
            report.causes.push(cause.to_string());
            if let Some(hinted) = cause.downcast_ref::<Hinted>() {
                report.hints.extend(hinted.hints.iter().cloned());
            } else if let Some(error) = cause.downcast_ref::<BuildError>() {
                report.hints.extend(error.hints());
            } else if let Some(error) = cause.downcast_ref::<DocumentError>() {
                report.hints.extend(error.hints());
            }
        }
        report
    }

    /// The error again, on the other side.
    pub(crate) fn into_error(self) -> Hinted {
        let mut causes = self.causes.into_iter().rev().map(Hinted::new);
        let root = causes.next().unwrap_or_else(|| Hinted::new("unknown error"));
        let mut top = causes.fold(root, |below, above| above.because(below));
        top.hints = self.hints;
        top
    }
}

/// The whole report of a failed command, ready for standard error.
pub(crate) fn render(error: &anyhow::Error) -> String {
    let report = Report::of(error);
    let mut text = String::new();
    for (depth, cause) in report.causes.iter().enumerate() {
        let label = if depth == 0 { "error" } else { "  cause" };
        text.push_str(&format!("{label}: {cause}\n"));
    }
    if !report.hints.is_empty() {
        text.push('\n');
    }
    for hint in report.hints {
        text.push_str(&format!("hint: {hint}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn causes_come_before_hints() {
        let inner = Hinted::new("cannot write `x`")
            .because(std::io::Error::from_raw_os_error(28))
            .hint("make room on the disk");
        let error = Err::<(), _>(inner).context("cannot start `one`").unwrap_err();
        assert_eq!(
            render(&error),
            "error: cannot start `one`\n  cause: cannot write `x`\n  cause: No space left on device (os error 28)\n\n\
             hint: make room on the disk\n"
        );
    }

    #[test]
    fn a_report_survives_the_way_to_another_process() {
        let error = anyhow::Error::from(Hinted::new("below").hint("do it"));
        let error = error.context("above");
        let carried = anyhow::Error::from(Report::of(&error).into_error());
        assert_eq!(render(&carried), render(&error));
    }

    #[test]
    fn without_hints_there_is_no_empty_line() {
        assert_eq!(render(&anyhow::anyhow!("no")), "error: no\n");
    }
}
