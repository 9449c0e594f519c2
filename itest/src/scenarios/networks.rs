//! Containers reach each other and are reached.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::command::{Outcome, eventually};
use crate::image::BOX;
use crate::{Environment, datagram};

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
    scenario(
        "networks::published_udp_port",
        "a published UDP port answers, on loopback and on the bridge's address",
        published_udp_port,
    ),
    scenario(
        "networks::ipv6",
        "containers of an IPv6 network reach each other, and ports are published, TCP and UDP, on every address",
        ipv6,
    ),
    scenario(
        "networks::made_to_measure",
        "a network has the addresses that were asked for, and an internal one has no way out",
        made_to_measure,
    ),
    scenario(
        "networks::connected_while_running",
        "a running container gets a network and loses it again",
        connected_while_running,
    ),
    scenario(
        "networks::of_another_container",
        "`--network container:…` shares addresses, ports and interfaces",
        of_another_container,
    ),
    scenario(
        "networks::hosts_and_nameservers",
        "`--add-host`, `--dns` and their like are in the container's files",
        hosts_and_nameservers,
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
    // Networks are apart: the default bridge must not reach it, by name or by address.
    let other = request(env, "bridge", "http://server/")?;
    ensure!(other.status != 0, "the default bridge finds a name of another network");
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

/// A server that answers datagrams, with these options.
fn serve_datagrams(env: &dyn Environment, options: &[&str]) -> Result<()> {
    let shared = env.exchange().directory("datagram")?;
    shared.write("answer", datagram::server())?;
    let mount = format!("{}:/datagram:ro", shared.inside);
    // What starts it is busybox, as the file has no execute permission.
    let start = "cp /datagram/answer /tmp/answer && chmod 755 /tmp/answer && exec /tmp/answer";
    let head = ["run", "-d", "--name", "datagram", "-v", &mount];
    env.docker(&[&head[..], options, &[BOX, "sh", "-c", start]].concat()).map(drop)
}

fn ask_datagram(env: &dyn Environment, network: &str, address: &str, port: &str) -> Result<Outcome> {
    let script = format!("timeout 5 tftp -g -r any -l - {address} {port}; exit $?");
    env.try_docker(&["run", "--rm", "--network", network, BOX, "sh", "-c", &script])
}

fn answers(env: &dyn Environment, network: &str, address: &str) -> Result<()> {
    eventually(&format!("{address} answers from network {network}"), Duration::from_secs(20), || {
        let answer = ask_datagram(env, network, address, "8069")?.exits(0)?;
        Ok(answer.stdout == datagram::ANSWER.as_bytes())
    })
}

fn published_udp_port(env: &dyn Environment) -> Result<()> {
    let publish = format!("8069:{}/udp", datagram::PORT);
    serve_datagrams(env, &["-p", &publish])?;
    let gateway =
        env.docker(&["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"])?;
    for (network, address) in [("host", "127.0.0.1"), ("host", &gateway), ("bridge", &gateway)] {
        answers(env, network, address)?;
    }
    let elsewhere = ask_datagram(env, "host", "127.0.0.1", "8070")?;
    ensure!(elsewhere.status != 0, "a port that is not published answers");
    env.remove(&["datagram"])
}

fn ipv6(env: &dyn Environment) -> Result<()> {
    const ADDRESS: &str = "fd00:5ca7::10";
    env.docker(&["network", "create", "--ipv6", "--subnet", "fd00:5ca7::/64", "six"])?;
    let options = ["--network", "six", "--ip6", ADDRESS, "-p", "[::1]:8086:80", "-p", "[::]:8087:80"];
    serve(env, "sixth", "by-six", &options)?;
    fetch(env, "six", &format!("http://[{ADDRESS}]/"), "by-six")?;
    let answer = env.docker(&["run", "--rm", "--network", "six", BOX, "nslookup", "-type=aaaa", "sixth"])?;
    ensure!(answer.contains(ADDRESS), "the name stands for: {answer}");
    fetch(env, "host", "http://[::1]:8086/", "by-six")?;
    let elsewhere = request(env, "host", "http://127.0.0.1:8086/")?;
    ensure!(elsewhere.status != 0, "it is published on 127.0.0.1 as well");
    // By the bridge's address it goes through the firewall's rules, from the engine's own network and from a container.
    for network in ["host", "six"] {
        fetch(env, network, "http://[fd00:5ca7::1]:8087/", "by-six")?;
    }
    let publish = format!("[::]:8069:{}/udp", datagram::PORT);
    serve_datagrams(env, &["--network", "six", "-p", &publish])?;
    for address in ["::1", "fd00:5ca7::1"] {
        answers(env, "host", address)?;
    }
    env.remove(&["sixth", "datagram"])?;
    env.docker(&["network", "rm", "six"]).map(drop)
}

fn made_to_measure(env: &dyn Environment) -> Result<()> {
    #[rustfmt::skip]
    let create = [
        "network", "create", "--subnet", "10.99.0.0/24", "--gateway", "10.99.0.254", "--ip-range", "10.99.0.128/26",
        "--internal", "--label", "made-by=itest", "measured",
    ];
    env.docker(&create)?;
    let shown = "echo $(ip -o -4 addr show eth0 | awk '{print $4}'); ip route";
    let seen = env.docker(&["run", "--rm", "--network", "measured", BOX, "sh", "-c", shown])?;
    let host =
        seen.lines().next().and_then(|line| line.strip_prefix("10.99.0.")?.strip_suffix("/24")?.parse().ok());
    ensure!(host.is_some_and(|host: u8| (128..192).contains(&host)), "not of the range: {seen}");
    ensure!(!seen.contains("default"), "an internal network has a way out: {seen}");
    serve(env, "fixed", "on-purpose", &["--network", "measured", "--ip", "10.99.0.7"])?;
    fetch(env, "measured", "http://10.99.0.7/", "on-purpose")?;
    let gateway = "{{(index .IPAM.Config 0).Gateway}} {{.Internal}} {{index .Labels \"made-by\"}}";
    let gateway = env.docker(&["network", "inspect", "measured", "--format", gateway])?;
    ensure!(gateway == "10.99.0.254 true itest", "{gateway}");
    env.remove(&["fixed"])?;
    env.docker(&["network", "rm", "measured"])?;
    // The same, but not internal: then the way out leads by the gateway that was asked for.
    let open: Vec<&str> = create.into_iter().filter(|word| *word != "--internal").collect();
    env.docker(&open)?;
    let route = env.docker(&["run", "--rm", "--network", "measured", BOX, "ip", "route"])?;
    ensure!(route.contains("default via 10.99.0.254"), "{route}");
    env.docker(&["network", "rm", "measured"]).map(drop)
}

fn connected_while_running(env: &dyn Environment) -> Result<()> {
    env.docker(&["network", "create", "later"])?;
    serve(env, "social", "well-connected", &[])?;
    let links = || env.docker(&["exec", "social", "ls", "/sys/class/net"]);
    ensure!(!links()?.contains("eth1"), "it has two interfaces at once");
    env.docker(&["network", "connect", "--alias", "friend", "later", "social"])?;
    fetch(env, "later", "http://friend/", "well-connected")?;
    ensure!(links()?.contains("eth1"), "the second interface is missing");
    env.docker(&["network", "disconnect", "later", "social"])?;
    ensure!(!links()?.contains("eth1"), "the second interface is still there");
    let gone = request(env, "later", "http://friend/")?;
    ensure!(gone.status != 0, "it is still to be found on the network that it has left");
    env.remove(&["social"])?;
    env.docker(&["network", "rm", "later"]).map(drop)
}

fn of_another_container(env: &dyn Environment) -> Result<()> {
    serve(env, "landlord", "under-one-roof", &[])?;
    fetch(env, "container:landlord", "http://127.0.0.1/", "under-one-roof")?;
    let shown = ["cat", "/sys/class/net/eth0/address"];
    let own = env.docker(&[&["exec", "landlord"], &shown[..]].concat())?;
    let lodgers =
        env.docker(&[&["run", "--rm", "--network", "container:landlord", BOX], &shown[..]].concat())?;
    ensure!(own == lodgers, "{own} and {lodgers}");
    env.remove(&["landlord"])
}

fn hosts_and_nameservers(env: &dyn Environment) -> Result<()> {
    #[rustfmt::skip]
    let options = [
        "--add-host", "elsewhere:192.0.2.7", "--add-host", "engine:host-gateway", "--dns", "192.0.2.53",
        "--dns-search", "example.test", "--dns-option", "timeout:3",
    ];
    let shown = [BOX, "cat", "/etc/hosts", "/etc/resolv.conf"];
    let seen = env.docker(&[&["run", "--rm"], &options[..], &shown].concat())?;
    let gateway =
        env.docker(&["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"])?;
    let engine = format!("{gateway} engine");
    for line in
        ["192.0.2.7 elsewhere", &engine, "nameserver 192.0.2.53", "search example.test", "options timeout:3"]
    {
        let words: Vec<&str> = line.split(' ').collect();
        let found = |seen: &str| seen.split_whitespace().collect::<Vec<_>>() == words;
        ensure!(seen.lines().any(found), "no `{line}` in: {seen}");
    }
    let servers = seen.lines().filter(|line| line.starts_with("nameserver")).count();
    ensure!(servers == 1, "other nameservers are there too: {seen}");
    Ok(())
}
