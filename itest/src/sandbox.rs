//! `from-scratch up` and `exec` where it hurts: signals, terminals, full disks, odd paths, interruptions.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{self, Outcome, eventually};
use crate::interrupt;
use crate::product;
use crate::stream::Stream;
use crate::up::on_a_terminal;

mod keys;
mod names;
mod port;
mod suite;

pub use keys::keys_of_the_session;
pub use names::resolver_on_loopback;
pub use port::published_port;
pub use suite::other_suite;

/// Where the static busybox is seen inside: the image itself has no shell.
const BUSYBOX: &str = "/exchange/busybox";

/// One instance; what it has is removed when this goes.
pub struct Sandbox {
    name: String,
    state: PathBuf,
}

impl Sandbox {
    /// In the state directory that all of these share, so that the image is unpacked once.
    fn new(purpose: &str) -> Result<Self> {
        Self::in_state(purpose, &product::target().join("itest-run/sandbox/state"))
    }

    fn in_state(purpose: &str, state: &Path) -> Result<Self> {
        let sandbox = Self { name: product::instance_name(purpose), state: state.to_owned() };
        // What a killed run left behind.
        sandbox.down(&["--volumes"])?.exits(0)?;
        Ok(sandbox)
    }

    fn command(&self, subcommand: &str) -> Result<Command> {
        let mut command = Command::new(product::from_scratch()?);
        command.arg(subcommand).arg("--name").arg(&self.name).arg("--state-dir").arg(&self.state);
        Ok(command)
    }

    fn up_command(&self, options: &[&str]) -> Result<Command> {
        let mut up = self.command("up")?;
        let busybox = product::busybox();
        up.args(["--network", "none", "-v"]).arg(format!("{}:{BUSYBOX}", busybox.display())).args(options);
        Ok(up)
    }

    fn up(&self, options: &[&str]) -> Result<Outcome> {
        command::run_within(&mut self.up_command(options)?, b"", Duration::from_secs(600))
    }

    fn down(&self, options: &[&str]) -> Result<Outcome> {
        command::run(self.command("down")?.args(options), b"")
    }

    /// `exec` of a shell script.
    fn script(&self, script: &str) -> Result<Command> {
        let mut exec = self.command("exec")?;
        exec.args(["--", BUSYBOX, "sh", "-c", script]);
        Ok(exec)
    }

    fn run_script(&self, script: &str, input: &[u8]) -> Result<Outcome> {
        command::run(&mut self.script(script)?, input)
    }

    fn dir(&self) -> PathBuf {
        self.state.join(&self.name)
    }

    fn record(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&fs::read(self.dir().join("instance.json"))?)?)
    }

    fn pid(&self) -> Result<i32> {
        self.record()?["process"]["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok())
            .context("no pid is recorded")
    }

    /// No process, cgroup, mount or file of the instance is there any more.
    fn nothing_left(&self) -> Result<()> {
        ensure!(!self.dir().exists(), "`{}` is left", self.dir().display());
        let groups = cgroups_called(Path::new("/sys/fs/cgroup"), &self.name);
        ensure!(groups.is_empty(), "cgroups are left: {groups:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        ensure!(!mounts.contains(&self.name), "mounts are left: {mounts}");
        // A launcher that had been told its name by nobody but us.
        let own = format!("{}/", self.dir().display());
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let open = fs::read_link(path.join("fd/1")).unwrap_or_default();
            ensure!(
                !open.as_os_str().as_bytes().starts_with(own.as_bytes()),
                "{} still runs",
                path.display()
            );
        }
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _undoing = interrupt::undoing();
        match self.down(&["--volumes"]).and_then(|outcome| outcome.exits(0)) {
            Ok(_) => {}
            Err(error) => eprintln!("error: instance `{}` was not taken down: {error:?}", self.name),
        }
    }
}

fn cgroups_called(dir: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name() == name {
                found.push(entry.path());
            }
            found.extend(cgroups_called(&entry.path(), name));
        }
    }
    found
}

