//! The address of a machine whose init we are, as `ip=` on the kernel command line gives it. A kernel with `CONFIG_IP_PNP` follows
//! it by itself, before us; those of distributions leave it to an initramfs.

use core::net::{IpAddr, Ipv4Addr};

use crate::facts::{Cidr, Facts};
use crate::{Action, Config, Problem, Verdict};

/// What `ip=` says (kernel Documentation/admin-guide/nfs/nfsroot.rst):
/// `CLIENT:SERVER:GATEWAY:NETMASK:HOSTNAME:DEVICE:AUTOCONF:DNS0:DNS1:…`, where most may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    address: Cidr,
    gateway: Option<IpAddr>,
    device: Option<String>,
    nameservers: Vec<IpAddr>,
}

const EXAMPLE: &str = "ip=192.0.2.10::192.0.2.1:255.255.255.0::eth0:off:192.0.2.53";

/// `None` where the kernel is asked not to do anything.
fn parse(text: &str) -> Result<Option<Wanted>, String> {
    let fields: Vec<&str> = text.split(':').collect();
    let field = |at: usize| fields.get(at).copied().filter(|field| !field.is_empty());
    let address = |at: usize| -> Result<Option<Ipv4Addr>, String> {
        let parse = |text: &str| text.parse().map_err(|_| format!("`{text}` is no IPv4 address"));
        field(at).map(parse).transpose()
    };
    // A word alone is how to find an address, with all else left out.
    let auto = if fields.len() == 1 { field(0) } else { field(6) };
    let client = if fields.len() == 1 && text.parse::<Ipv4Addr>().is_err() { None } else { address(0)? };
    match (client, auto) {
        (None, None | Some("off" | "none")) => return Ok(None),
        (None, Some(auto)) => return Err(format!("nobody here asks for one by `{auto}`")),
        (Some(_), _) => {}
    }
    let Some(mask) = address(3)? else { return Err("the netmask is missing".to_owned()) };
    let prefix = mask.to_bits().leading_ones();
    if mask.to_bits().checked_shl(prefix).unwrap_or(0) != 0 {
        return Err(format!("{mask} is no netmask"));
    }
    let nameservers = [address(7)?, address(8)?].into_iter().flatten().map(IpAddr::V4).collect();
    Ok(client.map(|client| Wanted {
        address: Cidr { address: client.into(), prefix: prefix as u8 },
        gateway: address(2).ok().flatten().map(IpAddr::V4),
        device: field(5).map(str::to_owned),
        nameservers,
    }))
}

fn wanted(facts: &Facts) -> Option<Result<Wanted, Problem>> {
    let text = facts.kernel.ip.as_deref()?;
    let problem = |cause| {
        Problem::new(format!("`ip={text}` gives this machine no address"))
            .cause(cause)
            .remedy("give it one on the kernel command line, such as", EXAMPLE)
    };
    parse(text).map_err(problem).transpose()
}

/// The address, and the way out.
pub fn decide(_: &Config, facts: &Facts) -> Verdict {
    let links = || facts.links.iter().filter(|link| !link.loopback);
    let has_one = links().find_map(|link| {
        let address = link.addresses.iter().find(|cidr| cidr.address.is_ipv4())?;
        link.up.then(|| format!("{} has {address}", link.name))
    });
    let wanted = match (wanted(facts), has_one) {
        (None, _) => return Verdict::skipped("the kernel command line gives none (`ip=`)"),
        (_, Some(evidence)) => return Verdict::satisfied(evidence),
        (Some(Err(problem)), None) => return Verdict::Blocked { problem },
        (Some(Ok(wanted)), None) => wanted,
    };
    let named = |name: &String| links().find(|link| link.name == *name);
    let Some(link) = wanted.device.as_ref().map_or_else(|| links().next(), named) else {
        let names: Vec<String> = links().map(|link| format!("`{}`", link.name)).collect();
        let name = wanted.device.as_deref().unwrap_or("but loopback");
        let problem = Problem::new(format!("there is no network interface {name}"));
        let problem = if names.is_empty() {
            problem.hint(
                "see that the machine has one, and that its driver is in the kernel or below /lib/modules",
            )
        } else {
            problem.hint(format!("name one of those that there are: {}", names.join(", ")))
        };
        return Verdict::Blocked { problem };
    };
    let name = link.name.clone();
    let mut actions = vec![
        Action::LinkUp { name: name.clone() },
        Action::AddAddress { name: name.clone(), address: wanted.address },
    ];
    actions.extend(wanted.gateway.map(|gateway| Action::AddRoute { name, gateway }));
    Verdict::Needed { actions }
}

