//! Where the engine can be reached: what we bind before it exists and hand over, what is left to it, and whether it speaks
//! TLS.
//!
//! dockerd takes handed-over sockets by `-H fd://` and then speaks TLS on those of TCP alone (moby, daemon/listeners,
//! `listenFD`; go-systemd, `TLSListeners`). For these it knows no waiting time as for a `tcp://` host without TLS
//! (`loadListeners`).

use std::net::{Ipv4Addr, SocketAddr};

use crate::config::{HANDED_OVER, Host};
use crate::facts::{Entry, Facts, is_below};
use crate::{Action, Config, Problem, Verdict};

use super::{bridge, firewall, stop, tls};

/// Where health checks reach an engine that has no unix socket else.
pub const PROBE_SOCKET: &str = "/run/dockerlaunch/docker.sock";

/// The group whose members may use the socket, unless the user names another.
pub const DEFAULT_GROUP: &str = "docker";

/// Ports with TLS and without (IANA).
const TLS_PORT: u16 = 2376;
const PLAIN_PORT: u16 = 2375;

/// A unix socket of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSocket {
    /// Where.
    pub path: String,
    /// Who may use it besides root.
    pub gid: Option<u32>,
    /// Permission bits.
    pub mode: u32,
}

/// All listeners.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listeners {
    /// Unix sockets that we bind.
    pub unix: Vec<UnixSocket>,
    /// TCP addresses that we bind.
    pub tcp: Vec<SocketAddr>,
    /// Listeners that only the engine can bind.
    pub left: Vec<String>,
    /// Whether it gets sockets from us; not where the user hands over one by its number, for which it closes all others.
    pub hands_over: bool,
    /// Whether TCP has TLS.
    pub tls: Tls,
    /// What to tell about it.
    pub notices: Vec<String>,
    /// What is open to whom.
    pub warnings: Vec<String>,
}

impl Listeners {
    /// What we bind, as [`Facts::listening`] has it.
    pub fn names(&self) -> Vec<String> {
        let unix = self.unix.iter().map(|socket| format!("unix://{}", socket.path));
        unix.chain(self.tcp.iter().map(|address| format!("tcp://{address}"))).collect()
    }

    /// All of them, for people.
    pub fn shown(&self) -> Vec<String> {
        let tls = if self.tls == Tls::Off { "" } else { " with TLS" };
        let ours = self.names().into_iter().chain(self.left.iter().cloned());
        ours.map(|name| if name.starts_with("tcp://") { name + tls } else { name }).collect()
    }

    /// Unix sockets on which the engine will answer.
    pub fn unix_paths(&self) -> Vec<String> {
        let left = self.left.iter().filter_map(|host| host.strip_prefix("unix://"));
        self.unix.iter().map(|socket| socket.path.as_str()).chain(left).map(str::to_owned).collect()
    }
}

/// Where TLS comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tls {
    /// There is none.
    #[default]
    Off,
    /// Options and daemon.json have all of it.
    Given,
    /// We keep certificates in this directory.
    Directory(String),
}

