//! An emulated machine whose kernel starts our launcher as its init: cgroup v2, real modules, a disk for the data root.
//!
//! Its job is our agent, which runs programs for the scenarios outside. A restart is one of the machine.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Started;
use crate::agent;
use crate::command::{self, Outcome, eventually};
use crate::environment::{Environment, Exchange};
use crate::image::{self, BOX};
use crate::{build, interrupt, need, suite, traces, vm};

/// A few layers of a gigabyte or two fit. It takes up what is used.
const DISK: u64 = 12 << 30;

/// Emulated, a machine is up in half a minute.
const BOOT: Duration = Duration::from_secs(180);

/// Before the engine starts: the exchange directory. Its disk and its address the launcher itself sees to.
const HOOK: &str = r#"
set -e
/itest/busybox mkdir -p /exchange
/itest/busybox mount -t virtiofs exchange /exchange
"#;

/// For the launcher. qemu's user network has these addresses.
const SETTINGS: &str = "DOCKERLAUNCH_STORAGE=/dev/vda ip=10.0.2.15:::255.255.255.0";

/// The machine, which may run.
struct Machine {
    scratch: PathBuf,
    initramfs: PathBuf,
    exchange: Exchange,
    port: u16,
    /// What serves the exchange directory to qemu, and qemu.
    running: Mutex<Vec<Child>>,
}

pub(super) fn start(components: &str) -> Result<Started> {
    let scratch = build::scratch(traces::MACHINE)?;
    fs::remove_dir_all(&scratch)?;
    let shared = scratch.join("exchange");
    fs::create_dir_all(&shared)?;
    // Free now, and nobody here takes ports at random.
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let exchange = Exchange { outside: shared, inside: "/exchange".to_owned() };
    // From here on its files go with it, also where the rest is interrupted.
    let mut machine =
        Machine { scratch, initramfs: PathBuf::new(), exchange, port, running: Mutex::default() };
    machine.initramfs = vm::initramfs(&machine.scratch, components, &[], fill)?;
    let disk = machine.scratch.join("disk");
    File::create(&disk)?.set_len(DISK)?;
    let mke2fs = need::program("mke2fs").context("no mke2fs")?;
    command::run(Command::new(mke2fs).args(["-q", "-t", "ext4"]).arg(disk), b"")?.success()?;
    machine.boot()?;
    let environment: &dyn Environment = &machine;
    environment.docker_with_input(&["import", "-", BOX], &image::busybox_rootfs()?)?.success()?;
    let qemu = command::run(Command::new("qemu-system-x86_64").arg("--version"), b"")?.success()?;
    let version = qemu.split_whitespace().nth(3).unwrap_or("of unknown version");
    let outside = format!("qemu {version}, emulating");
    Ok(Started::new(machine, None, outside))
}

/// What the machine needs beside our image: the agent, and a shell and `script` for its terminals.
fn fill(root: &Path) -> Result<()> {
    vm::add_program(root, &std::env::current_exe()?, "itest/agent")?;
    vm::add_program(root, &need::program("script").context("no script")?, "usr/local/bin/script")?;
    std::os::unix::fs::symlink("busybox", root.join("itest/sh"))?;
    vm::add_script(&root.join("itest/job"), &format!("exec /itest/agent {}", agent::WORD))?;
    let hooks = root.join("etc/dockerlaunch/pre.d");
    fs::create_dir_all(&hooks)?;
    vm::add_script(&hooks.join("machine"), HOOK)
}

impl Machine {
    fn boot(&self) -> Result<()> {
        let socket = self.scratch.join("exchange.sock");
        let server = need::file_server().context("no virtiofsd")?;
        let mut files = with_us(server);
        files.arg(format!("--socket-path={}", socket.display())).arg("-o");
        files.arg(format!("source={},cache=none,sandbox=chroot", self.exchange.outside.display()));
        let log = File::create(self.scratch.join("virtiofsd.log"))?;
        let files = files.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        self.is_begun(files);
        eventually("the exchange directory is served", Duration::from_secs(10), || Ok(socket.exists()))?;
        let append = format!("SHELL=/itest/sh {SETTINGS} -- run -- /itest/job");
        let machine = vm::machine(&self.initramfs, &self.serial(), &append)?;
        let mut qemu = with_us(Path::new(machine.get_program()));
        qemu.args(machine.get_args());
        let forward = format!(
            "user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:{}-:{}",
            self.port,
            agent::PORT
        );
        qemu.args(["-nic", &forward]).arg("-drive");
        let disk = self.scratch.join("disk");
        qemu.arg(format!("file={},format=raw,if=virtio,cache=unsafe,discard=unmap", disk.display()));
        qemu.arg("-chardev").arg(format!("socket,id=exchange,path={}", socket.display()));
        qemu.args(["-device", "vhost-user-fs-pci,chardev=exchange,tag=exchange"]);
        let qemu = qemu.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("starting qemu")?;
        self.is_begun(qemu);
        eventually("the machine's agent answers", BOOT, || {
            ensure!(self.is_running()?, "the machine has ended");
            Ok(agent::is_there(self.port))
        })
        .with_context(|| self.log_tail())
    }

    /// From now on [`Machine::kill`] ends it, whatever happens next.
    fn is_begun(&self, child: Child) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    }

    fn serial(&self) -> PathBuf {
        self.scratch.join("serial.log")
    }

    fn is_running(&self) -> Result<bool> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(qemu) = running.get_mut(1) else { return Ok(false) };
        Ok(qemu.try_wait()?.is_none())
    }

    fn kill(&self) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for mut child in running.drain(..).rev() {
            // One that has ended is killed all the same: it has not been waited for.
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

/// A program that ends when we do, however that is; only the main thread may start it.
fn with_us(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    if interrupt::is_heard() {
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
    }
    command
}

impl Environment for Machine {
    fn name(&self) -> &str {
        "vm"
    }

    fn exec(&self, argv: &[&str], input: &[u8]) -> Result<Outcome> {
        agent::ask(self.port, argv, input, false)
    }

    fn exec_tty(&self, argv: &[&str]) -> Result<Outcome> {
        agent::ask(self.port, argv, b"", true)
    }

    /// When its job ends, the launcher stops the engine and powers off.
    fn restart(&self) -> Result<Outcome> {
        let start = Instant::now();
        agent::end(self.port)?;
        eventually("the machine powers off", Duration::from_secs(60), || Ok(!self.is_running()?))?;
        let took = start.elapsed() / command::patience();
        let serial = fs::read_to_string(self.serial())?;
        if !serial.contains("reboot: Power down") {
            bail!("it has not powered off in order:\n{}", self.log_tail());
        }
        self.kill()?;
        vm::is_clean(&self.scratch.join("disk"))?;
        self.boot()?;
        Ok(Outcome {
            command: "power off".to_owned(),
            status: 0,
            stdout: Vec::new(),
            stderr: String::new(),
            took,
        })
    }

    fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    fn log_tail(&self) -> String {
        let serial = String::from_utf8_lossy(&fs::read(self.serial()).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = serial.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    fn take_down(&mut self) -> Result<()> {
        self.kill()?;
        if self.scratch.exists() {
            fs::remove_dir_all(&self.scratch)?;
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("error: the machine was not taken down: {}", suite::told(&error));
        }
    }
}
