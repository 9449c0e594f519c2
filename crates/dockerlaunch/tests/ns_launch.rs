//! What the launcher does as PID 1 of an empty system.

mod empty_system;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use empty_system::{EmptySystem, READY, assert_status, text};

#[test]
fn ns_an_empty_system_becomes_what_the_plan_predicted() {
    let system = EmptySystem::new(
        "cat /proc/self/mountinfo; ls -ld /tmp /root /var/run; cat /sys/class/net/lo/flags; exit 0",
    );
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 0);
    let text = text(&output);
    for wanted in [" /proc ", " /sys ", " /dev/pts ", " /dev/shm ", " /dev/mqueue ", " /run "] {
        assert!(
            text.lines().any(|l| l.contains(" - ") && l.contains(wanted)),
            "{wanted} is not mounted:\n{text}"
        );
    }
    assert!(text.contains("drwxrwxrwt"), "/tmp is sticky whatever the umask:\n{text}");
    assert!(text.contains("/var/run -> /run"), "{text}");
    // IFF_UP | IFF_LOOPBACK (| IFF_RUNNING): 0x9 or 0x49.
    assert!(text.contains("0x9") || text.contains("0x49"), "loopback is up:\n{text}");
    assert!(!text.contains("the system does not show it"), "prediction and new probe differ:\n{text}");
}

#[test]
fn ns_the_engine_gets_sockets_for_its_own_pid_and_no_blocked_signal_pain_3() {
    // The mask is read without a fork: the shell blocks everything itself around one.
    let system = EmptySystem::new(
        r#"[ "$LISTEN_PID" = "$$" ] && echo "pid is mine"; echo "fds $LISTEN_FDS"; readlink /proc/$$/fd/3
           ls -l /proc/$$/fd | grep -c socket:; while read -r k v; do case $k in SigBlk:|SigIgn:) echo "$k $v"; esac; done < /proc/$$/status; ls -l /run/docker.sock; echo "args $*""#,
    );
    let output = system.launch(&["dockerd", "--debug"]);
    assert_status(&output, 0);
    let text = text(&output);
    for wanted in [
        "pid is mine",
        "fds 1",
        "socket:[",
        "SigBlk: 0000000000000000",
        "srw-rw----",
        "args -H fd:// --debug",
    ] {
        assert!(text.contains(wanted), "no `{wanted}` in:\n{text}");
    }
    let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn: ")).expect("mask");
    let ignored = u64::from_str_radix(ignored, 16).expect("hex");
    // Those above 31 are glibc's own.
    assert_eq!(ignored & 0x7fff_ffff, 0, "{text}");
}

#[test]
fn ns_the_engines_end_is_ours() {
    assert_status(&EmptySystem::new("exit 42").launch(&["dockerd"]), 42);
    assert_status(&EmptySystem::new("kill -9 $$").launch(&["dockerd"]), 137);
}

#[test]
fn ns_signals_are_forwarded_once() {
    // The engine signals its parent, as `docker stop` would signal PID 1, and counts what comes back.
    let system = EmptySystem::new(&format!(
        r#"n=0; trap 'n=$((n+1))' TERM; trap 'echo hup' HUP; {READY}
           kill -HUP $PPID; sleep 0.3; kill -TERM $PPID; kill -TERM $PPID; sleep 0.5; kill -TERM $PPID; sleep 0.3
           echo "terms $n"; exit 7"#,
    ));
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 7);
    assert!(text(&output).contains("hup\nterms 1\n"), "{}", text(&output));
}

#[test]
fn ns_a_signal_that_comes_while_we_prepare_ends_the_launch() {
    // Whoever opens the pipe for writing waits until the launcher reads it, in the middle of its preparations.
    let signal = "file=var/lib/docker/swarm/docker-state.json; mkdir -p var/lib/docker/swarm; mkfifo $file
        (while [ -p $file ]; do exec 3>$file; kill -TERM 1; exec 3>&-; done) &";
    for reap in ["true", "false"] {
        let system = EmptySystem::new("echo the engine runs; sleep 1");
        system.stage(|stage| {
            let stage = stage.replace("shift\n", &format!("{signal}\nshift\n"));
            stage.replace("env -i", &format!("env -i DOCKER_LAUNCH_REAP={reap}"))
        });
        let output = system.launch(&["dockerd"]);
        assert_status(&output, 143);
        let text = text(&output);
        assert!(
            text.contains("ended before the engine was started") && !text.contains("the engine runs"),
            "{text}"
        );
    }
}

