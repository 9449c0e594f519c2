//! Lines of the launcher's own log: one a decision, as text for people or as JSON for programs.

use std::time::Duration;

use serde::Serialize;

use crate::config::duration::show;
use crate::config::settings::{LogFormat, LogLevel};
use crate::facts::tls::date;
use crate::facts::{Facts, Version};
use crate::rules::{listeners, pools, resolver, storage};
use crate::supervise::News;
use crate::{Config, Plan, Problem, Verdict, masked, masked_json, render};

/// One line of the log. In JSON these are the fields, and they stay.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    msg: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    causes: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    hints: &'a [crate::Hint],
}

impl Line<'_> {
    fn json(&self) -> String {
        // Plain data with string keys: serialising it cannot fail.
        masked_json(&serde_json::to_string(self).unwrap_or_default()) + "\n"
    }
}

/// A line, its newline included, without the secrets in it. `now` is the time since 1970.
pub fn line(format: LogFormat, level: LogLevel, step: Option<&str>, msg: &str, now: Duration) -> String {
    let text = match (format, level, step) {
        (LogFormat::Json, _, _) => {
            return Line { time: rfc3339(now), level: level.name(), step, msg, causes: &[], hints: &[] }
                .json();
        }
        (LogFormat::Text, LogLevel::Error, _) => format!("dockerlaunch: error: {msg}\n"),
        (LogFormat::Text, LogLevel::Warn, _) => format!("dockerlaunch: warning: {msg}\n"),
        (LogFormat::Text, _, Some(step)) => format!("dockerlaunch: {step:<8}  {msg}\n"),
        (LogFormat::Text, _, None) => format!("dockerlaunch: {msg}\n"),
    };
    masked(&text)
}

/// A problem that ends something: as people read it, or all of it on one line.
pub fn problem(format: LogFormat, problem: &Problem, now: Duration) -> String {
    match format {
        LogFormat::Text => render::problem(problem),
        LogFormat::Json => {
            let (time, level, step) = (rfc3339(now), LogLevel::Error.name(), problem.step.as_deref());
            let Problem { what, causes, hints, .. } = problem;
            Line { time, level, step, msg: what, causes, hints }.json()
        }
    }
}

/// Seconds and milliseconds since 1970 as RFC 3339 has them, in UTC.
pub(crate) fn rfc3339(now: Duration) -> String {
    let date = date(now.as_secs());
    match date.strip_suffix('Z') {
        Some(date) => format!("{date}.{:03}Z", now.subsec_millis()),
        None => date,
    }
}

