//! An instance of `from-scratch up`, which is gone with all it had when it is dropped.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Bench, processes};
use crate::process::output;
use crate::provision;

/// The one that most lines use, one at a time.
pub(super) const NAME: &str = "bench";

/// Where all that the bench starts has its cgroup: names begin with `bench`.
const CGROUP: &str = "/from-scratch/bench";

pub(super) struct Instance<'a> {
    bench: &'a Bench,
    name: String,
}

impl<'a> Instance<'a> {
    pub(super) fn new(bench: &'a Bench, name: &str) -> Result<Self> {
        let instance = Instance { bench, name: name.to_owned() };
        fs::create_dir_all(instance.exchange())?;
        // For whatever is to be done by hand: the image has no shell.
        fs::copy(provision::busybox(), instance.exchange().join("busybox"))?;
        Ok(instance)
    }

    /// What it sees as `/exchange`.
    pub(super) fn exchange(&self) -> PathBuf {
        self.bench.scratch.join(&self.name)
    }

    pub(super) fn command(&self, subcommand: &str) -> Command {
        let mut command = self.bench.product(&[subcommand, "--name", &self.name, "--state-dir"]);
        command.arg(self.bench.state());
        command
    }

    /// A command inside.
    pub(super) fn exec(&self, words: &[&str]) -> Command {
        let mut exec = self.command("exec");
        exec.arg("--").args(words);
        exec
    }

    pub(super) fn up(&self) -> Result<()> {
        let mut up = self.command("up");
        up.args(["--network", "none", "-v"]).arg(format!("{}:/exchange", self.exchange().display()));
        // The launcher's own trace line is what `start` reads.
        output(up.env("DOCKER_LAUNCH_DEBUG", "true")).map(drop)
    }

    pub(super) fn down(&self) -> Result<()> {
        // The second Ctrl-C is not for it.
        output(self.command("down").arg("--volumes").process_group(0)).map(drop)
    }

    /// PID 1 of it, on the host.
    pub(super) fn pid(&self) -> Result<i32> {
        let pid = find(self.bench, &self.name)?.and_then(|row| row["pid"].as_i64());
        Ok(pid.with_context(|| format!("the instance `{}` is not up", self.name))?.try_into()?)
    }

    /// Which image it runs.
    pub(super) fn image(&self) -> Result<String> {
        let image = find(self.bench, &self.name)?.and_then(|row| row["image"].as_str().map(str::to_owned));
        image.context("`ps --json` tells no image")
    }
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        let down = self.down().and_then(|()| {
            let exchange = self.exchange();
            if exchange.exists() { fs::remove_dir_all(exchange).map_err(Into::into) } else { Ok(()) }
        });
        if let Err(error) = down {
            eprintln!("error: the instance `{}` was not taken down: {error:#}", self.name);
        }
    }
}

fn rows(bench: &Bench) -> Result<Vec<Value>> {
    let mut ps = bench.product(&["ps", "--json", "--state-dir"]);
    let text = output(ps.arg(bench.state()).process_group(0))?;
    serde_json::from_str(&text).context("`ps --json` prints no list")
}

fn find(bench: &Bench, name: &str) -> Result<Option<Value>> {
    Ok(rows(bench)?.into_iter().find(|row| row["name"] == name))
}

/// Takes down what a killed run has left.
pub(super) fn clear(bench: &Bench) -> Result<()> {
    for row in rows(bench)? {
        drop(Instance {
            bench,
            name: row["name"].as_str().context("an instance without a name")?.to_owned(),
        });
    }
    Ok(())
}

/// The same for all of them at the same time; the first error counts.
pub(super) fn at_once<'a>(
    instances: &[Instance<'a>],
    work: impl Fn(&Instance<'a>) -> Result<()> + Sync,
) -> Result<()> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = instances.iter().map(|one| scope.spawn(move || work(one))).collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        results.into_iter().collect()
    })
}

/// What is left of instances whose names begin so: processes, cgroups, mounts, files. There must be nothing.
pub(super) fn gone(bench: &Bench, names: &str) -> Result<()> {
    let state = bench.state().join(names).display().to_string();
    let cgroup = format!("/from-scratch/{names}");
    let processes = processes::all()?.into_iter().filter(|one| one.cgroup.contains(&cgroup));
    let mut left: Vec<String> = processes.map(|one| format!("process {} {}", one.pid, one.name)).collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    left.extend(mounts.lines().filter(|line| line.contains(&state)).map(str::to_owned));
    let named = |directory: &Path| -> Result<Vec<String>> {
        let Ok(entries) = fs::read_dir(directory) else { return Ok(Vec::new()) };
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        let begins = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(names))
        };
        Ok(paths.into_iter().filter(begins).map(|path| path.display().to_string()).collect())
    };
    left.extend(named(&bench.state())?);
    for hierarchy in fs::read_dir("/sys/fs/cgroup")?.flatten() {
        left.extend(named(&hierarchy.path().join("from-scratch"))?);
    }
    left.extend(named(Path::new("/sys/fs/cgroup/from-scratch"))?);
    ensure!(left.is_empty(), "left behind: {}", left.join(", "));
    Ok(())
}

/// Is the process in an instance of the bench?
pub(super) fn holds(process: &processes::Process) -> bool {
    process.cgroup.contains(CGROUP)
}
