//! How long a start takes, and what PID 1 weighs.
//!
//! The "environment prepared by hand" is made of namespaces inside an instance's own, with a static busybox as the hand: on the
//! host itself no engine is ever started.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{Bench, Line, ROUNDS, median, seconds};
use crate::process::{self, output, target};
use crate::provision::{self, Need};

/// Milliseconds from PID 1's start to its exec of dockerd.
const START: f64 = 30.0;

/// `up` may take this many times what bare dockerd takes, and this many milliseconds more.
const UP_FACTOR: f64 = 1.15;
const UP_EXTRA: f64 = 200.0;

/// MB of the launcher on disk, and of its resident memory as PID 1.
const LAUNCHER: f64 = 2.5;
pub(super) const RESIDENT: f64 = 3.0;

/// Where everything that the bench starts is.
const CGROUP: &str = "/from-scratch/bench";

/// A hang is no measurement.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// One instance, taken down with its state when it is dropped.
pub(super) struct Instance<'a> {
    bench: &'a Bench,
    state: PathBuf,
}

impl<'a> Instance<'a> {
    pub(super) fn new(bench: &'a Bench) -> Result<Self> {
        ensure!(process::is_root(), "needs root");
        let instance = Instance { bench, state: bench.scratch.join("state") };
        fs::create_dir_all(instance.exchange())?;
        instance.down()?;
        Ok(instance)
    }

    pub(super) fn exchange(&self) -> PathBuf {
        self.bench.scratch.join("exchange")
    }

    pub(super) fn command(&self, subcommand: &str) -> Command {
        let mut command = self.bench.product(&[subcommand, "--name", "bench", "--state-dir"]);
        command.arg(&self.state);
        command
    }

    pub(super) fn up(&self) -> Result<()> {
        let mut up = self.command("up");
        up.args(["--network", "none", "-v"]).arg(format!("{}:/exchange", self.exchange().display()));
        // The launcher's own trace line is what `start` reads.
        output(up.env("DOCKER_LAUNCH_DEBUG", "true")).map(drop)
    }

    fn down(&self) -> Result<()> {
        output(self.command("down").arg("--volumes")).map(drop)
    }

    pub(super) fn pid(&self) -> Result<u32> {
        let mut ps = self.bench.product(&["ps", "--json", "--state-dir"]);
        let text = output(ps.arg(&self.state))?;
        let (_, rest) = text.split_once("\"pid\":").context("`ps --json` tells no pid")?;
        let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().context("no pid")
    }
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            eprintln!("error: the bench's instance was not taken down: {error:#}");
        }
    }
}

/// The launcher says it itself, from the start time that the kernel has written down.
pub(super) fn start(bench: &Bench) -> Result<Vec<Line>> {
    let instance = Instance::new(bench)?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        instance.up()?;
        let log = output(&mut instance.command("logs"))?;
        rounds.push(traced(&log, "trace: exec of").context("no trace line in the log")?);
        instance.down()?;
    }
    let measured = median(rounds)?;
    Ok(vec![Line {
        what: "PID 1's start to exec of dockerd".to_owned(),
        measured: format!("{measured:.1} ms"),
        bar: format!("{START} ms"),
        met: measured < START,
    }])
}

/// The milliseconds in the launcher's own line that has these words.
pub(super) fn traced(log: &str, words: &str) -> Option<f64> {
    let line = log.lines().find(|line| line.contains(words))?;
    line.split_once(" ms after")?.0.rsplit(' ').next()?.parse().ok()
}

/// Both start with an empty data root and end when the engine answers; they take turns.
pub(super) fn up(bench: &Bench) -> Result<Vec<Line>> {
    ensure!(provision::provide(&[Need::Busybox]).is_empty(), "no static busybox");
    let instance = Instance::new(bench)?;
    // Unpacks the image: warm means that this has been done.
    instance.up()?;
    instance.down()?;
    let (mut ups, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ups.push(seconds(|| instance.up())? * 1e3);
        bares.push(bare(&instance)?.as_secs_f64() * 1e3);
        instance.down()?;
    }
    let (up, bare) = (median(ups)?, median(bares)?);
    let bar = bare * UP_FACTOR + UP_EXTRA;
    Ok(vec![Line {
        what: "warm `up` until Docker answers".to_owned(),
        measured: format!("{up:.0} ms"),
        bar: format!("{bar:.0} ms (bare dockerd {bare:.0} ms × {UP_FACTOR} + {UP_EXTRA} ms)"),
        met: up <= bar,
    }])
}

