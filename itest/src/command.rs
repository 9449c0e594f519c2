//! Running a program with a deadline: nothing a test starts may outlive it or hang it.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, getpgid, kill_process_group};

use crate::interrupt;
use crate::stream::Stream;

/// Generous on purpose: it is there to end a hang, not to measure.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// How long a program that is interrupted may take to undo what it has done.
const GRACE: Duration = Duration::from_secs(20);

/// By how much deadlines are longer here than elsewhere.
static PATIENCE: AtomicU32 = AtomicU32::new(1);

/// Makes all deadlines so many times as long: an emulated machine is slow.
pub fn be_patient(factor: u32) {
    PATIENCE.store(factor, Ordering::SeqCst);
}

/// By how much deadlines are longer now.
pub fn patience() -> u32 {
    PATIENCE.load(Ordering::SeqCst)
}

/// What a program did, with enough kept to explain a failure.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command as a person would type it.
    pub command: String,
    /// Exit status as a shell reports it (128 + n for a signal).
    pub status: i32,
    /// Standard output, raw: some of it is archives.
    pub stdout: Vec<u8>,
    /// Standard error as text.
    pub stderr: String,
    /// Wall time, for deadlines only.
    pub took: Duration,
}

impl Outcome {
    /// Standard output as text, without the final newline.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Standard output of a run that must have succeeded.
    pub fn success(self) -> Result<String> {
        Ok(self.exits(0)?.text())
    }

    /// The same run, if it ended with this status; else an error that shows all of it.
    pub fn exits(self, expected: i32) -> Result<Self> {
        if self.status == expected {
            return Ok(self);
        }
        bail!(
            "`{}` exited {}, expected {expected}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.status,
            excerpt(&self.text()),
            excerpt(self.stderr.trim_end()),
        )
    }
}

/// The end is where the reason stands.
fn excerpt(text: &str) -> String {
    const LINES: usize = 40;
    let lines: Vec<&str> = text.lines().collect();
    match lines.len().checked_sub(LINES) {
        None | Some(0) => text.to_owned(),
        Some(dropped) => format!("… {dropped} lines …\n{}", lines[dropped..].join("\n")),
    }
}

/// Runs `command` with `input` on its standard input until it ends or [`DEADLINE`] has passed.
pub fn run(command: &mut Command, input: &[u8]) -> Result<Outcome> {
    run_within(command, input, DEADLINE)
}

