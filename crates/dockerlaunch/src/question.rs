//! Questions that the engine's program itself answers: which flags it has, and whether it accepts its configuration.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use dockerlaunch_plan::config::{Config, EngineCommand};
use dockerlaunch_plan::facts::dockerd_flags::{Flag, LIST, parse_help, parse_list};
use dockerlaunch_plan::facts::{MERGED_CONFIG, PRIVATE};
use dockerlaunch_plan::rules::daemon_json::{self, Merged};
use dockerlaunch_plan::{Facts, Problem, masked};
use rustix::fs::MemfdFlags;

use crate::handoff;

/// dockerd needs 50 ms for an answer; a wrapper around it may want more.
const PATIENCE: Duration = Duration::from_secs(10);

/// The flags of the engine at this path: from the list that comes with the image's own, else from the engine.
///
/// # Errors
/// Why it gives no answer.
pub(crate) fn flags(engine: &str) -> Result<Vec<Flag>, String> {
    let own = Path::new(PRIVATE).join("bin/dockerd").canonicalize();
    if own.is_ok_and(|own| Path::new(engine).canonicalize().is_ok_and(|engine| engine == own)) {
        let list = std::fs::read_to_string(LIST).map(|text| parse_list(&text)).unwrap_or_default();
        if !list.is_empty() {
            return Ok(list);
        }
    }
    let output = ask(Command::new(engine).arg("--help"), PATIENCE)
        .map_err(|error| format!("{engine} --help: {error}"))?;
    let flags = parse_help(&String::from_utf8_lossy(&output.stdout));
    if flags.is_empty() { Err(format!("{engine} --help tells no flags")) } else { Ok(flags) }
}

/// Lets an engine that was never started look at the configuration that the user wants for it.
///
/// # Errors
/// What it says against it.
pub(crate) fn before_start(config: &Config, facts: &Facts, engine: &EngineCommand) -> Result<(), Problem> {
    let file = &facts.config_file;
    let Ok(Merged { file: merged, mut args, .. }) = daemon_json::before_start(config, facts) else {
        return Ok(());
    };
    // The user that it looks up may come only with our own files of /etc.
    let remaps = args.iter().map(String::as_str).chain(merged.as_deref()).chain(file.content.as_deref());
    if remaps.into_iter().any(|text| text.contains("userns-remap")) && !Path::new("/etc/passwd").exists() {
        return Ok(());
    }
    // Nothing is written to be looked at: the child inherits the text in memory.
    let memory = merged.as_deref().map(in_memory).transpose();
    let Ok(memory) = memory else { return Ok(()) };
    let Some(memory) = memory else { return validate(engine, &args, MERGED_CONFIG, &file.path, PATIENCE) };
    let place = format!("/proc/self/fd/{}", memory.as_raw_fd());
    // Where nothing is mounted yet, it cannot be shown.
    if !Path::new(&place).exists() {
        return Ok(());
    }
    args.iter_mut().for_each(|arg| *arg = arg.replace(MERGED_CONFIG, &place));
    validate(engine, &args, &place, &file.path, PATIENCE)
}

/// Lets an engine that has failed look at what it was started with. `path` is the user's own file.
///
/// # Errors
/// What it says against it.
pub(crate) fn after_start(engine: &EngineCommand, path: &str) -> Result<(), Problem> {
    // Nobody hears a signal meanwhile.
    const LIMIT: Duration = Duration::from_secs(2);
    validate(engine, &engine.without_sockets(), MERGED_CONFIG, path, LIMIT)
}

/// Asks without starting (`--validate`). What the engine says of the file at `place` is told of the one at `path`.
fn validate(
    engine: &EngineCommand,
    args: &[String],
    place: &str,
    path: &str,
    limit: Duration,
) -> Result<(), Problem> {
    let mut command = Command::new(&engine.program);
    command.args(args).arg("--validate");
    handoff::in_engines_environment(&mut command, engine);
    // An engine that cannot be asked says at its start what it has to say.
    let Ok(output) = ask(&mut command, limit) else { return Ok(()) };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    if output.status.success() || last.contains("unknown flag: --validate") {
        return Ok(());
    }
    Err(Problem::new("the engine does not accept its configuration")
        .cause(masked(&last.replace(place, path)))
        .hint(format!("correct it on the command line, in the environment or in {path}"))
        .remedy("see which settings it has", "dockerlaunch dockerd --help"))
}

fn in_memory(text: &str) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("dockerlaunch", MemfdFlags::empty())?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Runs it, but not for ever. Its output goes to memory: a pipe would have to be emptied meanwhile, and whatever it leaves
/// running could hold that open.
fn ask(command: &mut Command, limit: Duration) -> io::Result<Output> {
    handoff::without_loader(command);
    // /dev/null may not be there yet.
    let (input, mut out, mut err) = (in_memory("")?, in_memory("")?, in_memory("")?);
    command.stdin(input).stdout(out.try_clone()?).stderr(err.try_clone()?);
    let mut child = command.spawn()?;
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill()?;
                child.wait()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let read = |file: &mut File| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    Ok(Output { status, stdout: read(&mut out)?, stderr: read(&mut err)? })
}
