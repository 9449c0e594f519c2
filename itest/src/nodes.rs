//! A swarm of two nodes: two instances, which nothing but a cable between them connects.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::Environment;
use crate::command::{self, eventually};
use crate::image::BOX;
use crate::scenarios::swarm::{IMAGE, PATIENCE, SERVE, containers, runs};
use crate::up::Instance;

const FIRST: &str = "10.222.0.1";
const SECOND: &str = "10.222.0.2";

/// Both ends are made in a network namespace that nobody else has, and go from there into the instances; they vanish
/// with these.
fn connect(first: &Instance, second: &Instance) -> Result<()> {
    let pids = [first.pid()?, second.pid()?];
    let script = format!(
        "ip link add itest0 type veth peer name itest1 && ip link set itest0 netns {} name cable && \
         ip link set itest1 netns {} name cable",
        pids[0], pids[1]
    );
    command::run(Command::new("unshare").args(["--net", "sh", "-c", &script]), b"")?.exits(0)?;
    for (pid, address) in pids.iter().zip([FIRST, SECOND]) {
        for words in [
            &["address", "add", &format!("{address}/24"), "dev", "cable"][..],
            &["link", "set", "cable", "up"],
        ] {
            let mut ip = Command::new("nsenter");
            ip.arg(format!("--net=/proc/{pid}/ns/net")).arg("ip").args(words);
            command::run(&mut ip, b"")?.exits(0)?;
        }
    }
    Ok(())
}

/// A worker joins, a service's replicas are on both nodes and reach each other over the overlay network, with packets of
/// its full size too; a node that is drained hands its replica over, and one that comes back gets new ones.
pub fn two_nodes() -> Result<()> {
    let (manager, worker) = (Instance::start("manager")?, Instance::start("worker")?);
    connect(&manager, &worker)?;
    let [first, second]: [&dyn Environment; 2] = [&manager, &worker];
    for node in [first, second] {
        node.docker(&["tag", BOX, IMAGE])?;
    }
    first.docker(&["swarm", "init", "--advertise-addr", FIRST])?;
    let token = first.docker(&["swarm", "join-token", "--quiet", "worker"])?;
    second.docker(&[
        "swarm",
        "join",
        "--token",
        &token,
        "--advertise-addr",
        SECOND,
        &format!("{FIRST}:2377"),
    ])?;
    let ready = || first.docker(&["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.Availability}}"]);
    let nodes = ready()?;
    for node in [&manager, &worker] {
        let line = format!("{} Ready Active", node.name());
        ensure!(nodes.lines().any(|found| found == line), "no `{line}` in: {nodes}");
    }

    first.docker(&["network", "create", "--driver", "overlay", "mesh"])?;
    #[rustfmt::skip]
    let create = [
        "service", "create", "--quiet", "--name", "spread", "--replicas", "2", "--network", "mesh", "--endpoint-mode", "dnsrr",
        "--no-resolve-image", "--stop-grace-period", "1s", "--env", "WORD=here", IMAGE, "sh", "-c", SERVE,
    ];
    first.docker(&create)?;
    runs(first, "spread", "2")?;
    let one_each = [containers(first, "spread")?, containers(second, "spread")?];
    ensure!(one_each.iter().all(|here| here.len() == 1), "not one on each node: {one_each:?}");
    reach_each_other([first, second], &one_each)?;

    first.docker(&["node", "update", "--availability", "drain", worker.name()])?;
    eventually("both replicas run on the first node", PATIENCE, || {
        Ok(containers(first, "spread")?.len() == 2 && containers(second, "spread")?.is_empty())
    })?;
    first.docker(&["node", "update", "--availability", "active", worker.name()])?;
    first.docker(&["service", "scale", "spread=4"])?;
    eventually("the second node has replicas again", PATIENCE, || {
        Ok(!containers(second, "spread")?.is_empty())
    })?;

    first.docker(&["service", "rm", "spread"])?;
    second.docker(&["swarm", "leave"])?;
    eventually("the node that has left is down", PATIENCE, || {
        Ok(ready()?.lines().any(|line| line.starts_with(&format!("{} Down", worker.name()))))
    })?;
    first.docker(&["swarm", "leave", "--force"])?;
    let [mut manager, mut worker] = [manager, worker];
    worker.tear_down()?;
    manager.tear_down()
}

/// From each node's replica to that of the other one, by address and by name.
fn reach_each_other(nodes: [&dyn Environment; 2], containers: &[Vec<String>; 2]) -> Result<()> {
    let address = |at: usize| -> Result<String> {
        let format = "{{.NetworkSettings.Networks.mesh.IPAddress}}";
        nodes[at].docker(&["inspect", "--format", format, &containers[at][0]])
    };
    for (from, to) in [(0, 1), (1, 0)] {
        let (own, other) = (address(from)?, address(to)?);
        ensure!(own != other, "both replicas have {own}");
        // 50 bytes less than the cable takes, and 28 of them are headers.
        let script = format!(
            "ping -c 1 -W 5 -s {} {other} && timeout 5 wget -q -O - http://{other}/ && nslookup spread",
            1450 - 28
        );
        let mut said = String::new();
        eventually("the other node's replica answers", Duration::from_secs(30), || {
            said = nodes[from].docker(&["exec", &containers[from][0], "sh", "-c", &script])?;
            Ok(said.contains("here") && said.contains(&own) && said.contains(&other))
        })
        .with_context(|| format!("from {own} to {other}: {said}"))?;
    }
    Ok(())
}
