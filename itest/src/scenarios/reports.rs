//! What the launcher tells of itself inside: how long its launch took, and whether Docker can run here.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Scenario, scenario};
use crate::Environment;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "reports::of_the_launch",
        "the launch report has the launcher's steps and the engine's phases, without gaps",
        of_the_launch,
    ),
    scenario(
        "reports::check_pain_45",
        "`check` beside a running engine finds nothing missing, and disturbs nothing",
        check,
    ),
];

/// The engine's own phases are among its spans, in order, and end with its readiness.
fn of_the_launch(env: &dyn Environment) -> Result<()> {
    let told = env.exec(&["dockerlaunch", "report", "--json"], b"")?.success()?;
    let report: Value = serde_json::from_str(&told).context("JSON")?;
    let spans = report["spans"].as_array().context("no spans")?;
    let meanwhile = |span: &Value| span["what"].as_str().is_some_and(|what| what.ends_with("meanwhile"));
    let engine: Vec<&Value> =
        spans.iter().filter(|span| span["who"] == "engine" && !meanwhile(span)).collect();
    let begins_with = engine.first().context("nothing of the engine")?;
    ensure!(begins_with["what"] == "reads its configuration", "{told}");
    ensure!(
        engine.len() > 1 && engine.windows(2).all(|two| two[0]["end_us"] == two[1]["start_us"]),
        "{told}"
    );
    ensure!(engine.last().is_some_and(|last| last["end_us"] == report["ready_us"]), "{told}");
    // Which, depends on what the place around has done already: podman brings a /run, an engine of ours does not.
    ensure!(spans.iter().any(|span| span["who"] == "step"), "{told}");
    let picture = env.exec(&["dockerlaunch", "report", "--svg"], b"")?.success()?;
    ensure!(picture.starts_with("<svg ") && picture.trim_end().ends_with("</svg>"), "{picture}");
    Ok(())
}

/// Beside an engine that runs nothing is missing, and no try disturbs it.
fn check(env: &dyn Environment) -> Result<()> {
    env.docker(&["run", "-d", "--name", "undisturbed", BOX, "sleep", "600"])?;
    // Links, mounts and rules of the engine's own.
    let look = "ls /sys/class/net; wc -l < /proc/1/mountinfo";
    let beside = ["run", "--rm", "--privileged", "--pid", "host", "--network", "host", BOX];
    let look = || -> Result<String> {
        let rules = env.exec(&["iptables-save"], b"")?.success()?;
        let rules: String = rules.lines().filter(|line| line.starts_with("-A")).collect();
        Ok(env.docker(&[&beside[..], &["sh", "-c", look]].concat())? + &rules)
    };
    let before = look()?;
    let told = env.exec(&["dockerlaunch", "check", "--json"], b"")?.exits(0)?.text();
    let checked: Value = serde_json::from_str(&told).context("JSON")?;
    ensure!(checked["version"] == 1 && checked["ok"] == true, "{told}");
    let lines = checked["lines"].as_array().context("no lines")?;
    for (group, item) in [("namespaces", "network"), ("network", "veth"), ("storage", "overlay")] {
        let line = lines.iter().find(|line| line["group"] == group && line["item"] == item);
        ensure!(line.is_some_and(|line| line["status"] == "ok"), "{group}.{item}: {told}");
    }
    let after = look()?;
    ensure!(before == after, "before: {before}\nafter: {after}");
    ensure!(env.docker(&["exec", "undisturbed", "echo", "here"])? == "here");
    env.remove(&["undisturbed"])
}
