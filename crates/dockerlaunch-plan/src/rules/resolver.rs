//! Names for containers where the only nameservers are on loopback, which is another one in each network namespace: `127.0.0.11`
//! in a container of a user network, `127.0.0.53` of systemd-resolved. dockerd leaves them out for its own bridge, and asks
//! Google instead (moby, libnetwork/internal/resolvconf, `TransformForLegacyNw`), and those of IPv6 unless its bridge has IPv6. So we listen on the bridge's address and
//! ask them ourselves; the servers behind them, as Docker notes them in resolv.conf, know no names of the outer network.

use core::net::IpAddr;

use crate::facts::Facts;
use crate::{Action, Config, Problem, Verdict};

use super::{firewall, pools};

const FLAG: &str = "dns";
const OPTION: &str = "dns-opt";
const NO_DOTS: &str = "ndots:0";
const NO_BRIDGE: &str = "none";

/// The name of our nameserver in [`Facts::listening`].
pub fn name(address: IpAddr) -> String {
    format!("dns://{address}")
}

/// Whether the user names nameservers, or there is nobody to ask through us.
fn is_set(config: &Config, facts: &Facts) -> bool {
    config.engine.option(FLAG).is_some() || facts.daemon_json.dns.is_some()
}

fn is_needed(config: &Config, facts: &Facts) -> bool {
    let has_ipv6 = firewall::switch(config, facts, "ipv6") == Some(true);
    let is_left = |address: &IpAddr| has_ipv6 && !address.is_loopback() || is_asked_by_containers(address);
    let all = &facts.network.nameservers;
    !all.is_empty() && !all.iter().any(is_left) && !is_set(config, facts)
}

/// Whether dockerd leaves this nameserver to containers on its bridge in any case.
pub fn is_asked_by_containers(address: &IpAddr) -> bool {
    address.is_ipv4() && !address.is_loopback()
}

/// Where we are to listen.
pub fn wanted(config: &Config, facts: &Facts) -> Option<IpAddr> {
    let is_possible = config.supervise && !facts.network.local_resolvers.is_empty();
    if !is_possible || !is_needed(config, facts) {
        return None;
    }
    pools::bridge_address(config, facts).map(|bridge| bridge.address)
}

/// Whether dockerd's bridge must have the address that we chose.
pub fn needs_address(config: &Config, facts: &Facts) -> bool {
    wanted(config, facts).is_some()
}

/// What dockerd is told, once we listen.
pub fn flag(config: &Config, facts: &Facts) -> Option<String> {
    let address = wanted(config, facts)?;
    facts.listening.contains(&name(address)).then(|| format!("--{FLAG}={address}"))
}

/// With the options: where `ndots` is set, as Docker outside does, dockerd passes no name without a dot on (moby,
/// libnetwork/resolver.go, `NdotsSet`). To leave it out takes another option; this one is the default.
pub fn flags(config: &Config, facts: &Facts) -> Vec<String> {
    let mut flags: Vec<String> = flag(config, facts).into_iter().collect();
    let is_own = config.engine.option(OPTION).is_some() || facts.daemon_json.dns_opts.is_some();
    let options = &facts.network.resolver_options;
    if !flags.is_empty() && !is_own && options.iter().any(|option| option == NO_DOTS) {
        let others = options.iter().map(String::as_str).filter(|option| *option != NO_DOTS);
        let default = (options.len() == 1).then_some("timeout:5");
        flags.extend(others.chain(default).map(|option| format!("--{OPTION}={option}")));
    }
    flags
}

