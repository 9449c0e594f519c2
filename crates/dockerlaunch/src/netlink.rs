//! What we ask netlink: to make a bridge, to address and bring up a link, which routes there are, and whether nf_tables is there.

use std::io;
use std::net::IpAddr;

use dockerlaunch_plan::facts::{Cidr, network};
use netlink_bindings::builtin::Nlmsghdr;
use netlink_bindings::consts::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_bindings::rt_addr::{self, IfaFlags, Ifaddrmsg};
use netlink_bindings::rt_link::{self, IfinfoFlags, Ifinfomsg};
use netlink_bindings::traits::{NetlinkRequest, Protocol};
use netlink_sys::{Socket, SocketAddr, protocols};
use nix::sys::socket::SockaddrStorage;

/// Brings an interface up (rtnetlink(7), `RTM_NEWLINK`).
pub(crate) fn link_up(name: &str) -> io::Result<()> {
    let up = IfinfoFlags::Up as u32;
    let header = Ifinfomsg { ifi_flags: up, ifi_change: up, ..Ifinfomsg::new() };
    let mut request = rt_link::Request::new().op_newlink_do(&header);
    request.encode().push_ifname_bytes(name.as_bytes());
    change(&request)
}

/// Makes a bridge.
pub(crate) fn create_bridge(name: &str) -> io::Result<()> {
    let mut request = rt_link::Request::new().set_create().set_excl().op_newlink_do(&Ifinfomsg::new());
    request.encode().push_ifname_bytes(name.as_bytes()).nested_linkinfo().push_kind(c"bridge");
    change(&request)
}

/// Gives an interface an address (`RTM_NEWADDR`).
pub(crate) fn add_address(name: &str, cidr: Cidr) -> io::Result<()> {
    let any = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None)?;
    let family = if cidr.address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let header = Ifaddrmsg {
        ifa_family: u8::try_from(family).unwrap_or_default(),
        ifa_prefixlen: cidr.prefix,
        // Nobody else is on a new bridge, and an address that is still being checked cannot be bound.
        ifa_flags: IfaFlags::Nodad as u8,
        ifa_index: rustix::net::netdevice::name_to_index(any, name)?,
        ..Ifaddrmsg::new()
    };
    let mut request = rt_addr::Request::new().set_create().set_excl().op_newaddr_do(&header);
    request.encode().push_local(cidr.address).push_address(cidr.address);
    change(&request)
}

/// The addresses of every interface, by its name (getifaddrs(3)).
pub(crate) fn addresses() -> Vec<(String, Cidr)> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    all.filter_map(|link| Some((link.interface_name, cidr(&link.address?, &link.netmask?)?))).collect()
}

fn cidr(address: &SockaddrStorage, netmask: &SockaddrStorage) -> Option<Cidr> {
    let ip = |address: &SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    let prefix = match ip(netmask)? {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    Some(Cidr { address: ip(address)?, prefix: u8::try_from(prefix).ok()? })
}

fn change(request: &impl NetlinkRequest) -> io::Result<()> {
    let Protocol::Raw { protonum, request_type } = request.protocol() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let message = message(request_type, request.flags() | NLM_F_ACK as u16, request.payload());
    match exchange(protonum.cast_signed().into(), &message)? {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// A request with its header, struct nlmsghdr.
fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let header = Nlmsghdr {
        len: u32::try_from(Nlmsghdr::len() + payload.len()).unwrap_or_default(),
        r#type: kind,
        flags: flags | NLM_F_REQUEST as u16,
        ..Nlmsghdr::new()
    };
    [header.as_slice(), payload].concat()
}

/// The answer to `RTM_GETROUTE`, for all families; of very many routes the first.
pub(crate) fn routes() -> Vec<u8> {
    const RTM_GETROUTE: u16 = 26;
    const NLM_F_DUMP: u16 = 0x300;
    /// struct rtmsg: all of any family.
    const ANY: &[u8] = &[0; 12];
    dump(protocols::NETLINK_ROUTE, &message(RTM_GETROUTE, NLM_F_DUMP, ANY)).unwrap_or_default()
}

fn dump(protocol: isize, request: &[u8]) -> io::Result<Vec<u8>> {
    const ENOUGH: usize = 1 << 20;
    let socket = connected(protocol)?;
    socket.send(request, 0)?;
    let mut all = Vec::new();
    while all.len() < ENOUGH {
        let (answer, _) = socket.recv_from_full()?;
        all.extend_from_slice(&answer);
        if answer.is_empty() || network::is_end(&answer) {
            break;
        }
    }
    Ok(all)
}

fn connected(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Whether nf_tables answers: `NFT_MSG_GETGEN` (linux/netfilter/nf_tables.h) reads a counter and changes nothing.
/// `None` when it could not be asked.
pub(crate) fn has_nf_tables() -> Option<bool> {
    const NFNL_SUBSYS_NFTABLES: u16 = 10;
    const NFT_MSG_GETGEN: u16 = 16;
    // struct nfgenmsg: family, version, resource id.
    const NFGENMSG: &[u8] = &[0; 4];
    let request = message(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, NFGENMSG);
    match exchange(protocols::NETLINK_NETFILTER, &request) {
        Ok(0) => Some(true),
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Some(false),
        Ok(libc::EPERM) | Err(_) => None,
        Ok(_) => Some(false),
    }
}

/// Sends one request; 0, or the error number of the answer.
fn exchange(protocol: isize, request: &[u8]) -> io::Result<i32> {
    let socket = connected(protocol)?;
    socket.send(request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    // struct nlmsghdr: length, type at 4, then for NLMSG_ERROR the negative error number at 16.
    let field =
        |at: usize| answer.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes);
    const NLMSG_ERROR: u16 = 2;
    Ok(if kind == NLMSG_ERROR { -field(16) } else { 0 })
}
