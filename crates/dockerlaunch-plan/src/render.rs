//! Text for people. JSON is what serde makes of the same types.

use std::fmt::Write as _;

use crate::facts::Facts;
use crate::step::{OnFailure, Verdict};
use crate::{Plan, Problem, RULES, masked, masked_json, masked_word};

/// `error: …`, the step, the causes, and the hints after an empty line.
pub fn problem(problem: &Problem) -> String {
    let mut out = format!("error: {}\n", problem.what);
    if let Some(step) = &problem.step {
        let _ = writeln!(out, "  step {step}");
    }
    for cause in &problem.causes {
        let _ = writeln!(out, "  cause: {cause}");
    }
    if !problem.hints.is_empty() {
        out.push('\n');
    }
    for hint in &problem.hints {
        match &hint.command {
            Some(command) => {
                let _ = writeln!(out, "hint: {}: `{command}`", hint.text);
            }
            None => {
                let _ = writeln!(out, "hint: {}", hint.text);
            }
        }
    }
    masked(&out)
}

/// The plan, one line a step, the actions of needed steps below it.
pub fn plan(plan: &Plan) -> String {
    let mut out = String::new();
    for step in &plan.steps {
        let (word, detail) = match &step.verdict {
            Verdict::Needed { .. } => ("do", step.why.to_owned()),
            Verdict::Satisfied { evidence } => ("ok", evidence.clone()),
            Verdict::Skipped { reason } => ("skip", reason.clone()),
            Verdict::Blocked { problem } => ("stop", problem.what.clone()),
        };
        let _ = writeln!(out, "{word:<4}  {:<13}  {detail}", step.id);
        if let Verdict::Needed { actions } = &step.verdict {
            for action in actions {
                let _ = writeln!(out, "{:21}+ {action}", "");
            }
        }
    }
    for hook in &plan.hooks {
        let (word, detail) =
            if hook.executable { ("do", "run it") } else { ("skip", "it is not executable") };
        let _ = writeln!(out, "{word:<4}  {:<13}  {detail}: {}", "hooks", hook.path);
    }
    out += &remarks(plan);
    let args: Vec<String> = plan.engine.args.iter().map(|arg| masked_word(arg)).collect();
    let _ = writeln!(out, "run   {} {}", plan.engine.program, args.join(" "));
    masked(out.trim_end()) + "\n"
}

/// What gives way, and what is dangerous.
pub(crate) fn remarks(plan: &Plan) -> String {
    let notices = plan.engine.notices.iter().map(|notice| format!("note  {notice}\n"));
    notices.chain(plan.engine.warnings.iter().map(|warning| format!("warn  {warning}\n"))).collect()
}

/// Why the steps are there, or one of them.
pub fn explain(step: Option<&str>) -> String {
    let mut out = String::new();
    for rule in RULES.iter().filter(|r| step.is_none_or(|s| s == r.id.0)) {
        let fails = match rule.on_failure {
            OnFailure::Abort => "Docker is not started".to_owned(),
            OnFailure::Degrade { consequence } => consequence.to_owned(),
        };
        let _ = writeln!(out, "{:<13}  {}\n{:15}if it fails: {fails}", rule.id, rule.why, "");
    }
    out
}

/// The facts as JSON.
pub fn facts(facts: &Facts) -> String {
    json(facts)
}

/// Anything of ours as JSON.
pub fn json(value: &impl serde::Serialize) -> String {
    // Plain data with string keys: serialising it cannot fail.
    masked_json(&serde_json::to_string_pretty(value).unwrap_or_default()) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_designed() {
        let text = problem(
            &Problem::new("cannot mount cgroup2")
                .at("cgroup.v2, 7 of 19: limits")
                .cause("EPERM")
                .remedy("do", "x"),
        );
        insta::assert_snapshot!(text, @r"
        error: cannot mount cgroup2
          step cgroup.v2, 7 of 19: limits
          cause: EPERM

        hint: do: `x`
        ");
    }

    #[test]
    fn explain_knows_its_steps() {
        assert_eq!(explain(Some("cgroup.v2")).lines().count(), 2);
        assert_eq!(explain(None).lines().count(), 2 * RULES.len());
    }
}
