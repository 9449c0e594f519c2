//! The engine looks after containers: their health, their restarts, their end, and what it tells of them.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::eventually;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "supervising::health",
        "a container turns unhealthy and healthy with its health check's answers, which are kept",
        health,
    ),
    scenario(
        "supervising::restart_policies",
        "a container that ends starts again as often as its restart policy says",
        restart_policies,
    ),
    scenario(
        "supervising::restart_policies_after_a_restart",
        "of stopped containers an engine's restart brings back `always`, and leaves `unless-stopped`",
        restart_policies_after_a_restart,
    ),
    scenario("supervising::events", "a container's life is told as events, in their order", events),
    scenario("supervising::signals", "`docker kill -s` and `--stop-signal` send that signal", signals),
    scenario(
        "supervising::stop_timeout",
        "a container that does not stop is killed when its time is over, and not before",
        stop_timeout,
    ),
];

/// Generous, as a machine may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

fn field(env: &dyn Environment, container: &str, field: &str) -> Result<String> {
    env.docker(&["inspect", "--format", &format!("{{{{.{field}}}}}"), container])
}

fn becomes(env: &dyn Environment, container: &str, what: &str, wanted: &str) -> Result<()> {
    let mut seen = String::new();
    eventually(&format!("{what} of {container} is {wanted}"), PATIENCE, || {
        seen = field(env, container, what)?;
        Ok(seen == wanted)
    })
    .map_err(|error| error.context(format!("{what} of {container} is {seen}")))
}

fn health(env: &dyn Environment) -> Result<()> {
    let check = "test -e /well || { echo feeling bad; exit 1; }";
    #[rustfmt::skip]
    let run = [
        "run", "-d", "--name", "patient", "--health-cmd", check, "--health-interval", "500ms", "--health-retries", "2",
        BOX, "sleep", "600",
    ];
    env.docker(&run)?;
    becomes(env, "patient", "State.Health.Status", "unhealthy")?;
    let log = "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}";
    let kept = env.docker(&["inspect", "--format", log, "patient"])?;
    ensure!(kept.contains("1 feeling bad"), "the check's answers: {kept}");
    let listed =
        env.docker(&["ps", "--quiet", "--filter", "name=patient", "--filter", "health=unhealthy"])?;
    ensure!(!listed.is_empty(), "`docker ps` does not find it among the unhealthy");
    env.docker(&["exec", "patient", "touch", "/well"])?;
    becomes(env, "patient", "State.Health.Status", "healthy")?;
    env.docker(&["exec", "patient", "rm", "/well"])?;
    becomes(env, "patient", "State.Health.Status", "unhealthy")?;
    env.remove(&["patient"])
}

fn restart_policies(env: &dyn Environment) -> Result<()> {
    let ends = |name, policy, script| {
        env.docker(&["run", "-d", "--name", name, "--restart", policy, BOX, "sh", "-c", script])
    };
    ends("never", "no", "exit 3")?;
    ends("twice", "on-failure:2", "exit 3")?;
    ends("content", "on-failure:2", "exit 0")?;
    ends("again", "always", "exit 0")?;
    // The second start of it runs on, so that there is something to count.
    ends("recovers", "unless-stopped", "test -e /been-here && exec sleep 600; touch /been-here; exit 1")?;
    becomes(env, "recovers", "RestartCount", "1")?;
    becomes(env, "recovers", "State.Status", "running")?;
    eventually("`always` starts again after success too", PATIENCE, || {
        Ok(field(env, "again", "RestartCount")?.parse::<u32>()? >= 2)
    })?;
    becomes(env, "twice", "State.Status", "exited")?;
    for (name, count, status) in [("twice", "2", "3"), ("never", "0", "3"), ("content", "0", "0")] {
        let seen = env.docker(&[
            "inspect",
            "--format",
            "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}",
            name,
        ])?;
        ensure!(seen == format!("{count} exited {status}"), "{name}: {seen}");
    }
    env.remove(&["never", "twice", "content", "again", "recovers"])
}

