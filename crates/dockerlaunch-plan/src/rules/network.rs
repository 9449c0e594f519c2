//! Loopback and forwarding, and the flags of the rules about networks.

use crate::facts::Facts;
use crate::{Action, Config, Verdict};

use super::{mtu, pools, resolver};

/// Loopback up.
pub fn loopback(_: &Config, facts: &Facts) -> Verdict {
    match facts.links.iter().find(|l| l.loopback) {
        None => Verdict::skipped("no loopback interface is visible"),
        Some(link) if link.up => Verdict::satisfied(format!("{} is up", link.name)),
        Some(link) => Verdict::Needed { actions: vec![Action::LinkUp { name: link.name.clone() }] },
    }
}

/// IPv4 forwarding, before dockerd: when it has to switch it on itself it also sets the FORWARD policy to DROP
/// (libnetwork/drivers/bridge/setup_ip_forwarding.go).
pub fn forwarding(_: &Config, facts: &Facts) -> Verdict {
    const KNOB: &str = "/proc/sys/net/ipv4/ip_forward";
    match facts.knobs.get(KNOB).map(String::as_str) {
        None => Verdict::skipped(format!("{KNOB} does not exist")),
        Some("1") => Verdict::satisfied("net.ipv4.ip_forward = 1"),
        Some(_) => {
            Verdict::Needed { actions: vec![Action::WriteKnob { path: KNOB.into(), value: "1".into() }] }
        }
    }
}

/// What dockerd is told of what surrounds it.
pub fn flags(config: &Config, facts: &Facts) -> Vec<String> {
    let mut flags = mtu::flags(config, facts);
    flags.extend(pools::flags(config, facts, resolver::needs_address(config, facts)));
    flags.extend(resolver::flags(config, facts));
    flags
}
