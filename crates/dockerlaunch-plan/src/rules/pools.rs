//! Addresses for containers that nobody in sight has.
//!
//! dockerd itself avoids nameservers and the networks that it is attached to, not those behind a route, and where Docker runs
//! in Docker it does not see what is further out. So a clash with one of its own ranges means another range for all.

use core::net::{IpAddr, Ipv4Addr};

use crate::facts::network::Route;
use crate::facts::{Cidr, Facts, Link};
use crate::{Config, Problem, Verdict};

/// Ranges, in the order in which they are tried. The first is dockerd's own, which it needs not be told of (see [`LATER`]).
/// Then come parts of it, since whoever runs Docker keeps them free already; then `198.18.0.0/15`, for tests of network devices
/// (RFC 2544); then what neither large clouds (10.0/16, Google's 10.128/9, of which its networks and those of its clusters are
/// by default) nor Kubernetes' distributions, Podman or VPNs have by default (10.8, 10.32/12, 10.88, 10.96/12, 10.244).
const RANGES: &[&[Range]] = &[
    &[Range(172, 16, 13), Range(172, 24, 14), Range(172, 28, 15), Range(172, 30, 16)],
    &[Range(172, 20, 14)],
    &[Range(172, 24, 14)],
    &[Range(172, 28, 15)],
    &[Range(198, 18, 15)],
    &[Range(10, 72, 14)],
    &[Range(10, 116, 14)],
];

/// What else dockerd has for networks that users make. It leaves out those that it is attached to, as machines at Amazon's are to
/// one in `172.31.0.0/16`, and most at home to one in the other; but not those behind a router.
const LATER: [Range; 2] = [Range(172, 31, 16), Range(192, 168, 16)];

/// The first two bytes of a network, and the length of its prefix.
#[derive(Clone, Copy)]
struct Range(u8, u8, u8);

/// A bridge has 1024 ports at most (linux, net/bridge/br_private.h), so more addresses are of no use.
const SIZE: u8 = 22;

const BIP: &str = "bip";
const POOL: &str = "default-address-pool";

impl Range {
    fn cidr(self) -> Cidr {
        Cidr { address: IpAddr::V4(Ipv4Addr::new(self.0, self.1, 0, 0)), prefix: self.2 }
    }
}

/// Whether one of two networks of IPv4 lies in the other.
fn overlap(a: &Cidr, b: &Cidr) -> bool {
    let (IpAddr::V4(one), IpAddr::V4(other)) = (a.address, b.address) else { return false };
    let shift = 32 - u32::from(a.prefix.min(b.prefix));
    one.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
}

/// Where Docker has the gateway of a network.
fn first_of(network: &Cidr) -> Option<IpAddr> {
    let IpAddr::V4(address) = network.address else { return None };
    let hosts = u32::MAX.checked_shr(network.prefix.into()).unwrap_or_default();
    Some(IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !hosts | 1)))
}

/// dockerd makes these itself: what a predecessor left behind must not drive us elsewhere.
fn is_dockers(name: &str) -> bool {
    let of_a_network = |id: &str| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit());
    matches!(name, "docker0" | "docker_gwbridge") || name.strip_prefix("br-").is_some_and(of_a_network)
}

/// A network that somebody else has.
struct Taken {
    network: Cidr,
    what: String,
    /// dockerd does not leave it out itself.
    is_routed: bool,
}

/// Everything in sight. A single address stands for a network that is not in sight itself.
fn taken(config: &Config, facts: &Facts) -> Vec<Taken> {
    let one = |network, what| Taken { network, what, is_routed: false };
    let mut taken = Vec::new();
    let links = facts.links.iter().filter(|link| !link.loopback && !is_dockers(&link.name));
    for link in links.clone() {
        taken.extend(link.addresses.iter().map(|a| one(*a, format!("the address {a} of {}", link.name))));
    }
    for route in facts.network.routes.iter().filter(|route| route.to.prefix >= 8) {
        if links.clone().any(|link| link.index == route.link) {
            let is_routed = route.gateway.is_some();
            taken.push(Taken { network: route.to, what: format!("the route to {}", route.to), is_routed });
        }
    }
    let whole = |address: IpAddr| Cidr { address, prefix: 16 };
    let others = facts.network.nameservers.iter().filter(|address| !address.is_loopback());
    taken.extend(others.map(|a| one(whole(*a), format!("the nameserver {a}"))));
    taken.extend(facts.network.service.map(|a| one(whole(a), format!("the cluster's API at {a}"))));
    let own = config.engine.option(BIP).or(facts.daemon_json.bip.as_deref()).and_then(|bip| bip.parse().ok());
    taken.extend(own.map(|bip: Cidr| one(bip, format!("`--{BIP} {bip}`"))));
    taken
}

