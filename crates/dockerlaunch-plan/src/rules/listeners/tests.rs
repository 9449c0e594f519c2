use std::collections::BTreeMap;

use super::*;
use crate::config::Engine;

/// `defaults` before the options: no engine was named.
fn config(line: &str, env: &[(&str, &str)]) -> Config {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let defaults = words.first().is_some_and(|word| word == "defaults");
    if defaults {
        words.remove(0);
    }
    let engine = if defaults { Engine::with_defaults(&words) } else { Engine::new("dockerd", &words) };
    let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::new(engine, &env)
}

fn facts(daemon_json: &str) -> Facts {
    let mut facts =
        Facts { daemon_json: serde_json::from_str(daemon_json).expect("JSON"), ..Facts::default() };
    facts.groups.insert("docker".into(), 2375);
    facts.groups.insert("ci".into(), 7);
    facts
}

/// What we bind, then what dockerd gets.
fn shown(line: &str, env: &[(&str, &str)], daemon_json: &str) -> (String, String) {
    let (config, facts) = (config(line, env), facts(daemon_json));
    let (args, listeners) = arguments(&config, &facts);
    (listeners.names().join(" "), args.join(" "))
}

const TLS: &str =
    "--tlscacert=/certs/server/ca.pem --tlscert=/certs/server/cert.pem --tlskey=/certs/server/key.pem";
const OFF: &[(&str, &str)] = &[("DOCKER_TLS_CERTDIR", "")];

