//! Out of memory, of processes, of descriptors: by limits of the instance, never the machine's.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, prlimit};

use super::connections::by_socket;
use super::{Fault, acknowledged, fault, inside};
use crate::command::{self, Outcome, eventually};
use crate::environment::Environment;
use crate::image::BOX;
use crate::up::{Instance, Options};

/// The area's table.
pub const FAULTS: &[Fault] = &[
    fault(
        "limits::out_of_memory",
        "the container that takes all of the instance's memory is killed, and the engine goes on",
        out_of_memory,
    ),
    fault(
        "limits::out_of_memory_in_the_engine",
        "an engine that the kernel kills for want of memory starts again, and what may have been the cause is told",
        out_of_memory_in_the_engine,
    ),
    fault(
        "limits::out_of_processes",
        "errors name the cause, and with processes everything works again without another start of the instance",
        out_of_processes,
    ),
    fault(
        "limits::out_of_descriptors",
        "probes fail in their time, the engine's log names the cause, and with descriptors it works again",
        out_of_descriptors,
    ),
];

/// Takes a gigabyte in one piece.
const GLUTTON: [&str; 5] = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1G", "count=1"];

fn small(purpose: &str) -> Result<Instance> {
    let variables = [("DOCKERLAUNCH_RESTART", "always")];
    let instance = Instance::start_with(
        purpose,
        &Options { up: &["--memory", "512m"], variables: &variables, engine: &[] },
    )?;
    acknowledged::make(&instance)?;
    Ok(instance)
}

fn out_of_memory() -> Result<()> {
    let mut instance = small("memory")?;
    let engine = inside::find(&instance, "dockerd")?;
    let env: &dyn Environment = &instance;
    env.try_docker(&[&["run", "--name", "glutton", BOX], &GLUTTON[..]].concat())?.exits(137)?;
    eventually("its end is told as what it is", Duration::from_secs(10), || {
        Ok(env.docker(&["inspect", "--format", "{{.State.OOMKilled}}", "glutton"])? == "true")
    })?;
    ensure!(inside::lives(engine), "the engine was killed");
    acknowledged::is_there(env)?;
    instance.tear_down()
}

fn out_of_memory_in_the_engine() -> Result<()> {
    let mut instance = small("memory-engine")?;
    let engine = inside::find(&instance, "dockerd")?;
    // Otherwise the kernel prefers what is in containers, as it should.
    fs::write(format!("/proc/{}/oom_score_adj", engine.as_raw_nonzero()), "1000")?;
    let env: &dyn Environment = &instance;
    let outcome = env.try_docker(&[&["run", "--rm", BOX], &GLUTTON[..]].concat())?;
    ensure!(outcome.status != 0, "there was memory for everybody");
    ensure!(!inside::lives(engine), "the engine was not killed");
    acknowledged::is_there(env)?;
    let log = instance.log()?;
    ensure!(log.contains("memory ran out"), "its log does not name the cause:\n{log}");
    instance.tear_down()
}

/// A limit on the processes of the instance; gone when this goes.
struct ProcessLimit(PathBuf);

impl ProcessLimit {
    fn at_what_there_is(instance: &Instance) -> Result<Self> {
        // cgroup v1 has a hierarchy for it.
        let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        let groups = roots.map(|root| Path::new(root).join("from-scratch").join(instance.name()));
        let group = groups.into_iter().find(|group| group.join("pids.max").exists());
        let group = group.context("no cgroup of the instance limits processes")?;
        fs::write(group.join("pids.max"), fs::read_to_string(group.join("pids.current"))?.trim())?;
        Ok(Self(group.join("pids.max")))
    }
}

impl Drop for ProcessLimit {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.0, "max") {
            eprintln!("error: `{}` keeps its limit: {error}", self.0.display());
        }
    }
}

fn out_of_processes() -> Result<()> {
    let mut instance = Instance::start_with(
        "processes",
        &Options { variables: &[("DOCKERLAUNCH_RESTART", "always")], ..Options::default() },
    )?;
    let env: &dyn Environment = &instance;
    acknowledged::make(env)?;
    let launcher = inside::pid_1(&instance)?;
    let limit = ProcessLimit::at_what_there_is(&instance)?;
    // The client itself counts outside.
    let refused = from_outside(&instance, &["run", "--rm", BOX, "true"])?;
    ensure!(refused.status != 0, "a container ran without a process");
    let told = format!("{}{}", refused.stderr, instance.log()?).to_lowercase();
    // As the kernel says it, or Go when it needs a thread.
    let causes = ["resource temporarily unavailable", "failed to create new os thread"];
    ensure!(causes.iter().any(|cause| told.contains(cause)), "nobody names the cause: {told}");
    let refused = env.exec(&["dockerlaunch", "healthcheck"], b"")?;
    ensure!(refused.status == 126, "`exec` exited {}: {}", refused.status, refused.stderr);
    for words in ["Resource temporarily unavailable", "hint:"] {
        ensure!(refused.stderr.contains(words), "no `{words}` in: {}", refused.stderr);
    }
    drop(limit);
    eventually("the engine works again", Duration::from_secs(60), || {
        env.try_docker(&["run", "--rm", BOX, "true"])?.exits(0).map(|_| true)
    })?;
    ensure!(inside::lives(launcher), "the launcher has ended");
    acknowledged::is_there(env)?;
    instance.tear_down()
}

/// The image's client as a process of the host: its own loader starts it.
fn from_outside(instance: &Instance, args: &[&str]) -> Result<Outcome> {
    let private = format!("/proc/{}/root/usr/lib/dockerlaunch", inside::pid_1(instance)?.as_raw_nonzero());
    let mut docker = Command::new(format!("{private}/ld"));
    docker.args(["--library-path", &format!("{private}/lib"), &format!("{private}/bin/docker")]);
    // The path may be longer than an address.
    docker.current_dir(instance.socket().parent().context("no directory")?);
    command::run(docker.args(["--host", "unix://docker.sock"]).args(args), b"")
}

fn out_of_descriptors() -> Result<()> {
    const IDLE: usize = 400;
    let mut instance = Instance::start("descriptors")?;
    let env: &dyn Environment = &instance;
    acknowledged::make(env)?;
    let engine = inside::find(&instance, "dockerd")?;
    let place = format!("/proc/{}/fd", engine.as_raw_nonzero());
    let open = || -> Result<u64> { Ok(fs::read_dir(&place)?.count() as u64) };
    let most = open()? + 200;
    let limit = Some(most);
    prlimit(Some(engine), Resource::Nofile, Rlimit { current: limit, maximum: limit })?;
    let idle: Vec<UnixStream> = (0..IDLE).map(|_| by_socket(&instance)).collect::<Result<_>>()?;
    // They are connected before they are accepted, and the probe comes by another socket.
    eventually("the engine has none left", Duration::from_secs(20), || Ok(open()? + 2 > most))?;
    let outcome = env.exec(&["dockerlaunch", "healthcheck"], b"")?.exits(1)?;
    ensure!(outcome.took < Duration::from_secs(20), "the probe took {:?}", outcome.took);
    let log = instance.log()?;
    ensure!(log.contains("too many open files"), "the log names no cause:\n{log}");
    drop(idle);
    eventually("the engine serves again", Duration::from_secs(30), || {
        env.exec(&["dockerlaunch", "healthcheck"], b"")?.exits(0).map(|_| true)
    })?;
    ensure!(inside::lives(engine), "the engine has ended");
    acknowledged::is_there(env)?;
    instance.tear_down()
}
