//! How people run `docker:dind` today, with nothing changed but the image's name; and what used to race.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::build::IMAGE;
use crate::command::{Outcome, eventually};
use crate::environment::Environment;
use crate::image::{self, BOX};
use crate::interrupt;
use crate::up::Instance;

mod starts;
mod supervised;

pub use starts::every_start_serves_every_client;
pub use supervised::{jobs, probes_restart_and_stop};

/// An outer engine, and what a test has made in it: gone when this goes.
struct Host {
    outer: Arc<Instance>,
    containers: Vec<String>,
    volumes: Vec<String>,
    networks: Vec<String>,
}

impl Host {
    fn new(outer: Arc<Instance>) -> Self {
        Self { outer, containers: Vec::new(), volumes: Vec::new(), networks: Vec::new() }
    }

    fn docker(&self, words: &[&str]) -> Result<String> {
        self.try_docker(words)?.success()
    }

    fn try_docker(&self, words: &[&str]) -> Result<Outcome> {
        let environment: &dyn Environment = &*self.outer;
        environment.try_docker(words)
    }

    fn volume(&mut self, name: &str) -> Result<()> {
        self.volumes.push(name.to_owned());
        self.docker(&["volume", "create", name]).map(drop)
    }

    fn network(&mut self, name: &str) -> Result<()> {
        self.networks.push(name.to_owned());
        self.docker(&["network", "create", name]).map(drop)
    }

    /// `docker run -d --privileged`: returns at once, as for everybody else.
    fn start(&mut self, name: &str, options: &[&str], image: &str, command: &[&str]) -> Result<()> {
        self.containers.push(name.to_owned());
        let head = ["run", "-d", "--privileged", "--name", name];
        let words: Vec<&str> =
            head.iter().chain(options).copied().chain([image]).chain(command.iter().copied()).collect();
        self.docker(&words).map(drop)
    }

    /// A program in a container of its own, which is gone afterwards.
    fn client(&self, options: &[&str], command: &[&str]) -> Result<Outcome> {
        let words: Vec<&str> = ["run", "--rm"]
            .iter()
            .chain(options)
            .copied()
            .chain([IMAGE])
            .chain(command.iter().copied())
            .collect();
        self.try_docker(&words)
    }

    fn exec(&self, container: &str, command: &[&str]) -> Result<Outcome> {
        let words: Vec<&str> = ["exec", container].iter().chain(command).copied().collect();
        self.try_docker(&words)
    }

    /// The container's log, for an error.
    fn log(&self, container: &str) -> String {
        match self.try_docker(&["logs", "--tail", "25", container]) {
            Ok(outcome) => format!("--- its log\n{}{}", outcome.text(), outcome.stderr),
            Err(error) => format!("{error:#}"),
        }
    }

    fn remove(&mut self, container: &str) -> Result<()> {
        self.containers.retain(|name| name != container);
        self.docker(&["rm", "--force", "--volumes", container]).map(drop)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _undoing = interrupt::undoing();
        for (command, names) in [
            (&["rm", "--force", "--volumes"][..], &self.containers),
            (&["volume", "rm", "--force"], &self.volumes),
            (&["network", "rm", "--force"], &self.networks),
        ] {
            let words: Vec<&str> = command.iter().copied().chain(names.iter().map(String::as_str)).collect();
            if !names.is_empty()
                && let Err(error) = self.docker(&words)
            {
                eprintln!("error: not removed: {error:#}");
            }
        }
    }
}

/// What a GitLab job has in its environment to use a service called `docker` by TLS.
const BY_TLS: &[&str] = &[
    "-v",
    "certs:/certs/client",
    "-e",
    "DOCKER_HOST=tcp://docker:2376",
    "-e",
    "DOCKER_TLS_VERIFY=1",
    "-e",
    "DOCKER_CERT_PATH=/certs/client",
];

/// `services: [{name: …, alias: docker, command: ["--mtu=1450", …]}]`, the job beside it, TLS as by default.
pub fn gitlab_service_with_tls(outer: Arc<Instance>) -> Result<()> {
    let mut host = Host::new(outer);
    host.network("job")?;
    host.volume("certs")?;
    // GitLab gives a service all variables of the job.
    let options: Vec<&str> =
        ["--network", "job", "--network-alias", "docker", "-e", "DOCKER_DRIVER=overlay2"]
            .iter()
            .chain(BY_TLS)
            .copied()
            .collect();
    let command =
        ["--mtu=1450", "--registry-mirror=https://mirror.invalid", "--insecure-registry=registry.invalid"];
    host.start("service", &options, IMAGE, &command)?;
    // No loop around it, and no sleep before it.
    let job: Vec<&str> = ["--network", "job"].iter().chain(BY_TLS).copied().collect();
    let info =
        host.client(&job, &["docker", "info", "--format", "{{.RegistryConfig.Mirrors}} {{.Driver}}"])?;
    let info = info.success().with_context(|| host.log("service"))?;
    ensure!(info == "[https://mirror.invalid/] overlay2", "{info}");
    let mtu = "{{index .Options \"com.docker.network.driver.mtu\"}}";
    let mtu = host.client(&job, &["docker", "network", "inspect", "bridge", "--format", mtu])?.success()?;
    ensure!(mtu == "1450", "the bridge has an MTU of {mtu}");
    // Whoever has no certificate is not served.
    let without = ["--network", "job", "-e", "DOCKER_HOST=tcp://docker:2376"];
    let refused = host.client(&without, &["docker", "version"])?;
    ensure!(refused.status != 0, "a client without a certificate was served: {}", refused.text());
    let plain = ["--network", "job", "-e", "DOCKER_HOST=tcp://docker:2375"];
    let refused = host.client(&plain, &["docker", "version"])?;
    ensure!(refused.status != 0, "plain TCP was served though TLS was asked for");
    Ok(())
}

