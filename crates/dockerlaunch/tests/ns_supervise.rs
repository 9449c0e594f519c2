//! The launcher as PID 1 over engines that misbehave: it stops them, starts them again, drains, and leaves nothing.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

mod empty_system;

use empty_system::{EmptySystem, READY, assert_status, text};

/// An engine that serves until SIGTERM.
fn obedient() -> String {
    format!("trap 'echo engine stops; exit 0' TERM; {READY} while :; do sleep 0.05; done")
}

/// Answers HTTP on the socket that it was handed over: what the lines of `$1` say, one an answer, the last one for ever.
const SERVE: &str = r#"perl -MIO::Handle -MSocket -e '
  open(my $listener, "+<&=", 3) or die $!; my @answers = split /\n/, $ARGV[0];
  while (accept(my $client, $listener)) {
    my $line = <$client>; print "asked $line"; STDOUT->flush();
    my $body = @answers > 1 ? shift @answers : $answers[0];
    print $client "HTTP/1.0 200 OK\r\nContent-Length: ".length($body)."\r\n\r\n$body"; close $client;
  }' "#;

struct Case {
    system: EmptySystem,
    env: String,
    /// What of the stage is replaced, and by what.
    changes: Vec<(&'static str, String)>,
}

impl Case {
    fn new(engine: &str) -> Self {
        Self { system: EmptySystem::new(engine), env: String::new(), changes: Vec::new() }
    }

    /// Sets a variable of the launcher.
    fn env(mut self, variable: &str) -> Self {
        self.env += &format!("'{variable}' ");
        self
    }

    /// Changes what happens before the launcher starts.
    fn change(mut self, from: &'static str, to: &str) -> Self {
        self.changes.push((from, to.to_owned()));
        self
    }

    /// Commands that prepare the root, in its directory.
    fn prepare(self, commands: &str) -> Self {
        self.change("shift\n", &format!("{commands}\nshift\n"))
    }

    /// A hook with this script.
    fn hook(self, script: &str) -> Self {
        let script = script.replace('\n', "\\n");
        self.prepare(&format!("mkdir -p etc/dockerlaunch/pre.d; printf '{script}' > etc/dockerlaunch/pre.d/1; chmod +x etc/dockerlaunch/pre.d/1"))
    }

    fn launch(self, args: &[&str]) -> Output {
        self.staged().launch(args)
    }

    fn staged(self) -> EmptySystem {
        self.system.stage(|stage| {
            let stage = stage.replace("DOCKER_LAUNCH_DEBUG=true", &self.env);
            self.changes.iter().fold(stage, |stage, (from, to)| stage.replace(from, to))
        });
        self.system
    }

    /// The launcher as a child of a shell that is PID 1, and what that shell sees when it has ended.
    fn launch_below(self, args: &[&str], then: &str) -> Output {
        let shell =
            format!("chroot . sh -c '/launcher/dockerlaunch \"$@\"; echo \"status $?\"; {then}' sh \"$@\"");
        self.change("chroot . /launcher/dockerlaunch \"$@\"", &shell).launch(args)
    }
}

#[track_caller]
fn assert_has(output: &Output, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text(output).contains(wanted), "no `{wanted}` in:\n{}", text(output));
    }
}

#[test]
fn ns_statuses_of_the_engine_are_ours() {
    for status in [0, 1, 2, 125, 126, 127, 128, 255] {
        assert_status(&Case::new(&format!("exit {status}")).launch(&["dockerd"]), status);
    }
    for (signal, status) in [("TERM", 143), ("SEGV", 139), ("ABRT", 134), ("KILL", 137), ("40", 168)] {
        let output = Case::new(&format!("ulimit -c 0; kill -{signal} $$")).launch(&["dockerd"]);
        assert_status(&output, status);
        let told = if signal == "KILL" { "was killed (SIGKILL)" } else { "was ended by signal" };
        assert_has(&output, &[told, "hint: "]);
    }
}

