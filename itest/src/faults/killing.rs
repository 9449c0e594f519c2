//! `kill -9` in the middle of what clients do.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::acknowledged::{self, FAITHFUL};
use super::client::Client;
use super::inside::Process;
use super::operations::{BUILD, LOAD, Operation, PULL, RUN, Underway};
use super::{Fault, fault, inside, often};
use crate::Environment;
use crate::command::{Outcome, eventually};
use crate::image::BOX;
use crate::up::{Instance, Options};

/// The area's table.
pub const FAULTS: &[Fault] = &[
    often(
        "killing::dockerd_in_a_load",
        "the load fails at once, nothing half loaded is listed, and the same load succeeds without another start",
        || dockerd_in(LOAD),
    ),
    fault(
        "killing::dockerd_in_a_pull",
        "the pull fails at once, nothing half pulled is listed, and the same pull succeeds without another start",
        || dockerd_in(PULL),
    ),
    fault(
        "killing::dockerd_in_a_build",
        "the build fails at once, and the same build succeeds without another start",
        || dockerd_in(BUILD),
    ),
    fault(
        "killing::dockerd_in_a_run",
        "the run fails at once, what its container wrote is there, and the same run succeeds without another start",
        || dockerd_in(RUN),
    ),
    fault(
        "killing::dockerd_with_live_restore",
        "a container goes on as the same process, and can be used as before",
        dockerd_with_live_restore,
    ),
    often(
        UNSUPERVISED,
        "the instance ends and says by what; the next `up` brings all back",
        dockerd_without_a_policy,
    ),
    fault(
        "killing::containerd_in_a_load",
        "the load ends as if nothing had been, and containers go on",
        || containerd_in(LOAD),
    ),
    fault(
        "killing::containerd_in_a_pull",
        "the pull ends as if nothing had been, if its layer comes when containers can start again, and containers go on",
        || containerd_in(PULL),
    ),
    fault(
        "killing::containerd_in_a_build",
        "the build ends as if nothing had been, and containers go on",
        || containerd_in(BUILD),
    ),
    fault(
        "killing::containerd_in_a_run",
        "the run ends as if nothing had been, and containers go on",
        || containerd_in(RUN),
    ),
    fault(
        "killing::the_shim_of_a_build_step",
        "the build fails at once, and the same build succeeds without another start",
        || shim_in(BUILD, "goes-on"),
    ),
    fault(
        "killing::the_shim_of_a_run",
        "the run fails at once, what its container wrote is there, and the same run succeeds without another start",
        || shim_in(RUN, "goes-on"),
    ),
    fault(
        "killing::a_shim_beside_a_load",
        "the load goes on to its end, and the shim's container starts again",
        || shim_beside(LOAD),
    ),
    fault(
        "killing::a_shim_beside_a_pull",
        "the pull goes on to its end, and the shim's container starts again",
        || shim_beside(PULL),
    ),
    fault(
        "killing::every_child_of_pid_1_in_a_load",
        "the load fails at once, nothing half loaded is listed, and the same load succeeds without another start",
        || children_in(LOAD),
    ),
    fault(
        "killing::every_child_of_pid_1_in_a_pull",
        "the pull fails at once, nothing half pulled is listed, and the same pull succeeds without another start",
        || children_in(PULL),
    ),
    fault(
        "killing::every_child_of_pid_1_in_a_build",
        "the build fails at once, and the same build succeeds without another start",
        || children_in(BUILD),
    ),
    fault(
        "killing::every_child_of_pid_1_in_a_run",
        "the run fails at once, what its container wrote is there, and the same run succeeds without another start",
        || children_in(RUN),
    ),
    fault(
        "killing::a_shim",
        "its container ends with 137 and nothing of it is left, or starts again where it has a restart policy",
        a_shim,
    ),
    fault(
        "killing::every_child_of_pid_1",
        "engine, containerd and shims start again, and containers as their policies say",
        every_child_of_pid_1,
    ),
];

/// The one that a test interrupts, and what its instance is called.
pub const UNSUPERVISED: &str = "killing::dockerd_without_a_policy";
/// See [`UNSUPERVISED`].
pub const UNSUPERVISED_PURPOSE: &str = "unsupervised";

/// Seconds that a client of a dead engine waits, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

/// With an engine that is started again.
fn supervised(purpose: &str) -> Result<Instance> {
    with_variables(purpose, &[("DOCKERLAUNCH_RESTART", "always")])
}

fn with_variables(purpose: &str, variables: &[(&str, &str)]) -> Result<Instance> {
    let instance = Instance::start_with(purpose, &Options { variables, ..Options::default() })?;
    acknowledged::make(&instance)?;
    Ok(instance)
}