/// The same with `DOCKER_TLS_CERTDIR: ""`: plain TCP on 2375, without the pause of 16 seconds that dockerd makes.
pub fn gitlab_service_without_tls(outer: Arc<Instance>) -> Result<()> {
    let mut host = Host::new(outer);
    host.network("job")?;
    let options = [
        "--network",
        "job",
        "--network-alias",
        "docker",
        "-e",
        "DOCKER_TLS_CERTDIR=",
        "-e",
        "DOCKER_HOST=tcp://docker:2375",
    ];
    host.start("service", &options, IMAGE, &["dockerd-entrypoint.sh", "--mtu=1450"])?;
    let job = ["--network", "job", "-e", "DOCKER_HOST=tcp://docker:2375"];
    host.client(&job, &["docker", "version"])?.success().with_context(|| host.log("service"))?;
    let log = host.try_docker(&["logs", "service"])?;
    ensure!(log.stderr.contains("warning"), "nothing warns of a listener without TLS: {}", log.stderr);
    ensure!(!log.stderr.contains("being slowed down"), "dockerd has made its pause: {}", log.stderr);
    Ok(())
}

/// The container of a Kubernetes runner chart: the socket in a volume, its group by number, `docker info` as probe.
pub fn kubernetes_runner(outer: Arc<Instance>) -> Result<()> {
    let mut host = Host::new(outer);
    host.volume("run")?;
    let command = ["dockerd", "--host=unix:///var/run/docker.sock", "--group=123"];
    host.start("runner", &["-v", "run:/var/run", "-e", "DOCKER_GROUP_GID=123"], IMAGE, &command)?;
    host.exec("runner", &["docker", "info"])?.success().with_context(|| host.log("runner"))?;
    // The runner beside it is nobody in particular, in the group that the chart has given.
    let beside = ["-v", "run:/var/run", "-e", "DOCKER_HOST=unix:///var/run/docker.sock"];
    let as_user = |user: &'static str| beside.iter().copied().chain(["--user", user]).collect::<Vec<_>>();
    host.client(&as_user("1001:123"), &["docker", "ps"])?.success()?;
    let refused = host.client(&as_user("1001:1001"), &["docker", "ps"])?;
    ensure!(refused.status != 0, "somebody who is not in the group may use the socket");
    // An engine that was named gets its own listeners and no others.
    let log = host.try_docker(&["logs", "runner"])?.stderr;
    ensure!(!log.contains(":2376") && !log.contains(":2375"), "{log}");
    Ok(())
}

/// Charts and scripts name the programs by the paths that they have in `docker:dind`.
pub fn paths_of_docker_dind(outer: Arc<Instance>) -> Result<()> {
    let host = Host::new(outer);
    for (program, says) in [
        ("docker", "Docker version"),
        ("dockerd", "Docker version"),
        ("docker-init", "tini version"),
        ("docker-entrypoint.sh", "Docker version"),
        ("dockerd-entrypoint.sh", "Docker version"),
    ] {
        let path = format!("/usr/local/bin/{program}");
        let said = host.docker(&["run", "--rm", "--entrypoint", &path, IMAGE, "--version"])?;
        ensure!(said.starts_with(says), "{path} says: {said}");
    }
    Ok(())
}

/// A devcontainer's start line: a shell is PID 1, the engine comes from files added to another base. It names the launcher, as
/// `dockerd` alone would be Docker's own: it takes a base that has everything already, iptables included.
pub fn devcontainer(outer: Arc<Instance>) -> Result<()> {
    let mut host = Host::new(outer);
    let context = host.outer.exchange().directory("devcontainer")?;
    let files = host.outer.exec(&["docker", "create", IMAGE], b"")?.success()?;
    let export = host.try_docker(&["export", &files])?.exits(0)?.stdout;
    host.docker(&["rm", &files])?;
    context.write("files.tar", export)?;
    context.write("Dockerfile", format!("FROM {BOX}\nADD files.tar /\nVOLUME /var/lib/docker\n"))?;
    host.docker(&["build", "-t", "devcontainer", &context.inside])?;
    std::fs::remove_dir_all(&context.outside)?;
    let start = "echo Container started; trap 'exit 0' 15; \
                 (dockerlaunch dockerd > /tmp/dockerd.log 2>&1) & exec \"$@\"; while sleep 1 & wait $!; do :; done";
    let started = host.start("dev", &["--entrypoint", "/bin/sh"], "devcontainer", &["-c", start, "-"]);
    let used = started.and_then(|()| {
        // The line does not wait, so the first look may come before the launcher.
        eventually("the devcontainer's engine answers", Duration::from_secs(60), || {
            Ok(host.exec("dev", &["docker", "version"])?.status == 0)
        })?;
        let input = image::busybox_rootfs()?;
        let environment: &dyn Environment = &*host.outer;
        environment
            .docker_with_input(&["exec", "-i", "dev", "docker", "import", "-", BOX], &input)?
            .success()?;
        host.exec("dev", &["docker", "run", "--rm", BOX, "sh", "-c", "exit 3"])?.exits(3).map(drop)
    });
    let log = if used.is_err() {
        host.exec("dev", &["cat", "/tmp/dockerd.log"])?.text().to_owned()
    } else {
        String::new()
    };
    if used.is_ok() {
        host.remove("dev")?;
        host.docker(&["rmi", "devcontainer"])?;
    }
    used.context(log)
}
