//! A client that is in the middle of something while a fault happens.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::{self, Outcome, eventually};
use crate::stream::Stream;
use crate::up::Instance;

/// How long whatever a client waits for may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One that runs; dropping it ends it.
pub(crate) struct Client {
    shown: String,
    begun: Instant,
    child: Child,
    input: Option<Input>,
    output: [Stream; 2],
}

/// Takes what is to be written, and tells when it was.
struct Input {
    bytes: Sender<Vec<u8>>,
    written: Receiver<std::io::Result<()>>,
}

impl Client {
    /// `docker ARGS…` with the image's own client.
    pub(crate) fn docker(instance: &Instance, args: &[&str]) -> Result<Self> {
        let mut exec = instance.command("exec")?;
        exec.args(["--", "docker"]).args(args);
        Self::start(&mut exec)
    }

    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let shown = command::show(command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{shown}`"))?;
        let input = child.stdin.take().map(write_in_a_thread);
        let stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let output = [Stream::read(stdout), Stream::read(stderr)];
        Ok(Self { shown, begun: Instant::now(), child, input, output })
    }

    /// Writes to its standard input. Returns when it has been taken, all but what fits into pipes and sockets.
    pub(crate) fn write(&mut self, bytes: Vec<u8>) -> Result<()> {
        let what = || format!("writing to `{}`", self.shown);
        let input = self.input.as_ref().context("its input has ended")?;
        input.bytes.send(bytes).with_context(what)?;
        input.written.recv_timeout(PATIENCE).with_context(what)?.with_context(what)
    }

    /// The end of its input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits until it has written this.
    pub(crate) fn says(&self, words: &str) -> Result<()> {
        eventually(&format!("`{}` says `{words}`", self.shown), PATIENCE, || {
            Ok(String::from_utf8_lossy(&self.output[0].so_far()).contains(words))
        })
    }

    pub(crate) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end.
    pub(crate) fn ends(mut self) -> Result<Outcome> {
        self.end_input();
        let mut status = None;
        eventually(&format!("`{}` ends", self.shown), PATIENCE, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        let [stdout, stderr] = &self.output;
        Ok(Outcome {
            command: self.shown.clone(),
            status: status.map_or(-1, command::shell_status),
            stdout: stdout.to_the_end(),
            stderr: String::from_utf8_lossy(&stderr.to_the_end()).into_owned(),
            took: self.begun.elapsed(),
        })
    }
}

/// A pipe that nobody reads blocks whoever writes to it.
fn write_in_a_thread(mut stdin: ChildStdin) -> Input {
    let (bytes, pieces) = channel::<Vec<u8>>();
    let (tell, written) = channel();
    thread::spawn(move || {
        for piece in pieces {
            if tell.send(stdin.write_all(&piece)).is_err() {
                break;
            }
        }
    });
    Input { bytes, written }
}

impl Drop for Client {
    fn drop(&mut self) {
        // What it has started inside ends with the instance.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
