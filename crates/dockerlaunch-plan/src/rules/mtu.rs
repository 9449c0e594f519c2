//! Packets of containers that are not too large for the way out: where they are, and the answer that says so is dropped, as
//! many firewalls do, connections hang.

use crate::facts::network::Route;
use crate::facts::{Facts, Link};
use crate::{Config, Verdict};

/// What dockerd gives to its networks by itself.
const USUAL: u32 = 1500;

const FLAG: &str = "mtu";
const OPTION: &str = "default-network-opt";
const DRIVER: &str = "com.docker.network.driver.mtu";

/// The narrowest of the ways out, and whose it is: with several, any may be taken.
fn way_out(facts: &Facts) -> Option<(u32, &Link)> {
    let ways = facts.network.routes.iter().filter(|route| route.is_way_out()).filter_map(|route| {
        let link = facts.links.iter().find(|link| link.index == route.link && link.up && link.carrier)?;
        Some((route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)), link))
    });
    ways.filter(|(mtu, _)| *mtu > 0).min_by_key(|(mtu, _)| *mtu)
}

/// What the user set for dockerd's own bridge.
fn named(config: &Config, facts: &Facts) -> Option<i64> {
    config.engine.option(FLAG).map(|text| text.parse().unwrap_or(0)).or(facts.daemon_json.mtu)
}

/// What networks that users make shall have; dockerd's `--mtu` is for its own bridge alone.
fn for_networks(config: &Config, facts: &Facts) -> Option<u32> {
    let narrow = |mtu: &u32| (1..USUAL).contains(mtu);
    match named(config, facts) {
        Some(named) => u32::try_from(named).ok().filter(narrow),
        None => way_out(facts).map(|(mtu, _)| mtu).filter(narrow),
    }
}

/// Whether it matters if the engine has `--default-network-opt`, which is asked only then.
pub fn asks_for_network_opts(config: &Config, facts: &Facts) -> bool {
    for_networks(config, facts).is_some()
}

/// What dockerd is told.
pub fn flags(config: &Config, facts: &Facts) -> Vec<String> {
    let Some(mtu) = for_networks(config, facts) else { return Vec::new() };
    let mut flags = Vec::new();
    if named(config, facts).is_none() {
        flags.push(format!("--{FLAG}={mtu}"));
    }
    let on_line = config.engine.values(OPTION).any(|value| value.contains(DRIVER));
    let in_file = facts.daemon_json.default_network_opts.as_ref();
    let in_file = in_file.is_some_and(|opts| opts.to_string().contains(DRIVER));
    if facts.network.takes_network_opts && !on_line && !in_file {
        flags.push(format!("--{OPTION}=bridge={DRIVER}={mtu}"));
    }
    flags
}

