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
mod tests;
