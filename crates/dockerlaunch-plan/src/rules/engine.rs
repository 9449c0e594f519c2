//! The engine itself: where it is, and its command line.

use crate::config::EngineCommand;
use crate::facts::{Entry, Facts, PRIVATE};
use crate::{Config, Problem, Verdict};

use super::{files, firewall};

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

/// The command line: what the user gave, and the sockets that we hand over.
pub fn command(config: &Config, facts: &Facts) -> EngineCommand {
    let program = resolve(config, facts).unwrap_or_else(|_| config.engine.program.clone());
    let mut args = config.engine.args.clone();
    let hands_over = hands_over_sockets(config, facts);
    if hands_over && !config.engine.hosts().contains(&HANDED_OVER) {
        args.extend(["-H".into(), HANDED_OVER.into()]);
    }
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
    // /etc could not be written: the engine takes the CA bundle from where the image keeps it.
    if !files::is_regular(facts, bundle) && facts.etc_defaults.iter().any(|f| f == private_bundle) {
        env.push(("SSL_CERT_FILE".into(), format!("{PRIVATE}/etc/{private_bundle}")));
    }
    EngineCommand { program, args, env, hands_over_sockets: hands_over }
}

/// The listener that stands for sockets handed over (dockerd reference, "Daemon socket option").
const HANDED_OVER: &str = "fd://";

/// Whether dockerd takes its listeners from us: the user named none or `fd://` itself, or some were inherited. Not with
/// TLS, which dockerd would then speak on the local socket too; not with `hosts` in daemon.json, which it refuses beside
/// `-H`.
pub fn hands_over_sockets(config: &Config, facts: &Facts) -> bool {
    let hosts = config.engine.hosts();
    if hosts.contains(&HANDED_OVER) {
        return true;
    }
    let tls = config.engine.asks_for_tls() || facts.daemon_json.tls || facts.daemon_json.tlsverify;
    facts.daemon_json.hosts.is_empty() && (config.inherited_sockets > 0 || hosts.is_empty() && !tls)
}

/// Whether a socket of our own is among them: not where the user named other listeners.
pub fn binds_own_socket(config: &Config, facts: &Facts) -> bool {
    let hosts = config.engine.hosts();
    hands_over_sockets(config, facts) && (hosts.is_empty() || hosts.contains(&HANDED_OVER))
}
