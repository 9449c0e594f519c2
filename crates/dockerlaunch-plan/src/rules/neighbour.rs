//! Two dockerds in one network namespace share docker0 and the chains of the firewall: the second one overwrites what the first
//! has there, published ports among it. `--bridge=none` is no way out, since dockerd then removes docker0 (moby,
//! daemon/daemon_unix.go, `removeDefaultBridgeInterface`).

use crate::facts::Facts;
use crate::{Config, Problem, Verdict};

/// Alone, or with nothing in common.
pub fn decide(config: &Config, facts: &Facts) -> Verdict {
    let Some(socket) = &facts.network.other_engine else {
        return Verdict::satisfied("no other engine is in this network namespace");
    };
    let (engine, file) = (&config.engine, &facts.daemon_json);
    let is_off = |name, in_file: Option<bool>| engine.switch(name).or(in_file) == Some(false);
    let bridge = engine.option("bridge").or(file.bridge.as_deref()).unwrap_or_default();
    let has_own_bridge = !matches!(bridge, "" | "docker0" | "none");
    if has_own_bridge && is_off("iptables", file.iptables) && is_off("ip6tables", file.ip6tables) {
        return Verdict::satisfied(format!("`{bridge}` is apart from the engine of {socket}"));
    }
    if config.settings.ignore_neighbour {
        return Verdict::skipped(format!("DOCKERLAUNCH_NEIGHBOUR=ignore, beside the engine of {socket}"));
    }
    let problem = Problem::new("another Docker runs in this network namespace")
        .cause(format!("it listens on {socket}, which is not in this container"))
        .cause("both would have docker0 and the firewall's chains: its containers would lose their ports")
        .remedy("give this one a network of its own: leave out", "--network host")
        .hint("in a pod leave out `hostNetwork: true`")
        .remedy(
            "or keep them apart; containers then have no way out of the machine but `--network host`",
            "-b br0 --bip=10.20.0.1/24 --iptables=false --ip6tables=false",
        )
        .remedy("or start nevertheless", "DOCKERLAUNCH_NEIGHBOUR=ignore");
    Verdict::Blocked { problem }
}

/// What comes of it.
pub fn warning(config: &Config, facts: &Facts) -> Option<String> {
    let socket = facts.network.other_engine.as_ref().filter(|_| config.settings.ignore_neighbour)?;
    Some(format!(
        "the engine of {socket} is in this network namespace too: either may lose its bridge and published ports"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;

    fn is_blocked(words: &str, facts: &Facts) -> bool {
        let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let config = Config::new(Engine::new("dockerd", &args), &BTreeMap::new());
        matches!(decide(&config, facts), Verdict::Blocked { .. })
    }

    #[test]
    fn a_foreign_docker0_is_not_touched_pain_51() {
        let mut facts = Facts::default();
        facts.links.push(crate::facts::Link { name: "docker0".into(), ..Default::default() });
        assert!(!is_blocked("", &facts), "left by a predecessor, as in a pod whose container starts again");
        facts.network.other_engine = Some("/var/run/docker/libnetwork/0e2d6ff12345.sock".into());
        for words in
            ["", "-b none", "-b br0", "--iptables=false --ip6tables=false", "-b br0 --iptables=false"]
        {
            assert!(is_blocked(words, &facts), "{words}");
        }
        assert!(!is_blocked("-b br0 --iptables=false --ip6tables=false", &facts));
        let mut config = Config::new(Engine::default(), &BTreeMap::new());
        assert_eq!(warning(&config, &facts), None);
        config.settings.ignore_neighbour = true;
        assert!(matches!(decide(&config, &facts), Verdict::Skipped { .. }));
        assert!(warning(&config, &facts).is_some_and(|text| text.contains("/0e2d6ff12345.sock")));
        facts.daemon_json.iptables = Some(false);
        facts.daemon_json.ip6tables = Some(false);
        assert!(!is_blocked("-b br0", &facts));
    }
}
