//! What the launcher does around the engine while a container of it runs: probes, restarts, the stop, jobs.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::Host;
use crate::build::IMAGE;
use crate::command::eventually;
use crate::environment::Environment;
use crate::image::{self, BOX};
use crate::up::Instance;

/// A container that nothing but force ends.
const STUBBORN: &str = "trap '' TERM; while :; do sleep 1; done";

/// Probes as a platform runs them, an engine that is killed, and a container that does not want to stop.
pub fn probes_restart_and_stop(outer: Arc<Instance>) -> Result<()> {
    let mut host = Host::new(outer);
    host.start("supervised", &["-e", "DOCKERLAUNCH_RESTART=on-failure"], IMAGE, &[])?;
    let probe = |words: &[&str]| -> Result<String> {
        let command = [&["dockerlaunch"], words].concat();
        host.exec("supervised", &command)?.success().with_context(|| host.log("supervised"))
    };
    for words in
        [&["ready"][..], &["healthcheck"], &["drain"], &["facts"], &["explain"], &["plan"], &["check"]]
    {
        probe(words)?;
    }
    let health = ["inspect", "--format", "{{.State.Health.Status}}", "supervised"];
    eventually("the image's own health check passes", Duration::from_secs(60), || {
        Ok(host.docker(&health)? == "healthy")
    })?;

    let id = host.docker(&["inspect", "--format", "{{.Id}}", "supervised"])?;
    kill("dockerd", &id)?;
    // The socket has stayed: no second try.
    host.exec("supervised", &["docker", "ps"])?.success().with_context(|| host.log("supervised"))?;
    let log = host.try_docker(&["logs", "supervised"])?.stderr;
    ensure!(log.contains("it starts again in"), "nothing tells of the restart: {log}");

    let environment: &dyn Environment = &*host.outer;
    let import = ["exec", "-i", "supervised", "docker", "import", "-", BOX];
    environment.docker_with_input(&import, &image::busybox_rootfs()?)?.success()?;
    kill("containerd", &id)?;
    eventually("containers run again once containerd is back", Duration::from_secs(30), || {
        Ok(host.exec("supervised", &["docker", "run", "--rm", BOX, "true"])?.status == 0)
    })?;
    host.exec("supervised", &["docker", "run", "-d", BOX, "sh", "-c", STUBBORN])?.success()?;
    // The ten seconds that everybody has.
    host.docker(&["stop", "supervised"])?;
    let status = host.docker(&["inspect", "--format", "{{.State.ExitCode}}", "supervised"])?;
    ensure!(status == "0", "after `docker stop` the status is {status}: {}", host.log("supervised"));
    host.remove("supervised")
}

/// Kills a program in the container with this id, as the kernel would for want of memory.
fn kill(program: &str, container: &str) -> Result<()> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        if read("comm").trim() == program && read("cgroup").contains(container) {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            return Ok(kill_process(pid.context("no pid")?, Signal::KILL)?);
        }
    }
    anyhow::bail!("no {program} runs in {container}")
}

/// `IMAGE run -- CMD`: the job's own status, and nothing but its output on standard output.
pub fn jobs(outer: Arc<Instance>) -> Result<()> {
    let host = Host::new(outer);
    let job = |command: &[&str]| {
        let head = ["run", "--rm", "--privileged", "-e", "DOCKER_HOST=tcp://docker:2376", IMAGE, "run", "--"];
        host.try_docker(&[&head, command].concat())
    };
    let version = job(&["docker", "version", "--format", "{{.Server.Os}}"])?.success()?;
    ensure!(version == "linux", "standard output holds more than the job's: {version}");
    job(&["docker", "inspect", "nothing-of-that-name"])?.exits(1)?;
    job(&["docker", "run", "--nonsense"])?.exits(125)?;
    job(&["nothing-of-that-name"])?.exits(127)?;
    job(&["/etc/group"])?.exits(126)?;
    Ok(())
}
