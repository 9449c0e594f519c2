//! Listeners and certificates, with an engine that is a script and tells what it was handed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

mod empty_system;

use empty_system::{EmptySystem, assert_status, text};

/// Tells the arguments and each socket handed over, and whether one can connect to what is named after `-`.
const TELL: &str = r#"
echo "args $*"
perl -MSocket=:all -e '
  for my $fd (3 .. 2 + $ENV{LISTEN_FDS}) {
    open(my $s, "+<&=", $fd) or die $!;
    my $a = getsockname($s);
    my $f = sockaddr_family($a);
    if ($f == AF_UNIX) { my $p = unpack_sockaddr_un($a); printf "fd unix %s %o %d\n", $p, (stat $p)[2] & 0777, (stat $p)[5]; }
    elsif ($f == AF_INET) { my ($p, $i) = unpack_sockaddr_in($a); print "fd tcp ", inet_ntoa($i), ":$p\n"; }
    else { my ($p, $i) = unpack_sockaddr_in6($a); print "fd tcp [", inet_ntop(AF_INET6, $i), "]:$p\n"; }
  }'
connect() { perl -MIO::Socket::IP -e 'exit !IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1])' "$@" && echo "reached $*"; }
"#;

fn engine(more: &str) -> EmptySystem {
    EmptySystem::new(&format!("{TELL}\n{more}\nexit 0"))
}

fn args(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("args ")).unwrap_or_else(|| panic!("no args in {text}"))
}

#[track_caller]
fn assert_has(output: &Output, wanted: &[&str]) {
    let text = text(output);
    for line in wanted {
        assert!(text.contains(line), "no `{line}` in:\n{text}");
    }
}

const TLS: &str = "--tlscacert=/certs/server/ca.pem --tlscert=/certs/server/cert.pem --tlskey=/certs/server/key.pem --tlsverify";

