//! Names: which resolver is asked inside, and whose file says so.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{BUSYBOX, Sandbox};
use crate::{command, image, product};

/// An address of the host's loopback that no resolver of its own has.
const RESOLVER: &str = "127.0.0.153";

/// What that resolver says of every name.
const ADDRESS: [u8; 4] = [192, 0, 2, 7];

/// A host that asks a resolver on its own loopback, as with systemd-resolved: it is asked from inside as well. A file that the
/// user binds over ours stays what it is, inside and on the host.
pub fn resolver_on_loopback() -> Result<()> {
    let sandbox = Sandbox::new("names")?;
    // With this machine's own resolver: what is fetched for an image is there afterwards.
    sandbox.up(&[])?.exits(0)?;
    sandbox.down(&["--volumes"])?.exits(0)?;
    let socket = UdpSocket::bind((RESOLVER, 53))?;
    // It ends with these tests.
    thread::spawn(move || serve(&socket));
    let place = tempfile::tempdir()?;
    let resolv = place.path().join("resolv.conf");
    fs::write(&resolv, format!("nameserver {RESOLVER}\noptions timeout:2\n"))?;
    up(&sandbox, &resolv, &[])?;
    let told = sandbox.run_script("cat /etc/resolv.conf; nslookup a.example", b"")?;
    ensure!(told.text().contains("192.0.2.7"), "{} {}", told.text(), told.stderr);
    let docker = |words: &[&str], input: &[u8]| {
        command::run(sandbox.command("exec")?.args(["--", "docker"]).args(words), input)
    };
    docker(&["import", "-", image::BOX], &image::busybox_rootfs()?)?.exits(0)?;
    let told = docker(&["run", "--rm", image::BOX, "nslookup", "b.example"], b"")?;
    ensure!(told.text().contains("192.0.2.7"), "in a container: {} {}", told.text(), told.stderr);
    sandbox.down(&["--volumes"])?.exits(0)?;

    let own = place.path().join("own");
    let words = "nameserver 192.0.2.1\nsearch example\n";
    fs::write(&own, words)?;
    up(&sandbox, &resolv, &["-v", &format!("{}:/etc/resolv.conf", own.display())])?;
    let seen = sandbox.run_script("cat /etc/resolv.conf", b"")?.success()?;
    ensure!(seen == words.trim_end(), "inside: {seen}");
    sandbox.down(&["--volumes"])?.exits(0)?;
    ensure!(fs::read_to_string(&own)? == words, "the user's file was written to");
    sandbox.nothing_left()
}

/// `up` as on a host with this `resolv.conf`.
fn up(sandbox: &Sandbox, resolv: &Path, options: &[&str]) -> Result<()> {
    let script = "for file in /etc/resolv.conf /run/systemd/resolve/resolv.conf; do \
                  [ ! -e $file ] || mount --bind \"$0\" $file || exit; done; exec \"$@\"";
    let mut up = sandbox.command("up")?;
    up.args(["--offline", "--network", "user", "-v"])
        .arg(format!("{}:{BUSYBOX}", product::busybox().display()));
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(resolv);
    shell.arg(up.get_program()).args(up.get_args()).args(options);
    let outcome = command::run_within(&mut shell, b"", Duration::from_secs(600))?.exits(0)?;
    ensure!(!outcome.stderr.contains("no way out"), "{}", outcome.stderr);
    Ok(())
}

/// Answers each question for an address (RFC 1035, 4.1), and others with nothing.
fn serve(socket: &UdpSocket) {
    let mut packet = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut packet) {
        let Some(question) = packet.get(12..length) else { continue };
        let Some(end) = question.iter().position(|byte| *byte == 0) else { continue };
        let Some(question) = question.get(..end + 5) else { continue };
        let is_for_an_address = question[end + 1..end + 3] == [0, 1];
        let mut answer = packet[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_for_an_address), 0, 0, 0, 0]);
        answer.extend(question);
        if is_for_an_address {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(ADDRESS);
        }
        let _ = socket.send_to(&answer, from);
    }
}
