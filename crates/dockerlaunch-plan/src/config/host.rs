//! Listeners as dockerd spells them (moby, opts/hosts.go, `ParseHost`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::DEFAULT_SOCKET;

/// One value of `--host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket at an absolute path.
    Unix(String),
    /// An address and port.
    Tcp(SocketAddr),
    /// All sockets that were handed over.
    HandedOver,
    /// One of them, by its number; dockerd closes the others.
    OneHandedOver,
    /// What only dockerd can bind, or refuse: a name to look up, an abstract socket, a form that it does not know.
    Engine,
}

/// The listener that stands for sockets handed over.
pub const HANDED_OVER: &str = "fd://";

/// The port of a TCP listener that names none, whether it has TLS or not.
const DEFAULT_PORT: u16 = 2375;

/// The port of the listener that dockerd takes an empty value for when it has TLS.
const DEFAULT_TLS_PORT: u16 = 2376;

impl Host {
    /// Understands one value; `tls`: an empty one means the local TCP port then.
    pub fn parse(text: &str, tls: bool) -> Self {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match (scheme, rest) {
            ("fd", "" | "*") => Self::HandedOver,
            ("fd", _) => Self::OneHandedOver,
            ("tcp", "") if text.is_empty() && tls => Self::Tcp(local(DEFAULT_TLS_PORT)),
            ("tcp", "") if text.is_empty() => Self::Unix(DEFAULT_SOCKET.to_owned()),
            ("unix", "") => Self::Unix(DEFAULT_SOCKET.to_owned()),
            ("unix", path) if path.starts_with('/') && !path.contains("://") => Self::Unix(path.to_owned()),
            ("tcp", address) => tcp(address).map_or(Self::Engine, Self::Tcp),
            _ => Self::Engine,
        }
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// `1.2.3.4`, `1.2.3.4:5`, `[::1]:5`, `:5`; nothing, and `localhost`, are the loopback, as dockerd looks it up.
fn tcp(address: &str) -> Option<SocketAddr> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { "" } else { port.strip_prefix(':')? })
        }
        None => address.split_once(':').unwrap_or((address, "")),
    };
    let port = if port.is_empty() { DEFAULT_PORT } else { port.parse().ok().filter(|port| *port != 0)? };
    let ip: IpAddr = match host {
        "" | "localhost" => return Some(local(port)),
        _ => host.parse().ok()?,
    };
    // A v6 address outside brackets has lost its end to the port.
    (ip.is_ipv4() || address.starts_with('[')).then(|| (ip, port).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_mean_what_they_mean_to_dockerd() {
        let address = |text: &str| Host::Tcp(text.parse().expect(text));
        let unix = |path: &str| Host::Unix(path.to_owned());
        for (text, wanted) in [
            ("unix:///x.sock", unix("/x.sock")),
            ("unix://", unix(DEFAULT_SOCKET)),
            ("", unix(DEFAULT_SOCKET)),
            ("tcp://0.0.0.0:2376", address("0.0.0.0:2376")),
            (" tcp://192.0.2.1 ", address("192.0.2.1:2375")),
            ("tcp://[::]:2376", address("[::]:2376")),
            ("tcp://[::1]", address("[::1]:2375")),
            ("tcp://", address("127.0.0.1:2375")),
            ("tcp://:5", address("127.0.0.1:5")),
            (":5", address("127.0.0.1:5")),
            ("0.0.0.0:5", address("0.0.0.0:5")),
            ("tcp://localhost:5", address("127.0.0.1:5")),
            ("fd://", Host::HandedOver),
            ("fd://*", Host::HandedOver),
            ("fd://3", Host::OneHandedOver),
            ("tcp://dind:2376", Host::Engine),
            ("tcp://0.0.0.0:0", Host::Engine),
            ("tcp://0.0.0.0:x", Host::Engine),
            ("tcp://0.0.0.0:2376/", Host::Engine),
            ("tcp://::1", Host::Engine),
            ("tcp://[::1]5", Host::Engine),
            ("tcp://[fe80::1%25eth0]:5", Host::Engine),
            ("unix://relative", Host::Engine),
            ("unix://@abstract", Host::Engine),
            ("npipe://x", Host::Engine),
        ] {
            assert_eq!(Host::parse(text, false), wanted, "{text}");
        }
        assert_eq!(Host::parse("", true), address("127.0.0.1:2376"));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in r"(tcp://|unix://|fd://)?[\[\]:.0-9a-f/@é]{0,12}", tls: bool) {
            let _ = Host::parse(&text, tls);
        }
    }
}
