//! Runs a command inside a running instance.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::WaitOptions;
use rustix::stdio::stdin;
use rustix::thread::CapabilitySet;

use super::cgroup;
use super::process::ProcessId;
use super::terminal::{self, Raw, Terminal};
use crate::report::Hinted;
use crate::signals::Signals;
use crate::spawn::{Spawn, leave_session_keyring};

/// There was nothing to run the command in, or we could not do our part: not to be taken for its own status, as with `docker exec`.
pub(crate) const OURS: u8 = 125;

/// A command that was found but cannot be executed, and one that was not found: as shells say it.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// What belongs to PID 1 alone.
const NOT_INHERITED: &[&str] = &["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "DOCKER_HOST"];

/// The command was not even started.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// The exit status that says so.
    pub(crate) status: u8,
    pub(crate) error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for NotStarted {
    fn from(error: E) -> Self {
        Self { status: OURS, error: error.into() }
    }
}

/// Runs `command` beside PID 1, which is `process`, and returns its exit status.
pub(crate) fn run(process: &ProcessId, command: &[OsString]) -> Result<u8, NotStarted> {
    let (program, args) = command.split_first().context("no command was given")?;
    // All that needs the host's /proc comes before the namespaces.
    let held = process.hold().context("the instance has just ended")?;
    let mut env = environment(&fs::read(format!("/proc/{}/environ", process.pid))?);
    let allowed = bounding_set(&fs::read_to_string(format!("/proc/{}/status", process.pid))?)
        .context("cannot read the capabilities of PID 1")?;
    let terminal = if terminal::at_both_ends() {
        let opened = Terminal::open(process.pid).context("cannot open a terminal inside")?;
        env.extend(std::env::var_os("TERM").map(|term| variable("TERM", &term)));
        Some(opened)
    } else {
        None
    };
    cgroup::enter_those_of(process.pid)?;
    setns(
        held.as_fd(),
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .context("cannot enter the namespaces of the instance")?;
    drop(held);
    leave_session_keyring().context("cannot make a session keyring")?;
    limit_capabilities(allowed)?;
    nix::unistd::setgroups(&[])?;
    umask(Mode::from_bits_truncate(0o022));
    rustix::process::chdir("/")?;

    let path = find(program, &env)?;
    // Held back before the command exists: none is lost, and none ends this process in its place.
    let signals = Signals::hold(&[
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
        Signal::SIGCHLD,
    ])?;
    let mut spawn = Spawn::new(&path, program)?.args(args)?.env(env)?;
    if let Some(terminal) = &terminal {
        spawn = spawn.terminal(&terminal.path)?;
    }
    let pid = spawn.start().map_err(|error| cannot_start(program, error))?;
    let raw = terminal.is_some().then(Raw::enter).transpose()?;
    let status = attend(Pid::from_raw(pid), &signals, terminal);
    drop(raw);
    Ok(status?)
}

/// Carries signals and keys to the command until it ends.
fn attend(pid: Pid, signals: &Signals, mut terminal: Option<Terminal>) -> io::Result<u8> {
    loop {
        let (mut keys, mut output) = (false, false);
        {
            let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
            if let Some(terminal) = &terminal {
                let wanted =
                    if terminal.has_input() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
                fds.push(PollFd::from_borrowed_fd(terminal.as_fd(), wanted));
                if terminal.wants_input() {
                    fds.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
                }
            }
            poll(&mut fds, None)?;
            if let Some(fd) = fds.get(1) {
                output = !fd.revents().is_empty();
            }
            if let Some(fd) = fds.get(2) {
                keys = !fd.revents().is_empty();
            }
        }
        if let Some(open) = &mut terminal {
            if keys {
                open.read_input()?;
            }
            if output {
                open.write_input()?;
                // Between the last who had it open and the next: the command itself has not ended yet.
                if !open.copy_output()? {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
        }
        while let Some(signal) = signals.next()? {
            match signal {
                Signal::SIGCHLD => {
                    if let Some(status) = ended(pid)? {
                        if let Some(terminal) = &terminal {
                            terminal.copy_output()?;
                        }
                        return Ok(status);
                    }
                }
                Signal::SIGWINCH => {
                    if let Some(terminal) = &terminal {
                        terminal.resize();
                    }
                }
                // Its whole group, as a terminal would; it leads one of its own.
                other => match kill(Pid::from_raw(-pid.as_raw()), other) {
                    Err(nix::errno::Errno::ESRCH) | Ok(()) => {}
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }
}

/// The exit status, once there is one: 128 and the number for a signal, as shells say it. Real-time signals have no names,
/// so nix knows none of them.
fn ended(pid: Pid) -> io::Result<Option<u8>> {
    let pid = rustix::process::Pid::from_raw(pid.as_raw());
    let Some((_, status)) = rustix::process::waitpid(pid, WaitOptions::NOHANG)? else { return Ok(None) };
    let signal = status.terminating_signal().map(|number| 128 + number);
    Ok(status.exit_status().or(signal).and_then(|status| u8::try_from(status).ok()))
}

/// PID 1's own environment, which is the image's and what the user's proxies are.
fn environment(environ: &[u8]) -> Vec<OsString> {
    let mut env: Vec<OsString> = environ
        .split(|byte| *byte == 0)
        .filter(|variable| {
            let name = variable.split(|byte| *byte == b'=').next().unwrap_or_default();
            !variable.is_empty() && !NOT_INHERITED.iter().any(|other| other.as_bytes() == name)
        })
        .map(|variable| OsString::from_vec(variable.to_vec()))
        .collect();
    if lookup(&env, "HOME").is_none() {
        env.push(variable("HOME", OsStr::new("/root")));
    }
    env
}

fn variable(name: &str, value: &OsStr) -> OsString {
    let mut variable = OsString::from(name);
    variable.push("=");
    variable.push(value);
    variable
}

fn lookup<'a>(env: &'a [OsString], name: &str) -> Option<&'a OsStr> {
    env.iter().find_map(|variable| {
        let value = variable.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(OsStr::from_bytes(value))
    })
}

/// Looks for the program as a shell inside would.
fn find(program: &OsStr, env: &[OsString]) -> Result<PathBuf, NotStarted> {
    if program.as_bytes().contains(&b'/') {
        return match fs::metadata(program) {
            Ok(_) => Ok(PathBuf::from(program)),
            Err(error) => Err(cannot_start(program, error)),
        };
    }
    let mut in_the_way = None;
    for dir in std::env::split_paths(lookup(env, "PATH").unwrap_or_default()) {
        let path = dir.join(program);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => return Ok(path),
            Ok(_) => in_the_way = Some(path),
            Err(_) => {}
        }
    }
    Err(match in_the_way {
        Some(path) => cannot_start(path.as_os_str(), io::ErrorKind::PermissionDenied.into()),
        None => NotStarted {
            status: NOT_FOUND,
            error: Hinted::new(format!("`{}` is not in the instance", Path::new(program).display()))
                .hint("the image holds only what Docker needs, no shell; look around by `docker run`")
                .into(),
        },
    })
}

fn cannot_start(program: &OsStr, error: io::Error) -> NotStarted {
    let status = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    let what = format!("cannot start `{}` in the instance", Path::new(program).display());
    // What fork(2) says of a limit.
    let limited = error.kind() == io::ErrorKind::WouldBlock;
    let mut hinted = Hinted::new(what).because(error);
    if limited {
        hinted = hinted.hint("no more processes are allowed: end some of its containers, or raise the limit (`pids.max` of its cgroup and those above, `ulimit -u`)");
    }
    NotStarted { status, error: hinted.into() }
}

/// `CapBnd` of a `/proc/PID/status`.
fn bounding_set(status: &str) -> Option<CapabilitySet> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?.trim();
    Some(CapabilitySet::from_bits_retain(u64::from_str_radix(mask, 16).ok()?))
}

/// The command may have what PID 1 may have, and no more.
fn limit_capabilities(allowed: CapabilitySet) -> anyhow::Result<()> {
    for capability in CapabilitySet::all().difference(allowed).iter() {
        if rustix::thread::capability_is_in_bounding_set(capability).unwrap_or(false) {
            rustix::thread::remove_capability_from_bounding_set(capability)
                .context("cannot give up a capability that PID 1 does not have")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_pid_1_alone_is_left_out() {
        let env = environment(b"PATH=/bin\0LISTEN_FDS=1\0LISTEN_PID=1\0DOCKER_HOST=tcp://x\0no_proxy=a\0");
        assert_eq!(env, ["PATH=/bin", "no_proxy=a", "HOME=/root"]);
    }

    #[test]
    fn a_limit_on_processes_is_told_as_one() {
        let told = |errno| {
            let not = cannot_start(OsStr::new("docker"), io::Error::from_raw_os_error(errno));
            (not.status, crate::report::render(&not.error))
        };
        let (status, text) = told(nix::libc::EAGAIN);
        assert_eq!(status, NOT_EXECUTABLE);
        assert!(text.contains("hint: ") && text.contains("pids.max"), "{text}");
        assert!(!told(nix::libc::EACCES).1.contains("pids.max"));
    }

    #[test]
    fn capabilities_of_a_status_file() {
        let set = bounding_set("Name:\tx\nCapBnd:\t0000000000000003\n").expect("set");
        assert_eq!(set, CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE);
    }
}