/// Decides for the command line, daemon.json and the environment.
///
/// # Errors
/// Two listeners on one address; a group that does not exist.
pub fn decide(config: &Config, facts: &Facts) -> Result<Listeners, Problem> {
    let engine = &config.engine;
    let file = &facts.daemon_json;
    let asked = tls_asked(config, facts);
    // Both at once dockerd refuses; the command line has the last word.
    let on_line = engine.hosts();
    let is_named = !on_line.is_empty();
    let mut named = if is_named { on_line } else { file.hosts.iter().map(String::as_str).collect() };
    if named.is_empty() && asked && !engine.default_listeners {
        // What dockerd takes when it has TLS and is told nothing (moby, opts/hosts.go); the unix socket stays beside it.
        named.extend([HANDED_OVER, ""]);
    }
    let hosts: Vec<(&str, Host)> = named.iter().map(|text| (*text, Host::parse(text, asked))).collect();
    let names = |wanted: Host| hosts.iter().any(|(_, host)| *host == wanted);
    if names(Host::OneHandedOver) {
        let left = named.iter().map(|text| (*text).to_owned()).collect();
        let tls = if asked { Tls::Given } else { Tls::Off };
        return Ok(Listeners { left, tls, ..Listeners::default() });
    }
    // `hosts` in daemon.json are all that its author wants; options are added to the default, as with `docker:dind`.
    let by_default = engine.default_listeners && (is_named || file.hosts.is_empty());
    let mut tcp = Vec::new();
    let mut paths = Vec::new();
    let mut left = Vec::new();
    if by_default || hosts.is_empty() || names(Host::HandedOver) {
        paths.push(config.socket.clone());
    }
    for (text, host) in hosts {
        match host {
            Host::Unix(path) if !paths.iter().any(|p| is_same_place(facts, p, &path)) => paths.push(path),
            Host::Tcp(address) if !tcp.contains(&address) => tcp.push(address),
            Host::Engine if !left.iter().any(|l| l == text) => left.push(text.to_owned()),
            _ => {}
        }
    }
    if let Some((a, b)) = overlap(&tcp) {
        return Err(Problem::new(format!("two listeners on one address: `tcp://{a}` and `tcp://{b}`"))
            .cause("a wildcard address has the port on every address of this machine")
            .hint("keep one of them, or give them different ports"));
    }
    if by_default {
        let port = if asked { TLS_PORT } else { PLAIN_PORT };
        // A listener that the user named on that port stands for this one.
        if tcp.iter().all(|address| address.port() != port) {
            tcp.insert(0, (Ipv4Addr::UNSPECIFIED, port).into());
        }
    }
    let tls = if asked && (!tcp.is_empty() || has_tcp(&left)) { source(config, facts) } else { Tls::Off };
    let unix = unix(config, facts, paths)?;
    let mut listeners = Listeners { unix, tcp, left, hands_over: true, tls, ..Listeners::default() };
    listeners.notices.extend(gives_way(config, facts));
    listeners.warnings.extend(is_open(config, facts, &listeners));
    Ok(listeners)
}

/// The unix sockets at these paths, or the one for health checks.
fn unix(config: &Config, facts: &Facts, paths: Vec<String>) -> Result<Vec<UnixSocket>, Problem> {
    if paths.is_empty() {
        return Ok(vec![UnixSocket { path: PROBE_SOCKET.into(), gid: None, mode: 0o600 }]);
    }
    let on_line = config.engine.option("group");
    let group = on_line.or(config.settings.socket_group.as_deref()).or(facts.daemon_json.group.as_deref());
    let gid = match group {
        // Without that group it is root's alone, as with dockerd.
        None => facts.groups.get(DEFAULT_GROUP).copied(),
        Some("") => None,
        Some(DEFAULT_GROUP) => facts.groups.get(DEFAULT_GROUP).copied(),
        Some(group) => Some(number(facts, group)?),
    };
    Ok(paths.into_iter().map(|path| UnixSocket { path, gid, mode: config.settings.socket_mode }).collect())
}

fn number(facts: &Facts, group: &str) -> Result<u32, Problem> {
    let number = facts.groups.get(group).copied().or_else(|| group.parse().ok());
    number.ok_or_else(|| {
        Problem::new(format!("there is no group `{group}` for the socket"))
            .cause("/etc/group does not list it")
            .remedy("give its number", "--group=2375")
            .remedy("or by the environment", "DOCKERLAUNCH_SOCKET_GROUP=2375")
    })
}

/// Whether TLS is asked for, by options, daemon.json or default. `--tlsverify`, even with `false`, is TLS, and so is nothing
/// else than `--tls=false` or an empty directory a no (moby, daemon/command, `loadDaemonCliConfig`).
fn tls_asked(config: &Config, facts: &Facts) -> bool {
    let (engine, file) = (&config.engine, &facts.daemon_json);
    if engine.switch("tlsverify").or(file.tlsverify).is_some() {
        return true;
    }
    let by_default = engine.default_listeners && config.tls.directory.is_some();
    engine.switch("tls").or(file.tls).unwrap_or(by_default)
}