fn restart_policies_after_a_restart(env: &dyn Environment) -> Result<()> {
    let all = [
        ("stopped-always", "always"),
        ("stopped-unless", "unless-stopped"),
        ("running-unless", "unless-stopped"),
    ];
    for (name, policy) in all {
        let polite = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
        env.docker(&["run", "-d", "--name", name, "--restart", policy, BOX, "sh", "-c", polite])?;
    }
    env.docker(&["stop", "stopped-always", "stopped-unless"])?;
    env.restart()?;
    becomes(env, "stopped-always", "State.Status", "running")?;
    becomes(env, "running-unless", "State.Status", "running")?;
    let left = field(env, "stopped-unless", "State.Status")?;
    ensure!(left == "exited", "what was stopped by hand is {left}");
    env.remove(&all.map(|(name, _)| name))
}

fn events(env: &dyn Environment) -> Result<()> {
    let now = || env.docker(&["info", "--format", "{{.SystemTime}}"]);
    let start = now()?;
    env.docker(&[
        "create",
        "--name",
        "lively",
        BOX,
        "sh",
        "-c",
        "trap 'exit 7' TERM; while :; do sleep 0.1; done",
    ])?;
    env.docker(&["start", "lively"])?;
    env.docker(&["pause", "lively"])?;
    env.docker(&["unpause", "lively"])?;
    env.docker(&["stop", "lively"])?;
    env.docker(&["rm", "lively"])?;
    let format = "{{.Action}} {{.Actor.Attributes.exitCode}}";
    let end = now()?;
    let filters = ["--filter", "type=container", "--filter", "container=lively"];
    let command =
        [&["events", "--since", &start, "--until", &end, "--format", format], &filters[..]].concat();
    let told = env.docker(&command)?;
    let mut told: Vec<&str> =
        told.lines().map(|line| line.trim_end_matches("<no value>").trim_end()).collect();
    // Whoever asked for the stop may hear of it before the end itself is told.
    if let Some(at) = told.windows(2).position(|two| two == ["stop", "die 7"]) {
        told.swap(at, at + 1);
    }
    let life = ["create", "start", "pause", "unpause", "kill", "die 7", "stop", "destroy"];
    ensure!(told == life, "{told:?}, expected {life:?}");
    Ok(())
}

fn signals(env: &dyn Environment) -> Result<()> {
    let script = "trap 'echo heard it' USR1; trap 'exit 4' INT; echo ready; while :; do sleep 0.1; done";
    env.docker(&["run", "-d", "--name", "listening", "--stop-signal", "INT", BOX, "sh", "-c", script])?;
    let says = |what: &str| {
        eventually(&format!("it says `{what}`"), PATIENCE, || {
            Ok(env.docker(&["logs", "listening"])?.contains(what))
        })
    };
    says("ready")?;
    env.docker(&["kill", "--signal", "USR1", "listening"])?;
    says("heard it")?;
    ensure!(field(env, "listening", "State.Status")? == "running", "USR1 has ended it");
    env.docker(&["stop", "listening"])?;
    let status = field(env, "listening", "State.ExitCode")?;
    ensure!(status == "4", "after the stop by INT the status is {status}");
    env.remove(&["listening"])
}

fn stop_timeout(env: &dyn Environment) -> Result<()> {
    let stubborn = "trap 'echo not yet' TERM; echo ready; while :; do sleep 0.1; done";
    let slow = "trap 'sleep 2; exit 8' TERM; echo ready; while :; do sleep 0.1; done";
    for (name, script, time, status) in [("stubborn", stubborn, "1", "137"), ("slow", slow, "60", "8")] {
        env.docker(&["run", "-d", "--name", name, BOX, "sh", "-c", script])?;
        eventually(&format!("{name} is ready"), PATIENCE, || {
            Ok(env.docker(&["logs", name])?.contains("ready"))
        })?;
        env.docker(&["stop", "--timeout", time, name])?;
        let seen = field(env, name, "State.ExitCode")?;
        ensure!(seen == status, "{name} ended with {seen}, expected {status}");
    }
    let said = env.docker(&["logs", "stubborn"])?;
    ensure!(said.contains("not yet"), "it was not asked first: {said}");
    env.remove(&["stubborn", "slow"])
}
