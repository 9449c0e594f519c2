//! Each of the two iptables of the image, in an instance that is told to take it.

use anyhow::{Context, Result, ensure};

use crate::Environment;
use crate::scenarios::networks;
use crate::up::{Instance, Options};

/// Published ports, and the way out of a container through the firewall's rules, with each of them.
pub fn both_backends() -> Result<()> {
    let scenario = networks::SCENARIOS.iter().find(|scenario| scenario.name == "networks::published_port");
    let published_port = scenario.context("no such scenario")?.run;
    for (value, name, path) in
        [("1", "iptables-legacy", "iptables-legacy/iptables"), ("", "iptables-nft", "bin/iptables")]
    {
        let mut instance = Instance::start_with(
            "firewall",
            &Options { variables: &[("DOCKER_IPTABLES_LEGACY", value)], ..Options::default() },
        )?;
        let environment: &dyn Environment = &instance;
        published_port(environment)?;
        let log = environment.log_tail();
        let list = environment.exec(&[&format!("/usr/lib/dockerlaunch/{path}"), "-t", "nat", "-S"], b"")?;
        ensure!(list.success()?.contains("-j MASQUERADE"), "{name} has no rules of dockerd; its log:\n{log}");
        instance.tear_down()?;
    }
    Ok(())
}
