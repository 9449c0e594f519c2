//! Loopback and forwarding, and the flags of the rules about networks.

use crate::facts::Facts;
use crate::{Action, Config, Problem, Verdict};

use super::firewall::{self, Backend};

use super::{mtu, pools, resolver};

/// Loopback up.
pub fn loopback(_: &Config, facts: &Facts) -> Verdict {
    match facts.links.iter().find(|l| l.loopback) {
        None => Verdict::skipped("no loopback interface is visible"),
        Some(link) if link.up => Verdict::satisfied(format!("{} is up", link.name)),
        Some(link) => Verdict::Needed { actions: vec![Action::LinkUp { name: link.name.clone() }] },
    }
}

/// The switch for IPv4.
pub const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Those for IPv6, of the interfaces that there are and of those that come.
const FORWARD6: [&str; 2] =
    ["/proc/sys/net/ipv6/conf/all/forwarding", "/proc/sys/net/ipv6/conf/default/forwarding"];

/// Forwarding, where dockerd only looks whether it is on: with its own backend. Else it is left to dockerd, which shuts the door
/// when it opens it: the policy of FORWARD becomes DROP only if it has switched forwarding on itself (moby,
/// libnetwork/drivers/bridge/setup_ip_forwarding.go). That of IPv6 only if it is wanted: a host that forwards does not listen to
/// routers any more.
pub fn forwarding(config: &Config, facts: &Facts) -> Verdict {
    if firewall::switch(config, facts, "ip-forward") == Some(false) {
        return Verdict::skipped("--ip-forward=false");
    }
    let is_off = |knob: &&str| facts.knobs.get(*knob).is_some_and(|value| value != "1");
    let is_fixed = firewall::forwarding_is_fixed(facts);
    if is_fixed && is_off(&FORWARD) {
        let problem = Problem::new("net.ipv4.ip_forward is 0, and /proc/sys is mounted read-only")
            .cause("containers reach no other networks")
            .remedy("have the outer runtime set it", "docker run --sysctl net.ipv4.ip_forward=1 …");
        return Verdict::Blocked { problem };
    }
    if !facts.knobs.contains_key(FORWARD) {
        return Verdict::skipped(format!("{FORWARD} does not exist"));
    }
    let backend = match firewall::switch(config, facts, "iptables") {
        Some(false) => Some(Backend::Off),
        _ => firewall::choose(config, facts).ok().map(|(backend, _)| backend),
    };
    let is_native = backend == Some(Backend::Native);
    let mut knobs = vec![FORWARD];
    if is_native && !is_fixed && firewall::switch(config, facts, "ipv6") == Some(true) {
        knobs.extend(FORWARD6);
    }
    let off: Vec<&str> = knobs.into_iter().filter(is_off).collect();
    if !is_native && backend != Some(Backend::Off) && !off.is_empty() {
        return Verdict::skipped("dockerd switches it on, and lets nobody else through (FORWARD is DROP)");
    }
    let write = |path: &str| Action::WriteKnob { path: path.into(), value: "1".into() };
    Verdict::needed_or(off.into_iter().map(write).collect(), "net.ipv4.ip_forward = 1")
}

/// What dockerd is told of what surrounds it.
pub fn flags(config: &Config, facts: &Facts) -> Vec<String> {
    let mut flags = mtu::flags(config, facts);
    flags.extend(pools::flags(config, facts, resolver::needs_address(config, facts)));
    flags.extend(resolver::flags(config, facts));
    flags
}