/// Where certificates come from: from us, unless the user names them all or named an engine.
fn source(config: &Config, facts: &Facts) -> Tls {
    match &config.tls.directory {
        Some(directory)
            if config.engine.default_listeners
                && tls::flags(directory).iter().any(|(n, _)| !is_set(config, facts, n)) =>
        {
            Tls::Directory(directory.clone())
        }
        _ => Tls::Given,
    }
}

/// Whether an option about TLS stands on the command line or in daemon.json.
fn is_set(config: &Config, facts: &Facts, name: &str) -> bool {
    is_on_line(config, name) || facts.daemon_json.sets_tls(name)
}

fn is_on_line(config: &Config, name: &str) -> bool {
    config.engine.option(name).is_some() || config.engine.switch(name).is_some()
}

/// What dockerd would refuse: listeners on the command line and others in daemon.json.
fn gives_way(config: &Config, facts: &Facts) -> Option<String> {
    let named = config.engine.hosts();
    let loses = |host: &String| !named.contains(&host.as_str());
    (!named.is_empty() && facts.daemon_json.hosts.iter().any(loses))
        .then(|| "`hosts` of daemon.json gives way to the command line".to_owned())
}

/// Listeners that ask nobody who they are.
fn is_open(config: &Config, facts: &Facts, listeners: &Listeners) -> Option<String> {
    let open = listeners.tcp.iter().filter(|address| !address.ip().is_loopback());
    let open = open.map(|address| format!("tcp://{address}"));
    let left = listeners.left.iter().filter(|host| host.starts_with("tcp://")).cloned();
    let open = open.chain(left).collect::<Vec<_>>().join(", ");
    let verifies = config.engine.switch("tlsverify").or(facts.daemon_json.tlsverify).unwrap_or(true);
    let what = match listeners.tls {
        _ if open.is_empty() => return None,
        Tls::Off => "is without TLS",
        _ if !verifies => "asks clients for no certificate",
        _ => return None,
    };
    Some(format!("{open} {what}: whoever reaches it is root here"))
}

/// Whether one of the listeners that are left to the engine is reached by the network.
fn has_tcp(left: &[String]) -> bool {
    left.iter().any(|host| !host.starts_with("unix://"))
}

/// Two addresses that cannot both be bound.
fn overlap(tcp: &[SocketAddr]) -> Option<(SocketAddr, SocketAddr)> {
    let wildcard = |a: &SocketAddr| a.ip().is_unspecified();
    tcp.iter().enumerate().find_map(|(i, a)| {
        let other = tcp[i + 1..].iter().find(|b| a.port() == b.port() && (wildcard(a) || wildcard(b)))?;
        Some((*a, *other))
    })
}

/// `/var/run` is `/run` by another name, unless it is a directory of its own.
fn is_same_place(facts: &Facts, a: &str, b: &str) -> bool {
    let is_link = !matches!(facts.paths.get("/var/run"), Some(Entry::Dir(_)));
    let place = |path: &str| match path.strip_prefix("/var") {
        Some(rest) if is_link && is_below(rest, "/run") => rest.to_owned(),
        _ => path.to_owned(),
    };
    place(a) == place(b)
}