/// What a person would type for an engine that starts in namespaces of its own.
const BY_HAND: &str = "\
b=/exchange/busybox
$b ip link set lo up
$b mount -t tmpfs tmpfs /run
$b mkdir -p /exchange/data
$b mount --bind /exchange/data /var/lib/docker
echo 1 > /proc/sys/net/ipv4/ip_forward
: > /exchange/prepared
exec dockerd -H unix:///exchange/bare.sock
";

/// From dockerd's exec to its first answer.
fn bare(instance: &Instance<'_>) -> Result<Duration> {
    let exchange = instance.exchange();
    fs::copy(target().join("itest/busybox/bin/busybox"), exchange.join("busybox"))?;
    fs::write(exchange.join("by-hand"), BY_HAND)?;
    let (prepared, socket) = (exchange.join("prepared"), exchange.join("bare.sock"));
    let mut exec = instance.command("exec");
    exec.args(["--", "/exchange/busybox", "unshare", "-m", "-n", "-p", "-i", "-f", "--mount-proc"]);
    exec.args(["/exchange/busybox", "sh", "/exchange/by-hand"]);
    let log = fs::File::create(exchange.join("bare.log"))?;
    let mut child = exec.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null()).spawn()?;
    let measured = answer(&mut child, &prepared, &socket);
    // The instance's PID 1 ends whatever is left when it goes down; the data of this round must go now.
    let stopped = stop(&mut child);
    for leftover in [&prepared, &socket] {
        let _ = fs::remove_file(leftover);
    }
    fs::remove_dir_all(exchange.join("data"))?;
    stopped.and(measured)
}

fn answer(child: &mut Child, prepared: &Path, socket: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let mut start = None;
    while begun.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait()? {
            bail!("dockerd ended with {status}; see `{}`", socket.with_file_name("bare.log").display());
        }
        if start.is_none() && prepared.exists() {
            start = Some(Instant::now());
        }
        if let Some(start) = start
            && ping(socket).is_ok()
        {
            return Ok(start.elapsed());
        }
        thread::sleep(Duration::from_millis(1));
    }
    bail!("dockerd did not answer within {DEADLINE:?}")
}

fn ping(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains(" 200 "), "{answer}");
    Ok(())
}

/// dockerd is PID 1 of its namespace: when it ends, all of it ends.
fn stop(child: &mut Child) -> Result<()> {
    kill_process(engine()?, Signal::TERM)?;
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    bail!("bare dockerd did not stop")
}

/// The bare engine, as the host sees it.
fn engine() -> Result<Pid> {
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        let Some(pid) = process.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        let read = |name: &str| fs::read_to_string(process.join(name)).unwrap_or_default();
        if read("cmdline").starts_with("dockerd\0-H\0unix:///exchange/bare.sock")
            && read("cgroup").contains(CGROUP)
        {
            return Pid::from_raw(pid).context("no process");
        }
    }
    bail!("bare dockerd is nowhere")
}

/// The launcher's file, and its memory as PID 1 of a running instance.
pub(super) fn launcher(bench: &Bench) -> Result<Vec<Line>> {
    let instance = Instance::new(bench)?;
    instance.up()?;
    let pid = instance.pid()?;
    let size = fs::metadata(format!("/proc/{pid}/exe"))?.len() as f64 / 1e6;
    let resident = resident(&fs::read_to_string(format!("/proc/{pid}/status"))?)?;
    let line = |what: &str, measured: f64, bar: f64| Line {
        what: what.to_owned(),
        measured: format!("{measured:.2} MB"),
        bar: format!("{bar} MB"),
        met: measured <= bar,
    };
    Ok(vec![line("launcher, stripped", size, LAUNCHER), line("… resident as PID 1", resident, RESIDENT)])
}

/// MB, from the text of `/proc/PID/status`.
pub(super) fn resident(status: &str) -> Result<f64> {
    let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = field.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}