#[test]
fn ns_orphans_are_reaped_pain_14() {
    // Fifty orphans end while the engine lives; none may be left as a zombie.
    let system = EmptySystem::new(
        r#"i=0; while [ $i -lt 50 ]; do (sleep 0.05 &) ; i=$((i+1)); done; sleep 1
           while zombies=$(cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '); [ $zombies != 0 ] && [ $i -lt 150 ]; do i=$((i+1)); sleep 0.1; done
           echo "zombies $zombies""#,
    );
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 0);
    assert!(text(&output).contains("zombies 0\n"), "{}", text(&output));
}

#[test]
fn ns_a_job_runs_when_the_engine_is_ready_and_its_status_wins() {
    let ready = format!(
        r#"trap 'echo engine stops; exit 0' TERM; sleep 0.2; echo engine ready; {READY}
        while :; do sleep 0.1; done"#
    );
    let job = "echo job; echo job on the same stream >&2; exit 9";
    let output = EmptySystem::new(&ready).launch(&["run", "--", "sh", "-c", job]);
    assert_status(&output, 9);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "job\n", "the job's output is the job's alone");
    let text = String::from_utf8_lossy(&output.stderr);
    let order: Vec<&str> =
        text.lines().filter(|l| l.starts_with("engine ") || l.starts_with("job ")).collect();
    assert_eq!(order, ["engine ready", "job on the same stream", "engine stops"], "{text}");
}