fn dockerd_in(operation: Operation) -> Result<()> {
    let mut instance = supervised("killed-engine")?;
    let underway = (operation.begin)(&instance)?;
    inside::kill(inside::find(&instance, "dockerd")?)?;
    names_the_cause(&fails_at_once(underway)?)?;
    // Without a second try: the socket has stayed.
    (operation.again)(&instance).with_context(|| instance.log_tail())?;
    acknowledged::is_there(&instance)?;
    ensure!(instance.log()?.contains("it starts again in"), "nothing tells of the restart");
    instance.tear_down()
}

/// Its client is not left waiting.
fn fails_at_once(Underway { client, registry }: Underway) -> Result<Outcome> {
    let killed = Instant::now();
    let outcome = client.ends()?;
    let took = killed.elapsed();
    drop(registry);
    ensure!(outcome.status != 0, "its client took it for a success: {}", outcome.text());
    ensure!(took < AT_ONCE, "its client waited for {took:?}");
    Ok(outcome)
}

/// What a client says that the engine has gone away from.
fn names_the_cause(outcome: &Outcome) -> Result<()> {
    let words = ["EOF", "connection reset", "broken pipe", "error during connect"];
    ensure!(words.iter().any(|word| outcome.stderr.contains(word)), "it says: {}", outcome.stderr);
    Ok(())
}

/// The shim of the container that the operation itself runs.
fn shim_in(operation: Operation, command: &str) -> Result<()> {
    let mut instance = supervised("killed-shim-in")?;
    let env: &dyn Environment = &instance;
    let engine = inside::find(&instance, "dockerd")?;
    let underway = (operation.begin)(&instance)?;
    let running = env.docker(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Command}}"])?;
    let line = running.lines().find(|line| line.contains(command));
    let id = line.and_then(|line| line.split(' ').next()).with_context(|| running.clone())?;
    inside::kill(shim_of(&instance, container(&instance, id)?)?)?;
    let outcome = fails_at_once(underway)?;
    ensure!(outcome.status == 137 || outcome.stderr.contains("137"), "it says: {}", outcome.stderr);
    let log = instance.log()?;
    let tells = |line: &str| line.contains("shim disconnected") && line.contains(id);
    ensure!(log.lines().any(tells), "nothing tells of the shim of {id}:\n{log}");
    (operation.again)(&instance).with_context(|| instance.log_tail())?;
    acknowledged::is_there(&instance)?;
    ensure!(inside::lives(engine), "the engine has ended");
    instance.tear_down()
}

/// The shim of a container that has nothing to do with it.
fn shim_beside(operation: Operation) -> Result<()> {
    let mut instance = supervised("killed-shim-beside")?;
    let underway = (operation.begin)(&instance)?;
    inside::kill(shim_of(&instance, container(&instance, FAITHFUL)?)?)?;
    operation.succeeds(&instance, underway).with_context(|| instance.log_tail())?;
    acknowledged::is_there(&instance)?;
    instance.tear_down()
}

fn children_in(operation: Operation) -> Result<()> {
    let mut instance = supervised("killed-children-in")?;
    let launcher = inside::pid_1(&instance)?;
    let underway = (operation.begin)(&instance)?;
    for child in children(&instance, launcher)? {
        // One may have ended with another.
        let _ = kill_process(child.pid, Signal::KILL);
    }
    names_the_cause(&fails_at_once(underway)?)?;
    (operation.again)(&instance).with_context(|| instance.log_tail())?;
    acknowledged::is_there(&instance)?;
    ensure!(inside::lives(launcher), "the launcher has ended");
    instance.tear_down()
}

fn children(instance: &Instance, of: Pid) -> Result<Vec<Process>> {
    let all = inside::processes(instance)?;
    Ok(all.into_iter().filter(|process| process.parent == of.as_raw_nonzero().get()).collect())
}

/// What a container's first process was started by.
fn shim_of(instance: &Instance, container: Pid) -> Result<Pid> {
    let processes = inside::processes(instance)?;
    let parent = processes.iter().find(|process| process.pid == container).map(|process| process.parent);
    parent.and_then(Pid::from_raw).context("the container has no parent")
}

fn containerd_in(operation: Operation) -> Result<()> {
    let mut instance = supervised("killed-containerd")?;
    let container = container(&instance, FAITHFUL)?;
    let underway = (operation.begin)(&instance)?;
    inside::kill(inside::find(&instance, "containerd")?)?;
    operation.succeeds(&instance, underway).with_context(|| instance.log_tail())?;
    acknowledged::is_there(&instance)?;
    ensure!(inside::lives(container), "a container that had nothing to do with it has ended");
    ensure!(instance.log()?.contains("containerd was killed (SIGKILL)"), "nothing tells of it");
    instance.tear_down()
}

