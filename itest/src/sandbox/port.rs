//! The way out, and the ways in.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{BUSYBOX, Sandbox, start, wait, wait_for_output};
use crate::{command, image, product};

/// What the server on the host's loopback says to whoever reaches it.
const GREETING: &[u8] = b"reached\n";

/// A published port leads inside and nothing else does; inside, the host's loopback is out of reach. The only test
/// with a way out, and it stays on the host's loopback: what goes further leaves from the host's own address.
pub fn published_port() -> Result<()> {
    let sandbox = Sandbox::new("port")?;
    // A port of the host that is free, and a server that only the host may reach.
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let private = TcpListener::bind("127.0.0.1:0")?;
    let mut up = sandbox.command("up")?;
    up.args(["--network", "user", "-p"]).arg(format!("{}:{}:8080", free.ip(), free.port()));
    up.arg("-v").arg(format!("{}:{BUSYBOX}", product::busybox().display()));
    let outcome = command::run_within(&mut up, b"", Duration::from_secs(600))?.exits(0)?;
    ensure!(!outcome.stderr.contains("no way out"), "{}", outcome.stderr);
    let listening = fs::read_to_string("/proc/net/tcp")?;
    let wanted = format!("0100007F:{:04X} 00000000:0000 0A", free.port());
    ensure!(listening.contains(&wanted), "nobody listens on {free}: {listening}");

    let mut server = start(&mut sandbox.script("echo ready; echo from inside | nc -l -p 8080; true")?)?;
    wait_for_output(&mut server)?;
    command::eventually("the published port answers", Duration::from_secs(10), || {
        let mut text = String::new();
        let mut stream = TcpStream::connect(free)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.read_to_string(&mut text)?;
        Ok(text == "from inside\n")
    })?;
    wait(&mut server, Duration::from_secs(10))?;
    // Another server inside, on a port that was not asked for: the host must not hear of it.
    let unasked = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let serve = format!("echo ready; nc -l -p {}; true", unasked.port());
    let mut hidden = start(&mut sandbox.script(&serve)?)?;
    wait_for_output(&mut hidden)?;
    // Were pasta told to forward what listens inside, it would look once a second.
    thread::sleep(Duration::from_millis(1500));
    ensure!(TcpStream::connect(unasked).is_err(), "a port was published that nobody asked for");
    let port = private.local_addr()?.port();
    // It ends with these tests.
    thread::spawn(move || private.incoming().flatten().try_for_each(|mut stream| stream.write_all(GREETING)));
    let reached = sandbox.run_script(&format!("nc -w 1 127.0.0.1 {port} </dev/null"), b"")?;
    ensure!(reached.status != 0, "the host's loopback can be reached from inside");
    not_from_a_container(&sandbox, port)?;
    let pasta = sandbox.record()?["pasta"]["pid"].as_i64().context("no pasta is recorded")?;
    sandbox.down(&["--volumes"])?.exits(0)?;
    wait(&mut hidden, Duration::from_secs(10))?;
    ensure!(!Path::new(&format!("/proc/{pasta}/fd/0")).exists(), "pasta is still there");
    ensure!(TcpStream::connect(free).is_err(), "the published port is still open");
    sandbox.nothing_left()
}

/// By no address that a container could think of: its own loopback, the bridge's, what the instance has, and the way out.
fn not_from_a_container(sandbox: &Sandbox, port: u16) -> Result<()> {
    let docker = |words: &[&str], input: &[u8]| {
        command::run(sandbox.command("exec")?.args(["--", "docker"]).args(words), input)
    };
    docker(&["import", "-", image::BOX], &image::busybox_rootfs()?)?.exits(0)?;
    let addresses = format!(
        "{BUSYBOX} ip -o -4 addr | {BUSYBOX} awk '{{sub(\"/.*\", \"\", $4); print $4}}'; \
         {BUSYBOX} ip route | {BUSYBOX} awk '/^default/ {{print $3}}'"
    );
    let addresses = sandbox.run_script(&addresses, b"")?.success()?;
    ensure!(addresses.lines().count() >= 3, "loopback, docker0 and a way out were expected: {addresses}");
    let ask = |address: &str| format!("timeout 3 nc -w 2 {address} {port} </dev/null");
    for address in addresses.lines() {
        for network in ["bridge", "host"] {
            let asked = ["run", "--rm", "--network", network, image::BOX, "sh", "-c", &ask(address)];
            let asked = docker(&asked, b"")?;
            ensure!(
                asked.stdout != GREETING,
                "a container on {network} reaches the host's loopback by {address}"
            );
            // It was nc that failed, and not the engine.
            ensure!(![125, 126, 127].contains(&asked.status), "{} {}", asked.status, asked.stderr);
        }
    }
    // On the host the same words reach it.
    let mut beside = Command::new(product::busybox());
    let said = command::run(beside.args(["sh", "-c", &ask("127.0.0.1")]), b"")?.stdout;
    ensure!(said == GREETING, "the server on the host's loopback does not answer");
    Ok(())
}