/// Exit statuses, streams, environment and signals of `exec`, in one instance.
pub fn exec() -> Result<()> {
    let sandbox = Sandbox::new("exec")?;
    sandbox.up(&[])?.exits(0)?;
    // The last signal is one of real time, which has no name.
    let cases = [(0, "exit 0"), (7, "exit 7"), (137, "kill -9 $$"), (143, "kill $$"), (168, "kill -40 $$")];
    for (status, script) in cases {
        sandbox.run_script(script, b"")?.exits(status)?;
    }
    for (status, program) in
        [(127, "no-such-program"), (127, "/no/such"), (126, "/usr"), (126, "/proc/version")]
    {
        let outcome = command::run(sandbox.command("exec")?.arg(program), b"")?.exits(status)?;
        ensure!(outcome.stderr.starts_with("error: "), "{program}: {}", outcome.stderr);
    }
    let outcome =
        sandbox.run_script("cat; echo err >&2; test -t 0 || echo no terminal", b"in\n")?.exits(0)?;
    ensure!(outcome.text() == "in\nno terminal" && outcome.stderr == "err\n", "{outcome:?}");
    // Many bytes, both ways: nothing is cut at a buffer's end.
    let much = vec![b'x'; 3 << 20];
    ensure!(sandbox.run_script("cat", &much)?.exits(0)?.stdout == much, "input and output differ");
    let env = sandbox.run_script("env", b"")?.success()?;
    ensure!(
        env.contains("container=from-scratch") && env.contains("PATH=/usr/lib/dockerlaunch/bin:"),
        "{env}"
    );
    ensure!(!env.contains("LISTEN_") && !env.contains("DOCKER_HOST="), "{env}");
    let host = sandbox.run_script("hostname; cat /proc/self/cgroup; echo /proc/[0-9]*", b"")?.success()?;
    ensure!(host.starts_with(&sandbox.name) && host.contains("/proc/1"), "{host}");
    ensure!(!host.contains("/.."), "exec is in a cgroup outside the instance: {host}");
    signals_reach_the_command(&sandbox)?;
    let states =
        sandbox.run_script("cat /proc/[0-9]*/stat 2>/dev/null | grep ') Z ' || true", b"")?.success()?;
    ensure!(states.is_empty(), "zombies inside: {states}");
    // The command goes with the instance, and `exec` with the command.
    let mut waiting = start(&mut sandbox.script("echo ready; sleep 600")?)?;
    wait_for_output(&mut waiting)?;
    sandbox.down(&[])?.exits(0)?;
    let status = wait(&mut waiting, Duration::from_secs(10))?;
    ensure!(status == 137, "exec ended with {status} as the instance went");
    Ok(())
}

fn signals_reach_the_command(sandbox: &Sandbox) -> Result<()> {
    let script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = start(&mut sandbox.script(script)?)?;
    wait_for_output(&mut child)?;
    signal(&child, Signal::TERM)?;
    let status = wait(&mut child, Duration::from_secs(10))?;
    ensure!(status == 9, "exec ended with {status} after SIGTERM");
    Ok(())
}

/// A terminal inside: controlling, of the right size, and the status comes through.
pub fn terminal() -> Result<()> {
    let sandbox = Sandbox::new("tty")?;
    sandbox.up(&[])?.exits(0)?;
    let script =
        "tty; echo by its name > /dev/tty; echo pid session $(cut -d' ' -f1,6 /proc/self/stat); exit 5";
    let outcome = on_a_terminal(&sandbox.script(script)?)?.exits(5)?;
    let text = outcome.text();
    ensure!(text.contains("/dev/pts/0") && text.contains("by its name"), "{text}");
    // The size of the outer terminal, which `script` leaves at nothing unless it is set first.
    let inner = sandbox.script(&format!("{BUSYBOX} stty size"))?;
    let line = format!("stty rows 33 cols 77; {}", command::show(&inner));
    let mut sized = Command::new("sh");
    sized.args(["-c", &line]);
    let text = on_a_terminal(&sized)?.exits(0)?.text();
    ensure!(text.contains("33 77"), "{text}");
    Ok(())
}

