//! Containers reach each other and are reached.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::{Outcome, eventually};
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "networks::by_name",
        "containers of a user network find each other by name, and nobody else does",
        by_name,
    ),
    scenario(
        "networks::published_port",
        "a published TCP port answers on every address, from everywhere",
        published_port,
    ),
    scenario(
        "networks::default_bridge",
        "containers on the default bridge reach each other by address",
        default_bridge,
    ),
    scenario(
        "networks::none_and_host",
        "`--network none` has no way out, `--network host` is the engine's",
        none_and_host,
    ),
];

/// A web server with one page.
fn serve(env: &dyn Environment, name: &str, page: &str, options: &[&str]) -> Result<()> {
    let script = format!("mkdir /www; echo {page} > /www/index.html; exec httpd -f -p 80 -h /www");
    let head = ["run", "-d", "--name", name];
    let args: Vec<&str> = head.iter().chain(options).chain(&[BOX, "sh", "-c", &script]).copied().collect();
    env.docker(&args).map(drop)
}

/// One request from a new container. The timeout is not wget's own, as Debian's static busybox crashes with `-T`; the shell
/// stays in front, as a signal from inside would not end PID 1.
fn request(env: &dyn Environment, network: &str, url: &str) -> Result<Outcome> {
    let script = format!("timeout 5 wget -q -O - {url}; exit $?");
    env.try_docker(&["run", "--rm", "--network", network, BOX, "sh", "-c", &script])
}

/// The page comes, in the end: the server may still be starting.
fn fetch(env: &dyn Environment, network: &str, url: &str, page: &str) -> Result<()> {
    eventually(&format!("`{url}` from network {network}"), Duration::from_secs(15), || {
        Ok(request(env, network, url)?.success()? == page)
    })
}

/// On a user network the engine's own name server answers for container names and aliases.
fn by_name(env: &dyn Environment) -> Result<()> {
    env.docker(&["network", "create", "named"])?;
    serve(env, "server", "by-name", &["--network", "named", "--network-alias", "alias"])?;
    let answer = env.docker(&["run", "--rm", "--network", "named", BOX, "nslookup", "server"])?;
    ensure!(answer.contains("127.0.0.11") && answer.contains("Name:"), "{answer}");
    fetch(env, "named", "http://server/", "by-name")?;
    fetch(env, "named", "http://alias/", "by-name")?;
    // Networks are apart: the default bridge must not reach it.
    let address =
        env.docker(&["inspect", "--format", "{{.NetworkSettings.Networks.named.IPAddress}}", "server"])?;
    let other = request(env, "bridge", &format!("http://{address}/"))?;
    ensure!(other.status != 0, "the default bridge reaches {address} on another network");
    env.remove(&["server"])?;
    env.docker(&["network", "rm", "named"]).map(drop)
}

/// Published on all addresses: seen from the engine's own network namespace, over loopback and over the bridge's address.
fn published_port(env: &dyn Environment) -> Result<()> {
    serve(env, "published", "out-in-the-open", &["-p", "8080:80", "-p", "127.0.0.1:8081:80"])?;
    let ports = env.docker(&["port", "published", "80/tcp"])?;
    ensure!(ports.lines().any(|line| line == "0.0.0.0:8080"), "{ports}");
    let gateway =
        env.docker(&["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"])?;
    for address in ["127.0.0.1:8080", "127.0.0.1:8081", &format!("{gateway}:8080")] {
        fetch(env, "host", &format!("http://{address}/"), "out-in-the-open")?;
    }
    // From another container, by the host's address: goes out and comes back through the firewall's rules.
    fetch(env, "bridge", &format!("http://{gateway}:8080/"), "out-in-the-open")?;
    env.remove(&["published"])
}

fn default_bridge(env: &dyn Environment) -> Result<()> {
    serve(env, "bridged", "by-address", &[])?;
    let address =
        env.docker(&["inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "bridged"])?;
    fetch(env, "bridge", &format!("http://{address}/"), "by-address")?;
    env.remove(&["bridged"])
}

fn none_and_host(env: &dyn Environment) -> Result<()> {
    let none = env.docker(&["run", "--rm", "--network", "none", BOX, "ls", "/sys/class/net"])?;
    ensure!(none == "lo", "with --network none: {none}");
    let host = env.docker(&["run", "--rm", "--network", "host", BOX, "ls", "/sys/class/net"])?;
    ensure!(host.split_whitespace().any(|link| link == "docker0"), "with --network host: {host}");
    Ok(())
}
