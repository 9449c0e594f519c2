//! `from-scratch boot`: what a user sees of a machine, and what is left of it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{DEADLINE, is_clean};
use crate::command::{self, eventually};
use crate::{build, image, interrupt, product};

/// Emulated, the engine answers after half a minute.
const READY: Duration = Duration::from_secs(180);

/// A command in the machine gives its output and its status, and nothing else, and no terminal is in its way; what it left is there in
/// the next machine on that disk. Ctrl-C reaches the command, and all ends in order. What cannot be launched has a status too, and
/// wrong words end before anything is built.
pub fn command_and_disk() -> Result<()> {
    let scratch = build::scratch("booted")?;
    let (disk, preload) = (scratch.join("disk"), scratch.join("box.tar"));
    let _ = fs::remove_file(&disk);
    let name = format!("{}:latest", image::BOX);
    fs::write(&preload, image::docker_archive(&image::busybox_rootfs()?, &name)?)?;
    refused(&scratch)?;

    let mut broken = boot(&disk)?;
    broken.args(["--rm", "--network", "none", "-e", "DOCKERD_MTUU=1400", "--exec", "docker", "version"]);
    let outcome = command::run_within(&mut broken, b"", DEADLINE)?.exits(125)?;
    ensure!(outcome.stderr.contains("DOCKERD_MTU`"), "the cause is not told:\n{}", outcome.stderr);
    ensure!(!disk.exists(), "`--rm` has left the disk");

    let mut first = boot(&disk)?;
    first
        .args(["--accel", "tcg", "--network", "none", "--preload"])
        .arg(&preload)
        .args(["--exec", "docker", "save", &name]);
    let outcome = command::run_within(&mut first, b"", DEADLINE)?.exits(0)?;
    let saved = scratch.join("saved.tar");
    fs::write(&saved, &outcome.stdout)?;
    let listed = command::run(Command::new("tar").arg("-tf").arg(&saved), b"")?.success()?;
    ensure!(listed.contains("manifest.json"), "what was saved is no archive of images: {listed}");
    for told in ["machine  Linux ", "overlay2 on ext4", "ended with status 0", "reboot: Power down"] {
        ensure!(outcome.stderr.contains(told), "no `{told}` in:\n{}", outcome.stderr);
    }
    is_clean(&disk)?;

    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let mut second = boot(&disk)?;
    // Without TLS, on this machine's own loopback alone; and emulated, the command needs its time to end.
    second.args(["--accel", "tcg", "-e", "DOCKER_TLS_CERTDIR=", "-e", "DOCKERLAUNCH_STOP_TIMEOUT=2m"]);
    second.args(["-p", &format!("{port}:2375")]);
    let script = "trap 'echo stopped; exit 7' INT; echo started; while :; do sleep 0.2; done";
    second.args(["--exec", "docker", "run", "--network", "none", image::BOX, "sh", "-c", script]);
    let (log, data) = (scratch.join("boot.log"), scratch.join("boot.out"));
    let second = second.stdin(Stdio::null()).stdout(File::create(&data)?).stderr(File::create(&log)?);
    if interrupt::is_heard() {
        std::os::unix::process::CommandExt::process_group(second, 0);
    }
    let mut machine = Running(second.spawn()?);
    let tail = || fs::read_to_string(&log).unwrap_or_default();
    eventually("the command in the machine runs", READY, || {
        ensure!(machine.0.try_wait()?.is_none(), "the machine has ended");
        Ok(fs::read(&data)? == b"started\n")
    })
    .with_context(tail)?;
    let images = get(port, "/images/json")?;
    ensure!(images.contains(&name), "the image of the first machine is not there: {images}");
    kill_process(Pid::from_child(&machine.0), Signal::INT)?;
    eventually("the machine powers off", READY, || Ok(machine.0.try_wait()?.is_some())).with_context(tail)?;
    let status = machine.0.wait()?;
    ensure!(status.code() == Some(7) && tail().contains("reboot: Power down"), "{status}: {}", tail());
    ensure!(fs::read(&data)? == b"started\nstopped\n", "{}", tail());
    is_clean(&disk)?;
    fs::remove_file(&disk)?;
    Ok(())
}

/// Killed whatever happens, and qemu with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn boot(disk: &Path) -> Result<Command> {
    let (kernel, version) = product::kernel()?;
    let mut boot = Command::new(product::from_scratch()?);
    boot.args(["boot", "--kernel"]).arg(kernel.join(format!("boot/vmlinuz-{version}")));
    boot.arg("--disk").arg(disk);
    Ok(boot)
}

fn refused(scratch: &Path) -> Result<()> {
    let there = scratch.join("there");
    fs::write(&there, "data")?;
    for (words, told) in [
        (&["--kernel", "/etc/passwd"][..], "no Linux kernel for x86-64"),
        (&["--kernel", "/nowhere"], "No such file or directory"),
        (&["--modules", "/etc"], "no modules.dep"),
        (&["--network", "none", "-p", "1:2"], "leave out one of them"),
        (&["--rm"], "was there before"),
        (&["--arch", "arm64"], "arm64"),
        (&["-e", "no name=x"], "NAME=VALUE"),
    ] {
        let mut command = Command::new(product::from_scratch()?);
        let (kernel, version) = product::kernel()?;
        command.arg("boot");
        if words[0] != "--kernel" {
            command.arg("--kernel").arg(kernel.join(format!("boot/vmlinuz-{version}")));
        }
        command.arg("--disk").arg(&there).args(words);
        let outcome = command::run(&mut command, b"")?;
        ensure!(outcome.status != 0, "{words:?} was not refused");
        ensure!(outcome.stderr.contains(told), "{words:?}: no `{told}` in:\n{}", outcome.stderr);
        ensure!(!outcome.stderr.contains("fetching packages"), "{words:?}: an image was built for nothing");
    }
    ensure!(fs::read(&there)? == b"data", "a disk that cannot be used was written to");
    Ok(())
}

/// The answer to one request, head and all. HTTP/1.0: it ends with the connection.
fn get(port: u16, path: &str) -> Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(connection, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}