/// Wherever `up` is interrupted, nothing stays; and it works again afterwards.
pub fn interrupted() -> Result<()> {
    let sandbox = Sandbox::new("interrupted")?;
    // The image first: what is interrupted is the start.
    sandbox.up(&[])?.exits(0)?;
    sandbox.down(&["--volumes"])?.exits(0)?;
    // Where these tests were started in the background, INT is ignored, and `up` inherits that.
    let status = fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0").trim();
    let ignored = u64::from_str_radix(ignored, 16)?;
    let mut signals = vec![Signal::INT, Signal::TERM, Signal::HUP];
    signals.retain(|signal| ignored & (1 << (signal.as_raw() - 1)) == 0);
    ensure!(signals.contains(&Signal::TERM), "these tests must not be run with SIGTERM ignored");
    for (round, signal) in signals.iter().cycle().take(24).enumerate() {
        // Tight at first, where one step follows the other; later the engine starts.
        let delay = Duration::from_micros(500 * (round as u64).pow(2));
        let mut up = sandbox.up_command(&[])?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        thread::sleep(delay);
        kill_process(pid(&up)?, *signal)?;
        let status = wait(&mut up, Duration::from_secs(20))?;
        let expected = 128 + signal.as_raw();
        ensure!(
            status == expected,
            "round {round} after {delay:?}: `up` ended with {status}, not {expected}"
        );
        sandbox.nothing_left().with_context(|| format!("round {round}: {signal:?} after {delay:?}"))?;
    }
    // SIGKILL leaves what it must; the next `up` clears it.
    for delay in [5, 15, 100, 300] {
        let mut up = sandbox.up_command(&[])?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        thread::sleep(Duration::from_millis(delay));
        up.kill()?;
        up.wait()?;
        let again = sandbox.up(&[])?;
        // Late enough, the instance has survived the `up` that started it.
        let survived = again.status == 1 && again.stderr.contains("is up already");
        ensure!(again.status == 0 || survived, "after {delay} ms: {}", again.stderr);
        sandbox.down(&["--volumes"])?.exits(0)?;
        sandbox.nothing_left().with_context(|| format!("killed after {delay} ms"))?;
    }
    Ok(())
}

/// A state directory that cannot be written, and one without room: an error with a remedy, nothing half made.
pub fn bad_disks() -> Result<()> {
    for (options, mark, first) in [
        ("ro", "Read-only file system", ""),
        ("size=64k", "No space left on device", "head -c 1m /dev/zero > \"$1\"/filler 2>/dev/null;"),
        ("size=4m", "No space left on device", ""),
    ] {
        let place = tempfile::tempdir()?;
        let script = format!(
            "mount -t tmpfs -o {options} none \"$1\" && {first} shift_dir=\"$1\"; shift; \"$@\"; status=$?; \
             find \"$shift_dir\" -mindepth 1 ! -name filler; exit $status"
        );
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(place.path());
        shell.arg(product::from_scratch()?).args(["up", "--network", "none", "--name"]);
        shell.arg(product::instance_name("disk")).arg("--state-dir").arg(place.path().join("state"));
        let outcome = command::run_within(&mut shell, b"", Duration::from_secs(600))?;
        ensure!(outcome.status == 1, "{options}: status {}: {}", outcome.status, outcome.stderr);
        for word in ["error: ", mark, "hint: ", "--state-dir"] {
            ensure!(outcome.stderr.contains(word), "{options}: no `{word}` in: {}", outcome.stderr);
        }
        ensure!(outcome.text().is_empty(), "{options}: half made: {}", outcome.text());
        let groups = cgroups_called(Path::new("/sys/fs/cgroup"), &product::instance_name("disk"));
        ensure!(groups.is_empty(), "{options}: cgroups are left: {groups:?}");
    }
    Ok(())
}

