//! What a kernel was built with: its configuration, or else its lists of modules.

/// Where a kernel's configuration is found, `RELEASE` being `uname -r`.
pub const CONFIGS: &[&str] = &[
    "/proc/config.gz",
    "/boot/config-RELEASE",
    "/lib/modules/RELEASE/config",
    "/usr/lib/modules/RELEASE/config",
    "/lib/modules/RELEASE/build/.config",
    "/usr/src/linux-RELEASE/.config",
];

/// How a kernel has a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Built {
    /// It has not.
    Not,
    /// As a module.
    Module,
    /// Built in.
    In,
}

/// A kernel as its files describe it; empty when they are not there.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// Options that are set, sorted.
    options: Vec<(String, Built)>,
    /// Modules, those built in among them, sorted.
    modules: Vec<(String, Built)>,
    lists_built_in: bool,
}

impl Kernel {
    /// Reads a configuration (`CONFIG_VETH=m`) and the lists `modules.builtin` and `modules.dep`.
    pub fn parse(config: &str, built_in: &str, modules: &str) -> Self {
        let options = config.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
            Some((name.to_owned(), if value == "m" { Built::Module } else { Built::In }))
        });
        let module = |path: &str, built| {
            let name = path.split(':').next()?.rsplit('/').next()?.split(".ko").next()?;
            Some((name.replace('-', "_"), built))
        };
        let built_in_modules = built_in.lines().filter_map(|line| module(line, Built::In));
        let modules = built_in_modules.chain(modules.lines().filter_map(|line| module(line, Built::Module)));
        let mut kernel = Self {
            options: options.collect(),
            modules: modules.collect(),
            lists_built_in: !built_in.is_empty(),
        };
        kernel.options.sort();
        kernel.modules.sort();
        kernel
    }

    /// How it has this option, or this module when there is no configuration; `None`: nothing tells.
    pub(super) fn built(&self, option: &str, module: Option<&str>) -> Option<Built> {
        if !self.options.is_empty() {
            return Some(find(&self.options, option).unwrap_or(Built::Not));
        }
        let found = find(&self.modules, module?);
        found.or(self.lists_built_in.then_some(Built::Not))
    }
}

fn find(sorted: &[(String, Built)], name: &str) -> Option<Built> {
    let at = sorted.partition_point(|(other, _)| other.as_str() < name);
    sorted.get(at).filter(|(other, _)| other == name).map(|(_, built)| *built)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_wins_over_the_lists_of_modules() {
        let config = "# CONFIG_BRIDGE is not set\nCONFIG_VETH=m\nCONFIG_NET=y\nCONFIG_HZ=250\n";
        let built_in = "kernel/net/bridge/bridge.ko\n";
        let dep = "kernel/net/bridge/br-netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\n";
        let kernel = Kernel::parse(config, built_in, dep);
        assert_eq!(kernel.built("VETH", None), Some(Built::Module));
        assert_eq!(kernel.built("NET", None), Some(Built::In));
        assert_eq!(kernel.built("BRIDGE", Some("bridge")), Some(Built::Not));
        let kernel = Kernel::parse("", built_in, dep);
        assert_eq!(kernel.built("BRIDGE", Some("bridge")), Some(Built::In));
        assert_eq!(kernel.built("BRIDGE_NETFILTER", Some("br_netfilter")), Some(Built::Module));
        assert_eq!(kernel.built("VXLAN", Some("vxlan")), Some(Built::Not));
        assert_eq!(kernel.built("NET", None), None, "no module, so no list tells");
        assert_eq!(Kernel::parse("", "", dep).built("VXLAN", Some("vxlan")), None, "it may be built in");
    }
}
