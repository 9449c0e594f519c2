//! What we ask netlink: to make a bridge, to address and bring up a link, a way out, which routes there are; and how anything is asked.

use std::ffi::CStr;
use std::io;
use std::net::IpAddr;

use dockerlaunch_plan::facts::{Cidr, network};
use netlink_bindings::builtin::Nlmsghdr;
use netlink_bindings::consts::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_bindings::rt_addr::{self, IfaFlags, Ifaddrmsg};
use netlink_bindings::rt_link::{self, IfinfoFlags, Ifinfomsg};
use netlink_bindings::rt_route::{self, Rtmsg};
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
    create_link(name, c"bridge")
}

/// Makes a link of a kind that needs nothing more to be told.
pub(crate) fn create_link(name: &str, kind: &CStr) -> io::Result<()> {
    let mut request = rt_link::Request::new().set_create().set_excl().op_newlink_do(&Ifinfomsg::new());
    request.encode().push_ifname_bytes(name.as_bytes()).nested_linkinfo().push_kind(kind);
    change(&request)
}

/// Gives an interface an address (`RTM_NEWADDR`).
pub(crate) fn add_address(name: &str, cidr: Cidr) -> io::Result<()> {
    let header = Ifaddrmsg {
        ifa_family: family(cidr.address),
        ifa_prefixlen: cidr.prefix,
        // Nobody else is on a new bridge, and an address that is still being checked cannot be bound.
        ifa_flags: IfaFlags::Nodad as u8,
        ifa_index: index(name)?,
        ..Ifaddrmsg::new()
    };
    let mut request = rt_addr::Request::new().set_create().set_excl().op_newaddr_do(&header);
    request.encode().push_local(cidr.address).push_address(cidr.address);
    change(&request)
}

/// Leads what is for no other network to this router (`RTM_NEWROUTE`).
pub(crate) fn add_route(name: &str, gateway: IpAddr) -> io::Result<()> {
    let header = Rtmsg {
        rtm_family: family(gateway),
        rtm_table: libc::RT_TABLE_MAIN,
        rtm_protocol: libc::RTPROT_BOOT,
        rtm_scope: libc::RT_SCOPE_UNIVERSE,
        rtm_type: libc::RTN_UNICAST,
        ..Rtmsg::new()
    };
    let mut request = rt_route::Request::new().set_create().set_excl().op_newroute_do(&header);
    request.encode().push_gateway(gateway).push_oif(index(name)?);
    change(&request)
}

fn family(address: IpAddr) -> u8 {
    u8::try_from(if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }).unwrap_or_default()
}

/// The number of an interface (netdevice(7), `SIOCGIFINDEX`).
fn index(name: &str) -> io::Result<u32> {
    let any = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(any, name)?)
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
    let message = message(request_type, request.flags() | NLM_F_ACK as u16, 0, request.payload());
    match exchange(protonum.cast_signed().into(), &message)?.first() {
        None => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(Answer { errno: 0, .. }) => Ok(()),
        Some(answer) => Err(io::Error::from_raw_os_error(answer.errno)),
    }
}

/// A request with its header, struct nlmsghdr.
pub(crate) fn message(kind: u16, flags: u16, seq: u32, payload: &[u8]) -> Vec<u8> {
    let header = Nlmsghdr {
        len: u32::try_from(Nlmsghdr::len() + payload.len()).unwrap_or_default(),
        r#type: kind,
        flags: flags | NLM_F_REQUEST as u16,
        seq,
        ..Nlmsghdr::new()
    };
    [header.as_slice(), payload].concat()
}

/// An answer, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The type of the message; that of an error is [`Answer::ERROR`].
    pub(crate) kind: u16,
    /// The number of the request.
    pub(crate) seq: u32,
    /// The error number; 0 says that all went well.
    pub(crate) errno: i32,
}

impl Answer {
    /// `NLMSG_ERROR`.
    pub(crate) const ERROR: u16 = 2;

    fn parse(bytes: &[u8]) -> Self {
        // struct nlmsghdr: length, type at 4, flags, number at 8, port; after it the negative error number.
        let field =
            |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
        let kind = bytes.get(4..6).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes);
        let errno = if kind == Self::ERROR { -field(16) } else { 0 };
        Self { kind, seq: field(8).cast_unsigned(), errno }
    }
}

/// Sends requests in one go, and gives the first message of every answer. The kernel has them ready when it has taken the
/// requests.
pub(crate) fn exchange(protocol: isize, requests: &[u8]) -> io::Result<Vec<Answer>> {
    let socket = connected(protocol)?;
    socket.send(requests, 0)?;
    socket.set_non_blocking(true)?;
    let mut answers = Vec::new();
    loop {
        match socket.recv_from_full() {
            Ok((answer, _)) => answers.push(Answer::parse(&answer)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
            Err(error) => return Err(error),
        }
    }
}

/// The answer to `RTM_GETROUTE`, for all families; of very many routes the first.
pub(crate) fn routes() -> Vec<u8> {
    const RTM_GETROUTE: u16 = 26;
    const NLM_F_DUMP: u16 = 0x300;
    /// struct rtmsg: all of any family.
    const ANY: &[u8] = &[0; 12];
    dump(protocols::NETLINK_ROUTE, &message(RTM_GETROUTE, NLM_F_DUMP, 0, ANY)).unwrap_or_default()
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