/// What resolv.conf(5) says of the nameservers that come with the address.
pub(super) fn resolv_conf(facts: &Facts) -> Option<String> {
    let wanted = wanted(facts)?.ok()?;
    let lines: String = wanted.nameservers.iter().map(|address| format!("nameserver {address}\n")).collect();
    (!lines.is_empty()).then_some(lines)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;
    use crate::facts::Link;

    fn machine(ip: &str) -> Facts {
        let mut facts = Facts::default();
        facts.kernel.ip = Some(ip.to_owned());
        facts.links = ["lo", "eth0", "eth1"]
            .map(|name| Link { name: name.into(), loopback: name == "lo", ..Link::default() })
            .into();
        facts
    }

    fn decided(facts: &Facts) -> String {
        match decide(&Config::new(Engine::default(), &BTreeMap::new()), facts) {
            Verdict::Needed { actions } => {
                actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
            Verdict::Satisfied { evidence } => format!("ok: {evidence}"),
            Verdict::Skipped { reason } => format!("skip: {reason}"),
            Verdict::Blocked { problem } => format!("stop: {problem}"),
        }
    }

    #[test]
    fn an_address_is_given_as_the_kernel_would() {
        for (ip, done) in [
            (
                "10.0.2.15::10.0.2.2:255.255.255.0:name:eth1:off:10.0.2.3:10.0.2.4",
                "bring eth1 up, give eth1 the address 10.0.2.15/24, send what leaves by eth1 to 10.0.2.2",
            ),
            ("10.0.2.15:::255.255.255.0", "bring eth0 up, give eth0 the address 10.0.2.15/24"),
        ] {
            let mut facts = machine(ip);
            assert_eq!(decided(&facts), done, "{ip}");
            let Verdict::Needed { actions } =
                decide(&Config::new(Engine::default(), &BTreeMap::new()), &facts)
            else {
                panic!("{ip}")
            };
            actions.iter().for_each(|action| action.predict(&mut facts));
            assert!(decided(&facts).starts_with("ok: "), "{}", decided(&facts));
            assert_eq!(facts.network.routes.len(), actions.len() - 2);
        }
    }

    #[test]
    fn nameservers_come_with_it() {
        let named = |ip: &str| resolv_conf(&machine(ip));
        assert_eq!(
            named("10.0.2.15::10.0.2.2:255.0.0.0:::off:10.0.2.3:10.0.2.4").as_deref(),
            Some("nameserver 10.0.2.3\nnameserver 10.0.2.4\n")
        );
        assert_eq!(named("10.0.2.15::10.0.2.2:255.0.0.0"), None);
        assert_eq!(named("dhcp"), None);
    }

    #[test]
    fn what_makes_no_address_is_told_with_one_that_does() {
        for (ip, cause) in [
            ("dhcp", "nobody here asks for one by `dhcp`"),
            (":::::eth0:dhcp", "nobody here asks for one by `dhcp`"),
            ("10.0.2.15", "the netmask is missing"),
            ("10.0.2.15:::24", "`24` is no IPv4 address"),
            ("10.0.2.15:::255.0.255.0", "255.0.255.0 is no netmask"),
            ("fd00::1:::", "`fd00` is no IPv4 address"),
        ] {
            let told = decided(&machine(ip));
            assert!(told.starts_with("stop: ") && told.contains(cause) && told.contains(EXAMPLE), "{told}");
        }
        let told = decided(&machine("10.0.2.15:::255.0.0.0::eth7"));
        assert!(told.contains("`eth0`, `eth1`"), "{told}");
    }

    #[test]
    fn nothing_is_done_where_nothing_is_asked_for() {
        for ip in ["off", "none", "", ":::::eth0:off"] {
            assert!(decided(&machine(ip)).starts_with("skip: "), "{ip}");
        }
        assert!(decided(&Facts::default()).starts_with("skip: "));
    }
}