fn dockerd_with_live_restore() -> Result<()> {
    let variables = [("DOCKERLAUNCH_RESTART", "always"), ("DOCKERD_LIVE_RESTORE", "true")];
    let mut instance = with_variables("live-restore", &variables)?;
    let env: &dyn Environment = &instance;
    let script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done";
    env.docker(&["run", "-d", "--name", "counts", BOX, "sh", "-c", script])?;
    let container = container(&instance, "counts")?;
    inside::kill(inside::find(&instance, "dockerd")?)?;
    env.docker(&["exec", "counts", "true"]).with_context(|| instance.log_tail())?;
    ensure!(inside::lives(container), "the container was ended");
    // What it writes goes on to arrive.
    let lines = || -> Result<usize> { Ok(env.docker(&["logs", "counts"])?.lines().count()) };
    let before = lines()?;
    eventually("its log goes on", Duration::from_secs(20), || Ok(lines()? > before))?;
    env.docker(&["stop", "--time", "1", "counts"])?;
    ensure!(!inside::lives(container), "`docker stop` did not reach it");
    acknowledged::is_there(&instance)?;
    instance.tear_down()
}

fn dockerd_without_a_policy() -> Result<()> {
    let mut instance = with_variables(UNSUPERVISED_PURPOSE, &[])?;
    let waiting = Client::docker(&instance, &["events"])?;
    inside::kill(inside::find(&instance, "dockerd")?)?;
    // A client is not left waiting for nobody.
    let outcome = waiting.ends()?;
    ensure!(outcome.status != 0, "its client took it for a success");
    eventually("the instance has ended", Duration::from_secs(15), || {
        Ok(inside::processes(&instance)?.is_empty())
    })?;
    let log = instance.log()?;
    for words in ["the engine was killed (SIGKILL)", "hint:"] {
        ensure!(log.contains(words), "no `{words}` in its log:\n{log}");
    }
    instance.up()?;
    acknowledged::is_there(&instance)?;
    instance.tear_down()
}

fn a_shim() -> Result<()> {
    let mut instance = supervised("killed-shim")?;
    let env: &dyn Environment = &instance;
    let id = env.docker(&["run", "-d", "--name", "plain", BOX, "sleep", "6000"])?;
    ensure!(inside::of_a_container(&instance, &id)?.len() > 1, "the look misses its cgroups and mounts");
    for name in ["plain", FAITHFUL] {
        let container = container(&instance, name)?;
        inside::kill(shim_of(&instance, container)?)?;
        eventually(
            &format!("what the shim of `{name}` had started is gone"),
            Duration::from_secs(20),
            || Ok(!inside::lives(container)),
        )
        .with_context(|| instance.log_tail())?;
    }
    eventually("the engine knows of it", Duration::from_secs(20), || {
        let state = env.docker(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "plain"])?;
        ensure!(state == "exited 137", "it says: {state}");
        Ok(true)
    })?;
    eventually("nothing of it is left", Duration::from_secs(20), || {
        let left = inside::of_a_container(&instance, &id)?;
        ensure!(left.is_empty(), "{left:#?}");
        Ok(true)
    })?;
    env.docker(&["start", "plain"])?;
    acknowledged::runs(env, "plain")?;
    acknowledged::is_there(env)?;
    instance.tear_down()
}

fn every_child_of_pid_1() -> Result<()> {
    let mut instance = supervised("killed-children")?;
    let env: &dyn Environment = &instance;
    env.docker(&["run", "-d", "--name", "plain", BOX, "sleep", "6000"])?;
    let launcher = inside::pid_1(&instance)?;
    let children = children(&instance, launcher)?;
    let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
    for name in ["dockerd", "containerd", "containerd-shim"] {
        ensure!(names.contains(&name), "{name} is no child of PID 1: {names:?}");
    }
    for child in &children {
        // One may have ended with another.
        let _ = kill_process(child.pid, Signal::KILL);
    }
    acknowledged::is_there(env)?;
    let state = env.docker(&["inspect", "--format", "{{.State.Status}}", "plain"])?;
    ensure!(state == "exited", "the container without a policy is {state}");
    env.docker(&["start", "plain"])?;
    acknowledged::runs(env, "plain")?;
    ensure!(inside::lives(launcher), "the launcher has ended");
    instance.tear_down()
}

/// The first process of a container.
fn container(instance: &Instance, name: &str) -> Result<Pid> {
    let inner = (instance as &dyn Environment).docker(&["inspect", "--format", "{{.State.Pid}}", name])?;
    let inner: i32 = inner.parse()?;
    let found = inside::processes(instance)?.into_iter().find(|process| process.pids.get(1) == Some(&inner));
    Ok(found.with_context(|| format!("the container `{name}` has no process {inner}"))?.pid)
}
