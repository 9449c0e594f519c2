//! Routes, nameservers, and others in this network namespace.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use dockerlaunch_plan::Config;
use dockerlaunch_plan::facts::Facts;
use dockerlaunch_plan::facts::network::{self, Network};
use dockerlaunch_plan::rules::{mtu, resolver};

use super::Probe;
use crate::{netlink, question};

/// A nameserver on loopback takes a connection at once, or nobody is there.
const PATIENCE: Duration = Duration::from_millis(200);

impl Probe {
    /// All but what depends on the rest of the facts.
    pub(super) fn network(&self) -> Network {
        let mut resolv = self.read("/etc/resolv.conf").unwrap_or_default();
        if network::is_resolved_alone(&network::parse_nameservers(&resolv)) {
            resolv = self.read(network::BEHIND_RESOLVED).unwrap_or(resolv);
        }
        let nameservers = network::parse_nameservers(&resolv);
        let is_here = self.root == Path::new("/");
        let is_alone = !nameservers.iter().any(resolver::is_asked_by_containers);
        let answers =
            |address: &IpAddr| TcpStream::connect_timeout(&SocketAddr::new(*address, 53), PATIENCE).is_ok();
        let table = self.read("/proc/net/unix").unwrap_or_default();
        // Where the socket is to be seen, the engine is in this container, and so is ours.
        let other = network::parse_engines(&table).into_iter().find(|path| !self.path(path).exists());
        let service = std::env::var("KUBERNETES_SERVICE_HOST").ok();
        Network {
            routes: if is_here { network::parse_routes(&netlink::routes()) } else { Vec::new() },
            local_resolvers: nameservers
                .iter()
                .filter(|a| is_here && is_alone && answers(a))
                .copied()
                .collect(),
            nameservers,
            resolver_options: network::parse_options(&resolv),
            service: service.filter(|_| is_here).and_then(|text| text.parse().ok()),
            takes_network_opts: false,
            other_engine: other.map(str::to_owned),
        }
    }
}

/// Whether the engine has `--default-network-opt`. Asked only where it matters, and once: an engine without a list of its flags
/// takes its time.
pub(super) fn takes_network_opts(config: &Config, facts: &Facts) -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    if !mtu::asks_for_network_opts(config, facts) {
        return false;
    }
    *ANSWER.get_or_init(|| {
        let engine = dockerlaunch_plan::rules::engine::resolve(config, facts);
        let flags = engine.map(|engine| question::flags(&engine).unwrap_or_default()).unwrap_or_default();
        flags.iter().any(|flag| flag.name == "default-network-opt")
    })
}
