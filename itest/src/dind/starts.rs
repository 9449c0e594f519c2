//! Starts and stops, over and over: what used to race, and what used to stay behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{BY_TLS, Host};
use crate::build::IMAGE;
use crate::command::eventually;
use crate::environment::Environment;
use crate::image::{self, BOX};
use crate::need;
use crate::up::Instance;

/// How often an engine is started on one volume: in CI, and with all long runs.
const STARTS: (usize, usize) = (20, 200);

/// Two programs that do nothing but keep the processors busy; gone with this.
struct BusyLoops(Vec<Child>);

impl BusyLoops {
    fn start() -> Result<Self> {
        let one = || {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .context("no shell")
        };
        Ok(Self(vec![one()?, one()?]))
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What an instance consists of, each item with how often it is there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Inventory(BTreeMap<String, usize>);

impl Inventory {
    /// Processes, mounts, interfaces and cgroups, seen from the host.
    fn of(instance: &Instance) -> Result<Self> {
        let mut inventory = Self::default();
        let cgroup = format!("/from-scratch/{}", instance.name());
        let mut init = None;
        for entry in fs::read_dir("/proc")?.flatten() {
            // It may be gone by now.
            let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            if !read("cgroup").lines().any(|line| line.contains(&cgroup)) {
                continue;
            }
            inventory.add(format!("process {}", read("comm").trim()));
            let status = read("status");
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            if matches!(ids.split_whitespace().collect::<Vec<_>>()[..], [_, "1"]) {
                init = Some(entry.path());
            }
        }
        let init = init.context("the instance has no PID 1")?;
        for line in fs::read_to_string(init.join("mountinfo"))?.lines() {
            inventory.add(format!("mount {}", line.split(' ').nth(4).unwrap_or_default()));
        }
        for line in fs::read_to_string(init.join("net/dev"))?.lines().skip(2) {
            inventory.add(format!("interface {}", line.split(':').next().unwrap_or_default().trim()));
        }
        for hierarchy in fs::read_dir("/sys/fs/cgroup")?.flatten() {
            inventory.add_cgroups(&hierarchy.path().join(cgroup.trim_start_matches('/')));
        }
        Ok(inventory)
    }

    fn add(&mut self, item: String) {
        *self.0.entry(item).or_default() += 1;
    }

    fn add_cgroups(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add(format!("cgroup {}", entry.path().display()));
                self.add_cgroups(&entry.path());
            }
        }
    }

    /// What is there now more often than before.
    fn left(&self, now: &Self) -> Vec<String> {
        let more = now.0.iter().filter(|(item, count)| self.0.get(*item).is_none_or(|before| before < count));
        more.map(|(item, _)| item.clone()).collect()
    }
}

/// A container that runs until it is told to stop.
const WORK: &str = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";

/// Starts and stops on one volume, half by SIGTERM and half by SIGKILL, with a container in it; each time a client on the
/// socket and one by TLS beside it, neither with a second try, while two busy loops hold both processors. Nothing stays
/// behind, neither outside nor in the volume.
pub fn every_start_serves_every_client(outer: Arc<Instance>) -> Result<()> {
    let mut host = Host::new(outer);
    host.network("job")?;
    for volume in ["certs", "data"] {
        host.volume(volume)?;
    }
    let options = [
        "--network",
        "job",
        "--network-alias",
        "docker",
        "-v",
        "certs:/certs/client",
        "-v",
        "data:/var/lib/docker",
    ];
    let job: Vec<&str> = ["--network", "job"].iter().chain(BY_TLS).copied().collect();
    let busy = BusyLoops::start()?;
    let rounds = if need::all_of_it() { STARTS.1 } else { STARTS.0 };
    let mut before = Inventory::default();
    for round in 0..rounds {
        host.start("service", &options, IMAGE, &[])?;
        let served = if round % 2 == 0 {
            host.exec("service", &["docker", "version"])
        } else {
            host.client(&job, &["docker", "version"])
        };
        served?.success().with_context(|| format!("round {round}: {}", host.log("service")))?;
        // Both, each time; which one comes first alternates.
        host.exec("service", &["docker", "version"])?.success()?;
        host.client(&job, &["docker", "version"])?.success()?;
        if round == 0 {
            let environment: &dyn Environment = &*host.outer;
            let import = ["exec", "-i", "service", "docker", "import", "-", BOX];
            environment.docker_with_input(&import, &image::busybox_rootfs()?)?.success()?;
        }
        host.exec("service", &["docker", "run", "-d", "--rm", BOX, "sh", "-c", WORK])?
            .success()
            .with_context(|| format!("round {round}: {}", host.log("service")))?;
        if round % 4 < 2 {
            host.docker(&["stop", "--time", "30", "service"])?;
            let status = host.docker(&["inspect", "--format", "{{.State.ExitCode}}", "service"])?;
            ensure!(
                status == "0",
                "round {round}: after `docker stop` the exit status is {status}: {}",
                host.log("service")
            );
        } else {
            host.docker(&["kill", "service"])?;
        }
        host.remove("service")?;
        // Some of it the outer engine makes once, and keeps.
        if round == 0 {
            before = Inventory::of(&host.outer)?;
        }
    }
    drop(busy);
    let mut left = Vec::new();
    eventually("nothing is left of the services", Duration::from_secs(30), || {
        left = before.left(&Inventory::of(&host.outer)?);
        ensure!(left.is_empty(), "there is more than before: {}", left.join(", "));
        Ok(true)
    })?;
    host.start("service", &options, IMAGE, &[])?;
    let containers = host.exec("service", &["docker", "ps", "--all", "--quiet"])?.success()?;
    ensure!(containers.is_empty(), "containers of earlier starts are still there: {containers}");
    host.remove("service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_more_often_is_left() {
        let mut before = Inventory::default();
        before.add("process dockerd".into());
        let mut now = Inventory::default();
        now.add("process dockerd".into());
        assert!(before.left(&now).is_empty());
        now.add("process dockerd".into());
        now.add("mount /x".into());
        assert_eq!(before.left(&now), ["mount /x", "process dockerd"]);
    }
}
