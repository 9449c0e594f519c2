//! Has a machine run until it has powered off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, mkfifo};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};

use super::qemu::{Accel, CONSOLE, MONITOR, Machine, OUTPUT, PROGRAM, STATUS};
use crate::cli::WITH_PARENT;
use crate::report::Hinted;
use crate::signals::{Interrupted, Signals};
use crate::spawn::Spawn;

/// What qemu itself has to say, in [`Machine::lines`].
const COMPLAINTS: &str = "qemu.log";

/// How often we look whether it has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Runs it; returns the status that its launcher told. Without `accel` the processor executes it, if that can be had.
pub(crate) fn run(machine: &Machine, accel: Option<Accel>, signals: &Signals) -> anyhow::Result<u8> {
    let program = program()?;
    let mut lines = Lines::open(&machine.lines)?;
    let first = accel.unwrap_or_else(|| if has_kvm() { Accel::Kvm } else { Accel::Tcg });
    let mut ended = start(machine, first, &program, &mut lines, signals)?;
    let complaints = complaints(machine);
    if ended.is_broken() && accel.is_none() && !lines.spoke && complaints.to_lowercase().contains("kvm") {
        eprintln!("machine  /dev/kvm cannot run it here ({}): emulated", first_line(&complaints));
        ended = start(machine, Accel::Tcg, &program, &mut lines, signals)?;
    }
    if let Some(error) = lines.unwritten {
        // As a shell tells of a command whose reader has gone.
        const BROKEN_PIPE: u8 = 128 + Signal::SIGPIPE as u8;
        if error.kind() == ErrorKind::BrokenPipe {
            return Ok(BROKEN_PIPE);
        }
        return Err(Hinted::new("cannot write what the command in the machine wrote")
            .because(error)
            .hint("make room where its output goes; the machine has been stopped")
            .into());
    }
    if let Some(status) = told(machine) {
        return Ok(status);
    }
    if let Some(signal) = ended.by {
        return Err(Interrupted(signal).into());
    }
    Err(if ended.is_broken() && !lines.spoke {
        Hinted::new("qemu cannot run the machine")
            .because(first_line(&self::complaints(machine)).to_owned())
            .hint("see what it says of the machine's disk, ports and memory")
    } else {
        Hinted::new("the machine has ended without telling how")
            .hint("see the last lines of its console, above")
            .hint("a kernel panic for want of memory goes away with more: `--memory 4g`")
    }
    .into())
}

/// What the launcher wrote.
fn told(machine: &Machine) -> Option<u8> {
    fs::read_to_string(machine.lines.join(STATUS)).ok()?.trim().parse().ok()
}

fn complaints(machine: &Machine) -> String {
    fs::read_to_string(machine.lines.join(COMPLAINTS)).unwrap_or_default()
}

fn first_line(complaints: &str) -> &str {
    let line = complaints.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    line.trim_start_matches(PROGRAM).trim_start_matches(": ")
}

/// Where qemu is.
pub(crate) fn program() -> Result<std::path::PathBuf, Hinted> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(PROGRAM)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Hinted::new(format!("there is no {PROGRAM} on this host"))
            .hint("install it: `apt-get install qemu-system-x86`")
    })
}

fn has_kvm() -> bool {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// The hidden subcommand: becomes a program that ends when its parent, which is named first, does (`PR_SET_PDEATHSIG`).
pub(crate) fn with_parent(parent: i32, words: &[std::ffi::OsString]) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have gone before that.
    anyhow::ensure!(nix::unistd::getppid().as_raw() == parent, "the parent has ended");
    let (program, args) = words.split_first().context("no program")?;
    Err(std::process::Command::new(program).args(args).exec().into())
}

/// How qemu ended.
struct Ended {
    status: WaitStatus,
    /// What it was to end for.
    by: Option<Signal>,
}

impl Ended {
    fn is_broken(&self) -> bool {
        !matches!(self.status, WaitStatus::Exited(_, 0)) && self.by.is_none()
    }
}

