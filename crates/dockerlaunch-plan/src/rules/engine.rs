//! The engine itself: where it is, and its command line.

use crate::config::variables::{CERT_FILE, DRIVER};
use crate::config::{DEFAULT_SOCKET, EngineCommand};
use crate::facts::certificates::BUNDLE;
use crate::facts::{Entry, Facts, PRIVATE};
use crate::{Config, Problem, Verdict};

use super::{bridge, certificates, daemon_json, files, firewall, stop};

/// Why there is no engine to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No such file: exit status 127, as shells do.
    NotFound,
    /// A file, but not executable: exit status 126.
    NotExecutable,
}

/// Where the engine is: the first candidate that exists, or its `.dist` twin.
///
/// # Errors
/// Why none of the candidates will do.
pub fn resolve(config: &Config, facts: &Facts) -> Result<String, Missing> {
    let mut seen = Missing::NotFound;
    for path in config.engine.candidates(&config.path) {
        match facts.paths.get(&path) {
            // A link is followed at exec; where it leads nowhere, exec says so.
            Some(Entry::Link(_)) => return Ok(path),
            Some(Entry::File(mode)) if mode & 0o111 != 0 => return Ok(path),
            Some(_) => seen = Missing::NotExecutable,
            None => {}
        }
    }
    Err(seen)
}

/// The engine must be there, and its options must be ones that it still knows.
pub fn present(config: &Config, facts: &Facts) -> Verdict {
    if let Some(problem) = config.engine.removed_option() {
        return Verdict::Blocked { problem };
    }
    let program = &config.engine.program;
    match resolve(config, facts) {
        Ok(path) => Verdict::satisfied(path),
        Err(missing) => {
            let problem = match missing {
                Missing::NotFound => Problem::new(format!("engine `{program}` not found")),
                Missing::NotExecutable => {
                    Problem::new(format!("engine `{program}` is not an executable file"))
                }
            };
            let looked = config.engine.candidates(&config.path).join(", ");
            let problem = problem
                .cause(format!("looked for {looked}"))
                .remedy("name an engine that exists", "dockerlaunch /usr/bin/dockerd …")
                .hint("in an image of your own, add the files of this image first (`ADD files.tar /`)");
            Verdict::Blocked { problem }
        }
    }
}

/// The arguments: what the user gave, and the sockets that we hand over, if any.
pub fn arguments(config: &Config, facts: &Facts) -> (Vec<String>, bool) {
    let mut args = config.engine.without(bridge::not_for_dockerd(config, facts));
    let hands_over = hands_over_sockets(config, facts);
    if hands_over && !names_handed_over(&hosts(config, facts)) {
        // In front: what the user wrote may end with `--`, or with an option that lacks its value.
        args.splice(..0, ["-H".into(), HANDED_OVER.into()]);
    }
    args.splice(..0, stop::flag(config, facts));
    (args, hands_over)
}

/// The command line, in accord with daemon.json, and what the engine's environment gets.
pub fn command(config: &Config, facts: &Facts) -> EngineCommand {
    let program = resolve(config, facts).unwrap_or_else(|_| config.engine.program.clone());
    let (args, hands_over) = arguments(config, facts);
    // What cannot be merged stops the launch in its own step.
    let merged = daemon_json::merge(config, &facts.config_file, &args, false);
    let daemon_json::Merged { args, mut notices, .. } =
        merged.unwrap_or_else(|_| daemon_json::Merged { args, ..Default::default() });
    notices.extend(certificates::notices(facts));
    let mut path = config.path.clone();
    let private_bin = format!("{PRIVATE}/bin");
    if !path.contains(&private_bin) && facts.exists(&format!("{private_bin}/modprobe")) {
        path.insert(0, private_bin);
    }
    if firewall::choose(config, facts).0 == firewall::Backend::Legacy {
        path.insert(0, firewall::legacy_dir());
    }
    let mut env = vec![("PATH".to_owned(), path.join(":"))];
    let xtables = format!("{PRIVATE}/xtables");
    if facts.exists(&xtables) {
        env.push(("XTABLES_LIBDIR".into(), xtables));
    }
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let private_bundle = "ssl/certs/ca-certificates.crt";
    if certificates::in_use(facts) {
        env.push((CERT_FILE.into(), BUNDLE.into()));
    // /etc could not be written: the engine takes the CA bundle from where the image keeps it.
    } else if config.environment.cert_file.is_none()
        && !files::is_regular(facts, bundle)
        && facts.etc_defaults.iter().any(|f| f == private_bundle)
    {
        env.push((CERT_FILE.into(), format!("{PRIVATE}/etc/{private_bundle}")));
    }
    let own = facts.links.iter().filter(|link| !link.loopback).flat_map(|link| &link.addresses);
    let own: Vec<String> = own.map(|own| own.address.to_string()).collect();
    env.extend(config.environment.proxies.variables(&own));
    env.extend(config.environment.driver.iter().map(|driver| (DRIVER.to_owned(), driver.clone())));
    EngineCommand { program, args, env, hands_over_sockets: hands_over, notices }
}