/// [`run`] with a deadline of its own.
pub fn run_within(command: &mut Command, input: &[u8], deadline: Duration) -> Result<Outcome> {
    let shown = show(command);
    interrupt::check().with_context(|| format!("before `{shown}`"))?;
    if interrupt::is_heard() {
        command.process_group(0);
    }
    let deadline = deadline * patience();
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{shown}`"))?;
    let stdin = child.stdin.take();
    let stdout = Stream::read(child.stdout.take().context("no standard output")?);
    let stderr = Stream::read(child.stderr.take().context("no standard error")?);
    let input = input.to_vec();
    // A program that ends without reading everything is judged by its status, not by our broken pipe.
    thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
    let end = wait_until(&mut child, start + deadline)?;
    let stdout = stdout.to_the_end();
    let stderr = String::from_utf8_lossy(&stderr.to_the_end()).into_owned();
    match end {
        End::Itself(status) => Ok(Outcome {
            command: shown,
            status: shell_status(status),
            stdout,
            stderr,
            took: start.elapsed(),
        }),
        End::TooLate => bail!(
            "`{shown}` did not end within {deadline:?}\n--- stdout\n{}\n--- stderr\n{}",
            excerpt(&String::from_utf8_lossy(&stdout)),
            excerpt(&stderr)
        ),
        End::Interrupted => bail!("interrupted: `{shown}`"),
    }
}

/// How a child ended. In all cases it is dead and reaped.
enum End {
    Itself(ExitStatus),
    TooLate,
    Interrupted,
}

fn wait_until(child: &mut Child, deadline: Instant) -> Result<End> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::Itself(status));
        }
        if interrupt::is_asked() {
            interrupt_child(child)?;
            return Ok(End::Interrupted);
        }
        if Instant::now() >= deadline {
            kill(child)?;
            return Ok(End::TooLate);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// With what it has started, where it leads a group.
fn kill(child: &mut Child) -> Result<()> {
    let pid = Pid::from_raw(child.id().cast_signed()).context("a child without a pid")?;
    if getpgid(Some(pid)).is_ok_and(|group| group == pid) {
        // Fails only where all of it has ended already.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// It gets the time to undo what it has half done; then it and its children are killed.
fn interrupt_child(child: &mut Child) -> Result<()> {
    let group = Pid::from_raw(child.id().cast_signed()).context("a child without a pid")?;
    // Both fail only where it has ended already.
    let _ = kill_process_group(group, Signal::TERM);
    let end = Instant::now() + GRACE;
    while child.try_wait()?.is_none() && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    let _ = kill_process_group(group, Signal::KILL);
    child.wait()?;
    Ok(())
}

pub(crate) fn shell_status(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The command as a person would type it, for messages.
pub fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy();
            if word.contains([' ', '"', '$', '\n', '>']) { format!("'{word}'") } else { word.into_owned() }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Calls `probe` until it says yes; the error names what was waited for and the last answer.
pub fn eventually(what: &str, within: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    let within = within * patience();
    let deadline = Instant::now() + within;
    loop {
        let answer = probe();
        interrupt::check()?;
        match answer {
            Ok(true) => return Ok(()),
            _ if Instant::now() < deadline => thread::sleep(Duration::from_millis(100)),
            Ok(false) => bail!("not within {within:?}: {what}"),
            Err(error) => return Err(error.context(format!("not within {within:?}: {what}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_output_and_input_are_kept() {
        let outcome = run(Command::new("sh").args(["-c", "cat; echo no >&2; exit 3"]), b"yes").expect("runs");
        assert_eq!((outcome.status, outcome.text().as_str(), outcome.stderr.as_str()), (3, "yes", "no\n"));
        let error = outcome.exits(0).expect_err("status 3 is not 0").to_string();
        assert!(error.contains("exited 3, expected 0") && error.contains("no"), "{error}");
    }

    #[test]
    fn a_signal_counts_as_in_a_shell() {
        let outcome = run(Command::new("sh").args(["-c", "kill -9 $$"]), b"").expect("runs");
        assert_eq!(outcome.status, 137);
    }

    #[test]
    fn a_hang_is_ended_and_said() {
        let error = run_within(Command::new("sleep").arg("600"), b"", Duration::from_millis(50))
            .expect_err("must not wait for it")
            .to_string();
        assert!(error.contains("`sleep 600` did not end"), "{error}");
    }

    #[test]
    fn what_it_has_started_ends_with_it_where_it_leads_a_group() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 600 & echo $!; wait"]).stdout(Stdio::piped()).process_group(0);
        let mut shell = shell.spawn().expect("runs");
        let said = Stream::read(shell.stdout.take().expect("piped"));
        eventually("it has started something", DEADLINE, || Ok(said.so_far().ends_with(b"\n")))
            .expect("it has");
        assert!(matches!(wait_until(&mut shell, Instant::now()), Ok(End::TooLate)));
        // Its output ends when nobody has it open any more.
        let pid = String::from_utf8(said.to_the_end()).expect("a number");
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
        assert!(!status.contains("(sleeping)"), "{status}");
    }

    #[test]
    fn what_goes_on_with_its_output_is_not_waited_for() {
        let script = "sleep 600 2> /dev/null & echo $!; exit 3";
        let outcome = run(Command::new("sh").args(["-c", script]), b"").expect("runs").exits(3).expect("3");
        let left = outcome.text().parse().ok().and_then(Pid::from_raw).expect("a pid");
        rustix::process::kill_process(left, Signal::KILL).expect("it runs");
    }

    #[test]
    fn eventually_gives_up_with_the_reason() {
        let error = eventually("the sun rises in the west", Duration::from_millis(20), || Ok(false));
        assert!(error.expect_err("never true").to_string().contains("the sun rises in the west"));
    }
}