#[test]
#[rustfmt::skip]
fn listeners_by_command_line_environment_and_file() {
    let unix = "unix:///var/run/docker.sock";
    let both = |tcp: &str| format!("{unix} tcp://{tcp}");
    let with_tls = |rest: &str| format!("-H fd:// {TLS} --tlsverify {rest}").trim().to_owned();
    for (line, env, json, bound, args) in [
        // Nobody named an engine: as docker:dind.
        ("defaults", &[][..], "{}", both("0.0.0.0:2376"), with_tls("")),
        ("defaults --mtu=1450 -D", &[], "{}", both("0.0.0.0:2376"), with_tls("--mtu=1450 -D")),
        ("defaults --dns", &[], "{}", both("0.0.0.0:2376"), with_tls("--dns")),
        ("defaults", &[("DOCKER_TLS_CERTDIR", "/x")], "{}", both("0.0.0.0:2376"), with_tls("").replace("/certs", "/x")),
        ("defaults", OFF, "{}", both("0.0.0.0:2375"), "-H fd://".into()),
        ("defaults --tls=false", &[], "{}", both("0.0.0.0:2375"), "-H fd:// --tls=false".into()),
        ("defaults", &[], r#"{"tls": false}"#, both("0.0.0.0:2375"), "-H fd://".into()),
        ("defaults --tls", OFF, "{}", both("0.0.0.0:2376"), "-H fd:// --tls".into()),
        ("defaults --tlsverify=false", &[], "{}", both("0.0.0.0:2376"), format!("-H fd:// {TLS} --tlsverify=false")),
        ("defaults --tls", &[], "{}", both("0.0.0.0:2376"), format!("-H fd:// {TLS} --tls")),
        ("defaults", &[], r#"{"tlsverify": true}"#, both("0.0.0.0:2376"), with_tls("")),
        ("defaults", &[], r#"{"tls": true}"#, both("0.0.0.0:2376"), with_tls("")),
        ("defaults", &[], r#"{"tlsverify": false}"#, both("0.0.0.0:2376"), format!("-H fd:// {TLS} --tlsverify=false")),
        ("defaults", &[], r#"{"tlsverify": true, "tlscert": "/c", "tlskey": "/k"}"#, both("0.0.0.0:2376"), "-H fd:// --tlscacert=/certs/server/ca.pem --tlsverify".into()),
        ("defaults", &[], r#"{"tls": true, "tlscacert": "/a", "tlscert": "/c", "tlskey": "/k"}"#, both("0.0.0.0:2376"), "-H fd://".into()),
        ("defaults", &[("DOCKER_HOST", "unix:///x.sock")], "{}", "unix:///x.sock tcp://0.0.0.0:2376".into(), with_tls("")),
        ("defaults", &[("DOCKER_HOST", "tcp://docker:2376")], "{}", both("0.0.0.0:2376"), with_tls("")),
        // Certificates of the user's own.
        ("defaults --tlscacert=/a --tlscert=/c --tlskey /k", &[], "{}", both("0.0.0.0:2376"), "-H fd:// --tlsverify --tlscacert=/a --tlscert=/c --tlskey /k".into()),
        ("defaults --tlscert=/c --tlskey=/k", &[], r#"{"tlscacert": "/a"}"#, both("0.0.0.0:2376"), "-H fd:// --tlsverify --tlscert=/c --tlskey=/k".into()),
        ("defaults --tlscert=/c --tlskey=/k", &[], "{}", both("0.0.0.0:2376"), "-H fd:// --tlscacert=/certs/server/ca.pem --tlsverify --tlscert=/c --tlskey=/k".into()),
        // Listeners beside the default ones, or in their place.
        ("defaults -H unix:///x.sock", &[], "{}", format!("{unix} unix:///x.sock tcp://0.0.0.0:2376"), with_tls("")),
        ("defaults -H unix:///run/docker.sock --host=unix:///var/run/docker.sock", &[], "{}", both("0.0.0.0:2376"), with_tls("")),
        ("defaults -H tcp://0.0.0.0:2376", &[], "{}", both("0.0.0.0:2376"), with_tls("")),
        ("defaults -H tcp://127.0.0.1:2376", &[], "{}", both("127.0.0.1:2376"), with_tls("")),
        ("defaults --host tcp://0.0.0.0:2375", &[], "{}", format!("{} tcp://0.0.0.0:2375", both("0.0.0.0:2376")), with_tls("")),
        ("defaults -Htcp://0.0.0.0:2375", OFF, "{}", both("0.0.0.0:2375"), "-H fd://".into()),
        ("defaults -H tcp://dind:5", &[], "{}", both("0.0.0.0:2376"), with_tls("").replace("fd://", "fd:// --host=tcp://dind:5")),
        // `hosts` of daemon.json are all that is wanted.
        ("defaults", &[], r#"{"hosts": ["unix:///x.sock"]}"#, "unix:///x.sock".into(), "-H fd://".into()),
        ("defaults", &[], r#"{"hosts": ["tcp://192.0.2.1:1"]}"#, "unix:///run/dockerlaunch/docker.sock tcp://192.0.2.1:1".into(), with_tls("")),
        ("defaults -H unix:///y.sock", &[], r#"{"hosts": ["unix:///x.sock"]}"#, format!("{unix} unix:///y.sock tcp://0.0.0.0:2376"), with_tls("")),
        ("", &[], r#"{"hosts": ["tcp://dind:1", "fd://"]}"#, unix.into(), "-H fd:// --host=tcp://dind:1 --tls=false".into()),
        // An engine was named: what it asks for, and no more.
        ("", &[], "{}", unix.into(), "-H fd://".into()),
        ("--tlsverify", &[], "{}", both("127.0.0.1:2376"), "-H fd:// --tlsverify".into()),
        ("-H tcp://dind:1", &[], "{}", "unix:///run/dockerlaunch/docker.sock".into(), "-H fd:// --host=tcp://dind:1 --tls=false".into()),
        ("--debug", &[("DOCKER_HOST", "unix:///x.sock")], "{}", "unix:///x.sock".into(), "-H fd:// --debug".into()),
        ("--host=unix:///var/run/docker.sock --group=7", &[], "{}", unix.into(), "-H fd:// --group=7".into()),
        ("-H fd:// --containerd=/x", &[], "{}", unix.into(), "-H fd:// --containerd=/x".into()),
        ("-H fd://* -H tcp://0.0.0.0:2375", &[], "{}", both("0.0.0.0:2375"), "-H fd://".into()),
        ("-H tcp://0.0.0.0:2375", &[], "{}", "unix:///run/dockerlaunch/docker.sock tcp://0.0.0.0:2375".into(), "-H fd://".into()),
        ("-H tcp://0.0.0.0:2376 --tlsverify --tlscert=/c", &[], "{}", "unix:///run/dockerlaunch/docker.sock tcp://0.0.0.0:2376".into(), "-H fd:// --tlsverify --tlscert=/c".into()),
        ("-H fd://3 -H unix:///x.sock", &[], "{}", "".into(), "-H fd://3 -H unix:///x.sock".into()),
        ("-H unix://@x", &[], "{}", "unix:///run/dockerlaunch/docker.sock".into(), "-H fd:// --host=unix://@x".into()),
    ] {
        assert_eq!(shown(line, env, json), (bound, args), "`{line}` {env:?} {json}");
    }
}

#[test]
fn one_address_has_one_listener_pain_20() {
    for line in [
        "-H tcp://0.0.0.0:1 -H tcp://127.0.0.1:1",
        "-H tcp://[::]:1 -H tcp://0.0.0.0:1",
        "defaults -H tcp://0.0.0.0:1 --host=tcp://192.0.2.1:1",
    ] {
        let (config, facts) = (config(line, &[]), facts("{}"));
        let Verdict::Blocked { problem } = tcp(&config, &facts) else { panic!("{line}") };
        assert!(problem.what.starts_with("two listeners on one address: `tcp://"), "{problem}");
        assert!(!problem.hints.is_empty());
    }
    assert_eq!(
        shown("-H tcp://127.0.0.1:1 -H tcp://127.0.0.2:1 -H tcp://127.0.0.1:1", &[], "{}").0,
        "unix:///run/dockerlaunch/docker.sock tcp://127.0.0.1:1 tcp://127.0.0.2:1"
    );
}

#[test]
fn plain_tcp_is_told_and_tls_is_not_pain_54() {
    for (line, env, word) in [
        ("defaults", OFF, "tcp://0.0.0.0:2375 is without TLS"),
        ("-H tcp://192.0.2.1:1 -H tcp://192.0.2.1:2", &[], "tcp://192.0.2.1:1, tcp://192.0.2.1:2 is without"),
        ("-H tcp://0.0.0.0:1 --tlsverify=false", &[], "asks clients for no certificate"),
        ("-H tcp://dind:1", &[], "tcp://dind:1 is without TLS"),
        ("defaults", &[], ""),
        ("-H tcp://0.0.0.0:1 --tlsverify", &[], ""),
        ("-H tcp://127.0.0.1:1", &[], ""),
    ] {
        let warnings = decide(&config(line, env), &facts("{}")).expect(line).warnings;
        assert_eq!(warnings.len(), usize::from(!word.is_empty()), "{line}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains(word)), "{warnings:?}");
    }
}

#[test]
fn the_socket_has_the_group_and_mode_that_is_asked_for_pain_21() {
    let group = |value| [("DOCKERLAUNCH_SOCKET_GROUP", value)];
    for (line, env, json, gid) in [
        ("", &[][..], "{}", 2375),
        ("--group=ci", &[], "{}", 7),
        ("-G 4711", &[], "{}", 4711),
        ("-Gci", &group("9"), r#"{"group": "docker"}"#, 7),
        ("", &group("ci"), r#"{"group": "docker"}"#, 7),
        ("", &group("9"), "{}", 9),
        ("", &[], r#"{"group": "ci"}"#, 7),
    ] {
        let socket = &decide(&config(line, env), &facts(json)).expect(line).unix[0];
        assert_eq!((socket.gid, socket.mode), (Some(gid), 0o660), "{line} {env:?} {json}");
    }
    let none = Facts::default();
    assert_eq!(decide(&config("", &[]), &none).expect("root's").unix[0].gid, None);
    let listeners = decide(&config("", &[("DOCKERLAUNCH_SOCKET_MODE", "0666")]), &none).expect("mode");
    assert_eq!(listeners.unix[0].mode, 0o666);
    let problem = decide(&config("--group=nobody-knows", &[]), &none).expect_err("no such group");
    assert!(problem.what.contains("nobody-knows") && problem.hints.len() == 2, "{problem}");
    // Nobody but root needs the one for health checks.
    let probes = decide(&config("-H tcp://127.0.0.1:1 -G nobody-knows", &[]), &none).expect("unused");
    assert_eq!(probes.unix, [UnixSocket { path: PROBE_SOCKET.into(), gid: None, mode: 0o600 }]);
}

#[test]
fn what_listens_already_is_not_bound_again() {
    let (config, mut facts) = (config("defaults", OFF), facts("{}"));
    for rule in [tcp, unix_sockets] {
        let Verdict::Needed { actions } = rule(&config, &facts) else { panic!("needed") };
        actions.iter().for_each(|action| action.predict(&mut facts));
        assert!(matches!(rule(&config, &facts), Verdict::Satisfied { .. }));
    }
}

proptest::proptest! {
    /// Whatever is on the command line, dockerd gets no listener that we have bound, and each of the others.
    #[test]
    fn nothing_is_bound_twice_and_nothing_is_lost(
        hosts in proptest::collection::vec("(-H |--host=)(unix:///[ab]|tcp://(0.0.0.0|127.0.0.1|dind):[12]|fd://3?|)", 0..4),
        defaults: bool,
    ) {
        let line = format!("{} {}", if defaults { "defaults" } else { "" }, hosts.join(" "));
        let (config, facts) = (config(&line, &[]), facts("{}"));
        let (args, listeners) = arguments(&config, &facts);
        if decide(&config, &facts).is_err() {
            return Ok(());
        }
        let engine = Engine::new("dockerd", &args);
        let mut wanted: Vec<&str> = if listeners.hands_over { vec![HANDED_OVER] } else { vec![] };
        wanted.extend(listeners.left.iter().map(String::as_str));
        proptest::prop_assert_eq!(engine.hosts(), wanted, "{:?}", args);
        for host in config.engine.hosts() {
            let is_bound = match Host::parse(host, true) {
                Host::Unix(path) => listeners.unix.iter().any(|socket| socket.path == path),
                Host::Tcp(address) => listeners.tcp.contains(&address),
                Host::HandedOver => listeners.hands_over,
                Host::OneHandedOver | Host::Engine => false,
            };
            // An empty one is a unix socket where there is no TLS.
            proptest::prop_assert!(host.is_empty() || is_bound != listeners.left.iter().any(|l| l == host), "{} {:?}", host, args);
        }
    }
}
