//! The way out, and the ports of the host that lead in.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::report::Hinted;

/// Which way out an instance or a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Network {
    /// Through the host's own sockets
    User,
    /// None: only what runs inside can be reached
    None,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::User => "user",
            Self::None => "none",
        })
    }
}

/// Refuses ports where there is no network that they could be led into.
pub(crate) fn check(network: Network, ports: &[Port]) -> Result<(), Hinted> {
    if network == Network::None && !ports.is_empty() {
        return Err(Hinted::new("`--publish` cannot be with `--network none`").hint("leave out one of them"));
    }
    Ok(())
}

/// A port of the host that leads to one inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    address: IpAddr,
    host: u16,
    inside: u16,
}

impl Port {
    /// As pasta wants it.
    pub(crate) fn spec(&self) -> String {
        format!("{}/{}:{}", self.address, self.host, self.inside)
    }

    /// As qemu's user network wants it (qemu(1), `hostfwd`), which knows no IPv6 here.
    pub(crate) fn forward(&self) -> Option<String> {
        let Self { address, host, inside } = self;
        address.is_ipv4().then(|| format!("hostfwd=tcp:{address}:{host}-:{inside}"))
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:{}:{}", self.host, self.inside),
            IpAddr::V6(address) => write!(f, "[{address}]:{}:{}", self.host, self.inside),
        }
    }
}

impl FromStr for Port {
    type Err = String;

    /// Without an address the port opens on 127.0.0.1 alone: an engine is not to be had by the whole network
    /// because somebody forgot to say so.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not [IP:]PORT:PORT, such as 127.0.0.1:8080:80");
        let (rest, inside) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (address.trim_start_matches('[').trim_end_matches(']'), host),
            None => ("127.0.0.1", rest),
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong);
        Ok(Self { address: address.parse().map_err(|_| wrong())?, host: port(host)?, inside: port(inside)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let spec = |text: &str| text.parse::<Port>().map(|port| (port.spec(), port.to_string()));
        let both = |spec: &str, shown: &str| Ok((spec.to_owned(), shown.to_owned()));
        assert_eq!(spec("8080:80"), both("127.0.0.1/8080:80", "127.0.0.1:8080:80"));
        assert_eq!(spec("0.0.0.0:1:2"), both("0.0.0.0/1:2", "0.0.0.0:1:2"));
        assert_eq!(spec("[::1]:8080:80"), both("::1/8080:80", "[::1]:8080:80"));
        for wrong in ["", "80", "0:80", "80:70000", "x:1:2", "127.0.0.1:80", "::"] {
            assert!(spec(wrong).is_err(), "{wrong}");
        }
    }
}