/// Blanks, commas, colons and backslashes in the path of the state directory, and more of it than a socket address
/// takes.
pub fn odd_paths() -> Result<()> {
    let place = tempfile::tempdir_in(product::target())?;
    let odd = place.path().join("a b,c:d\\e'f");
    let deep = place.path().join("long".repeat(30));
    for (state, long) in [(odd, false), (deep, true)] {
        let sandbox = Sandbox::in_state("odd", &state)?;
        let up = sandbox.up(&[])?.exits(0)?;
        let socket = sandbox.dir().join("docker.sock");
        ensure!(socket.exists(), "no socket at `{}`", socket.display());
        let printed = up.text().replace("'\\''", "'");
        ensure!(printed.contains(&format!("unix://{}", socket.display())), "{printed}");
        let long = long || socket.as_os_str().len() > 107;
        ensure!(up.stderr.contains("so long a path") == long, "{}", up.stderr);
        sandbox.run_script("test -S /run/docker.sock", b"")?.exits(0)?;
        sandbox.down(&["--volumes"])?.exits(0)?;
        sandbox.nothing_left()?;
    }
    Ok(())
}

/// `--memory` and `--cpus` hold for the whole instance; what is open in the caller's shell does not reach it; the log
/// can be followed to its end; data outlive `down`.
pub fn run_of_an_instance() -> Result<()> {
    let sandbox = Sandbox::new("life")?;
    let up = sandbox.up_command(&["--memory", "1g", "--cpus", "0.5"])?;
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec 9</etc/passwd; exec {}", command::show(&up))]);
    command::run(&mut shell, b"")?.exits(0)?;
    let pid = sandbox.pid()?;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let open = fs::read_link(entry?.path())?;
        ensure!(!open.ends_with("etc/passwd"), "PID 1 has `{}` open", open.display());
    }
    // Each of them by its name in cgroup v1 or v2.
    for limit in [
        [("memory.limit_in_bytes", "1073741824"), ("memory.max", "1073741824")],
        [("memory.memsw.limit_in_bytes", "2147483648"), ("memory.swap.max", "1073741824")],
        [("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")],
    ] {
        let mut kept = false;
        for group in cgroups_called(Path::new("/sys/fs/cgroup"), &sandbox.name) {
            for (file, value) in limit {
                let Ok(text) = fs::read_to_string(group.join(file)) else { continue };
                ensure!(text.trim() == value, "{}: {file} is {text}", group.display());
                kept = true;
            }
        }
        // A kernel may have been told not to count swap.
        ensure!(kept || limit[0].0.contains("memsw"), "no cgroup of the instance has `{}`", limit[0].0);
    }
    let mut follow = start(sandbox.command("logs")?.arg("--follow"))?;
    wait_for_output(&mut follow)?;
    sandbox.run_script("echo kept > /var/lib/docker/mark; echo gone > /etc/mark", b"")?.exits(0)?;
    sandbox.down(&[])?.exits(0)?;
    ensure!(wait(&mut follow, Duration::from_secs(5))? == 0, "`logs --follow` failed");
    sandbox.up(&[])?.exits(0)?;
    let marks =
        sandbox.run_script("cat /var/lib/docker/mark; test -e /etc/mark || echo fresh", b"")?.success()?;
    ensure!(marks == "kept\nfresh", "{marks}");
    sandbox.down(&["--volumes"])?.exits(0)?;
    sandbox.nothing_left()
}

fn start(command: &mut Command) -> Result<Child> {
    Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
}

/// Returns when the child has written something.
fn wait_for_output(child: &mut Child) -> Result<()> {
    let output = Stream::read(child.stdout.take().context("no output")?);
    eventually("the command is ready", Duration::from_secs(60), || {
        Ok(!output.so_far().is_empty() || child.try_wait()?.is_some())
    })?;
    ensure!(!output.so_far().is_empty(), "the command ended before it was ready");
    Ok(())
}

fn pid(child: &Child) -> Result<Pid> {
    Pid::from_raw(i32::try_from(child.id())?).context("no pid")
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    Ok(kill_process(pid(child)?, signal)?)
}

fn wait(child: &mut Child, within: Duration) -> Result<i32> {
    use std::os::unix::process::ExitStatusExt;
    // What it still writes must not hold it up.
    let output = child.stdout.take();
    let reader =
        thread::spawn(move || output.map(|mut output| std::io::copy(&mut output, &mut std::io::sink())));
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait()? {
            drop(reader);
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("did not end within {within:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}
