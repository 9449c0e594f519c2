//! The launcher in front of other programs: clients, and the command of a container.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn launcher() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dockerlaunch"))
}

fn docker_init() -> Command {
    let mut command = launcher();
    command.arg0("docker-init");
    command
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
    for (mut command, words) in
        [(launcher(), &["sh"][..]), (launcher(), &["--", "sh"]), (docker_init(), &["--", "sh"])]
    {
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
    let in_json =
        output(launcher().args(["ready", "--timeout", "soon"]).env("DOCKERLAUNCH_LOG_FORMAT", "json"));
    assert_eq!(in_json.status.code(), Some(2));
    let told: serde_json::Value = serde_json::from_slice(&in_json.stderr).expect("JSON");
    assert!(told["msg"].is_string() && told["hints"][0]["text"].is_string(), "{told}");
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

#[test]
fn docker_init_answers_as_tini_does() {
    let shown = output(docker_init().arg("--version"));
    assert!(shown.status.success());
    // As dockerd takes it apart: "tini version V - git.COMMIT".
    let text = String::from_utf8(shown.stdout).expect("text");
    let (version, commit) = text.trim().split_once(" - ").expect("two parts");
    assert!(
        version.starts_with("tini version ") && commit.starts_with("git.") && commit.split('.').count() == 2
    );
}

#[test]
fn docker_init_has_the_status_of_its_command() {
    // SIGPIPE ends a program, unless it was started with that signal ignored.
    for (script, status) in
        [("exit 0", 0), ("exit 9", 9), ("kill -9 $$", 137), ("kill -PIPE $$", 141), ("kill -40 $$", 168)]
    {
        assert_eq!(
            output(docker_init().args(["--", "sh", "-c", script])).status.code(),
            Some(status),
            "{script}"
        );
    }
    assert_eq!(output(docker_init().arg("no-such-program")).status.code(), Some(127));
}

/// Who ignores the end of its children passes that on to us.
#[test]
fn docker_init_hears_of_ends_that_its_starter_ignores() {
    let ignoring = r#"$SIG{CHLD} = "IGNORE"; my $launcher = shift; exec {$launcher} "docker-init", @ARGV"#;
    let mut command = Command::new("perl");
    command.args(["-e", ignoring, env!("CARGO_BIN_EXE_dockerlaunch"), "--", "sh", "-c", "exit 9"]);
    assert_eq!(output(&mut command).status.code(), Some(9));
}

#[test]
fn docker_init_passes_signals_on_and_reaps() {
    // Orphans go to the nearest reaper above, which must be docker-init; a zombie is a child of it in state Z. Every loop
    // ends, so that nothing stays behind where the test fails.
    let orphan = r#"n=0; while read -r _ _ _ parent _ < /proc/$$/stat; [ $parent != $0 ] && [ $n -lt 500 ]; do n=$((n+1)); sleep 0.01; done
      [ $parent = $0 ] && echo adopted || echo lost"#;
    let script = r#"trap 'echo real time' 40; trap 'echo usr1' USR1; trap 'echo cont' CONT; trap 'exit 7' TERM; (sh -c "$1" $PPID &)
      n=0; while [ $n -lt 20 ]; do (true &); n=$((n+1)); done
      while grep -qs "^[0-9]* ([^)]*) Z $PPID " /proc/[0-9]*/stat && [ $n -lt 500 ]; do n=$((n+1)); sleep 0.01; done
      [ $n -lt 500 ] && echo reaped; while [ $n -lt 1000 ]; do n=$((n+1)); sleep 0.01; done"#;
    let mut init = docker_init()
        .args(["--", "sh", "-c", script, "sh", orphan])
        .stdout(Stdio::piped())
        .spawn()
        .expect("spawn");
    let pid = Pid::from_child(&init);
    let mut out = BufReader::new(init.stdout.take().expect("piped"));
    let mut says = |signal: Option<Signal>| {
        signal.into_iter().for_each(|signal| kill_process(pid, signal).expect("kill"));
        let mut line = String::new();
        out.read_line(&mut line).expect("read");
        line
    };
    let mut both = [says(None), says(None)];
    both.sort();
    assert_eq!(both, ["adopted\n", "reaped\n"]);
    assert_eq!(says(Some(Signal::USR1)), "usr1\n");
    assert_eq!(says(Some(Signal::CONT)), "cont\n");
    let number = pid.as_raw_nonzero().to_string();
    assert!(output(Command::new("sh").args(["-c", "kill -40 $0", &number])).status.success());
    assert_eq!(says(None), "real time\n");
    kill_process(pid, Signal::TERM).expect("kill");
    assert_eq!(init.wait().expect("wait").code(), Some(7));
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "");
}
