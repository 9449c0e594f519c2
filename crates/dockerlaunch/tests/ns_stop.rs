//! The launcher as PID 1 when it is to end: signals, drains, deadlines, and nothing left behind.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

mod empty_system;

use empty_system::case::{Case, SERVE, assert_has, obedient};
use empty_system::{READY, assert_status, text};

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
    // On a terminal of its own, which its input is typed on. `exec`: a shell in between would die of the Ctrl-C.
    let mut script = Command::new("script")
        .args(["-qefc", &format!("exec {}", line.join(" ")), "/dev/null"])
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

/// With `live-restore` the engine does not ask them, and nobody else would.
#[test]
fn ns_containers_that_the_engine_keeps_are_asked_to_end() {
    let engine = r#"
        printf '#!/bin/sh\ntrap "sleep 0.3; echo container stops; exit 0" TERM; echo up > /container; while :; do sleep 0.05; done' > /inside
        printf '#!/bin/sh\n/inside & wait; exec sleep 1000' > /containerd-shim-runc-v2
        chmod +x /inside /containerd-shim-runc-v2; /containerd-shim-runc-v2 &
        trap 'exit 0' TERM; while [ ! -s /container ]; do sleep 0.05; done
        kill -TERM $PPID; while :; do sleep 0.05; done"#;
    let start = Instant::now();
    let output = Case::new(engine).env("DOCKERLAUNCH_STOP_TIMEOUT=1m").launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_has(&output, &["container stops"]);
    assert!(start.elapsed() < Duration::from_secs(30), "it does not wait for nothing");
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