/// Which range it is to be, and what is in the way of dockerd's own.
fn choose(config: &Config, facts: &Facts) -> (Option<usize>, Option<String>) {
    let taken = taken(config, facts);
    let clash = |range: usize| {
        let is_in = |network, ranges: &[Range]| ranges.iter().any(|range| overlap(network, &range.cidr()));
        taken.iter().find(|taken| {
            let later = range == 0 && taken.is_routed && is_in(&taken.network, &LATER);
            later || is_in(&taken.network, RANGES[range])
        })
    };
    // In a container of a Docker that we have launched its range is in sight, those further out are not, but come before it.
    let is_outer = |link: &Link, address: &Cidr| {
        let is_way_out = |route: &Route| {
            route.link == link.index && route.is_way_out() && route.gateway == first_of(address)
        };
        address.prefix == SIZE && facts.network.routes.iter().any(is_way_out)
    };
    let own = facts.links.iter().filter(|link| !is_dockers(&link.name));
    let own = own.flat_map(|link| link.addresses.iter().filter(move |address| is_outer(link, address)));
    let level = own.filter_map(|a| RANGES[1..].iter().rposition(|range| overlap(a, &range[0].cidr()))).max();
    let first = level.map_or(0, |at| at + 2);
    let mut order = (first..RANGES.len()).chain(0..first);
    let found = order.find(|range| clash(*range).is_none());
    let why = clash(0).map(|taken| taken.what.clone());
    (found, why.or_else(|| level.map(|_| "a Docker further out".to_owned())))
}

/// What the user set that leaves us no choice of the networks, or of dockerd's own bridge alone.
fn set_by_user(config: &Config, facts: &Facts) -> (Option<&'static str>, Option<&'static str>) {
    let file = &facts.daemon_json;
    let on_line = |name: &str| config.engine.option(name).is_some_and(|value| !value.is_empty());
    let pools = on_line(POOL) || file.default_address_pools.is_some();
    let bridge = [
        (BIP, file.bip.is_some()),
        ("bridge", file.bridge.as_ref().is_some_and(|name| !name.is_empty())),
        ("fixed-cidr", file.fixed_cidr.is_some()),
    ];
    let bridge = bridge.into_iter().find(|(name, in_file)| *in_file || on_line(name));
    (pools.then_some(POOL), bridge.map(|(name, _)| name))
}

/// The address of dockerd's own bridge, where it is ours to choose or was given; where it is the user's pools or a subnet that
/// decide, only dockerd knows.
pub fn bridge_address(config: &Config, facts: &Facts) -> Option<Cidr> {
    let named = config.engine.option("bridge").or(facts.daemon_json.bridge.as_deref());
    let given = config.engine.option(BIP).or(facts.daemon_json.bip.as_deref());
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        return given.parse().ok();
    }
    if let Some(name) = named.filter(|name| !name.is_empty()) {
        let link = facts.links.iter().find(|link| link.name == name)?;
        return link.addresses.iter().find(|address| address.address.is_ipv4()).copied();
    }
    match set_by_user(config, facts) {
        (None, None) => chosen(config, facts),
        _ => None,
    }
}

fn chosen(config: &Config, facts: &Facts) -> Option<Cidr> {
    let first = |a, b, prefix| Cidr { address: IpAddr::V4(Ipv4Addr::new(a, b, 0, 1)), prefix };
    Some(match choose(config, facts).0? {
        // The first of dockerd's own.
        0 => first(172, 17, 16),
        range => first(RANGES[range][0].0, RANGES[range][0].1, SIZE),
    })
}