#[test]
fn ns_a_job_finds_the_engine_that_it_has_brought_along() {
    let elsewhere = [
        ("DOCKER_HOST", "tcp://docker:2376"),
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", "/certs/client"),
    ];
    let file = [("etc/docker/daemon.json", r#"{"hosts": ["unix:///run/x.sock"]}"#)];
    let ready = format!("trap 'exit 0' TERM; {READY} while :; do sleep 0.1; done");
    for (env, files, socket) in
        [(&elsewhere[..], &[][..], "/var/run/docker.sock"), (&[], &file, "/run/x.sock")]
    {
        let system = EmptySystem::new(&ready);
        system.configure(env, files, "");
        let job = "echo $DOCKER_HOST $DOCKER_TLS_VERIFY $DOCKER_CERT_PATH";
        let output = system.launch(&["run", "--", "sh", "-c", job]);
        assert_status(&output, 0);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("unix://{socket}\n"),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn ns_an_engine_that_is_not_there_or_not_executable() {
    let system = EmptySystem::new("exit 0");
    let output = system.launch(&["/no/such/dockerd"]);
    assert_status(&output, 127);
    assert!(
        text(&output).contains("engine `/no/such/dockerd` not found") && text(&output).contains("hint: ")
    );
    fs::write(system.path().join("dockerd"), "not a program").expect("write");
    fs::set_permissions(system.path().join("dockerd"), fs::Permissions::from_mode(0o644)).expect("chmod");
    assert_status(&system.launch(&["/launcher/dockerd"]), 126);
    // A shell would take it for a script, and report on that.
    fs::set_permissions(system.path().join("dockerd"), fs::Permissions::from_mode(0o755)).expect("chmod");
    let output = system.launch(&["/launcher/dockerd"]);
    assert_status(&output, 126);
    assert!(text(&output).contains("Exec format error"), "{}", text(&output));
}

#[test]
fn ns_the_launcher_under_the_engines_name_starts_the_original() {
    let system = EmptySystem::new("echo the original runs");
    system.prepare("mv launcher/dockerd launcher/dockerd.dist; ln -s dockerlaunch launcher/dockerd");
    for program in ["dockerd", "/launcher/dockerd"] {
        let output = system.launch(&[program]);
        assert_status(&output, 0);
        assert!(text(&output).contains("the original runs"), "{}", text(&output));
    }
    system.prepare("ln -sf dockerlaunch launcher/dockerd");
    assert_status(&system.launch(&["dockerd"]), 127);
}

#[test]
fn ns_relative_paths_mean_where_the_launcher_was_started() {
    let system =
        EmptySystem::new(r#"echo "engine $0 $*"; ls /launcher/d.sock; cat /run/dockerlaunch/sockets"#);
    system.stage(|stage| {
        let there = "/bin/sh -c 'cd launcher; exec ./dockerlaunch \"$@\"' sh \"$@\"";
        let stage = stage.replace("/launcher/dockerlaunch \"$@\"", there);
        let stage = stage.replace("env -i", "env -i DOCKER_HOST=unix://d.sock");
        stage.replace("shift\n", "echo '{\"hosts\": [\"fd://\"]}' > launcher/daemon.json\nshift\n")
    });
    // Listeners stand on the command line alone; what else the file says would be in the merged one.
    let output = system.launch(&["./dockerd", "--config-file", "daemon.json"]);
    assert_status(&output, 0);
    assert!(
        text(&output).contains(
            "engine /launcher/dockerd -H fd:// --config-file=/run/dockerlaunch/daemon.json\n/launcher/d.sock\n/launcher/d.sock"
        ),
        "{}",
        text(&output)
    );
}

#[test]
fn ns_an_option_that_docker_no_longer_knows_is_named() {
    let output = EmptySystem::new("exit 0").launch(&["dockerd", "--cluster-store=etcd://x"]);
    assert_status(&output, 125);
    assert!(text(&output).contains("no longer knows `--cluster-store`") && text(&output).contains("hint: "));
}

#[test]
fn ns_old_spellings_start_todays_engine() {
    let system = EmptySystem::new(r#"echo "args $*""#);
    for old in [&["daemon", "-s", "overlay"][..], &["/launcher/docker", "-d", "-s", "overlay"]] {
        let output = system.launch(old);
        assert_status(&output, 0);
        assert!(text(&output).contains("args -H fd:// --storage-driver overlay2\n"), "{}", text(&output));
        assert!(text(&output).contains("is now `dockerd`"), "{}", text(&output));
    }
}

#[test]
fn ns_without_reaping_the_launcher_becomes_the_engine() {
    let system = EmptySystem::new(r#"echo "pid $$ listen $LISTEN_PID""#);
    system.stage(|stage| stage.replace("env -i", "env -i DOCKER_LAUNCH_REAP=false"));
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 0);
    assert!(text(&output).contains("pid 1 listen 1"), "{}", text(&output));
}

#[test]
fn ns_fd_as_a_listener_means_ours() {
    let system = EmptySystem::new(r#"echo "args $* fds $LISTEN_FDS""#);
    let output = system.launch(&["dockerd", "-H", "fd://", "--containerd=/x"]);
    assert_status(&output, 0);
    assert!(text(&output).contains("args -H fd:// --containerd=/x fds 1\n"), "{}", text(&output));
}

#[test]
fn ns_sockets_of_our_starter_are_handed_on_and_not_bound_twice() {
    let system =
        EmptySystem::new(r#"echo "args $* fds $LISTEN_FDS pid $([ $LISTEN_PID = $$ ] && echo mine)""#);
    // Perl listens as systemd would, on the very path that we would bind.
    let starter = r#"perl -MSocket -e '
      $^F = 9; socket($s, PF_UNIX, SOCK_STREAM, 0) or die; bind($s, sockaddr_un("launcher/d.sock")) or die $!;
      listen($s, 5); use POSIX; POSIX::dup2(fileno($s), 3); $ENV{LISTEN_PID} = $$; $ENV{LISTEN_FDS} = 1; $ENV{DOCKER_HOST} = "unix://SOCKET";
      $ENV{container} = "test"; $ENV{PATH} = "/launcher:/usr/sbin:/usr/bin"; exec "chroot", ".", "/launcher/dockerlaunch", @ARGV' "#;
    for (socket, sockets) in [("launcher/d.sock", 1), ("/run/other.sock", 2)] {
        let starter = starter.replace("SOCKET", socket);
        system.stage(|stage| {
            format!("{}exec {starter}\"$@\"\n", stage.split("exec env").next().expect("stage"))
        });
        let output = system.launch(&["dockerd"]);
        assert_status(&output, 0);
        let wanted = format!("args -H fd:// fds {sockets} pid mine\n");
        assert!(text(&output).contains(&wanted), "{wanted}{}", text(&output));
    }
}

#[test]
fn ns_sockets_meant_for_another_process_are_not_handed_on() {
    let system = EmptySystem::new(
        r#"echo "fds $LISTEN_FDS of $([ "$LISTEN_PID" = $$ ] && echo mine)"; ls -l /proc/$$/fd"#,
    );
    system.stage(|stage| {
        let stage = stage.replace("shift\n", "exec 3</etc/passwd 4</etc/group\nshift\n");
        stage.replace("env -i", "env -i LISTEN_PID=77 LISTEN_FDS=2 LISTEN_FDNAMES=a:b")
    });
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 0);
    assert!(text(&output).contains("fds 1 of mine\n"), "{}", text(&output));
    assert!(
        text(&output).contains(" 3 -> socket:") && !text(&output).contains(" 4 -> "),
        "{}",
        text(&output)
    );
}

/// What a container that was started again, or a base image, may hold already.
#[test]
fn ns_stale_and_half_made_things_stop_nothing_pain_9() {
    let system = EmptySystem::new("ls -ld /var/run /run; ls /var/run/docker.pid; exit 0");
    for prepared in [
        "mkdir -p run var; ln -s /run var/run; echo 7777 > run/docker.pid",
        "mkdir -p var; ln -s ../run var/run",
        "mkdir -p var/run/docker/containerd; echo 1 > var/run/docker/containerd/containerd.pid; echo > var/run/docker.pid",
    ] {
        system.prepare(prepared);
        let output = system.launch(&["dockerd"]);
        assert_status(&output, 0);
        assert!(
            text(&output).contains("'/var/run/docker.pid': No such file"),
            "{prepared}: {}",
            text(&output)
        );
    }
}

#[test]
fn ns_a_log_that_cannot_be_written_stops_nothing() {
    let system = EmptySystem::new("exit 6");
    system.stage(|stage| stage.replace("\"$@\"", "\"$@\" 2>/dev/full"));
    assert_status(&system.launch(&["dockerd", "-s", "overlay"]), 6);
}

#[test]
fn ns_to_ask_for_the_version_nothing_is_prepared() {
    let system = EmptySystem::new(r#"echo "args $*"; ls /proc | head -3"#);
    let output = system.launch(&["dockerd", "--version"]);
    assert_status(&output, 0);
    assert!(text(&output).starts_with("args --version\n"), "{}", text(&output));
    assert!(text(&output).contains("'/proc': No such file"), "{}", text(&output));
}

#[test]
fn ns_programs_get_their_names_back() {
    let system = EmptySystem::new(
        r#"for name in docker iptables modprobe; do echo "$name is $(/usr/bin/readlink /launcher/$name)"; done; iptables"#,
    );
    system.stage(|stage| {
        // Of the host's programs none must be found.
        let stage = stage.replace("/launcher:/usr/sbin:/usr/bin:/sbin:/bin", "/launcher").replace("chroot .", "/usr/sbin/chroot .");
        let programs = r#"printf '#!/bin/sh\necho the original runs\n' > launcher/iptables.dist; chmod 755 launcher/iptables.dist
          cp launcher/iptables.dist launcher/docker.dist; cp launcher/iptables.dist launcher/modprobe; cp launcher/modprobe launcher/modprobe.dist"#;
        stage.replace("shift\n", &format!("{programs}\nshift\n"))
    });
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 0);
    let wanted = "docker is docker.dist\niptables is iptables.dist\nmodprobe is \nthe original runs\n";
    assert!(text(&output).contains(wanted), "{}", text(&output));
    assert!(!text(&output).contains("cannot link"), "{}", text(&output));
}

/// The library's entry point, in somebody else's program.
#[test]
fn ns_the_library_replaces_the_process() {
    let system = EmptySystem::new(r#"echo "pid $$ args $*"; exit 4"#);
    let example = Path::new(env!("CARGO_BIN_EXE_dockerlaunch")).with_file_name("examples/become_docker");
    fs::copy(&example, system.path().join("dockerlaunch")).expect("cargo builds the examples with the tests");
    let output = system.launch(&["/launcher/docker", "-d", "--debug"]);
    assert_status(&output, 4);
    assert!(text(&output).contains("pid 1 args -H fd:// --debug"), "{}", text(&output));
    assert_status(&system.launch(&["/no/such/dockerd"]), 127);
}

/// The same where not even `/proc` is there to tell.
#[test]
fn ns_without_privileges_and_without_proc_everything_missing_is_told() {
    let system = EmptySystem::new("echo the engine runs");
    let drop = "/usr/bin/setpriv --inh-caps=-all --bounding-set=-all /launcher/dockerlaunch \"$@\"";
    system.stage(|stage| stage.replace("/launcher/dockerlaunch \"$@\"", drop));
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 125);
    for wanted in ["cannot mount proc", "CAP_SYS_ADMIN is absent", "CAP_MKNOD is absent", "--privileged"] {
        assert!(text(&output).contains(wanted), "no `{wanted}` in:\n{}", text(&output));
    }
}

/// Without any privilege everything that is missing is told at once, and nothing is touched.
#[test]
fn ns_without_privileges_everything_missing_is_told() {
    let launcher = env!("CARGO_BIN_EXE_dockerlaunch");
    let dir = tempfile::tempdir().expect("dir");
    let copy: PathBuf = dir.path().join("dockerlaunch");
    fs::copy(launcher, &copy).expect("copy");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let output = if rustix::process::geteuid().is_root() {
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .args([copy.as_os_str(), "/bin/dockerd".as_ref()])
            .output()
    } else {
        Command::new(&copy).arg("/bin/dockerd").output()
    }
    .expect("run");
    assert_status(&output, 125);
    let text = text(&output);
    for wanted in [
        "CAP_SYS_ADMIN is absent",
        "CAP_NET_ADMIN is absent",
        "CAP_MKNOD is absent",
        "not found",
        "--privileged",
    ] {
        assert!(text.contains(wanted), "no `{wanted}` in:\n{text}");
    }
}
