//! From launcher to engine: a hidden word that sets descriptors, signal mask and `LISTEN_PID` right, then execs.
//!
//! dockerd takes handed-over sockets only if `LISTEN_PID` is its own pid (sd_listen_fds(3)), which a spawner cannot
//! know beforehand; so PID 1 spawns itself with this word. It also undoes PID 1's blocked signals, which an exec
//! would pass on.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use dockerlaunch_plan::Problem;
use dockerlaunch_plan::config::EngineCommand;
use dockerlaunch_plan::config::settings::LogLevel;
use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::say::{self, say};
use crate::{preload, signals, sys};

/// The hidden word.
const WORD: &str = "__handoff";

/// The hidden word that loads images.
const PRELOAD: &str = "__preload";

/// Variables that describe sockets handed to us, not to the engine.
const LISTEN_VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Stands for the numbers of sockets where descriptors are to stay as they are.
const KEEP: &str = "keep";

/// A command that becomes `program` in the child, with these sockets and no other descriptor.
pub(crate) fn command(
    program: &OsStr,
    args: &[impl AsRef<OsStr>],
    sockets: &[OwnedFd],
) -> io::Result<Command> {
    let mut numbers = Vec::with_capacity(sockets.len());
    for socket in sockets {
        // Inheritable, so that the child has them under the same numbers.
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty())?;
        numbers.push(socket.as_raw_fd().to_string());
    }
    let mut command = with_word(&numbers.join(","), program, args);
    LISTEN_VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    Ok(command)
}

/// A command that becomes `program` in the child, with the environment and descriptors that we were given.
pub(crate) fn plain_command(program: &OsStr, args: &[impl AsRef<OsStr>]) -> Command {
    with_word(KEEP, program, args)
}

fn with_word(numbers: &str, program: &OsStr, args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("dockerlaunch").args([WORD, numbers]).arg(program).args(args);
    command
}

/// Gives a command the engine's environment, for the engine and for what serves it.
pub(crate) fn in_engines_environment(command: &mut Command, engine: &EngineCommand) {
    command.envs(engine.env.iter().map(|(name, value)| (name, value)));
    engine.env_without.iter().for_each(|name| {
        command.env_remove(name);
    });
    without_loader(command);
}

/// The loader would take libraries of the base image before ours, or fail on a preload that it does not find.
pub(crate) fn without_loader(command: &mut Command) {
    std::env::vars_os().map(|(name, _)| name).filter(|name| is_loaders(name)).for_each(|name| {
        command.env_remove(name);
    });
}

fn is_loaders(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"LD_")
}

/// A process that loads the images that come with the system.
pub(crate) fn preload_command(socket: &str, data_root: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("dockerlaunch").args([PRELOAD, socket, data_root]);
    command
}

/// Acts on the hidden word, if `argv` begins with it; then returns only when the exec failed.
pub fn run_if_asked(argv: &[OsString]) -> Option<ExitCode> {
    if let [_, word, socket, data_root] = argv
        && word == PRELOAD
    {
        preload::run(&socket.to_string_lossy(), data_root.as_ref());
        return Some(ExitCode::SUCCESS);
    }
    let [_, word, numbers, program, args @ ..] = argv else { return None };
    if word != WORD {
        return None;
    }
    let numbers = numbers.to_str().unwrap_or_default();
    let error = if numbers == KEEP {
        signals::unblock_all().err().unwrap_or_else(|| execute(program, args, std::env::vars_os()))
    } else {
        let sockets: Vec<BorrowedFd<'_>> =
            numbers.split(',').filter_map(|n| n.parse().ok()).map(sys::borrow).collect();
        become_program(program, args, Environment::default(), &sockets, None, None)
    };
    say::problem(&exec_failed(&program.to_string_lossy(), &error));
    Some(ExitCode::from(exec_status(&error)))
}

