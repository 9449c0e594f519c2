//! Running programs: quietly to a log, or shown line by line.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};

/// The workspace's root, wherever the clone is.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Build directory of the workspace.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Looks a program up as a shell would, `/usr/sbin` included: a user's `PATH` often lacks it.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// True for real root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command in the workspace's root, without a terminal to ask questions on.
pub(crate) fn command(words: &[impl AsRef<OsStr>]) -> Command {
    let (program, arguments) = words.split_first().expect("a command has a first word");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace()).stdin(Stdio::null());
    // Cargo tells us which package we are of, and build scripts that look at that (ring's) run again when it changes, with
    // all that depends on them. itest does the same.
    let of_a_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_a_package)) {
        command.env_remove(name);
    }
    command
}

/// The command as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stderr(Stdio::piped()).output().with_context(|| format!("starting `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed, {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Runs a command, keeps what it printed (both streams, as they came) and shows it with this in front of each line, if anything.
pub(crate) fn tee(command: &mut Command, shown: Option<&str>) -> Result<(bool, String)> {
    let name = show(command);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{name}`"))?;
    let text = Mutex::new(String::new());
    let streams: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|s| Box::new(s) as _), child.stderr.take().map(|s| Box::new(s) as _)];
    thread::scope(|scope| {
        for stream in streams.into_iter().flatten() {
            scope.spawn(|| {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    if let Some(before) = shown {
                        // A closed pipe on our side is no reason to stop a test.
                        let _ = writeln!(std::io::stdout(), "{before}{line}");
                    }
                    let mut text = text.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    text.push_str(&line);
                    text.push('\n');
                }
            });
        }
    });
    let status = child.wait()?;
    Ok((status.success(), text.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_and_the_verdict_are_kept() {
        let (ok, text) =
            tee(&mut command(&["sh", "-c", "echo out; echo err >&2; exit 1"]), None).expect("runs");
        assert!(!ok && text.contains("out\n") && text.contains("err\n"), "{text}");
    }

    #[test]
    fn a_failing_command_is_named_with_its_last_words() {
        let error =
            output(&mut command(&["sh", "-c", "echo why >&2; exit 2"])).expect_err("fails").to_string();
        assert!(error.contains("sh -c") && error.ends_with("why"), "{error}");
    }
}