/// Kills qemu if it still runs when we go.
struct Running {
    pid: Pid,
    has_ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

fn start(
    machine: &Machine,
    accel: Accel,
    program: &Path,
    lines: &mut Lines,
    signals: &Signals,
) -> anyhow::Result<Ended> {
    // A socket that is there already cannot be bound.
    let _ = fs::remove_file(machine.lines.join(MONITOR));
    let complaints = File::create(machine.lines.join(COMPLAINTS))?;
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // A session of its own: Ctrl-C reaches us alone, and we tell the machine.
    let pid = Spawn::new(Path::new("/proc/self/exe"), "from-scratch".as_ref())?
        .args([WITH_PARENT, &std::process::id().to_string()])?
        .args([program])?
        .args(machine.args(accel)?)?
        .own_env()?
        .fd(&nothing, 0)?
        .fd(&complaints, 1)?
        .fd(&complaints, 2)?
        .start()
        .context("cannot start qemu")?;
    let mut running = Running { pid: Pid::from_raw(pid), has_ended: false };
    let (mut by, mut asked) = (None, None);
    loop {
        lines.wait(signals)?;
        lines.pass_on();
        let signal = signals.next()?;
        by = by.or(signal);
        match (signal, &asked) {
            // A terminal that goes away may say so twice.
            (None, _) if asked.is_some() || lines.unwritten.is_none() => {}
            (Some(Signal::SIGHUP), Some(_)) => {}
            (_, None) => match ctrl_alt_delete(&machine.lines.join(MONITOR)) {
                // What it has not read is lost when we hang up.
                Ok(connection) => {
                    asked = Some(connection);
                    eprintln!("machine  stops; a second signal ends it at once");
                }
                Err(_) => drop(kill(running.pid, Signal::SIGKILL)),
            },
            (_, Some(_)) => drop(kill(running.pid, Signal::SIGKILL)),
        }
        match waitpid(running.pid, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive => {}
            status => {
                running.has_ended = true;
                // A reader may take its time, and a signal ends it.
                while lines.pass_on() && signals.next()?.is_none() {
                    lines.wait(signals)?;
                }
                return Ok(Ended { status, by });
            }
        }
    }
}

/// The launcher takes it for SIGINT, and stops all in order. To a kernel that has not started it yet it is a restart, which ends
/// qemu (`-no-reboot`).
fn ctrl_alt_delete(monitor: &Path) -> io::Result<UnixStream> {
    let mut connection = UnixStream::connect(monitor)?;
    connection.write_all(b"sendkey ctrl-alt-delete\n")?;
    Ok(connection)
}

/// What comes from the machine.
struct Lines {
    console: File,
    output: File,
    /// It has said something.
    spoke: bool,
    /// Why standard output cannot be written any more.
    unwritten: Option<io::Error>,
}

impl Lines {
    fn open(directory: &Path) -> anyhow::Result<Self> {
        let pipe = |name: &str| -> anyhow::Result<File> {
            let path = directory.join(name);
            mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
            // For writing too (fifo(7)): so it never ends, and qemu need not wait for us.
            let mut options = OpenOptions::new();
            Ok(options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?)
        };
        Ok(Self { console: pipe(CONSOLE)?, output: pipe(OUTPUT)?, spoke: false, unwritten: None })
    }

    /// Until there is something to do, or to look at. Where a reader has no room, that is waited for.
    fn wait(&self, signals: &Signals) -> io::Result<()> {
        let (stderr, stdout) = (io::stderr(), io::stdout());
        let next = |from, to| if has_room(to) { (from, PollFlags::IN) } else { (to, PollFlags::OUT) };
        let console = next(self.console.as_fd(), stderr.as_fd());
        let output = match self.unwritten {
            None => next(self.output.as_fd(), stdout.as_fd()),
            Some(_) => (self.output.as_fd(), PollFlags::IN),
        };
        let signals = (signals.as_fd(), PollFlags::IN);
        let mut fds = [console, output, signals].map(|(fd, what)| PollFd::from_borrowed_fd(fd, what));
        let limit = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What a job writes is data; all else is for people. Returns whether there is more.
    fn pass_on(&mut self) -> bool {
        // Nobody may be left to read what is for people.
        self.spoke |= copy(&self.console, Some(io::stderr().as_fd())).unwrap_or(true);
        let to = io::stdout();
        let to = self.unwritten.is_none().then(|| to.as_fd());
        if let Err(error) = copy(&self.output, to) {
            self.unwritten = Some(error);
        }
        [&self.console, &self.output]
            .into_iter()
            .any(|from| ioctl_fionread(from).is_ok_and(|bytes| bytes > 0))
    }
}

/// Whether a write of a few bytes would not wait; it may fail.
fn has_room(to: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// Copies what is there, while there is room for it; whether that was anything. Without a reader it is thrown away.
fn copy(from: &File, to: Option<BorrowedFd<'_>>) -> io::Result<bool> {
    // So much a pipe that has room takes at once (pipe(7), `PIPE_BUF`).
    let mut buffer = [0; 4096];
    let mut any = false;
    while to.is_none_or(has_room) {
        let length = match rustix::io::read(from, &mut buffer) {
            Ok(0) | Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => continue,
            other => other?,
        };
        any = true;
        let mut rest = &buffer[..length];
        while let Some(to) = to.filter(|_| !rest.is_empty()) {
            match rustix::io::write(to, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                // Somebody has made it non-blocking.
                Err(Errno::AGAIN) => drop(poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None)),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(any)
}
