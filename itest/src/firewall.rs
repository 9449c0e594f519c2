//! Each of the two iptables of the image, in an instance that is told to take it.

use anyhow::{Context, Result, ensure};

use crate::Environment;
use crate::scenarios::networks;
use crate::up::{Instance, Options};

/// Published ports, and the way out of a container through the firewall's rules, with each of them.
pub fn both_backends() -> Result<()> {
    let scenario = networks::SCENARIOS.iter().find(|scenario| scenario.name == "networks::published_port");
    let published_port = scenario.context("no such scenario")?.run;
    for (value, name, directory) in [("1", "iptables-legacy", "iptables-legacy"), ("", "iptables-nft", "bin")]
    {
        let mut instance = Instance::start_with(
            "firewall",
            &Options { variables: &[("DOCKER_IPTABLES_LEGACY", value)], ..Options::default() },
        )?;
        let environment: &dyn Environment = &instance;
        published_port(environment)?;
        let log = environment.log_tail();
        let run = |name: &str, args: &[&str], input: &[u8]| {
            let program = format!("/usr/lib/dockerlaunch/{directory}/{name}");
            environment.exec(&[&[program.as_str()], args].concat(), input)?.success()
        };
        let list = run("iptables", &["-t", "nat", "-S"], b"")?;
        ensure!(list.contains("-j MASQUERADE"), "{name} has no rules of dockerd; its log:\n{log}");
        for tables in ["iptables", "ip6tables"] {
            run(tables, &["-S"], b"")?;
            let saved = run(&format!("{tables}-save"), &[], b"")?;
            run(&format!("{tables}-restore"), &[], saved.as_bytes())?;
        }
        instance.tear_down()?;
    }
    Ok(())
}
