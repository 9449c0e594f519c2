//! The launcher in front of other programs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

fn launcher() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dockerlaunch"))
}

fn output(command: &mut Command) -> Output {
    command.output().expect("run")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Not UTF-8: a name in an old encoding.
const ODD: &[u8] = b"caf\xe9";

#[test]
fn programs_get_their_arguments_byte_by_byte() {
    for words in [&["sh"][..], &["--", "sh"]] {
        let mut command = launcher();
        let shown =
            output(command.args(words).args(["-c", "printf %s \"$1\"", "sh"]).arg(OsStr::from_bytes(ODD)));
        assert_eq!(shown.stdout, ODD, "{words:?}: {}", stderr(&shown));
    }
}

#[test]
fn the_engine_gets_no_mangled_path() {
    let refused = output(launcher().args(["dockerd", "--data-root"]).arg(OsStr::from_bytes(ODD)));
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("is not valid UTF-8\n\nhint: "), "{}", stderr(&refused));
}

#[test]
fn a_word_that_is_nothing_here_is_put_right() {
    for (word, meant) in [("chek", "check"), ("verison", "version"), ("dcokerd", "dockerd")] {
        let failed = output(launcher().arg(word).env("PATH", "/nonexistent"));
        assert_eq!(failed.status.code(), Some(127));
        let text = stderr(&failed);
        assert!(text.contains(&format!("cannot execute `{word}`")), "{text}");
        assert!(text.contains(&format!("hint: did you mean `{meant}`?")), "{text}");
    }
    // A program that is installed, as well.
    let dir = tempfile::tempdir().expect("dir");
    std::fs::write(dir.path().join("frobnicate"), "").expect("write");
    let failed = output(launcher().arg("forbnicate").env("PATH", dir.path()));
    assert!(stderr(&failed).contains("did you mean `frobnicate`?"), "{}", stderr(&failed));
}

#[test]
fn without_a_path_programs_are_found_where_the_image_has_them() {
    assert!(output(launcher().args(["sh", "-c", "exit 0"]).env_remove("PATH")).status.success());
    let shown = output(launcher().args(["sh", "-c", "echo $PATH"]).env("PATH", ""));
    assert!(
        String::from_utf8_lossy(&shown.stdout).starts_with("/usr/lib/dockerlaunch/bin:"),
        "{}",
        stderr(&shown)
    );
}
