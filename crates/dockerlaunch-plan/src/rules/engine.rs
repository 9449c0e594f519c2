//! The engine itself: where it is, and its command line.

use crate::config::EngineCommand;
use crate::config::argv::add;
use crate::config::variables::{CERT_FILE, CERT_PATH, DRIVER, TLS_VERIFY};
use crate::facts::certificates::BUNDLE;
use crate::facts::{DaemonJson, Entry, Facts, PRIVATE};
use crate::{Config, Problem, Verdict};

use super::listeners::Listeners;
use super::{certificates, containerd, daemon_json, files, firewall, listeners, neighbour, network, tls};

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

/// The command line with what we add to it.
pub fn arguments(config: &Config, facts: &Facts) -> (Vec<String>, Listeners) {
    let (mut args, listeners) = listeners::arguments(config, facts);
    network::flags(config, facts).into_iter().for_each(|flag| add(&mut args, flag));
    let crun = format!("{PRIVATE}/bin/crun");
    // A runtime that the user calls so is the user's.
    let file = facts.config_file.content.as_deref().unwrap_or_default();
    let is_taken = args.iter().any(|arg| arg.contains("crun=")) || file.contains("\"crun\":");
    if facts.exists(&crun) && !is_taken {
        add(&mut args, format!("--add-runtime=crun={crun}"));
    }
    (args, listeners)
}

/// The command line, in accord with daemon.json, and what the engine's environment gets.
pub fn command(config: &Config, facts: &Facts) -> EngineCommand {
    let program = resolve(config, facts).unwrap_or_else(|_| config.engine.program.clone());
    let (mut args, listeners) = arguments(config, facts);
    let containerd = containerd::own(config, facts);
    args.splice(..0, containerd.iter().map(|own| format!("--containerd={}", own.socket)));
    // What cannot be merged stops the launch in its own step.
    let merged = daemon_json::merge(config, &facts.config_file, &args, false);
    let daemon_json::Merged { args, notices: merged, .. } =
        merged.unwrap_or_else(|_| daemon_json::Merged { args, ..Default::default() });
    let mut notices = config.engine.notices.clone();
    notices.extend(merged);
    notices.extend(listeners.notices);
    if let listeners::Tls::Directory(_) = listeners.tls {
        notices.extend(config.tls.notices.iter().cloned());
    }
    let mut warnings = listeners.warnings;
    warnings.extend(tls::warning(config, facts).into_iter().chain(certificates::warning(config, facts)));
    warnings.extend(firewall::warning(config, facts).into_iter().chain(neighbour::warning(config, facts)));
    notices.extend(certificates::notices(facts));
    let mut path = config.path.clone();
    let private_bin = format!("{PRIVATE}/bin");
    if !path.contains(&private_bin) && facts.exists(&format!("{private_bin}/modprobe")) {
        path.insert(0, private_bin);
    }
    if matches!(firewall::choose(config, facts), Ok((firewall::Backend::Legacy, _))) {
        path.insert(0, firewall::legacy_dir());
    }
    let mut env = vec![("PATH".to_owned(), path.join(":"))];
    let xtables = format!("{PRIVATE}/xtables");
    if facts.exists(&xtables) {
        env.push(("XTABLES_LIBDIR".into(), xtables));
    }
    if firewall::does_without_raw(config, facts) {
        env.push((firewall::NO_RAW.into(), "1".into()));
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
    git(facts, &mut env);
    let own = facts.links.iter().filter(|link| !link.loopback).flat_map(|link| &link.addresses);
    let own: Vec<String> = own.map(|own| own.address.to_string()).collect();
    env.extend(config.environment.proxies.variables(&own));
    // dockerd reads them too, but here they are meant for clients: GitLab gives a service all variables of the job.
    let of_clients = [TLS_VERIFY, CERT_PATH].map(str::to_owned);
    let env_without = if config.engine.default_listeners { of_clients.into() } else { Vec::new() };
    env.extend(config.environment.driver.iter().map(|driver| (DRIVER.to_owned(), driver.clone())));
    EngineCommand {
        program,
        args,
        env,
        hands_over_sockets: listeners.hands_over,
        notices,
        containerd,
        env_without,
        warnings,
    }
}

/// What the image's git, which dockerd runs for build contexts, cannot find by itself.
fn git(facts: &Facts, env: &mut Vec<(String, String)>) {
    if !facts.exists(&format!("{PRIVATE}/bin/git")) {
        return;
    }
    // It has no variable in common with the engine for certificates.
    let bundle = env.iter().find(|(name, _)| name == CERT_FILE).map(|(_, bundle)| bundle.clone());
    env.extend(bundle.map(|bundle| ("GIT_SSL_CAINFO".into(), bundle)));
    // No templates: else it warns that their directory is missing.
    env.push(("GIT_TEMPLATE_DIR".into(), String::new()));
}

/// The directory of images and containers (dockerd reference, `--data-root`).
pub fn data_root(config: &Config, file: &DaemonJson) -> String {
    let named = config.engine.option("data-root").or(file.data_root.as_deref());
    named.unwrap_or("/var/lib/docker").to_owned()
}

/// The directory of what must not outlive the machine (dockerd reference, `--exec-root`).
pub fn exec_root(config: &Config, file: &DaemonJson) -> String {
    let named = config.engine.option("exec-root").or(file.exec_root.as_deref());
    named.unwrap_or("/var/run/docker").to_owned()
}