/// What dockerd is told. `needs_address`: somebody must know the bridge's, so that it may not be left to dockerd.
pub fn flags(config: &Config, facts: &Facts, needs_address: bool) -> Vec<String> {
    let (pools, bridge) = set_by_user(config, facts);
    let (None, Some(range)) = (pools, choose(config, facts).0) else { return Vec::new() };
    let bip = bridge.is_none() && (range > 0 || needs_address);
    let bip = chosen(config, facts).filter(|_| bip).map(|bip| format!("--{BIP}={bip}"));
    let pool = (range > 0).then(|| format!("--{POOL}=base={},size={SIZE}", RANGES[range][0].cidr()));
    bip.into_iter().chain(pool).collect()
}

/// Says what was chosen, and why.
pub fn decide(config: &Config, facts: &Facts) -> Verdict {
    if let (Some(name), _) = set_by_user(config, facts) {
        return Verdict::skipped(format!("`{name}` is the user's own"));
    }
    match choose(config, facts) {
        (Some(0), _) => Verdict::satisfied("dockerd's own ranges are free"),
        (Some(range), why) => {
            let range = RANGES[range][0].cidr();
            let why = why.map_or_else(String::new, |why| format!(": {why} is in the way of dockerd's own"));
            Verdict::satisfied(format!("{range}{why}"))
        }
        (None, why) => Verdict::Blocked {
            problem: Problem::new("no range of addresses is free for containers")
                .cause(format!("{} and others are in the way", why.unwrap_or_default()))
                .remedy(
                    "name a range that is free",
                    format!("--{BIP}=10.20.0.1/{SIZE} --{POOL}=base=10.20.0.0/16,size={SIZE}"),
                ),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("network")
    }

    /// A machine with this address, and whatever else.
    fn facts(address: &str, change: impl FnOnce(&mut Facts)) -> Facts {
        let mut facts = Facts::default();
        let addresses = vec![cidr(address)];
        facts.links.push(Link { name: "eth0".into(), index: 2, addresses, ..Link::default() });
        change(&mut facts);
        facts
    }

    fn flagged(words: &str, facts: &Facts) -> String {
        let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        flags(&Config::new(Engine::new("dockerd", &args), &BTreeMap::new()), facts, false).join(" ")
    }

    fn route(facts: &mut Facts, to: &str) {
        let gateway = facts.links[0].addresses.first().and_then(first_of);
        facts.network.routes.push(Route { to: cidr(to), link: 2, gateway, mtu: None });
    }

    const SECOND: &str = "--bip=172.20.0.1/22 --default-address-pool=base=172.20.0.0/14,size=22";

    #[test]
    fn where_nothing_clashes_nothing_is_said() {
        for address in ["192.168.1.7/24", "10.0.2.15/24", "10.244.1.5/24", "172.31.16.4/20", "fd00::1/64"] {
            assert_eq!(flagged("", &facts(address, |_| {})), "", "{address}");
        }
        assert_eq!(flagged("", &facts("10.0.2.15/24", |facts| route(facts, "0.0.0.0/0"))), "");
        // A VPN, or machines of a company, somewhere in our own ranges.
        assert_eq!(flagged("", &facts("10.0.2.15/24", |facts| route(facts, "10.0.0.0/8"))), "");
        assert_eq!(flagged("", &facts("10.72.7.4/22", |_| {})), "");
    }

    #[test]
    fn whatever_is_in_sight_is_avoided_pain_12() {
        let name = |text: &str| text.parse().expect("address");
        for (what, facts) in [
            ("address", facts("172.17.0.2/16", |_| {})),
            ("route", facts("10.0.2.15/24", |facts| route(facts, "172.19.5.0/24"))),
            ("nameserver", facts("10.0.0.4/32", |facts| facts.network.nameservers.push(name("172.19.0.10")))),
            ("service", facts("10.0.0.4/32", |facts| facts.network.service = Some(name("172.19.0.1")))),
        ] {
            assert_eq!(flagged("", &facts), SECOND, "{what}");
        }
        let second = facts("172.17.0.2/16", |facts| route(facts, "172.22.0.0/16"));
        assert!(flagged("", &second).starts_with("--bip=172.24.0.1/22 "), "{}", flagged("", &second));
        let all = facts("10.0.2.15/24", |facts| route(facts, "172.16.0.0/12"));
        assert!(flagged("", &all).contains("base=198.18.0.0/15,size=22"));
    }

    #[test]
    fn dockerds_later_ranges_count_where_it_does_not_see_them_pain_12() {
        for to in ["172.31.0.0/16", "192.168.50.0/24"] {
            assert_eq!(flagged("", &facts("10.0.2.15/24", |facts| route(facts, to))), SECOND, "{to}");
            let attached = facts("10.0.2.15/24", |facts| {
                route(facts, to);
                facts.network.routes[0].gateway = None;
            });
            assert_eq!(flagged("", &attached), "", "{to}");
        }
    }

    #[test]
    fn no_range_is_somebody_elses_by_default_pain_12() {
        let others =
            ["10.0.0.0/16", "10.128.0.0/9", "10.88.0.0/16", "10.96.0.0/12", "10.42.0.0/15", "10.244.0.0/16"];
        let others =
            others.into_iter().chain(["172.17.0.0/16", "172.18.0.0/16", "172.31.0.0/16", "192.168.0.0/16"]);
        for other in others {
            for range in &RANGES[1..] {
                assert!(!overlap(&cidr(other), &range[0].cidr()), "{other}: {}", range[0].cidr());
            }
        }
    }

    #[test]
    fn each_level_of_nesting_has_a_range_of_its_own_pain_12() {
        let mut address = "172.17.0.2/16".to_owned();
        let mut seen = Vec::new();
        for _ in 1..RANGES.len() {
            let flags = flagged("", &facts(&address, |facts| route(facts, "0.0.0.0/0")));
            let bip = flags.split_whitespace().next().expect("a range").trim_start_matches("--bip=");
            address = bip.replace(".0.1/", ".0.2/");
            assert!(!seen.contains(&address), "{address} again, after {seen:?}");
            seen.push(address.clone());
        }
        let last = facts(&address, |facts| route(facts, "0.0.0.0/0"));
        assert_eq!(flagged("", &last), "", "after the last comes the first");
    }

    #[test]
    fn what_a_predecessor_left_behind_does_not_count() {
        let left = |name: &str, address: &str| {
            facts("10.0.2.15/24", |facts| {
                let addresses = vec![cidr(address)];
                let name = name.to_owned();
                facts.links.push(Link { name, index: 3, is_bridge: true, addresses, ..Link::default() });
                facts.network.routes.push(Route { to: cidr(address), link: 3, gateway: None, mtu: None });
            })
        };
        for (name, address) in [
            ("docker0", "172.17.0.1/16"),
            ("br-0123456789ab", "172.20.4.1/22"),
            ("docker_gwbridge", "172.18.0.1/16"),
        ] {
            assert_eq!(flagged("", &left(name, address)), "", "{name}");
        }
        assert_eq!(flagged("", &left("br-lan", "172.17.0.1/16")), SECOND);
    }

    #[test]
    fn what_the_user_set_stays() {
        let nested = facts("172.17.0.2/16", |_| {});
        let pool = "--default-address-pool=base=172.20.0.0/14,size=22";
        for (words, flags) in [
            ("--bip 10.9.0.1/24", pool),
            ("--fixed-cidr=10.9.0.0/24", pool),
            ("-b br0", pool),
            ("--default-address-pool base=10.9.0.0/16,size=24", ""),
        ] {
            assert_eq!(flagged(words, &nested), flags, "{words}");
        }
        assert!(flagged("--bip 172.20.0.1/24", &nested).contains("base=172.24.0.0/14"));
        let mut in_file = nested;
        in_file.daemon_json.bip = Some("10.9.0.1/24".into());
        assert_eq!(flagged("", &in_file), pool);
        in_file.daemon_json.default_address_pools = Some(serde_json::json!([]));
        assert_eq!(flagged("", &in_file), "");
    }

    #[test]
    fn where_everything_is_taken_it_is_told() {
        let full = facts("172.17.0.2/16", |facts| {
            route(facts, "10.0.0.0/8");
            route(facts, "172.16.0.0/12");
            route(facts, "198.0.0.0/8");
        });
        let config = Config::new(Engine::default(), &BTreeMap::new());
        let Verdict::Blocked { problem } = decide(&config, &full) else { panic!("not told") };
        assert!(problem.causes[0].contains("172.17.0.2/16 of eth0"), "{problem}");
        assert_eq!(flagged("", &full), "");
    }
}
