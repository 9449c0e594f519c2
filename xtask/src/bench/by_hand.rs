//! The engine without us: started by hand in new namespaces, with a static busybox as the hand.
//!
//! They are made inside an instance's own: on the host itself no engine is ever started.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::engine;
use super::instance::{self, Instance};
use super::interrupt::until;
use super::processes;

/// What a person would type for an engine that starts in namespaces of its own. Then it waits for a line.
const SCRIPT: &str = "\
b=/exchange/busybox
here=/exchange/$1
$b ip link set lo up
$b mount -t tmpfs tmpfs /run
$b mkdir -p $here/data
$b mount --bind $here/data /var/lib/docker
echo 1 > /proc/sys/net/ipv4/ip_forward
: > $here/prepared
read -r go
exec dockerd -H unix://$here/docker.sock < /dev/null
";

/// How often a file or a socket is looked for.
const OFTEN: Duration = Duration::from_millis(1);

pub(super) struct ByHand {
    child: Child,
    name: String,
    /// Its directory, as the host sees it.
    here: PathBuf,
}

impl ByHand {
    /// Begins the preparations.
    pub(super) fn new(instance: &Instance<'_>, name: &str) -> Result<Self> {
        let here = instance.exchange().join(name);
        fs::create_dir_all(&here)?;
        let unshare = ["unshare", "-m", "-n", "-p", "-i", "-f", "--mount-proc"];
        let shell = ["/exchange/busybox", "sh", "-c", SCRIPT, "by-hand", name];
        let mut exec = instance.exec(&[&["/exchange/busybox"], &unshare[..], &shell].concat());
        let log = fs::File::create(here.join("log"))?;
        let child = exec.stdout(log.try_clone()?).stderr(log).stdin(Stdio::piped()).spawn()?;
        Ok(ByHand { child, name: name.to_owned(), here })
    }

    /// Waits until all is ready but the engine.
    pub(super) fn prepared(&mut self) -> Result<()> {
        let prepared = self.here.join("prepared");
        self.wait("preparations by hand", || prepared.exists())
    }

    /// Starts the engine.
    pub(super) fn go(&mut self) -> Result<()> {
        let mut line = self.child.stdin.take().context("it was started already")?;
        line.write_all(b"\n").map_err(Into::into)
    }

    pub(super) fn answered(&mut self) -> Result<()> {
        let socket = self.here.join("docker.sock");
        // As `up` asks.
        self.wait("bare dockerd's answer", || engine::answers(&socket, "/_ping"))
    }

    fn wait(&mut self, what: &str, done: impl Fn() -> bool) -> Result<()> {
        until(what, OFTEN, || {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.here.join("log")).unwrap_or_default();
                bail!("{what}: it ended with {status}: {}", log.lines().next_back().unwrap_or_default());
            }
            Ok(done())
        })
    }

    /// The engine's process, on the host.
    pub(super) fn pid(&self) -> Result<i32> {
        let words = format!("dockerd\0-H\0unix:///exchange/{}/docker.sock\0", self.name);
        let all = processes::all()?;
        let engine = all.iter().find(|one| one.words == words && instance::holds(one));
        Ok(engine.context("bare dockerd is nowhere")?.pid)
    }

    /// Tells it to end.
    pub(super) fn stop(&self) -> Result<()> {
        kill_process(Pid::from_raw(self.pid()?).context("no process")?, Signal::TERM).map_err(Into::into)
    }

    /// It is PID 1 of its namespace: when it ends, all of it ends.
    pub(super) fn ended(&mut self) -> Result<()> {
        until("bare dockerd's end", OFTEN, || Ok(self.child.try_wait()?.is_some()))
    }

    /// Its data must not be in the next one's way.
    pub(super) fn clear(self) -> Result<()> {
        let here: &Path = &self.here;
        fs::remove_dir_all(here).with_context(|| format!("removing `{}`", here.display()))
    }
}

impl Drop for ByHand {
    /// What is left in the namespaces ends with the instance.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