/// Says what was found.
pub fn decide(config: &Config, facts: &Facts) -> Verdict {
    let narrow = for_networks(config, facts);
    let scope = match narrow {
        Some(_) if !facts.network.takes_network_opts => {
            "; networks that users make keep 1500: this engine has no --default-network-opt"
        }
        Some(_) => ", on docker0 and new bridge networks",
        None => "",
    };
    if let Some(named) = named(config, facts) {
        return Verdict::satisfied(format!("{named}, as the user set it{scope}"));
    }
    match (narrow, way_out(facts)) {
        (Some(mtu), Some((_, link))) => {
            Verdict::satisfied(format!("{mtu}, as the way out by {}{scope}", link.name))
        }
        (_, Some((mtu, link))) => {
            Verdict::satisfied(format!("{USUAL}; the way out by {} has {mtu}", link.name))
        }
        _ if facts.network.routes.iter().any(Route::is_way_out) => {
            Verdict::skipped(format!("{USUAL}; the interface of the way out is down"))
        }
        _ => Verdict::skipped(format!("{USUAL}; there is no way out")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;

    /// A system with these ways out: interface, its MTU, carrier, and the route's MTU.
    fn facts(ways: &[(&str, u32, bool, Option<u32>)]) -> Facts {
        let mut facts = Facts::default();
        facts.network.takes_network_opts = true;
        for (index, (name, mtu, carrier, route)) in (1..).zip(ways) {
            let to = if *name == "v6" { "::/0" } else { "0.0.0.0/0" }.parse().expect("route");
            facts.network.routes.push(Route { to, link: index, gateway: None, mtu: *route });
            let name = (*name).to_owned();
            let link = Link { name, index, mtu: *mtu, carrier: *carrier, up: true, ..Link::default() };
            facts.links.push(link);
        }
        facts
    }

    fn decided(words: &str, facts: &Facts) -> (String, String) {
        let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let config = Config::new(Engine::new("dockerd", &args), &BTreeMap::new());
        let text = match decide(&config, facts) {
            Verdict::Satisfied { evidence } => evidence,
            Verdict::Skipped { reason } => format!("skip: {reason}"),
            other => panic!("{other:?}"),
        };
        (text, flags(&config, facts).join(" "))
    }

    const BOTH: &str = "--mtu=1400 --default-network-opt=bridge=com.docker.network.driver.mtu=1400";

    #[test]
    fn docker0_and_new_networks_get_the_mtu_of_a_narrow_way_out_pain_2() {
        let narrow = facts(&[("eth0", 1400, true, None)]);
        let (text, flags) = decided("", &narrow);
        assert_eq!(
            (text.as_str(), flags.as_str()),
            ("1400, as the way out by eth0, on docker0 and new bridge networks", BOTH)
        );
        // An engine before 24.0.
        let mut old = narrow;
        old.network.takes_network_opts = false;
        let (text, flags) = decided("", &old);
        assert!(text.contains("keep 1500") && flags == "--mtu=1400", "{text}: {flags}");
    }

    #[test]
    fn the_smallest_of_several_counts() {
        for ways in [
            &[("a", 1500, true, None), ("b", 1400, true, None)][..],
            &[("a", 1500, true, Some(1400)), ("b", 1450, true, None)],
            &[("v4", 1500, true, None), ("v6", 1400, true, None)],
            &[("a", 1400, true, Some(9000))],
            &[("a", 1280, false, None), ("b", 1400, true, None)],
        ] {
            assert_eq!(decided("", &facts(ways)).1, BOTH, "{ways:?}");
        }
    }

    #[test]
    fn nothing_changes_where_nothing_is_narrow() {
        for (ways, said) in [
            (&[][..], "skip: 1500; there is no way out"),
            (&[("a", 1400, false, None)], "skip: 1500; the interface of the way out is down"),
            (&[("a", 1500, true, None)], "1500; the way out by a has 1500"),
            (&[("a", 9000, true, None)], "1500; the way out by a has 9000"),
            (&[("a", 0, true, None)], "skip: 1500; the interface of the way out is down"),
        ] {
            assert_eq!(decided("", &facts(ways)), (said.to_owned(), String::new()));
        }
        let mut elsewhere = facts(&[("a", 1400, true, None)]);
        elsewhere.network.routes[0].to = "10.0.0.0/8".parse().expect("route");
        assert_eq!(decided("", &elsewhere).0, "skip: 1500; there is no way out");
        // As OpenVPN has it.
        elsewhere.network.routes[0].to = "128.0.0.0/1".parse().expect("route");
        assert_eq!(decided("", &elsewhere).1, BOTH);
    }

    #[test]
    fn what_the_user_set_stays() {
        let narrow = facts(&[("eth0", 1400, true, None)]);
        let networks = |mtu| format!("--default-network-opt=bridge=com.docker.network.driver.mtu={mtu}");
        let own = "--default-network-opt=bridge=com.docker.network.driver.mtu=1300";
        for (words, flags) in [
            ("--mtu 1300", networks(1300)),
            ("--mtu 1500", String::new()),
            ("--mtu=9000", String::new()),
            ("--mtu=x", String::new()),
            (own, "--mtu=1400".to_owned()),
            ("--default-network-opt=bridge=a=b", BOTH.to_owned()),
        ] {
            assert_eq!(decided(words, &narrow).1, flags, "{words}");
        }
        let mut in_file = narrow;
        in_file.daemon_json.mtu = Some(1450);
        assert_eq!(decided("", &in_file).1, networks(1450));
        in_file.daemon_json.default_network_opts = Some(serde_json::json!({"bridge": {DRIVER: "1200"}}));
        assert_eq!(decided("", &in_file).1, "");
    }
}