type Decision = (&'static str, fn(&Config, &Facts, &Plan) -> Option<String>);

/// What an operator wants to know of a start that went well, one line each.
const DECISIONS: &[Decision] = &[
    ("engine", |_, _, plan| Some(plan.engine.program.clone())),
    ("listen", |config, facts, _| {
        let all = listeners::decide(config, facts).ok()?.shown();
        (!all.is_empty()).then(|| all.join(", "))
    }),
    ("cgroup", |_, facts, _| {
        let version = facts.cgroup_version()?;
        Some(if version == Version::V2 { "v2".to_owned() } else { "v1".to_owned() })
    }),
    ("firewall", |_, _, plan| evidence(plan, "firewall")),
    ("storage", |config, facts, _| Some(storage::told(config, facts))),
    ("mtu", |_, _, plan| evidence(plan, "net.mtu").or_else(|| Some("1500, dockerd's own".to_owned()))),
    // Where dockerd chooses itself there is nothing to tell.
    ("pools", |config, facts, plan| {
        (!pools::flags(config, facts, false).is_empty()).then(|| evidence(plan, "net.pools"))?
    }),
    ("dns", |config, facts, plan| resolver::flag(config, facts).and_then(|_| evidence(plan, "net.dns"))),
];

fn evidence(plan: &Plan, id: &str) -> Option<String> {
    match &plan.steps.iter().find(|step| step.id.0 == id)?.verdict {
        Verdict::Satisfied { evidence } => Some(evidence.clone()),
        _ => None,
    }
}

/// The decisions of a launch, each with its name.
pub fn decisions(config: &Config, facts: &Facts, plan: &Plan) -> Vec<(&'static str, String)> {
    DECISIONS.iter().filter_map(|(name, text)| Some((*name, text(config, facts, plan)?))).collect()
}

/// What the supervision does, and how serious that is. An engine that has failed is a [`Problem`] of its own.
pub fn news(news: News) -> Option<(LogLevel, &'static str, String)> {
    Some(match news {
        News::Draining(limit) => {
            (LogLevel::Info, "drain", format!("SIGTERM is held for {} at most", show(limit)))
        }
        News::Stopping(limit) => (LogLevel::Info, "stop", format!("all of it within {}", show(limit))),
        News::Forced => (LogLevel::Warn, "stop", "what has not ended is ended by force".to_owned()),
        News::Restarting { status, pause, times } => {
            let text = format!("{}; it starts again in {} (time {times})", ended(status), show(pause));
            (LogLevel::Warn, "engine", text)
        }
        News::EngineFailed { .. } => return None,
    })
}

/// The engine has ended by itself: how, what it said at the end, and what to do.
pub fn engine_failed(status: i32, restarts: u32, last_lines: &[String], log: Option<&str>) -> Problem {
    let mut problem = Problem::new(ended(status));
    if restarts > 0 {
        problem = problem.cause(format!("it was started again {restarts} times, and did not stay"));
    }
    if !last_lines.is_empty() {
        problem = problem.cause(format!("its last lines:\n    {}", last_lines.join("\n    ")));
    }
    let problem = match log {
        Some(log) => problem.hint(format!("see its log: {log}")),
        None if last_lines.is_empty() => problem.hint("see its own lines above"),
        None => problem,
    };
    problem.remedy("see what is wrong with this place", "dockerlaunch check")
}

/// The containerd beside the engine does not stay, and `why`.
pub fn containerd_failed(why: &str, log: Option<&str>) -> Problem {
    Problem::new(why)
        .cause("so it did each time, and the engine cannot start without it")
        .hint(format!("see its last lines {}", log.map_or("above".to_owned(), |log| format!("in {log}"))))
        .remedy("see what is wrong with this place", "dockerlaunch check")
}

fn ended(status: i32) -> String {
    how_it_ended("the engine", status)
}

/// How this ended, by its exit status as shells have it.
pub fn how_it_ended(what: &str, status: i32) -> String {
    match status {
        137 => format!("{what} was killed (SIGKILL); by the kernel, if memory ran out"),
        129..=192 => format!("{what} was ended by signal {}", status - 128),
        _ => format!("{what} ended with status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Engine;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(rfc3339(Duration::new(seconds, 7_000_000)), date);
        }
    }

    #[test]
    fn a_start_that_went_well_is_told_in_a_line_a_decision() {
        let told = |words: &[&str], env: &[(&str, &str)], file: &str| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let config = Config::new(Engine::new("dockerd", &words), &env);
            let facts = Facts { daemon_json: serde_json::from_str(file).expect("JSON"), ..Facts::default() };
            let all = decisions(&config, &facts, &crate::plan(&config, &facts));
            all.into_iter().map(|(name, text)| format!("{name}: {text}")).collect::<Vec<_>>().join("\n")
        };
        let plain = told(&[], &[], "{}");
        for line in [
            "engine: dockerd",
            "listen: unix:///var/run/docker.sock",
            "storage: dockerd's choice, in /var/lib/docker",
            "mtu: 1500, dockerd's own",
        ] {
            assert!(plain.lines().any(|l| l == line), "{plain}");
        }
        let words = ["-H", "tcp://0.0.0.0:1", "--tlsverify", "-s", "vfs", "--mtu=1400"];
        let named = told(&words, &[("DOCKER_DRIVER", "overlay")], r#"{"data-root": "/x", "mtu": 1}"#);
        for line in ["storage: overlay2, in /x", "mtu: 1400, as the user set it"] {
            assert!(named.lines().any(|l| l.starts_with(line)), "{named}");
        }
        assert!(named.contains("tcp://0.0.0.0:1 with TLS"), "{named}");
        let file = told(&[], &[], r#"{"mtu": 1300, "storage-driver": "zfs"}"#);
        assert!(file.contains("mtu: 1300") && file.contains("storage: zfs, in /var/lib/docker"), "{file}");
    }

    #[test]
    fn lines_are_aligned_or_have_stable_fields() {
        let line = |format, level, step| line(format, level, step, "a \"b\"", Duration::ZERO);
        assert_eq!(line(LogFormat::Text, LogLevel::Info, Some("tls")), "dockerlaunch: tls       a \"b\"\n");
        assert_eq!(line(LogFormat::Text, LogLevel::Warn, Some("tls")), "dockerlaunch: warning: a \"b\"\n");
        assert_eq!(
            line(LogFormat::Json, LogLevel::Warn, Some("tls")),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"warn\",\"step\":\"tls\",\"msg\":\"a \\\"b\\\"\"}\n"
        );
    }

    #[test]
    fn a_problem_in_json_is_one_line() {
        let failed = engine_failed(1, 2, &["a".into(), "b".into()], None);
        let text = problem(LogFormat::Json, &failed, Duration::ZERO);
        assert_eq!(text.lines().count(), 1);
        assert!(!failed.hints.is_empty(), "its last lines alone are no remedy");
        assert!(text.contains("\"causes\":[") && text.contains("its last lines:\\n    a\\n    b"), "{text}");
        assert!(problem(LogFormat::Text, &failed, Duration::ZERO).contains("    a\n    b\n"));
    }
}
