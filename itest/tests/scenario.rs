//! The runner of scenarios, interrupted: it takes down what it has started, and leaves nothing behind.

use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use itest::command::eventually;
use itest::stream::Stream;
use itest::suite::Suite;
use itest::{Need, interrupt, product, traces};
use rustix::process::{Pid, Signal, kill_process};

/// Of the emulated machine.
const VM: &[Need] = &[Need::Kernel, Need::Program("qemu-system-x86_64"), Need::Program("cpio")];

fn main() -> ExitCode {
    Suite::new("root_scenario", &[Need::Root, Need::Busybox, Need::Program("script")])
        .test("interrupted::in_a_scenario", &[], in_a_scenario)
        .test("interrupted::while_it_starts", &[], while_it_starts)
        .longest("interrupted::while_the_machine_boots", VM, while_the_machine_boots)
        .run(|| Ok(()))
}

/// Ctrl-C.
fn in_a_scenario() -> Result<()> {
    let before = traces::ours()?;
    let mut runner = Runner::start("up", "zombies::")?;
    let output = Stream::read(runner.0.stdout.take().context("no output")?);
    eventually("the environment is up", Duration::from_secs(600), || {
        Ok(runner.0.try_wait()?.is_some() || String::from_utf8_lossy(&output.so_far()).contains("is up"))
    })?;
    if let Some(status) = runner.0.try_wait()? {
        bail!("the runner has ended, {status}: {}", String::from_utf8_lossy(&output.to_the_end()));
    }
    // It takes half a minute, so this is in the middle.
    std::thread::sleep(Duration::from_secs(2));
    ensure!(runner.ends_after(Signal::INT)? == 130, "after Ctrl-C");
    let said = String::from_utf8_lossy(&output.to_the_end()).into_owned();
    ensure!(said.contains("interrupted") && said.contains("is down"), "it says: {said}");
    traces::none_but(&before)
}

/// SIGTERM, when the engine outside has begun to start.
fn while_it_starts() -> Result<()> {
    let before = traces::ours()?;
    let mut runner = Runner::start("nested", "engine::version")?;
    let state = product::target().join("itest-run/state").join(product::instance_name("scenarios-nested"));
    eventually("an instance begins", Duration::from_secs(600), || Ok(state.exists()))?;
    ensure!(runner.ends_after(Signal::TERM)? == 143, "after SIGTERM");
    traces::none_but(&before)
}

fn while_the_machine_boots() -> Result<()> {
    let before = traces::ours()?;
    let mut runner = Runner::start("vm", "engine::version")?;
    let serial = product::target().join("itest-run/scenarios-vm/serial.log");
    eventually("the machine begins to boot", Duration::from_secs(600), || {
        Ok(fs::metadata(&serial).is_ok_and(|file| file.len() > 0))
    })?;
    ensure!(runner.ends_after(Signal::INT)? == 130, "after Ctrl-C");
    traces::none_but(&before)?;
    ensure!(!serial.exists(), "`{}` is left", serial.display());
    Ok(())
}

/// The program, running; it is told to take all down if the test fails.
struct Runner(Child);

impl Runner {
    fn start(place: &str, pattern: &str) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scenario"));
        command.args(["--in", place, pattern]).stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(Runner(command.spawn()?))
    }

    fn ends_after(&mut self, signal: Signal) -> Result<i32> {
        kill_process(Pid::from_raw(self.0.id().cast_signed()).context("no pid")?, signal)?;
        let mut status = None;
        eventually("the runner ends", Duration::from_secs(120), || {
            status = self.0.try_wait()?;
            Ok(status.is_some())
        })?;
        status.and_then(|status| status.code()).context("the runner ended by a signal")
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Also where this test is interrupted itself.
        let _undoing = interrupt::undoing();
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.ends_after(Signal::TERM);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
