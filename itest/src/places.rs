//! The image in containers that are not simply privileged: what can work, works; else it is told what to add, and with exactly
//! that it works.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::build::IMAGE;
use crate::command::{Outcome, eventually};
use crate::environment::Environment;
use crate::image::{self, BOX};
use crate::interrupt;
use crate::product;

/// Where a shell is seen inside, in the outer engine and in the containers: the image has none.
const BUSYBOX: &str = "/exchange/busybox";

/// A container of the outer engine; dropping it removes it and its volumes.
struct Container<'a> {
    outer: &'a dyn Environment,
    name: &'static str,
}

impl<'a> Container<'a> {
    /// `docker run -d OPTIONS IMAGE`, with the exchange directory.
    fn run(outer: &'a dyn Environment, name: &'static str, options: &[&str]) -> Result<Self> {
        provide(outer)?;
        let mount = format!("{}:/exchange", outer.exchange().inside);
        let head = ["run", "-d", "--name", name, "-v", &mount];
        let container = Container { outer, name };
        outer.docker(&head.iter().chain(options).copied().chain([IMAGE]).collect::<Vec<_>>())?;
        Ok(container)
    }

    fn exec(&self, words: &[&str]) -> Result<Outcome> {
        self.outer.try_docker(&["exec", self.name].iter().chain(words).copied().collect::<Vec<_>>())
    }

    fn log(&self) -> Result<String> {
        let log = self.outer.try_docker(&["logs", self.name])?;
        Ok(format!("{}{}", log.text(), log.stderr))
    }

    fn status(&self) -> Result<String> {
        self.outer.docker(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", self.name])
    }

    /// The engine in it runs a container with a limit, and says no word of what it could not do. A client that comes early waits.
    fn works(&self) -> Result<()> {
        let steps: [&[&str]; 3] = [
            &["docker", "import", "/exchange/box.tar", BOX],
            &["docker", "run", "--rm", "--memory", "64m", BOX, "echo", "from deep inside"],
            // A network of one's own takes sysctls, bridges and NAT.
            &[
                "sh",
                "-c",
                "docker network create n && docker run --rm --network n -p 127.0.0.1:8080:80 box true",
            ],
        ];
        for words in steps {
            let words: Vec<&str> = if words[0] == "sh" {
                [BUSYBOX].iter().chain(words).copied().collect()
            } else {
                words.to_vec()
            };
            self.exec(&words)?
                .exits(0)
                .with_context(|| format!("{words:?}: {}", self.log().unwrap_or_default()))?;
        }
        let log = self.log()?;
        // How full the machine's disk is says nothing about us.
        let warns = |line: &str| line.contains("dockerlaunch: warning") && !line.contains("is nearly full");
        ensure!(!log.lines().any(warns), "it works, but warns: {log}");
        Ok(())
    }

    /// What it says is missing, as `docker run`'s options.
    fn refused(&self) -> Result<(String, Vec<String>)> {
        eventually("it gives up", Duration::from_secs(60), || Ok(self.status()?.starts_with("exited")))?;
        let (status, log) = (self.status()?, self.log()?);
        ensure!(status == "exited 125", "it is {status}: {log}");
        let line = log.lines().find(|line| line.contains("add: `docker run ")).context(log.clone())?;
        let options = line.split("`docker run ").nth(1).and_then(|rest| rest.split(" …").next());
        let options = options.context(log.clone())?.split(' ').map(str::to_owned).collect();
        Ok((log, options))
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _undoing = interrupt::undoing();
        if let Err(error) = self.outer.remove(&[self.name]) {
            eprintln!("error: container `{}` was not removed: {error:#}", self.name);
        }
    }
}

/// With these options it is refused; with those that it names added, it works. Returns what it said.
fn told_and_then_works(outer: &dyn Environment, name: &'static str, options: &[&str]) -> Result<String> {
    let (log, missing) = Container::run(outer, name, options)?.refused()?;
    let all: Vec<&str> = options.iter().copied().chain(missing.iter().map(String::as_str)).collect();
    Container::run(outer, name, &all)?.works().with_context(|| format!("with {all:?}"))?;
    Ok(log)
}

/// A shell and the base image, in the exchange directory.
fn provide(outer: &dyn Environment) -> Result<()> {
    let exchange = outer.exchange();
    let busybox = exchange.outside.join("busybox");
    if !busybox.exists() {
        std::fs::copy(product::busybox(), busybox)?;
        exchange.write("box.tar", image::busybox_rootfs()?)?;
        script(outer, "/exchange/busybox mkdir /exchange/bin; /exchange/busybox --install -s /exchange/bin")?
            .success()?;
    }
    Ok(())
}

/// A shell script beside the outer engine.
fn script(outer: &dyn Environment, script: &str) -> Result<Outcome> {
    outer.exec(&[BUSYBOX, "sh", "-c", script], b"")
}

/// As Kubernetes starts privileged containers: in the host's cgroup namespace. Containers get a place below the pod's own,
/// and see no more of the tree than that.
pub fn pod_in_the_hosts_cgroups(outer: &dyn Environment) -> Result<()> {
    let pod = Container::run(outer, "pod", &["--privileged", "--cgroupns", "host", "--memory", "512m"])?;
    pod.works()?;
    let inner = pod.exec(&["docker", "run", "-d", "--name", "inner", BOX, "sleep", "1000"])?.success()?;
    let seen = pod.exec(&["docker", "exec", "inner", "cat", "/proc/1/cgroup"])?.success()?;
    let memory = seen.lines().find(|line| line.contains(":memory:")).context(seen.clone())?;
    // A name of the outer tree would lead nowhere in here.
    ensure!(memory.ends_with(&format!(":/docker/{inner}")), "it sees {memory}");
    let id = outer.docker(&["inspect", "--format", "{{.Id}}", "pod"])?;
    let find = format!("{BUSYBOX} find /sys/fs/cgroup -name '{inner}'");
    let found = script(outer, &find)?.success()?;
    ensure!(found.lines().count() > 5, "{found}");
    let own = format!("/docker/{id}/docker/{inner}");
    ensure!(found.lines().all(|place| place.ends_with(&own)), "not below the pod's own: {found}");
    drop(pod);
    let left = script(outer, &find)?.success()?;
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(())
}

/// Fifty processes enter the container while it starts: probes, scripts, impatient people.
pub fn execs_while_it_starts(outer: &dyn Environment) -> Result<()> {
    let stormed = Container::run(outer, "stormed", &["--privileged", "--cgroupns", "host"])?;
    let storm = "i=0; while [ $i -lt 50 ]; do docker exec stormed /exchange/busybox true || echo failed & i=$((i+1)); done; wait";
    let failed = script(outer, storm)?.success()?;
    ensure!(failed.is_empty(), "{failed}");
    stormed.works()
}

/// Makes a cgroup in every hierarchy, and in there the launcher the first process of a pid namespace.
const START_BY_HAND: &str = r#"
    PATH=/exchange/bin:$PATH
    for h in /sys/fs/cgroup/*/; do
        mkdir $h/own
        [ ! -e $h/cpuset.cpus ] || { cat $h/cpuset.cpus > $h/own/cpuset.cpus; cat $h/cpuset.mems > $h/own/cpuset.mems; }
        echo $$ > $h/own/cgroup.procs
    done
    unshare -m -p -f -n -u -i sh -c '
        mount -t proc proc /proc; mount -t tmpfs run /run; mount -t tmpfs data /var/lib/docker
        exec dockerlaunch run -- sh -c "docker import /exchange/box.tar box && docker run --rm box cat /proc/1/cgroup"'
"#;

/// The launcher as the first process of a pid namespace, in cgroups that nobody else clears: nothing is left below them.
pub fn cgroups_go_with_it(outer: &dyn Environment) -> Result<()> {
    provide(outer)?;
    let seen = script(outer, START_BY_HAND)?.exits(0)?.text();
    let count = "for h in /sys/fs/cgroup/*/; do /exchange/busybox find ${h}own -mindepth 1 -type d; done";
    let left = script(outer, count)?.success()?;
    let clear = "for h in /sys/fs/cgroup/*/; do /exchange/busybox find ${h}own -depth -type d -exec /exchange/busybox rmdir {} ';'; done";
    script(outer, clear)?.success()?;
    ensure!(seen.contains(":/docker/"), "no container ran: {seen}");
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(())
}