#[test]
fn ns_without_an_engine_named_there_is_tls_for_both_families() {
    let system = engine(
        r#"connect 127.0.0.1 2376; connect ::1 2376
           for who in server client; do openssl verify -x509_strict -purpose ssl$who -CAfile /certs/$who/ca.pem /certs/$who/cert.pem; done
           openssl verify -x509_strict -verify_ip 127.0.0.1 -CAfile /certs/client/ca.pem /certs/server/cert.pem
           openssl verify -x509_strict -verify_hostname docker -CAfile /certs/client/ca.pem /certs/server/cert.pem
           stat -c '%a %n' /certs/*/key.pem; ls /certs /certs/ca"#,
    );
    let output = system.launch(&["--mtu=1450"]);
    assert_status(&output, 0);
    assert_eq!(args(&text(&output)), format!("-H fd:// {TLS} --mtu=1450"));
    assert_has(
        &output,
        &[
            "fd tcp [::]:2376\n",
            "fd unix /var/run/docker.sock 660 0\n",
            "reached 127.0.0.1 2376\n",
            "reached ::1 2376\n",
            "600 /certs/ca/key.pem\n644 /certs/client/key.pem\n600 /certs/server/key.pem\n",
            "cert.pem\nkey.pem\n",
        ],
    );
    assert_eq!(text(&output).matches(": OK\n").count(), 4, "{}", text(&output));
    assert!(!text(&output).contains("the system does not show it"), "{}", text(&output));
    assert!(!text(&output).contains("warning"), "{}", text(&output));
}

#[test]
fn ns_what_is_meant_for_clients_does_not_reach_the_engine() {
    let clients = [("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/certs/client")];
    for (args, wanted) in [(&["--tls=false"][..], "variables  "), (&["dockerd"], "variables 1 /certs/client")]
    {
        let system = engine(r#"echo "variables $DOCKER_TLS_VERIFY $DOCKER_CERT_PATH .""#);
        system.configure(&clients, &[], "");
        let output = system.launch(args);
        assert_status(&output, 0);
        assert_has(&output, &[wanted]);
    }
}

#[test]
fn ns_an_interface_without_ipv6_is_reached_by_ipv4() {
    let system = engine("connect 127.0.0.1 2376");
    // It is the sysctl of our own network namespace.
    system.prepare("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    let output = system.launch(&[]);
    assert_status(&output, 0);
    assert_has(&output, &["reached 127.0.0.1 2376\n"]);
}

#[test]
fn ns_without_tls_there_is_a_warning_and_no_certificate() {
    for (env, args, given) in [
        (&[("DOCKER_TLS_CERTDIR", "")][..], &[][..], "-H fd://"),
        (&[], &["--tls=false"], "-H fd:// --tls=false"),
    ] {
        let system = engine("connect 127.0.0.1 2375; ls /certs");
        system.configure(env, &[], "");
        let output = system.launch(args);
        assert_status(&output, 0);
        assert_eq!(self::args(&text(&output)), given);
        assert_has(&output, &["fd tcp [::]:2375\n", "reached 127.0.0.1 2375\n", "'/certs': No such file"]);
        let warning = "tcp://0.0.0.0:2375 is without TLS: whoever reaches it is root here";
        assert_eq!(text(&output).matches(warning).count(), 1, "{}", text(&output));
    }
}

#[test]
fn ns_listeners_that_the_user_names_are_bound_and_handed_over_pains_3_8() {
    let system = engine("connect 127.0.0.1 2375");
    system.configure(&[("DOCKERLAUNCH_SOCKET_MODE", "0600")], &[("etc/group", "root:x:0:\nci:x:0:\n")], "");
    let line = [
        "dockerd",
        "-Hunix:///run/x.sock",
        "--host",
        "tcp://127.0.0.1:2375",
        "-H=tcp://dind:1",
        "--group=ci",
        "-D",
    ];
    let output = system.launch(&line);
    assert_status(&output, 0);
    assert_eq!(args(&text(&output)), "-H fd:// --host=tcp://dind:1 --tls=false --group=ci -D");
    assert_has(
        &output,
        &["fd tcp 127.0.0.1:2375\n", "fd unix /run/x.sock 600 0\n", "reached 127.0.0.1 2375\n"],
    );

    let output = engine("cat /run/dockerlaunch/sockets").launch(&["dockerd", "-H", "tcp://127.0.0.1:1"]);
    assert_status(&output, 0);
    assert_has(
        &output,
        &["fd unix /run/dockerlaunch/docker.sock 600 0\n", "\n/run/dockerlaunch/docker.sock"],
    );
}

#[test]
fn ns_hosts_of_daemon_json_are_no_conflict_pain_20() {
    let system = engine("cat /run/dockerlaunch/daemon.json");
    let file = r#"{"hosts": ["unix:///run/y.sock", "tcp://127.0.0.1:2377"], "mtu": 1400}"#;
    system.configure(&[], &[("etc/docker/daemon.json", file)], "");
    let output = system.launch(&["dockerd"]);
    assert_status(&output, 0);
    assert_eq!(args(&text(&output)), "-H fd:// --config-file=/run/dockerlaunch/daemon.json");
    assert_has(
        &output,
        &["fd unix /run/y.sock 660 0\n", "fd tcp 127.0.0.1:2377\n", "{\n  \"mtu\": 1400\n}\n"],
    );
}

#[test]
fn ns_a_listener_that_a_hook_takes_back_is_closed() {
    for (written, fds) in
        [(r#"{"hosts": ["unix:///var/run/docker.sock"]}"#, "fds 1\n"), (r#"{"tls": false}"#, "fds 2\n")]
    {
        let system = engine("echo fds $LISTEN_FDS; connect 127.0.0.1 2376");
        let hook = format!("#!/bin/sh\nmkdir -p /etc/docker; echo '{written}' > /etc/docker/daemon.json\n");
        system.configure(
            &[],
            &[("etc/dockerlaunch/pre.d/hook", &hook)],
            "chmod 755 etc/dockerlaunch/pre.d/hook",
        );
        let output = system.launch(&[]);
        assert_status(&output, 0);
        assert_has(&output, &[fds]);
        assert!(!text(&output).contains("reached 127.0.0.1 2376"), "{}", text(&output));
    }
}

#[test]
fn ns_a_port_that_is_taken_is_told_with_who_has_it() {
    let system = engine("echo the engine runs");
    let holder = r#"perl -MIO::Socket::INET -e '$0 = "holder"; $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "0.0.0.0:2376") or die $!; open(F, ">held"); sleep 60' &
while [ ! -e held ]; do sleep 0.05; done
"#;
    system.prepare(holder);
    let output = system.launch(&[]);
    assert_status(&output, 125);
    assert_has(
        &output,
        &["error: cannot listen on tcp://0.0.0.0:2376", "in use", "hint: ", "--host=tcp://0.0.0.0:2377"],
    );
    assert!(text(&output).contains("(pid ") && text(&output).contains("listens there"), "{}", text(&output));
    assert!(!text(&output).contains("the engine runs"), "{}", text(&output));
    let twice = ["dockerd", "-H", "tcp://0.0.0.0:1", "-H", "tcp://127.0.0.1:1"];
    let output = system.launch(&twice);
    assert_status(&output, 125);
    assert_has(&output, &["two listeners on one address", "hint: "]);
}

#[test]
fn ns_certificates_on_a_volume_are_kept_and_may_be_read_only() {
    let system = engine("sha256sum /certs/*/*.pem; ls -A /certs/*");
    // Names that begin with a dot would be files that were not finished.
    let volume = system.path().join("certs");
    fs::create_dir(&volume).expect("dir");
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).expect("chmod");
    let mount = "mkdir certs\nmount --bind \"$1/certs\" certs\n";
    let read_only = format!("{mount}mount -o remount,bind,ro certs\n");
    let launch = |mount: &str, san: &str| {
        system.configure(&[("DOCKER_TLS_SAN", san)], &[], mount);
        system.launch(&[])
    };
    let sums = |output: &Output| {
        assert_status(output, 0);
        let is_sum = |line: &&str| line.contains("  /certs/") || line.starts_with('.');
        text(output).lines().filter(is_sum).map(str::to_owned).collect::<Vec<_>>()
    };

    let output = launch(&read_only, "");
    assert_status(&output, 125);
    assert_has(&output, &["cannot make the key /certs/ca/key.pem", "Read-only", "`DOCKER_TLS_CERTDIR=`"]);

    let made = sums(&launch(mount, ""));
    assert_eq!(made.len(), 8, "{made:?}");
    assert_eq!(sums(&launch(mount, "")), made);
    let output = launch(&read_only, "");
    assert_eq!(sums(&output), made);
    assert!(!text(&output).contains("warning"), "{}", text(&output));

    // What cannot be renewed still serves, but not under the new name.
    let output = launch(&read_only, "new.example.org");
    assert_eq!(sums(&output), made);
    assert_has(&output, &["warning: ", "DNS:new.example.org", "Read-only"]);
    let renewed = sums(&launch(mount, "new.example.org"));
    let changed: Vec<_> = renewed.iter().filter(|line| !made.contains(line)).collect();
    assert!(matches!(changed[..], [line] if line.ends_with("/certs/server/cert.pem")), "{changed:?}");
}

#[test]
fn ns_nonsense_in_the_environment_is_told_before_anything_is_touched() {
    for (name, value) in [
        ("DOCKER_TLS_SAN", "a,http://b"),
        ("DOCKER_TLS_CERTDIR", "certs"),
        ("DOCKER_HOST", "unix:/run/docker.sock"),
        ("DOCKERLAUNCH_SOCKET_MODE", "rw-rw----"),
        ("DOCKERLAUNCH_SOCKET_GROUP", "nobody-knows"),
    ] {
        let system = engine("echo the engine runs");
        system.configure(&[(name, value)], &[], "");
        let output = system.launch(&[]);
        assert_status(&output, 125);
        assert_has(&output, &[value.split(',').next_back().unwrap_or_default(), "hint: "]);
        let touched = ["listen on", "make the key", "mount tmpfs", "the engine runs"]
            .map(|word| text(&output).contains(word));
        assert_eq!(touched, [false; 4], "{name}: {}", text(&output));
    }
}

#[test]
fn ns_clients_are_told_where_the_engine_is_pain_50() {
    let system = EmptySystem::new("");
    let show = ["sh", "-c", "echo $DOCKER_HOST $DOCKER_TLS_VERIFY $DOCKER_CERT_PATH; id >/dev/null"];
    let shown = |prepared: &str| {
        system.prepare(prepared);
        text(&system.launch(&show)).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(shown(":"), "tcp://docker:2375");
    let certificates =
        "mkdir -p certs/client; for name in ca cert key; do echo x > certs/client/$name.pem; done";
    assert_eq!(shown(certificates), "tcp://docker:2376 1 /certs/client");
    let socket = r#"mkdir -p var/run; perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "var/run/docker.sock", Listen => 1) or die $!'"#;
    assert_eq!(shown(socket), "unix:///var/run/docker.sock");
}