/// Listens, or says why that is not needed.
pub fn decide(config: &Config, facts: &Facts) -> Verdict {
    let all = &facts.network.nameservers;
    if !is_needed(config, facts) {
        return match all.iter().find(|address| !address.is_loopback()) {
            _ if is_set(config, facts) => Verdict::skipped(format!("`{FLAG}` is the user's own")),
            Some(address) => Verdict::satisfied(format!("containers can ask {address} themselves")),
            None => Verdict::skipped("no nameserver is set"),
        };
    }
    if config.engine.option("bridge").or(facts.daemon_json.bridge.as_deref()) == Some(NO_BRIDGE) {
        return Verdict::skipped(
            "dockerd has no bridge of its own; on other networks it asks for containers",
        );
    }
    let Some(address) = wanted(config, facts) else {
        let names = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let problem = Problem::new(format!("containers on docker0 cannot ask the nameserver {names}"));
        let problem = if facts.network.local_resolvers.is_empty() {
            problem.cause("it is on loopback or of IPv6, and does not answer here either")
        } else if config.supervise {
            problem
                .cause("it is on loopback or of IPv6, and where we could listen for it only dockerd knows")
                .remedy("name the address of its bridge", "--bip=10.20.0.1/24")
        } else {
            problem
                .cause("it is on loopback or of IPv6, and nobody stays to ask it for them")
                .remedy("launch with supervision", "DOCKER_LAUNCH_REAP=true")
        };
        return Verdict::Blocked { problem: problem.remedy("or name one", format!("--{FLAG}=192.0.2.53")) };
    };
    if facts.listening.contains(&name(address)) {
        return Verdict::satisfied(format!("we answer on {address}"));
    }
    Verdict::Needed { actions: vec![Action::AnswerNames { address }] }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;
    use crate::facts::Link;

    fn system(servers: &[&str], answers: bool) -> Facts {
        let mut facts = Facts::default();
        facts.network.nameservers = servers.iter().map(|text| text.parse().expect("address")).collect();
        if answers {
            facts.network.local_resolvers = facts.network.nameservers.clone();
        }
        let addresses = vec!["172.18.0.2/16".parse().expect("address")];
        facts.links.push(Link { name: "eth0".into(), addresses, ..Link::default() });
        facts
    }

    fn config(words: &str) -> Config {
        let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Config::new(Engine::new("dockerd", &args), &BTreeMap::new())
    }

    /// The verdict, and what dockerd is told once that is done.
    fn decided(config: &Config, mut facts: Facts) -> (String, Option<String>) {
        let text = match decide(config, &facts) {
            Verdict::Needed { actions } => {
                assert_eq!(flag(config, &facts), None, "before we listen");
                actions.iter().for_each(|action| action.predict(&mut facts));
                actions[0].to_string()
            }
            Verdict::Satisfied { evidence } => evidence,
            Verdict::Skipped { reason } => format!("skip: {reason}"),
            Verdict::Blocked { problem } => format!("stop: {}", problem.causes[0]),
        };
        (text, flag(config, &facts))
    }

    #[test]
    fn a_nameserver_on_loopback_is_asked_for_containers_pain_13() {
        for server in ["127.0.0.11", "127.0.0.53", "::1", "2001:db8::53"] {
            let (text, flag) = decided(&config(""), system(&[server], true));
            assert_eq!(text, "answer names on 172.20.0.1", "{server}");
            assert_eq!(flag.as_deref(), Some("--dns=172.20.0.1"));
        }
        let given = decided(&config("--bip 10.9.0.1/24"), system(&["127.0.0.11"], true));
        assert_eq!(given.1.as_deref(), Some("--dns=10.9.0.1"));
        // With its own range dockerd must not be left to choose another part of it.
        let mut alone = system(&["127.0.0.53"], true);
        alone.links.clear();
        assert_eq!(decided(&config(""), alone.clone()).1.as_deref(), Some("--dns=172.17.0.1"));
        assert!(needs_address(&config(""), &alone));
        assert_eq!(pools::flags(&config(""), &alone, true), ["--bip=172.17.0.1/16"]);
    }

    #[test]
    fn names_without_a_dot_are_passed_on_pain_13() {
        let flagged = |words, options: &[&str]| {
            let mut facts = system(&["127.0.0.11"], true);
            facts.network.resolver_options = options.iter().map(|o| (*o).to_owned()).collect();
            facts.listening.push(name([172, 20, 0, 1].into()));
            flags(&config(words), &facts).join(" ").replace("--dns=172.20.0.1", "")
        };
        assert_eq!(flagged("", &["ndots:0"]), " --dns-opt=timeout:5");
        assert_eq!(flagged("", &["edns0", "ndots:0", "trust-ad"]), " --dns-opt=edns0 --dns-opt=trust-ad");
        for (words, options) in [("", &[][..]), ("", &["ndots:5"]), ("--dns-opt ndots:1", &["ndots:0"])] {
            assert_eq!(flagged(words, options), "", "{words} {options:?}");
        }
    }

    #[test]
    fn others_are_left_alone() {
        for (words, servers, said) in [
            ("", &[][..], "skip: no nameserver is set"),
            ("", &["127.0.0.11", "10.96.0.10"], "containers can ask 10.96.0.10 themselves"),
            ("--ipv6", &["2001:db8::53"], "containers can ask 2001:db8::53 themselves"),
            ("--dns 1.1.1.1", &["127.0.0.11"], "skip: `dns` is the user's own"),
            (
                "-b none",
                &["127.0.0.11"],
                "skip: dockerd has no bridge of its own; on other networks it asks for containers",
            ),
        ] {
            assert_eq!(decided(&config(words), system(servers, true)), (said.to_owned(), None), "{words}");
        }
        let mut in_file = system(&["127.0.0.11"], true);
        in_file.daemon_json.dns = Some(vec!["1.1.1.1".into()]);
        assert_eq!(decided(&config(""), in_file).1, None);
    }

    #[test]
    fn what_cannot_be_had_is_told() {
        let mut becomes = config("");
        becomes.supervise = false;
        for (config, facts, cause) in [
            (&becomes, system(&["127.0.0.11"], true), "nobody stays"),
            (&config("--fixed-cidr 10.9.0.0/24"), system(&["127.0.0.11"], true), "only dockerd knows"),
            (&config(""), system(&["127.0.0.53"], false), "does not answer"),
        ] {
            let (text, flag) = decided(config, facts);
            assert!(text.starts_with("stop: ") && text.contains(cause) && flag.is_none(), "{text}");
        }
    }
}
