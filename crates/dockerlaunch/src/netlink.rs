//! The two things we ask netlink: to bring a link up, and whether nf_tables is there.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols};

/// Brings an interface up (rtnetlink(7), `RTM_NEWLINK`).
pub(crate) fn link_up(name: &str) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::NewLink(link)));
    message.finalize();
    let mut request = vec![0; message.buffer_len()];
    message.serialize(&mut request);
    match exchange(protocols::NETLINK_ROUTE, &request)? {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Whether nf_tables answers: `NFT_MSG_GETGEN` (linux/netfilter/nf_tables.h) reads a counter and changes nothing.
/// `None` when it could not be asked.
pub(crate) fn has_nf_tables() -> Option<bool> {
    const NFNL_SUBSYS_NFTABLES: u16 = 10;
    const NFT_MSG_GETGEN: u16 = 16;
    let mut request = Vec::with_capacity(20);
    request.extend(20u32.to_ne_bytes());
    request.extend((NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN).to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend([0; 8]);
    // struct nfgenmsg: family, version, resource id.
    request.extend([0; 4]);
    match exchange(protocols::NETLINK_NETFILTER, &request) {
        Ok(0) => Some(true),
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Some(false),
        Ok(libc::EPERM) | Err(_) => None,
        Ok(_) => Some(false),
    }
}

/// Sends one request; 0, or the error number of the answer.
fn exchange(protocol: isize, request: &[u8]) -> io::Result<i32> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    // struct nlmsghdr: length, type at 4, then for NLMSG_ERROR the negative error number at 16.
    let field =
        |at: usize| answer.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes);
    const NLMSG_ERROR: u16 = 2;
    Ok(if kind == NLMSG_ERROR { -field(16) } else { 0 })
}