/// 127 for what is not there, 126 for what cannot be executed, as shells have it.
pub(crate) fn exec_status(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

/// Why a program cannot be executed beside this engine, as far as that shows before it is: at the places where execvpe(3)
/// looks.
pub(crate) fn missing(program: &OsStr, engine: &EngineCommand) -> Option<io::Error> {
    let ours = || std::env::var_os("PATH");
    let path =
        engine.env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.into()).or_else(ours)?;
    let is_path = program.as_encoded_bytes().contains(&b'/');
    let places: Vec<PathBuf> = match is_path {
        true => vec![program.into()],
        false => std::env::split_paths(&path).map(|dir| dir.join(program)).collect(),
    };
    let mut why = Errno::NOENT;
    for place in places {
        match std::fs::metadata(&place) {
            Ok(meta) if meta.is_file() && access(&place, Access::EXEC_OK).is_ok() => return None,
            Ok(_) => why = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Some(why.into())
}

/// The problem to tell when a program cannot be executed.
pub(crate) fn exec_failed(program: &str, error: &io::Error) -> Problem {
    let problem = Problem::new(format!("cannot execute `{program}`")).cause(format!("execve: {error}"));
    match error.kind() {
        // The kernel says the same of a missing loader or interpreter.
        io::ErrorKind::NotFound if Path::new(program).exists() => {
            problem.hint("the file is there, but the loader or interpreter that it names is not: add it, or use a static program")
        }
        io::ErrorKind::NotFound => problem.hint("name a program that exists, or add its directory to PATH"),
        _ => problem.hint("it must be an executable file of this machine's architecture"),
    }
}

/// Becomes the engine; returns only when that failed.
pub(crate) fn exec_engine(
    engine: &EngineCommand,
    sockets: &[OwnedFd],
    lock: Option<&File>,
    log: Option<File>,
) -> io::Error {
    let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let given = Environment { with: &engine.env, without: &engine.env_without };
    become_program(engine.program.as_ref(), &engine.args, given, &borrowed, lock, log)
}

/// What a program's environment is besides ours.
#[derive(Default)]
struct Environment<'a> {
    with: &'a [(String, String)],
    without: &'a [String],
}

fn become_program(
    program: &OsStr,
    args: &[impl AsRef<OsStr>],
    environment: Environment<'_>,
    sockets: &[BorrowedFd<'_>],
    lock: Option<&File>,
    log: Option<File>,
) -> io::Error {
    let is_engine = program.to_string_lossy().contains("dockerd");
    if is_engine {
        let pid = if std::process::id() == 1 {
            1
        } else {
            rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get())
        };
        trace(&format!("exec of {}", program.to_string_lossy()), pid.unsigned_abs());
    }
    if let Err(error) = signals::unblock_all() {
        return error;
    }
    // Now, since what lies above the sockets is closed below.
    let moved = log.map_or(Ok(()), |log| {
        rustix::stdio::dup2_stdout(&log).and_then(|()| rustix::stdio::dup2_stderr(&log))
    });
    // The lock stays open behind them, for as long as the engine lives.
    let kept: Vec<BorrowedFd<'_>> = sockets.iter().copied().chain(lock.map(AsFd::as_fd)).collect();
    if let Err(error) = moved.map_err(io::Error::from).and_then(|()| sys::place(&kept)) {
        return error;
    }
    let mut extra: Vec<(OsString, OsString)> =
        environment.with.iter().map(|(k, v)| (k.into(), v.into())).collect();
    if !sockets.is_empty() {
        extra.push(("LISTEN_PID".into(), std::process::id().to_string().into()));
        extra.push(("LISTEN_FDS".into(), sockets.len().to_string().into()));
    }
    let dropped = |name: &OsStr| {
        is_engine && is_loaders(name)
            || LISTEN_VARIABLES.iter().any(|v| name == *v)
            || environment.without.iter().any(|v| name == v.as_str())
            || extra.iter().any(|(n, _)| n == name)
    };
    let inherited: Vec<_> = std::env::vars_os().filter(|(name, _)| !dropped(name)).collect();
    execute(program, args, inherited.into_iter().chain(extra))
}

/// execve(2), or for a bare name execvpe(3); returns only when that failed. `Command::exec` would hand an engine that is no
/// program, such as one of another architecture, to a shell (exec(3), `ENOEXEC`), and report on that. An engine has a path;
/// a client's bare name goes the way that it goes in a shell.
fn execute(
    program: &OsStr,
    args: &[impl AsRef<OsStr>],
    env: impl Iterator<Item = (OsString, OsString)>,
) -> io::Error {
    let c_string = |text: OsString| CString::new(text.into_vec()).unwrap_or_default();
    let argv = std::iter::once(program).chain(args.iter().map(AsRef::as_ref)).map(OsStr::to_owned);
    let argv: Vec<CString> = argv.map(c_string).collect();
    let env: Vec<CString> = env
        .map(|(name, value)| {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            c_string(pair)
        })
        .collect();
    // Rust's runtime ignores it.
    sys::default_action(libc::SIGPIPE);
    let exec = if argv[0].as_bytes().contains(&b'/') { nix::unistd::execve } else { nix::unistd::execvpe };
    match exec(&argv[0], &argv, &env) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}

/// At level debug: what happens now, and the time since the start of the launcher's process (field 22 of `/proc/PID/stat`, in ticks
/// of 10 ms). In a container that process was runc's before it became ours, so we tell when we run as well.
pub(crate) fn trace(what: &str, pid: u32) {
    if !say::wants(LogLevel::Debug) {
        return;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything, so count from its end: state is field 3.
    let ticks = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19)?.parse::<u64>().ok());
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    if let Some(ticks) = ticks {
        let start = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        let elapsed = now.tv_sec as f64 + now.tv_nsec as f64 / 1e9 - start;
        say!(Debug, "trace: {what} {:.1} ms after the start of pid {pid}", elapsed * 1e3);
    }
}
