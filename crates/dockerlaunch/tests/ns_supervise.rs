//! The launcher as PID 1 over engines, jobs and hooks that misbehave.

mod empty_system;

use empty_system::case::{Case, SERVE, assert_has, obedient};
use empty_system::{READY, assert_status, text};

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
