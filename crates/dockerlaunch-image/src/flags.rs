//! Asks a program of the image which flags it takes: the one thing out of a package that is executed, and only its `--help`.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dockerlaunch_plan::facts::dockerd_flags::{parse_help, write_list};

use crate::tree::{Kind, Tree};
use crate::{LIBRARY_DIR, PRIVATE_DIR};

/// It takes 50 ms; a build machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The flags of a program, one a line. The same wherever they are asked for: what depends on the machine, as do defaults,
/// is not in the list.
pub(crate) fn of(tree: &Tree, program: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let help = ask(tree, program, directory.path()).map_err(|error| error.to_string())?;
    let flags = parse_help(&help);
    if flags.is_empty() { Err("there is none in its `--help`".to_owned()) } else { Ok(write_list(&flags)) }
}

/// Runs it with the loader and the libraries of the image: those of this machine may be older.
fn ask(tree: &Tree, program: &str, directory: &Path) -> io::Result<String> {
    let libraries = format!("{}/", LIBRARY_DIR.trim_start_matches('/'));
    let (engine, loader) = (format!("{PRIVATE_DIR}/{program}"), format!("{PRIVATE_DIR}/ld"));
    for (path, node) in tree.iter() {
        if let Kind::File(content) = &node.kind
            && (path == engine || path == loader || path.starts_with(&libraries))
        {
            let file = directory.join(path);
            fs::create_dir_all(file.parent().unwrap_or(directory))?;
            io::copy(&mut content.reader(), &mut File::create_new(&file)?)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
    }
    let (engine, loader) = (directory.join(engine), directory.join(loader));
    let mut command = if loader.exists() {
        let mut command = Command::new(loader);
        command.arg("--library-path").arg(directory.join(libraries)).arg(engine);
        command
    } else {
        Command::new(engine)
    };
    let mut output = tempfile::tempfile_in(directory)?;
    command.arg("--help").current_dir(directory).env_clear();
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(Stdio::null());
    let deadline = Instant::now() + PATIENCE;
    let mut child = loop {
        match command.spawn() {
            // Another thread has just forked and has our new file open until it executes something.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {}
            other => break other?,
        }
    };
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill()?;
                child.wait()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if !status.success() {
        return Err(io::Error::other(format!("it ended with {status}")));
    }
    let mut help = String::new();
    output.rewind()?;
    output.read_to_string(&mut help)?;
    Ok(help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Content;

    /// A program that is a script, in a tree without a loader.
    fn told(script: &str) -> Result<String, String> {
        let mut tree = Tree::new();
        let content = Content::new(format!("#!/bin/sh\n{script}\n").into_bytes());
        tree.add_file(&format!("{PRIVATE_DIR}/bin/dockerd"), 0o755, content).expect("tree");
        of(&tree, "bin/dockerd")
    }

    #[test]
    fn a_program_tells_its_flags() {
        let list = told(
            r#"[ "$1" = --help ] && [ -z "$HOME" ] && printf '      --mtu int   The MTU\n  -D, --debug   Debug\n'"#,
        );
        assert_eq!(list.as_deref(), Ok("mtu int\ndebug bool\n"));
    }

    #[test]
    fn one_that_does_not_is_an_error() {
        assert!(told("exit 3").expect_err("status").contains("exit status: 3"));
        assert!(told("echo hello").expect_err("no flags").contains("none"));
        assert!(of(&Tree::new(), "bin/dockerd").is_err());
    }
}
