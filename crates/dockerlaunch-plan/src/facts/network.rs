//! Where packets go from here, who answers for names, and who else uses this network namespace.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Cidr;

/// What surrounds us.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Routes to other machines, of every table.
    pub routes: Vec<Route>,
    /// Nameservers that dockerd finds.
    pub nameservers: Vec<IpAddr>,
    /// Their options.
    pub resolver_options: Vec<String>,
    /// Those of them that answer, where dockerd leaves none to containers on its bridge: all are on loopback or of IPv6.
    pub local_resolvers: Vec<IpAddr>,
    /// The cluster's API, as a pod is told of it.
    pub service: Option<IpAddr>,
    /// The engine has `--default-network-opt`; asked only where it matters.
    pub takes_network_opts: bool,
    /// A socket of another dockerd that runs in this network namespace.
    pub other_engine: Option<String>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads.
    pub to: Cidr,
    /// The interface, by its index.
    pub link: u32,
    /// The router; `None` where the network itself is on the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// `RTAX_MTU`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

impl Route {
    /// Whether it is one for everything else. VPNs halve it (`0.0.0.0/1`) to have the first say.
    pub fn is_way_out(&self) -> bool {
        self.to.prefix <= 1
    }
}

/// The routes in what the kernel answers to `RTM_GETROUTE` (rtnetlink(7)).
pub fn parse_routes(dump: &[u8]) -> Vec<Route> {
    const RTM_NEWROUTE: u16 = 24;
    let all = messages(dump).filter(|(kind, _)| *kind == RTM_NEWROUTE);
    all.flat_map(|(_, body)| routes(body).unwrap_or_default()).collect()
}

/// Whether this is the last part of such an answer, or an error in its place.
pub fn is_end(part: &[u8]) -> bool {
    const NLMSG_ERROR: u16 = 2;
    const NLMSG_DONE: u16 = 3;
    messages(part).any(|(kind, _)| matches!(kind, NLMSG_ERROR | NLMSG_DONE))
}

/// struct nlmsghdr: length, type.
fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let pieces = Pieces { bytes, header: 16, length: |head| u32_at(head, 0) };
    pieces.filter_map(|(head, body)| Some((u16_at(head, 4)?, body)))
}

/// One message. A route with several next hops is one for each.
fn routes(body: &[u8]) -> Option<Vec<Route>> {
    const RT_TABLE_LOCAL: u8 = 255;
    const RTN_UNICAST: u8 = 1;
    const RTM_F_CLONED: u32 = 0x200;
    const RTA_DST: u16 = 1;
    const RTA_OIF: u16 = 4;
    const RTA_GATEWAY: u16 = 5;
    const RTA_METRICS: u16 = 8;
    const RTA_MULTIPATH: u16 = 9;
    const RTAX_MTU: u16 = 2;
    // struct rtmsg.
    let (head, attributes) = body.split_at_checked(12)?;
    let &[family, prefix, _, _, table, _, _, kind, ..] = head else { return None };
    if table == RT_TABLE_LOCAL || kind != RTN_UNICAST || u32_at(head, 8)? & RTM_F_CLONED != 0 {
        return None;
    }
    let mut address = match family {
        2 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        10 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut links, mut gateway, mut mtu) = (Vec::new(), None, None);
    for (kind, value) in self::attributes(attributes) {
        match kind {
            RTA_DST => address = ip(value).filter(|to| to.is_ipv4() == address.is_ipv4())?,
            RTA_OIF => links.extend(u32_at(value, 0).map(|link| (link, None))),
            RTA_GATEWAY => gateway = ip(value),
            RTA_METRICS => {
                let found = self::attributes(value).find(|(kind, _)| *kind == RTAX_MTU);
                mtu = found.and_then(|(_, value)| u32_at(value, 0)).filter(|mtu| *mtu > 0);
            }
            // struct rtnexthop: length, flags, weight, interface.
            RTA_MULTIPATH => {
                let hops = Pieces { bytes: value, header: 8, length: |head| u16_at(head, 0).map(u32::from) };
                links.extend(hops.filter_map(|(head, value)| {
                    let gateway = self::attributes(value).find(|(kind, _)| *kind == RTA_GATEWAY);
                    Some((u32_at(head, 4)?, gateway.and_then(|(_, value)| ip(value))))
                }));
            }
            _ => {}
        }
    }
    let to = Cidr { address, prefix };
    let route = |(link, own): (_, Option<IpAddr>)| Route { to, link, gateway: own.or(gateway), mtu };
    Some(links.into_iter().map(route).collect())
}

/// struct rtattr: length, type.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let pieces = Pieces { bytes, header: 4, length: |head| u16_at(head, 0).map(u32::from) };
    pieces.filter_map(|(head, value)| Some((u16_at(head, 2)?, value)))
}

/// What follows one another with its length in front, each piece on a boundary of four bytes.
struct Pieces<'a> {
    bytes: &'a [u8],
    header: usize,
    length: fn(&[u8]) -> Option<u32>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::try_from((self.length)(self.bytes)?).ok()?;
        let piece = self.bytes.get(..length)?.split_at_checked(self.header)?;
        self.bytes = self.bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(piece)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// Where systemd-resolved lists the nameservers behind its own.
