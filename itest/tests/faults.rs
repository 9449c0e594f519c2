//! The `root_` tier: what goes wrong from outside, and what must hold all the same.

use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use itest::command::eventually;
use itest::faults::{FAULTS, killing};
use itest::stream::Stream;
use itest::suite::Suite;
use itest::traces::{self, Traces};
use itest::up::Instance;
use itest::{Need, interrupt, product};
use rustix::process::{Pid, Signal, kill_process};

/// What the host is looked at with.
const NEEDS: &[Need] = &[Need::Root, Need::Busybox, Need::Program("ip"), Need::Program("nft")];

const PREFIX: &str = "root_faults";

fn main() -> ExitCode {
    let mut suite = Suite::new(PREFIX, NEEDS).test("interrupted", &[], interrupted);
    for fault in FAULTS.iter().copied().flatten() {
        let run = move || fault.run();
        suite = if fault.often {
            suite.test(fault.name, fault.needs, run)
        } else {
            suite.long(fault.name, fault.needs, run)
        };
    }
    suite.run(traces::none_at_the_end)
}

/// Ctrl-C in a suite of tests: what runs is taken down.
fn interrupted() -> Result<()> {
    Instance::clear(killing::UNSUPERVISED_PURPOSE)?;
    let before = Traces::look()?;
    let mut suite = Command::new(std::env::current_exe()?);
    suite.args(["--exact", &format!("{PREFIX}::{}", killing::UNSUPERVISED)]);
    let mut suite = suite.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let said = Stream::read(suite.stderr.take().context("no standard error")?);
    let ended = end_when_up(&mut suite);
    if ended.is_err() {
        // It takes down what it has started, also where this test is interrupted itself.
        let _undoing = interrupt::undoing();
        let _ = ends_after(&mut suite, Signal::TERM);
        let _ = suite.kill();
        let _ = suite.wait();
    }
    let said = String::from_utf8_lossy(&said.to_the_end()).into_owned();
    let status = ended.with_context(|| format!("it says: {said}"))?;
    ensure!(status == Some(130), "the suite does not end as after Ctrl-C, but with {status:?}: {said}");
    before.nothing_new()
}

fn end_when_up(suite: &mut Child) -> Result<Option<i32>> {
    let name = product::instance_name(killing::UNSUPERVISED_PURPOSE);
    let socket = product::target().join("itest-run/state").join(name).join("docker.sock");
    eventually("the instance is up", Duration::from_secs(600), || {
        Ok(socket.exists() || suite.try_wait()?.is_some())
    })?;
    ensure!(suite.try_wait()?.is_none(), "the suite has ended");
    ends_after(suite, Signal::INT)
}

fn ends_after(suite: &mut Child, signal: Signal) -> Result<Option<i32>> {
    kill_process(Pid::from_raw(suite.id().cast_signed()).context("no pid")?, signal)?;
    let mut status = None;
    eventually("the suite ends", Duration::from_secs(120), || {
        status = suite.try_wait()?;
        Ok(status.is_some())
    })?;
    Ok(status.and_then(|status| status.code()))
}
