//! gVisor: its network stack has no tables that dockerd could program, so dockerd must be told not to try.

use crate::Config;
use crate::facts::Facts;

/// Options that dockerd cannot start without there.
const OPTIONS: [&str; 2] = ["iptables", "ip6tables"];

/// What the command line lacks.
pub fn arguments(config: &Config, facts: &Facts) -> Vec<String> {
    let missing = OPTIONS.iter().filter(|option| config.engine.option(option).is_none());
    let arguments = missing.map(|option| format!("--{option}=false"));
    if facts.confinement.is_gvisor { arguments.collect() } else { Vec::new() }
}

/// What to tell about it.
pub fn notice(config: &Config, facts: &Facts) -> Option<String> {
    let arguments = arguments(config, facts).join(" ");
    (!arguments.is_empty()).then(|| {
        format!("gVisor's network has no NAT that dockerd could set up: {arguments}; containers reach other networks with --network host")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;
    use crate::plan;

    #[test]
    fn dockerd_is_told_not_to_use_iptables_in_gvisor_pain_44() {
        let mut facts = Facts::default();
        let mut shown = |args: &[&str], is_gvisor| {
            facts.confinement.is_gvisor = is_gvisor;
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            let engine = plan(&Config::new(Engine::new("dockerd", &args), &BTreeMap::new()), &facts).engine;
            (engine.args.join(" "), engine.notices.join(" "))
        };
        let (args, notices) = shown(&[], true);
        assert!(args.contains("--iptables=false --ip6tables=false"), "{args}");
        assert!(notices.contains("gVisor"), "{notices}");
        let (args, _) = shown(&["--iptables=true"], true);
        assert!(args.contains("--iptables=true") && !args.contains("--iptables=false"), "{args}");
        let (args, notices) = shown(&[], false);
        assert!(!args.contains("tables") && !notices.contains("gVisor"), "{args}");
    }
}