#[test]
fn ns_an_engine_that_ignores_sigterm_is_ended_at_the_deadline() {
    let engine = "trap 'echo term' TERM; kill -TERM $PPID; kill -TERM $PPID; while :; do sleep 0.05; done";
    let start = Instant::now();
    let output = Case::new(engine).env("DOCKERLAUNCH_STOP_TIMEOUT=3s").launch(&["dockerd"]);
    assert_status(&output, 137);
    assert_eq!(text(&output).matches("term\n").count(), 1, "one SIGTERM: {}", text(&output));
    assert_has(&output, &["ended by force"]);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn ns_what_stops_a_systemd_stops_us() {
    let engine = obedient().replace("while :", "kill -37 $PPID; while :");
    let output = Case::new(&engine).launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_has(&output, &["engine stops\n"]);
}

/// Beside a job Ctrl-C is the job's; once that has ended, it is ours.
#[test]
fn ns_ctrl_c_after_a_job_does_not_wait() {
    let engine = format!("trap 'echo engine told' TERM; {READY} while :; do sleep 0.05; done");
    let system = Case::new(&engine).env("DOCKERLAUNCH_STOP_TIMEOUT=2m").staged();
    let command = system.command(&["run", "--", "true"]);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.display())).collect();
    let start = Instant::now();
    // On a terminal of its own, which its input is typed on.
    let mut script = Command::new("script")
        .args(["-qefc", &line.join(" "), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script of util-linux");
    let mut keys = script.stdin.take().expect("piped");
    let mut told = String::new();
    for line in BufReader::new(script.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        if line.contains("engine told") {
            keys.write_all(b"\x03").expect("Ctrl-C");
        }
        told += &line;
    }
    assert_eq!(script.wait().expect("wait").code(), Some(0), "{told}");
    assert!(told.contains("ended by force"), "{told}");
    assert!(start.elapsed() < Duration::from_secs(60), "{told}");
}

#[test]
fn ns_a_second_sigint_does_not_wait() {
    let engine = "trap '' TERM; kill -INT $PPID; sleep 0.3; kill -INT $PPID; while :; do sleep 0.05; done";
    let start = Instant::now();
    let output = Case::new(engine).env("DOCKERLAUNCH_STOP_TIMEOUT=10m").launch(&["dockerd"]);
    assert_status(&output, 137);
    assert!(start.elapsed() < Duration::from_secs(60));
}

/// Containers that do not stop are ended while the engine still has time to clean up after them.
#[test]
fn ns_containers_go_before_the_engine_pain_10() {
    let engine = r#"
        printf '#!/bin/sh\n(trap "" TERM; exec sleep 1000) & echo $! > /container; wait; echo shim saw it; exec sleep 1000' > /containerd-shim-runc-v2
        chmod +x /containerd-shim-runc-v2; /containerd-shim-runc-v2 &
        trap 'told=1' TERM; while [ ! -s /container ]; do sleep 0.05; done
        kill -TERM $PPID
        while kill -0 $(cat /container) 2>&-; do sleep 0.05; done
        sleep 0.5; echo "the container is gone, told $told"; exit 0"#;
    let output = Case::new(engine).env("DOCKERLAUNCH_STOP_TIMEOUT=4s").launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_has(&output, &["shim saw it", "the container is gone, told 1"]);
}

#[test]
fn ns_below_another_init_nothing_is_left_behind() {
    let engine = r#"
        mkdir -p /var/lib/docker/overlay2/x/merged /run/docker/netns
        mount -t tmpfs left /var/lib/docker/overlay2/x/merged; touch /run/docker/netns/y; mount --bind /proc/self/ns/net /run/docker/netns/y
        (trap "" TERM HUP; setsid sleep 1000 &) ; (setsid sh -c 'sleep 1000 & sleep 1000' &)
        echo "mounted $(grep -c -e /merged -e /netns/ /proc/self/mountinfo)"; exit 5"#;
    let seen = r#"echo "left $(grep -c -e /merged -e /netns/ /proc/self/mountinfo) mine $(grep -c /volumes/mine /proc/self/mountinfo)"; ls -d /proc/[0-9]* | wc -l"#;
    let output = Case::new(engine)
        .prepare("mkdir -p var/lib/docker/volumes/mine; mount -t tmpfs mine var/lib/docker/volumes/mine")
        .launch_below(&["dockerd"], seen);
    // The shell, its subshell for `ls`, and that itself.
    assert_has(&output, &["mounted 2\n", "status 5\n", "left 0 mine 1\n"]);
    let processes: u32 = text(&output).lines().find_map(|line| line.parse().ok()).expect("a count");
    assert!(processes <= 3, "{processes} processes: {}", text(&output));
}

/// What a hook has started belongs to the launch as well, and one that fails ends with all of it.
#[test]
fn ns_below_another_init_hooks_leave_nothing_behind() {
    for (end, status) in [("exit 0", 5), ("exit 7", 125)] {
        let output = Case::new("exit 5")
            .hook(&format!("#!/bin/sh\n(setsid sleep 1000 &)\n{end}"))
            .launch_below(&["dockerd"], "cat /proc/[0-9]*/comm | grep -c sleep");
        assert_has(&output, &[&format!("status {status}\n0\n")]);
    }
}

/// Whoever has started us hears what the engine tells us.
#[test]
fn ns_readiness_is_passed_on() {
    let outer = r#"perl -MSocket -e '$| = 1; socket(S, AF_UNIX, SOCK_DGRAM, 0); bind(S, pack_sockaddr_un("NAME")) or die $!;
      open(F, ">bound"); while (recv(S, $m, 99, 0), 1) { print "outer $m"; open(F, ">heard-$m") }' & while [ ! -e bound ]; do sleep 0.01; done"#;
    // The second one is an abstract name.
    for (variable, name) in [("/outer", "outer"), ("@outer", r"\0outer")] {
        let engine = format!(
            "heard() {{ while [ ! -e /heard-$1=1 ]; do sleep 0.05; done; }}
            trap 'heard STOPPING; exit 3' TERM; {READY} heard READY; kill -TERM $PPID; while :; do sleep 0.05; done"
        );
        let output = Case::new(&engine)
            .env(&format!("NOTIFY_SOCKET={variable}"))
            .prepare(&outer.replace("NAME", name))
            .launch(&["dockerd"]);
        assert_status(&output, 3);
        assert_has(&output, &["outer READY=1\nouter STOPPING=1\n"]);
    }
}

#[test]
fn ns_a_crashed_engine_is_started_again_pain_28() {
    let engine = r#"
        n=$(cat /starts 2>&- || echo 0); echo $((n+1)) > /starts
        echo "start $n, fds $LISTEN_FDS, pid file: $(ls /var/run/docker.pid 2>&1)"; echo 7777 > /var/run/docker.pid
        # One that lives saves nothing but its own file.
        cp -n /usr/bin/sleep /containerd; mkdir -p /run/docker/containerd
        [ $n = 0 ] && { /containerd 1000 & echo $! > /run/docker/containerd/containerd.pid; }
        [ $n -lt 3 ] && exit 1; exit 0"#;
    let output = Case::new(engine).env("DOCKERLAUNCH_RESTART=on-failure:5").launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_eq!(text(&output).matches("it starts again in").count(), 3, "{}", text(&output));
    assert_has(&output, &["containerd still runs, so /var/run/docker/containerd/containerd.pid stays"]);
    for start in 0..=3 {
        assert_has(&output, &[&format!("start {start}, fds 1, pid file: ls: cannot access")]);
    }
}

#[test]
fn ns_an_engine_that_keeps_crashing_is_given_up_with_its_last_lines_pain_28() {
    let engine = r#"i=0; while [ $i -lt 99 ]; do i=$((i+1)); echo "line $i" >&2; done; exit 3"#;
    let output = Case::new(engine).env("DOCKERLAUNCH_RESTART=on-failure:2").launch(&["dockerd"]);
    assert_status(&output, 3);
    assert_has(
        &output,
        &["ended with status 3", "started again 2 times", "its last lines:\n    line 50\n", "    line 99\n"],
    );
    assert!(!text(&output).contains("    line 49\n"));
    assert_eq!(
        text(&output).matches("\nline 1\n").count() + usize::from(text(&output).starts_with("line 1\n")),
        3
    );
}

/// What passes through a thread arrives whole, to the last byte before the end.
#[test]
fn ns_a_long_log_is_whole_under_a_restart_policy() {
    let engine = "seq 1 200000 >&2; printf 'no newline' >&2; exit 0";
    let output = Case::new(engine)
        .env("DOCKERLAUNCH_RESTART=on-failure")
        .env("DOCKERLAUNCH_LOG_LEVEL=error")
        .launch(&["dockerd"]);
    assert_status(&output, 0);
    let wanted: String = (1..=200_000).map(|n| format!("{n}\n")).collect::<String>() + "no newline";
    assert!(output.stderr == wanted.as_bytes(), "{} bytes instead of {}", output.stderr.len(), wanted.len());
}

/// The socket stays open between two engines: a client that comes meanwhile waits.
#[test]
fn ns_a_client_waits_for_the_next_engine() {
    let engine = format!(
        r#"
        if [ ! -e /once ]; then
            touch /once
            perl -MIO::Socket::UNIX -e 'sleep 1; $s = IO::Socket::UNIX->new("/run/docker.sock") or die $!;
                print $s "GET /x HTTP/1.0\r\n\r\n"; @a = <$s>; open(F, ">/answer"); print F $a[-1]; close F' &
            sleep 0.9; exit 1
        fi
        sleep 1; {SERVE} served & while [ ! -s /answer ]; do sleep 0.05; done; echo "answer $(cat /answer)"; exit 0"#
    );
    let output = Case::new(&engine).env("DOCKERLAUNCH_RESTART=on-failure").launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_has(&output, &["answer served\n"]);
}

#[test]
fn ns_sigterm_is_held_until_no_container_runs_pain_10() {
    let engine = format!(
        r#"trap 'echo engine stops; kill $server; exit 0' TERM
        {SERVE} '[{{"Id":"x"}}]
[{{"Id":"x"}}]
[]' & server=$!
        {READY} kill -TERM $PPID; while :; do sleep 0.05; done"#
    );
    let output = Case::new(&engine).env("DOCKERLAUNCH_DRAIN=containers-idle").launch(&["dockerd"]);
    assert_status(&output, 0);
    let told = text(&output);
    let lines: Vec<&str> =
        told.lines().filter(|l| l.starts_with("asked") || l.starts_with("engine s")).collect();
    let asked = "asked GET /containers/json HTTP/1.0";
    assert_eq!(
        lines.iter().map(|l| l.trim_end()).collect::<Vec<_>>(),
        [asked, asked, asked, "engine stops"],
        "{told}"
    );
}

#[test]
fn ns_other_things_that_sigterm_is_held_for() {
    let engine = format!(
        r#"trap 'echo "stops $(ls /sign 2>&1)"; exit 0' TERM; {READY}
        kill -TERM $PPID; (sleep 1.5; CHANGE) & while :; do sleep 0.05; done"#
    );
    for (drain, before, change, seen) in [
        ("DOCKERLAUNCH_DRAIN=file:/sign", "true", "touch /sign", "stops /sign\n"),
        ("DOCKERLAUNCH_DRAIN=file-gone:/sign", "touch sign", "rm /sign", "stops ls: cannot access"),
        ("DOCKERLAUNCH_DRAIN=delay:3s", "true", "touch /sign", "stops /sign\n"),
    ] {
        let output =
            Case::new(&engine.replace("CHANGE", change)).prepare(before).env(drain).launch(&["dockerd"]);
        assert_status(&output, 0);
        assert_has(&output, &[seen]);
    }
    let output = Case::new(&engine.replace("CHANGE", "true"))
        .env("DOCKERLAUNCH_DRAIN=file:/sign")
        .env("DOCKERLAUNCH_DRAIN_TIMEOUT=1s")
        .launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_has(&output, &["SIGTERM is held for 1s at most", "stops ls: cannot access"]);
}

#[test]
fn ns_drain_as_a_hook_says_whether_it_waited_long_enough() {
    let engine = format!(
        r#"{SERVE} '[{{"Id":"x"}}]
[]' & sleep 0.3
        dockerlaunch drain; echo "idle $?"; dockerlaunch drain --timeout 0s; echo "still idle $?"
        DOCKERLAUNCH_DRAIN=file:/never dockerlaunch drain --timeout 100ms; echo "limit $?"
        DOCKER_HOST=unix:///nowhere dockerlaunch drain; echo "no engine $?"
        DOCKERLAUNCH_DRAIN=idle dockerlaunch drain; echo "nonsense $?""#
    );
    let output = Case::new(&engine).launch(&["dockerd"]);
    assert_has(&output, &["\nidle 0\n", "still idle 0\n", "limit 1\n", "no engine 1\n", "nonsense 2\n"]);
    assert_has(&output, &["error: not drained within 100ms", "`/never` is not there"]);
}

#[test]
fn ns_the_launcher_stops_with_a_file_or_a_process() {
    let engine = format!("(sleep 0.5; touch /done) & {}", obedient());
    let output = Case::new(&engine).env("DOCKERLAUNCH_EXIT_WITH=file:/done").launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_has(&output, &["engine stops\n", "what we exit with is over"]);
    let output = Case::new(&format!("(sleep 0.3; touch /sign; sleep 1.5; rm /sign) & {}", obedient()))
        .env("DOCKERLAUNCH_EXIT_WITH=file-gone:/sign")
        .launch(&["dockerd"]);
    assert_status(&output, 0);
    // A process that is not there has ended.
    let output = Case::new(&obedient()).env("DOCKERLAUNCH_EXIT_WITH=pid:4000000").launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_has(&output, &["what we exit with is over"]);
}

#[test]
fn ns_a_reload_waits_for_an_engine_that_can_take_it() {
    // Without a trap SIGHUP ends the shell, as it would end a dockerd that is still starting.
    let engine = format!(
        "kill -HUP $PPID; sleep 0.5; echo alive; trap 'echo reloaded; exit 0' HUP; {READY} sleep 5; exit 9"
    );
    let output = Case::new(&engine).launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_has(&output, &["alive\n", "reloaded\n"]);
}

#[test]
fn ns_a_job_that_is_not_there_or_not_executable() {
    for (job, status) in [("/no/such/job", 127), ("/etc/hosts", 126), ("/", 126)] {
        let output = Case::new(&obedient()).launch(&["run", "--", job]);
        assert_status(&output, status);
        assert_has(&output, &["error: cannot execute", "hint: "]);
        assert!(!text(&output).contains("engine stops"), "nothing is started for it: {}", text(&output));
    }
    // The kernel alone knows about this one.
    let odd = Case::new(&obedient()).prepare("printf '\\177ELF' > odd; chmod +x odd");
    let output = odd.launch(&["run", "--", "/odd"]);
    assert_status(&output, 126);
    assert_has(&output, &["engine stops\n", "error: cannot execute", "hint: "]);
}

#[test]
fn ns_an_engine_that_dies_under_a_job_is_no_success() {
    let engine = format!("{READY} while [ ! -e /trapped ]; do sleep 0.05; done; exit 0");
    for (job, status) in [
        ("trap 'echo job was told; exit 0' TERM; : > /trapped; while :; do sleep 0.05; done", 1),
        ("trap 'exit 8' TERM; : > /trapped; while :; do sleep 0.05; done", 8),
        ("trap '' TERM; : > /trapped; while :; do sleep 0.05; done", 137),
    ] {
        let output =
            Case::new(&engine).env("DOCKERLAUNCH_STOP_TIMEOUT=1s").launch(&["run", "--", "sh", "-c", job]);
        assert_status(&output, status);
    }
    // A signal of real time has no name.
    let output = Case::new(&obedient()).launch(&["run", "--", "sh", "-c", "kill -40 $$"]);
    assert_status(&output, 168);
    let output = Case::new("exit 4").launch(&["run", "--", "echo", "job"]);
    assert_status(&output, 4);
    assert!(output.stdout.is_empty(), "the job never began");
}

#[test]
fn ns_a_job_gets_the_signal_and_the_engine_follows() {
    let job = "trap 'echo job ends; exit 0' TERM; kill -TERM $PPID; while :; do sleep 0.05; done";
    let output = Case::new(&obedient()).launch(&["run", "--", "sh", "-c", job]);
    assert_status(&output, 0);
    assert_has(&output, &["job ends\n", "engine stops\n"]);
}

#[test]
fn ns_hooks_run_in_order_before_the_engine() {
    let hooks = r#"mkdir -p etc/dockerlaunch/pre.d; cd etc/dockerlaunch/pre.d
        printf '#!/bin/sh\necho "b, engine log $DOCKERLAUNCH_ENGINE_LOG, path $PATH"; mkdir -p /var/log; sysctl -n net.ipv4.ip_forward' > 20-b
        printf '#!/bin/sh\necho a; echo "{\\"hosts\\": []}" > /etc/made' > 10-a
        printf 'no program' > 15-note; mkdir 16-directory; printf x > .hidden; printf x > 10-a~
        chmod +x 20-b 10-a .hidden; cd ../../.."#;
    let case = Case::new("echo engine; exit 0").env("DOCKERLAUNCH_ENGINE_LOG=/engine.log").prepare(hooks);
    let output = case.launch_below(&["run", "--", "true"], "cat /engine.log");
    let told = text(&output);
    assert!(output.stdout.starts_with(b"status 1\nengine\n"), "{told}");
    let hooks: Vec<&str> = told.lines().filter(|l| *l == "a" || l.starts_with("b, ")).collect();
    assert_eq!(
        hooks,
        ["a", "b, engine log /engine.log, path /launcher:/usr/sbin:/usr/bin:/sbin:/bin"],
        "{told}"
    );
    assert_has(&output, &["warning: hook /etc/dockerlaunch/pre.d/15-note is not executable"]);
    let shown = Case::new("")
        .prepare("mkdir -p etc/dockerlaunch/pre.d; touch etc/dockerlaunch/pre.d/{x,y}")
        .launch(&["plan"]);
    assert_has(&shown, &["skip  hooks          it is not executable: /etc/dockerlaunch/pre.d/"]);
}

#[test]
fn ns_a_hook_that_fails_stops_the_launch() {
    for (script, wanted) in [
        ("#!/bin/sh\nexit 7", "it ended with status 7"),
        ("#!/bin/sh\nkill -9 $$", "signal 9 ended it"),
        ("#!/no/shell\n", "it is a script for `/no/shell`, and this image may have no shell"),
        ("#!/bin/sh\nsleep 1000", "it has not ended within 500ms"),
    ] {
        let hangs = script.contains("sleep");
        let limit = if hangs { "DOCKERLAUNCH_HOOK_TIMEOUT=500ms" } else { "DOCKERLAUNCH_HOOK_TIMEOUT=1m" };
        let output = Case::new("echo engine").env(limit).hook(script).launch(&["dockerd"]);
        assert_status(&output, 125);
        assert_has(&output, &["hook `/etc/dockerlaunch/pre.d/1` failed", wanted, "hint: "]);
        assert!(!text(&output).contains("engine\n"), "{}", text(&output));
    }
}

/// Before the engine runs, a stop is an end, and nothing else means anything.
#[test]
fn ns_signals_that_come_before_the_engine() {
    for (signal, status) in [("TERM", 143), ("INT", 130), ("QUIT", 131)] {
        // Blocked and pending: what the first milliseconds of PID 1 would look like.
        let block = format!("sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIG{signal})); kill {signal} => $$");
        let early = Case::new("echo engine; exit 0")
            .change("exec env", &format!("exec perl -MPOSIX -e '{block}; exec @ARGV' env"));
        let hook = Case::new("echo engine; exit 0").hook(&format!("#!/bin/sh\nkill -{signal} 1; sleep 1000"));
        for case in [early, hook] {
            let start = Instant::now();
            let output = case.launch(&["dockerd"]);
            assert_status(&output, status);
            assert!(!text(&output).contains("engine\n"), "{}", text(&output));
            assert!(start.elapsed() < Duration::from_secs(60), "it did not wait for the hook");
        }
    }
    // Whatever we wait for.
    let hangs = Case::new("echo engine; exit 0").env("DOCKER_EXTRA_CA=/pipe.crt");
    let output =
        hangs.prepare("mkfifo pipe.crt; (while sleep 0.5; do kill -TERM 1; done) &").launch(&["dockerd"]);
    assert_status(&output, 143);
    assert_has(&output, &["signal 15 came, and what we wait for does not"]);
    let output =
        Case::new("sleep 0.3; exit 6").hook("#!/bin/sh\nkill -HUP 1; kill -USR1 1").launch(&["dockerd"]);
    assert_status(&output, 6);
}

#[test]
fn ns_the_engines_log_goes_where_it_is_wanted() {
    let case = Case::new("echo out; echo err >&2; exit 2").env("DOCKERLAUNCH_ENGINE_LOG=/engine.log");
    let output = case.launch_below(&["dockerd"], "cat /engine.log");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "status 2\nout\nerr\n");
    assert_has(
        &output,
        &["ended with status 2", "its last lines:\n    out\n    err\n", "see its log: /engine.log"],
    );
    let output = Case::new("").env("DOCKERLAUNCH_ENGINE_LOG=/no/such/dir/x").launch(&["dockerd"]);
    assert_status(&output, 125);
    assert_has(&output, &["cannot write the engine's log `/no/such/dir/x`", "hint: "]);
    let pipe = Case::new("").env("DOCKERLAUNCH_ENGINE_LOG=/pipe").prepare("mkfifo pipe");
    let output = pipe.launch(&["dockerd"]);
    assert_status(&output, 125);
    assert_has(&output, &["cannot write the engine's log `/pipe`", "a pipe that nobody reads", "hint: "]);
    // One that is read is as good as a file; standard output of a container is one.
    let below = r#"chroot . sh -c '/launcher/dockerlaunch "$@" | cat' sh "$@""#;
    let output = Case::new("echo out; exit 2")
        .env("DOCKERLAUNCH_ENGINE_LOG=/dev/stdout")
        .change(r#"chroot . /launcher/dockerlaunch "$@""#, below)
        .launch(&["dockerd"]);
    assert_has(&output, &["ended with status 2"]);
    assert_eq!(output.stdout, b"out\n");
}

/// A refused configuration explains an engine that cannot start, but not one that was told to end.
#[test]
fn ns_the_engine_is_asked_why_only_where_it_failed_to_start() {
    let engine = |then: &str| {
        format!(r#"case "$*" in *--validate*) touch /asked; echo 'no such key' >&2; exit 1;; esac; {then}"#)
    };
    let seen = "ls /asked";
    let stops = engine("trap 'exit 1' TERM; kill -TERM $PPID; while :; do sleep 0.05; done");
    let output = Case::new(&stops).launch_below(&["dockerd"], seen);
    assert_has(&output, &["status 1\n", "ls: cannot access"]);
    for command in [&["dockerd"][..], &["run", "--", "true"]] {
        let output = Case::new(&engine("exit 1")).launch_below(command, seen);
        assert_has(&output, &["status 1\n", "/asked\n", "the engine does not accept its configuration"]);
    }
}

/// A log that nobody reads must not keep PID 1 from stopping.
#[test]
fn ns_a_log_that_nobody_reads_stops_nothing() {
    let engine = "trap 'exit 5' TERM; kill -TERM $PPID; while :; do sleep 0.05; done";
    // A pipe that is full, and whose reader sleeps.
    let fill = r#"pipe(R, W); open(STDERR, ">&W"); fcntl(W, F_SETFL, O_NONBLOCK); 1 while syswrite(W, "x" x 4096); fcntl(W, F_SETFL, 0); fcntl(R, F_SETFD, 0)"#;
    let case =
        Case::new(engine).change("exec env", &format!("exec perl -MFcntl -e '{fill}; exec @ARGV' env"));
    let start = Instant::now();
    assert_status(&case.launch(&["dockerd"]), 5);
    assert!(start.elapsed() < Duration::from_secs(60));
}

/// Probes are silent, and what was decided is a line each.
#[test]
fn ns_a_start_that_goes_well_frightens_nobody_pain_38() {
    let output = Case::new("exit 0").launch(&["dockerd"]);
    assert_status(&output, 0);
    let told = text(&output);
    assert!(told.contains("dockerlaunch: cgroup "), "{told}");
    for line in told.lines() {
        assert!(line.starts_with("dockerlaunch: "), "{line}");
        for word in ["error", "warning", "modprobe", "No such", "not permitted", "/proc/net"] {
            assert!(!line.contains(word), "{line}");
        }
    }
}

#[test]
fn ns_the_minimum_api_version_reaches_the_engine_pain_11() {
    let case = |value: &str| {
        let case = Case::new("echo \"from $DOCKER_MIN_API_VERSION\"")
            .env(&format!("DOCKER_MIN_API_VERSION={value}"));
        case.launch(&["dockerd"])
    };
    assert_has(&case("1.24"), &["from 1.24"]);
    let output = case("v1.24");
    assert_status(&output, 125);
    assert_has(&output, &["DOCKER_MIN_API_VERSION", "hint: "]);
}

#[test]
fn ns_the_log_in_json_is_json_line_by_line() {
    let case = Case::new("exit 3").env("DOCKERLAUNCH_LOG_FORMAT=json").env("DOCKERLAUNCH_LOG_LEVEL=debug");
    let output = case.launch(&["dockerd"]);
    assert_status(&output, 3);
    let told = String::from_utf8_lossy(&output.stderr);
    for line in told.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(
            value["time"].is_string() && value["level"].is_string() && value["msg"].is_string(),
            "{line}"
        );
    }
    assert!(told.contains(r#""level":"info","step":"cgroup","msg":"v"#), "{told}");
    assert!(told.contains(r#""level":"error","msg":"the engine ended with status 3""#), "{told}");
    let output = Case::new("exit 0").env("DOCKERLAUNCH_LOG_LEVEL=error").launch(&["dockerd"]);
    assert_eq!(text(&output), "");
}

#[test]
fn ns_settings_that_make_no_sense_stop_the_launch() {
    let case = Case::new("echo engine").env("DOCKERLAUNCH_RESTRAT=always").env("DOCKERLAUNCH_DRAIN=idle");
    let output = case.launch(&["dockerd"]);
    assert_status(&output, 125);
    assert_has(
        &output,
        &["`DOCKERLAUNCH_DRAIN=idle` makes no sense", "`DOCKERLAUNCH_RESTART`", "step settings, "],
    );
    let output = Case::new("echo engine")
        .env("DOCKERLAUNCH_RESTART=always")
        .env("DOCKER_LAUNCH_REAP=false")
        .launch(&["dockerd"]);
    assert_status(&output, 125);
    assert_has(&output, &["DOCKER_LAUNCH_REAP=false"]);
}