/// What a container gets by default, and two capabilities; the rest is remounted, or told.
pub fn two_capabilities(outer: &dyn Environment) -> Result<()> {
    let two = ["--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"];
    let log = told_and_then_works(outer, "two", &two)?;
    ensure!(log.contains("a seccomp filter refuses keyctl and pivot_root"), "{log}");
    ensure!(!log.contains("CAP_"), "{log}");
    // The same for a pod.
    let pod = [&two[..], &["-e", "KUBERNETES_SERVICE_HOST=10.0.0.1"]].concat();
    let refused = outer.try_docker(&[&["run", "--rm"], &pod[..], &[IMAGE]].concat())?.exits(125)?.stderr;
    ensure!(refused.contains("`securityContext: { seccompProfile: { type: Unconfined } }`"), "{refused}");
    Ok(())
}

/// Everything at once, from the least that there is.
pub fn no_capability_at_all(outer: &dyn Environment) -> Result<()> {
    let log = told_and_then_works(outer, "none", &["--cap-drop", "ALL"])?;
    ensure!(log.matches("CAP_").count() == 16, "{log}");
    Ok(())
}

/// A root that cannot be written is told, and one with mounts for all that is written is none the worse.
pub fn read_only_root(outer: &dyn Environment) -> Result<()> {
    told_and_then_works(outer, "read-only", &["--privileged", "--read-only"])?;
    let places = ["/etc", "/root", "/run", "/tmp", "/var/run", "/var/tmp", "/certs"];
    let tmpfs: Vec<&str> = places.into_iter().flat_map(|place| ["--tmpfs", place]).collect();
    Container::run(outer, "with-tmpfs", &[&["--privileged", "--read-only"], &tmpfs[..]].concat())?.works()
}

/// On cgroup v1 a user namespace can have no cgroups.
pub fn user_namespace(outer: &dyn Environment) -> Result<()> {
    let log = told_and_then_works(outer, "remapped", &[])?;
    ensure!(log.contains("belongs to another user namespace") && log.contains("--userns=host"), "{log}");
    Ok(())
}
