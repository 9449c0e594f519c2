//! What containers write is kept, within bounds, and can be read while they run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::eventually;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "logging::json_file_is_rotated",
        "the driver json-file keeps as much as it may, and gives the last lines",
        |env| rotated(env, "json-file"),
    ),
    scenario(
        "logging::local_is_rotated",
        "the driver local keeps as much as it may, and gives the last lines",
        |env| rotated(env, "local"),
    ),
    scenario("logging::none_keeps_nothing", "with the driver none nothing is kept, and it is told", none),
    scenario(
        "logging::followed",
        "`docker logs --follow` gives what was and what comes, and ends with the container",
        followed,
    ),
];

/// A hundred times what may be kept.
fn rotated(env: &dyn Environment, driver: &str) -> Result<()> {
    const LINES: u32 = 20_000;
    let script =
        format!("i=0; while [ $i -lt {LINES} ]; do i=$((i + 1)); echo this is line $i of many; done");
    let limits = ["--log-opt", "max-size=10k", "--log-opt", "max-file=2"];
    let name = format!("rotated-{driver}");
    let head = ["run", "--name", &name, "--log-driver", driver];
    env.docker(&[&head, &limits[..], &[BOX, "sh", "-c", &script]].concat())?;
    let last = env.docker(&["logs", "--tail", "2", &name])?;
    let wanted = format!("this is line {} of many\nthis is line {LINES} of many", LINES - 1);
    ensure!(last == wanted, "the last lines: {last}");
    let kept = env.docker(&["logs", &name])?;
    ensure!(!kept.lines().any(|line| line == "this is line 1 of many"), "the first line is still there");

    let format = "{{.Id}}";
    let id = env.docker(&["inspect", "--format", format, &name])?;
    let root = env.docker(&["info", "--format", "{{.DockerRootDir}}"])?;
    let mount = format!("{root}/containers/{id}:/kept:ro");
    let list = "find /kept -type f -name '*.log*' -exec stat -c '%s %n' {} +";
    let files = env.docker(&["run", "--rm", "-v", &mount, BOX, "sh", "-c", list])?;
    let sizes: Vec<u64> = files
        .lines()
        .map(|line| line.split(' ').next().and_then(|size| size.parse().ok()).context(line.to_owned()))
        .collect::<Result<_>>()?;
    ensure!(sizes.len() == 2, "of two files: {files}");
    // A megabyte and more was written; a file ends with the line that fills it.
    ensure!(sizes.iter().all(|size| (1..=10_500).contains(size)), "more than 10 kB each: {files}");
    env.remove(&[&name])
}

fn none(env: &dyn Environment) -> Result<()> {
    let said = env.docker(&[
        "run",
        "--name",
        "silent",
        "--log-driver",
        "none",
        BOX,
        "echo",
        "heard by who is there",
    ])?;
    ensure!(said == "heard by who is there", "{said}");
    let logs = env.try_docker(&["logs", "silent"])?;
    ensure!(logs.status != 0 && logs.stderr.contains("does not support reading"), "{}", logs.stderr);
    env.remove(&["silent"])
}

fn followed(env: &dyn Environment) -> Result<()> {
    let script = "echo before; while [ ! -e /go ]; do sleep 0.1; done; sleep 1; echo after; exit 5";
    env.docker(&["run", "-d", "--name", "followed", BOX, "sh", "-c", script])?;
    eventually("the first line is kept", Duration::from_secs(30), || {
        Ok(env.docker(&["logs", "followed"])? == "before")
    })?;
    let followed = std::thread::scope(|scope| -> Result<_> {
        let follower = scope.spawn(|| env.docker(&["logs", "--follow", "followed"]));
        env.docker(&["exec", "followed", "touch", "/go"])?;
        follower.join().map_err(|_| anyhow::anyhow!("the thread that follows panicked"))?
    })?;
    ensure!(followed == "before\nafter", "{followed}");
    env.remove(&["followed"])
}