pub const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Whether dockerd reads [`BEHIND_RESOLVED`] instead (moby, libnetwork/internal/resolvconf, `Path`).
pub fn is_resolved_alone(nameservers: &[IpAddr]) -> bool {
    *nameservers == [IpAddr::from([127, 0, 0, 53])]
}

/// The nameservers in a resolv.conf(5); what is no address is nobody.
pub fn parse_nameservers(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let word = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        // A link-local address may carry its interface: fe80::1%eth0.
        word.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(address).collect()
}

/// The options in a resolv.conf(5).
pub fn parse_options(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("options"));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// Sockets in `/proc/net/unix` that a running dockerd keeps for its network controller. That table is of the network
/// namespace, so it shows those of engines in other containers too (moby, libnetwork, `startExternalKeyListener`).
pub fn parse_engines(table: &str) -> Vec<&str> {
    let paths = table.lines().filter_map(|line| line.split_whitespace().nth(7));
    paths.filter(|path| path.contains("/libnetwork/") && path.ends_with(".sock")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `RTM_NEWROUTE`.
    fn message(family: u8, prefix: u8, table: u8, kind: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![family, prefix, 0, 0, table, 3, 0, kind, 0, 0, 0, 0];
        for (number, value) in attributes {
            let length = u16::try_from(4 + value.len()).expect("short");
            body.extend(length.to_ne_bytes().iter().chain(&number.to_ne_bytes()).chain(*value));
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let length = u32::try_from(16 + body.len()).expect("short");
        [&length.to_ne_bytes()[..], &24u16.to_ne_bytes(), &[0; 10], &body].concat()
    }

    fn shown(dump: &[u8]) -> Vec<String> {
        let text = |r: Route| {
            let via = r.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
            format!("{}{via} {} {:?}", r.to, r.link, r.mtu)
        };
        parse_routes(dump).into_iter().map(text).collect()
    }

    #[test]
    fn routes_of_both_families_with_their_mtu() {
        let link = 7u32.to_ne_bytes();
        let mtu = [&8u16.to_ne_bytes()[..], &2u16.to_ne_bytes(), &1280u32.to_ne_bytes()].concat();
        let hop = |length: u16, link: u32| [&length.to_ne_bytes()[..], &[0, 0], &link.to_ne_bytes()].concat();
        let via = [&20u16.to_ne_bytes()[..], &5u16.to_ne_bytes(), &[0xfe; 16]].concat();
        let hops = [hop(8, 3), hop(28, 4), via].concat();
        let dump = [
            message(2, 0, 254, 1, &[(4, &link), (5, &[10, 9, 0, 1]), (8, &mtu)]),
            message(2, 16, 254, 1, &[(1, &[10, 9, 0, 0]), (4, &link)]),
            message(10, 0, 100, 1, &[(9, &hops)]),
            // Of the local table, and one that leads nowhere.
            message(2, 32, 255, 2, &[(1, &[10, 9, 0, 1]), (4, &link)]),
            message(10, 0, 254, 7, &[(4, &link)]),
            // NLMSG_DONE.
            [&20u32.to_ne_bytes()[..], &3u16.to_ne_bytes(), &[0; 14]].concat(),
        ];
        let all = dump.concat();
        assert_eq!(
            shown(&all),
            [
                "0.0.0.0/0 via 10.9.0.1 7 Some(1280)",
                "10.9.0.0/16 7 None",
                "::/0 3 None",
                "::/0 via fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe 4 None"
            ]
        );
        // Cut off anywhere, it gives what came before.
        (0..all.len()).for_each(|end| assert!(shown(&all[..end]).len() <= 4));
        assert!(is_end(&all) && !is_end(&dump[..5].concat()));
        assert!(shown(&[0; 64]).is_empty() && shown(&[255; 64]).is_empty());
    }

    #[test]
    fn nameservers_are_addresses() {
        let text = "# ExtServers: [host(1.1.1.1)]\nnameserver 127.0.0.11\n nameserver\tfe80::1%eth0\n\
                    nameserver example.org\nnameserver\nnameservers 9.9.9.9\nnameserver 1.2.3.4.5\nnameserver ::1 x\n";
        let wanted = ["127.0.0.11", "fe80::1", "::1"].map(|text| text.parse::<IpAddr>().expect("address"));
        assert_eq!(parse_nameservers(text), wanted);
        assert_eq!(
            parse_options("options ndots:0\n#options a\noptions\n options\tb c"),
            ["ndots:0", "b", "c"]
        );
        let alone = |text| is_resolved_alone(&parse_nameservers(text));
        assert!(alone("nameserver 127.0.0.53") && !alone("nameserver 127.0.0.53\nnameserver 1.1.1.1"));
    }

    #[test]
    fn an_engine_is_known_by_its_controllers_socket() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 20001 /var/run/docker.sock
0000000000000000: 00000002 00000000 00010000 0001 01 20003
0000000000000000: 00000002 00000000 00010000 0001 01 20002 /var/run/docker/libnetwork/0e2d6ff12345.sock";
        assert_eq!(parse_engines(table), ["/var/run/docker/libnetwork/0e2d6ff12345.sock"]);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, text in "(nameserver|[ \n:%.0-9a-f]){0,12}") {
            parse_routes(&bytes);
            parse_nameservers(&text);
            parse_options(&text);
            parse_engines(&text);
        }
    }
}