/// The directory of images and containers (dockerd reference, `--data-root`).
pub fn data_root(config: &Config, facts: &Facts) -> String {
    let named = config.engine.option("--data-root", None).or(facts.daemon_json.data_root.as_deref());
    named.unwrap_or("/var/lib/docker").to_owned()
}

/// The directory of what must not outlive the machine (dockerd reference, `--exec-root`).
pub fn exec_root(config: &Config, facts: &Facts) -> String {
    let named = config.engine.option("--exec-root", None).or(facts.daemon_json.exec_root.as_deref());
    named.unwrap_or("/var/run/docker").to_owned()
}

/// The listener that stands for sockets handed over: `fd://`, `fd://*`, or one of them by its number (dockerd
/// reference, "Daemon socket option").
const HANDED_OVER: &str = "fd://";

fn names_handed_over(hosts: &[&str]) -> bool {
    hosts.iter().any(|host| host.starts_with(HANDED_OVER))
}

/// Listeners that the user named, on the command line or in daemon.json; dockerd refuses to have both.
fn hosts<'a>(config: &'a Config, facts: &'a Facts) -> Vec<&'a str> {
    let named = config.engine.hosts();
    if named.is_empty() { facts.daemon_json.hosts.iter().map(String::as_str).collect() } else { named }
}

/// Whether dockerd takes its listeners from us: the user named none or `fd://` itself, or some were inherited. With TLS
/// and no listener named dockerd takes a TCP port of its own instead; beside `hosts` in daemon.json it refuses `-H`.
pub fn hands_over_sockets(config: &Config, facts: &Facts) -> bool {
    if names_handed_over(&hosts(config, facts)) {
        return true;
    }
    let tls = config.engine.asks_for_tls() || facts.daemon_json.tls || facts.daemon_json.tlsverify;
    let named = !config.engine.hosts().is_empty();
    facts.daemon_json.hosts.is_empty() && (config.inherited_sockets > 0 || !named && !tls)
}

/// Whether a socket of our own is among them: not where the user named other listeners.
pub fn binds_own_socket(config: &Config, facts: &Facts) -> bool {
    let hosts = hosts(config, facts);
    hands_over_sockets(config, facts) && (hosts.is_empty() || names_handed_over(&hosts))
}

/// Unix sockets on which clients here can reach the engine.
pub fn local_sockets(config: &Config, facts: &Facts) -> Vec<String> {
    let named = hosts(config, facts).into_iter().filter_map(|host| host.strip_prefix("unix://"));
    let named = named.map(|path| if path.is_empty() { DEFAULT_SOCKET } else { path }.to_owned());
    let own = binds_own_socket(config, facts).then(|| config.socket.clone());
    named.chain(own).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;

    /// How a command line ends up: the arguments, and whether a socket of ours is bound.
    fn launched(words: &str, inherited: usize, in_file: &[&str]) -> (String, bool) {
        let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let mut config = Config::new(Engine::new("dockerd", &args), &BTreeMap::new());
        config.inherited_sockets = inherited;
        let mut facts = Facts::default();
        facts.daemon_json.hosts = in_file.iter().map(|host| (*host).to_owned()).collect();
        let command = command(&config, &facts);
        assert_eq!(command.hands_over_sockets, hands_over_sockets(&config, &facts));
        (command.args.join(" "), binds_own_socket(&config, &facts))
    }

    #[test]
    fn who_listens() {
        let ours = |args: &str| (args.to_owned(), true);
        let not_ours = |args: &str| (args.to_owned(), false);
        assert_eq!(launched("-D", 0, &[]), ours("-H fd:// -D"));
        assert_eq!(launched("-D --", 0, &[]), ours("-H fd:// -D --"));
        assert_eq!(launched("-H fd:// -H tcp://[::1]:2375", 0, &[]), ours("-H fd:// -H tcp://[::1]:2375"));
        assert_eq!(launched("-DHfd://*", 0, &[]), ours("-D -Hfd://*"));
        assert_eq!(launched("-H unix:///x", 0, &[]), not_ours("-H unix:///x"));
        assert_eq!(launched("--label -H", 0, &[]), ours("-H fd:// --label -H"));
        assert_eq!(launched("-H tcp://[::1]:2375", 1, &[]), not_ours("-H fd:// -H tcp://[::1]:2375"));
        assert_eq!(launched("--tlsverify", 0, &[]), not_ours("--tlsverify"));
        assert_eq!(launched("", 1, &["unix:///x"]), not_ours(""));
        assert_eq!(launched("", 0, &["fd://", "tcp://[::1]:2375"]), ours(""));
    }

    #[test]
    fn clients_are_told_the_sockets() {
        let sockets = |words: &str| {
            let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            let config = Config::new(Engine::new("dockerd", &args), &BTreeMap::new());
            local_sockets(&config, &Facts::default()).join(" ")
        };
        assert_eq!(sockets(""), DEFAULT_SOCKET);
        assert_eq!(sockets("-H unix:///x -H fd:// -H tcp://[::1]:2375"), format!("/x {DEFAULT_SOCKET}"));
        assert_eq!(sockets("-H unix://"), DEFAULT_SOCKET);
        assert_eq!(sockets("-H tcp://[::1]:2375"), "");
    }
}