/// The command line: listeners that we bind are taken out, the sockets that we hand over and their certificates are put in.
pub fn arguments(config: &Config, facts: &Facts) -> (Vec<String>, Listeners) {
    // What cannot be decided stops the launch in its own step.
    let listeners = decide(config, facts).unwrap_or_default();
    let mut taken_out = bridge::not_for_dockerd(config, facts).to_vec();
    if !listeners.hands_over {
        let own = stop::flag(config, facts).into_iter().chain(firewall::flags(config, facts));
        return (own.chain(config.engine.without(&taken_out)).collect(), listeners);
    }
    let mut args: Vec<String> = stop::flag(config, facts).into_iter().collect();
    args.extend(firewall::flags(config, facts));
    args.extend(["-H".to_owned(), HANDED_OVER.to_owned()]);
    args.extend(listeners.left.iter().map(|host| format!("--host={host}")));
    let mut has_files = tls::flags("").iter().any(|(name, _)| is_on_line(config, name));
    if let Tls::Directory(directory) = &listeners.tls {
        let files = tls::flags(directory).into_iter().filter(|(name, _)| !is_set(config, facts, name));
        let before = args.len();
        args.extend(files.map(|(name, path)| format!("--{name}={path}")));
        has_files |= args.len() > before;
    }
    // Files on the command line dockerd takes only beside a switch that stands there too, whatever daemon.json says (moby,
    // `setDefaultOptions`).
    let switches = ["tls", "tlsverify"];
    let is_switched = switches.iter().any(|name| is_on_line(config, name));
    let is_in_file = switches.iter().any(|name| facts.daemon_json.sets_tls(name));
    if listeners.tls != Tls::Off && !is_switched && (has_files || !is_in_file) {
        let verifies = facts.daemon_json.tlsverify.unwrap_or(true);
        args.push(if verifies { "--tlsverify".to_owned() } else { "--tlsverify=false".to_owned() });
    }
    // For a name that we cannot bind dockerd would wait 16 seconds, unless it is told that this is meant (`loadListeners`).
    if listeners.tls == Tls::Off && !is_switched && !is_in_file && has_tcp(&listeners.left) {
        args.push("--tls=false".to_owned());
    }
    // Behind ours: what the user wrote may end with `--`, or with an option that lacks its value.
    taken_out.push("host");
    args.extend(config.engine.without(&taken_out));
    (args, listeners)
}

/// TCP, first of all: only these can be reached from other containers while we still prepare.
pub fn tcp(config: &Config, facts: &Facts) -> Verdict {
    let listeners = match decide(config, facts) {
        Ok(listeners) => listeners,
        Err(problem) => return Verdict::Blocked { problem },
    };
    if listeners.tcp.is_empty() {
        return Verdict::skipped("nobody asks for TCP");
    }
    let with = if listeners.tls == Tls::Off { "without" } else { "with" };
    let names: Vec<String> =
        listeners.tcp.iter().map(|address| format!("tcp://{address} {with} TLS")).collect();
    let missing = listeners.tcp.into_iter().filter(|a| !facts.listening.contains(&format!("tcp://{a}")));
    Verdict::needed_or(missing.map(|address| Action::ListenTcp { address }).collect(), names.join(", "))
}

/// Unix sockets, once their directory is the one that stays.
pub fn unix_sockets(config: &Config, facts: &Facts) -> Verdict {
    // That there are none is told by the step before.
    let listeners = decide(config, facts).unwrap_or_default();
    if listeners.unix.is_empty() {
        return Verdict::skipped("the user hands over sockets by number");
    }
    let names: Vec<&str> = listeners.unix.iter().map(|socket| socket.path.as_str()).collect();
    let names = names.join(", ");
    let is_there = |socket: &UnixSocket| facts.listening.contains(&format!("unix://{}", socket.path));
    let missing = listeners.unix.into_iter().filter(|socket| !is_there(socket));
    let listen = |UnixSocket { path, gid, mode }: UnixSocket| Action::ListenUnix { path, gid, mode };
    Verdict::needed_or(missing.map(listen).collect(), names)
}

#[cfg(test)]
mod tests {
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
        let env: BTreeMap<String, String> =
            env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
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
            (
                "-H tcp://192.0.2.1:1 -H tcp://192.0.2.1:2",
                &[],
                "tcp://192.0.2.1:1, tcp://192.0.2.1:2 is without",
            ),
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
}
