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

/// A kernel as its files describe it; empty where they are not there.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// Its configuration (`CONFIG_VETH=m`).
    pub config: String,
    /// `modules.builtin`.
    pub built_in: String,
    /// `modules.dep`.
    pub modules: String,
}

impl Kernel {
    /// How it has this option, or this module when there is no configuration; `None`: nothing tells.
    pub(super) fn built(&self, option: &str, module: Option<&str>) -> Option<Built> {
        if !self.config.is_empty() {
            let value = |line: &str| {
                line.strip_prefix("CONFIG_")?.strip_prefix(option)?.strip_prefix('=')?.chars().next()
            };
            return Some(match self.config.lines().find_map(value) {
                Some('m') => Built::Module,
                Some(_) => Built::In,
                None => Built::Not,
            });
        }
        let module = module?;
        match (lists(&self.built_in, module), lists(&self.modules, module)) {
            (true, _) => Some(Built::In),
            (_, true) => Some(Built::Module),
            _ => (!self.built_in.is_empty()).then_some(Built::Not),
        }
    }
}

/// Whether a list of modules has this one: `kernel/net/bridge/br-netfilter.ko.xz: …`.
fn lists(list: &str, module: &str) -> bool {
    let name = |line: &str| {
        line.split(':').next()?.rsplit('/').next()?.split(".ko").next().map(|name| name.replace('-', "_"))
    };
    list.lines().any(|line| name(line).is_some_and(|name| name == module))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_wins_over_the_lists_of_modules() {
        let config = "# CONFIG_BRIDGE is not set\nCONFIG_VETH=m\nCONFIG_NET=y\nCONFIG_HZ=250\n";
        let built_in = "kernel/net/bridge/bridge.ko\n";
        let dep = "kernel/net/bridge/br-netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\n";
        let kernel = |config: &str, built_in: &str, modules: &str| Kernel {
            config: config.into(),
            built_in: built_in.into(),
            modules: modules.into(),
        };
        let without_lists = kernel("", "", dep);
        let listed = kernel("", built_in, dep);
        let kernel = kernel(config, built_in, dep);
        assert_eq!(kernel.built("VETH", None), Some(Built::Module));
        assert_eq!(kernel.built("NET", None), Some(Built::In));
        assert_eq!(kernel.built("BRIDGE", Some("bridge")), Some(Built::Not));
        let kernel = listed;
        assert_eq!(kernel.built("BRIDGE", Some("bridge")), Some(Built::In));
        assert_eq!(kernel.built("BRIDGE_NETFILTER", Some("br_netfilter")), Some(Built::Module));
        assert_eq!(kernel.built("VXLAN", Some("vxlan")), Some(Built::Not));
        assert_eq!(kernel.built("NET", None), None, "no module, so no list tells");
        assert_eq!(without_lists.built("VXLAN", Some("vxlan")), None, "it may be built in");
    }
}
