//! What keeps containers and strangers away from the engine. What the host is kept safe by is in [`crate::security`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::command::eventually;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "security::seccomp",
        "the default seccomp profile is in force, and refuses what the kernel itself would allow",
        seccomp,
    ),
    scenario(
        "security::capabilities_and_masks",
        "an ordinary container has the usual capabilities, no devices, and none of the kernel's switches",
        capabilities_and_masks,
    ),
    scenario(
        "security::no_plain_listener",
        "nothing beside the engine answers Docker's API by TCP without TLS",
        no_plain_listener,
    ),
    scenario(
        "security::file_modes",
        "of sockets and keys strangers can use none, but the clients' key",
        file_modes,
    ),
];

/// A user namespace takes no capability: the profile alone refuses it.
fn seccomp(env: &dyn Environment) -> Result<()> {
    let script = "grep '^Seccomp:' /proc/1/status; unshare -U true";
    let run =
        |options: &[&str]| env.try_docker(&[&["run", "--rm"], options, &[BOX, "sh", "-c", script]].concat());
    let confined = run(&[])?;
    ensure!(confined.text() == "Seccomp:\t2", "{}", confined.text());
    ensure!(
        confined.status != 0 && confined.stderr.contains("Operation not permitted"),
        "{}",
        confined.stderr
    );
    let open = run(&["--security-opt", "seccomp=unconfined"])?.exits(0)?;
    ensure!(open.text() == "Seccomp:\t0", "without a profile: {}", open.text());
    Ok(())
}

fn capabilities_and_masks(env: &dyn Environment) -> Result<()> {
    /// The fourteen of Docker's default: chown to setfcap, without those that reach beyond a container.
    const USUAL: &str = "00000000a80425fb";
    let script = "awk '/^CapBnd/ {print $2}' /proc/1/status; cat /proc/keys /proc/timer_list 2>/dev/null | wc -c; \
                  find /dev -type b | wc -l; (echo 1 > /proc/sys/vm/drop_caches) 2>/dev/null && echo written; \
                  (echo h > /proc/sysrq-trigger) 2>/dev/null && echo written; true";
    let seen = env.docker(&["run", "--rm", BOX, "sh", "-c", script])?;
    ensure!(seen.lines().collect::<Vec<_>>() == [USUAL, "0", "0"], "{seen}");
    let dropped = env.docker(&[
        "run",
        "--rm",
        "--cap-drop",
        "ALL",
        BOX,
        "sh",
        "-c",
        "awk '/^CapBnd/ {print $2}' /proc/1/status",
    ])?;
    ensure!(dropped == "0000000000000000", "with --cap-drop ALL: {dropped}");
    Ok(())
}

/// Everybody who listens beside the engine is asked, and one who would answer is found.
fn no_plain_listener(env: &dyn Environment) -> Result<()> {
    let decoy =
        "mkdir /www; echo '{\"ApiVersion\":\"1.0\"}' > /www/version; exec httpd -f -p 127.0.0.1:8095 -h /www";
    env.docker(&["run", "-d", "--name", "decoy", "--network", "host", BOX, "sh", "-c", decoy])?;
    let mut found = Vec::new();
    eventually("the decoy is found", Duration::from_secs(30), || {
        found = plain_api(env)?;
        Ok(found.iter().any(|url| url.contains(":8095/")))
    })?;
    env.remove(&["decoy"])?;
    ensure!(found.len() == 1, "the API is served in plain text: {found:?}");
    Ok(())
}

/// Where, in the engine's network namespace, a plain request gets an answer of Docker's.
fn plain_api(env: &dyn Environment) -> Result<Vec<String>> {
    let beside = ["run", "--rm", "--network", "host", BOX, "sh", "-c"];
    let tables =
        env.docker(&[&beside[..], &["cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; true"]].concat())?;
    let urls: Vec<String> =
        listeners(&tables)?.iter().map(|address| format!("http://{address}/version")).collect();
    let script = format!(
        "for url in {}; do timeout 5 wget -q -O - $url 2>/dev/null | grep -q ApiVersion && echo $url; done; true",
        urls.join(" ")
    );
    Ok(env.docker(&[&beside[..], &[&script]].concat())?.lines().map(str::to_owned).collect())
}

/// From the text of `/proc/net/tcp` and `/proc/net/tcp6`. A listener on any address is to be had on loopback.
fn listeners(tables: &str) -> Result<BTreeSet<SocketAddr>> {
    const LISTEN: &str = "0A";
    let mut found = BTreeSet::new();
    for line in tables.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(&LISTEN)) = (fields.get(1), fields.get(3)) else { continue };
        let address = parse_address(local).with_context(|| format!("a line of /proc/net/tcp: {line}"))?;
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        found.insert(SocketAddr::new(ip, address.port()));
    }
    Ok(found)
}

/// Words of 32 bits in the processor's order, in hexadecimal.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words = address
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes: Vec<u8> =
        words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => Ipv4Addr::from(four).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Seen through PID 1, as the image has no programs to look with.
fn file_modes(env: &dyn Environment) -> Result<()> {
    let script = "cd /proc/1/root; find run var/run -type s -exec stat -c 'socket %a %n' {} +; \
                  find certs run/dockerlaunch etc/docker -type f -exec stat -c 'file %a %n' {} + 2>/dev/null; true";
    let listed = env.docker(&["run", "--rm", "--privileged", "--pid", "host", BOX, "sh", "-c", script])?;
    ensure!(listed.contains("run/docker.sock"), "the engine's socket is not among: {listed}");
    for line in listed.lines() {
        let mut words = line.splitn(3, ' ');
        let (kind, mode, name) =
            (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mode = u32::from_str_radix(mode, 8).with_context(|| line.to_owned())?;
        let private_key = name.ends_with("/key.pem") && !name.ends_with("client/key.pem");
        let allowed = match kind {
            // Whoever may not write cannot connect.
            Some("socket") => 0o775,
            _ if private_key || name.ends_with("/daemon.json") => 0o600,
            _ => 0o644,
        };
        ensure!(
            mode & !allowed == 0,
            "{name} has mode {mode:o}, at most {allowed:o} was expected, of {listed}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_from_the_kernels_tables() {
        let tables = "  sl  local_address rem_address   st\n\
             0: 0100007F:1F90 00000000:0000 0A\n\
             1: 00000000:0947 00000000:0000 0A\n\
             2: 0100007F:D2F0 0100007F:1F90 01\n\
             0: 00000000000000000000000000000000:0948 00000000000000000000000000000000:0000 0A\n\
             1: 000080FE00000000FF005450B0C5DEFE:0016 00000000000000000000000000000000:0000 0A\n";
        let found: Vec<String> = listeners(tables).expect("parses").iter().map(ToString::to_string).collect();
        let wanted = ["127.0.0.1:2375", "127.0.0.1:8080", "[::1]:2376", "[fe80::5054:ff:fede:c5b0]:22"];
        assert_eq!(found, wanted);
        assert!(listeners("0: xyz:1 0:0 0A").is_err());
    }
}
