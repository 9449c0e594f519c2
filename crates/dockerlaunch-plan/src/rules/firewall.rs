//! What the engine programs the packet filter by, and which of its options go with that.

use crate::facts::{Facts, Mount, PRIVATE, firewall::Family};
use crate::{Config, Problem, Verdict};

/// The ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// iptables over nf_tables, the default.
    Nft,
    /// The old ip_tables interface.
    Legacy,
    /// dockerd's own, through `nft` (since 29). Not with swarm, so it comes last.
    Native,
    /// None: what gVisor has in its place is not enough for dockerd (gvisor.dev, "Docker in gVisor").
    Off,
}

/// The user's word first; then tables that exist already (the two must not be mixed in one network namespace); then
/// what the kernel answers to.
///
/// # Errors
/// The kernel has none of them.
pub fn choose(config: &Config, facts: &Facts) -> Result<(Backend, &'static str), Problem> {
    let firewall = &facts.firewall;
    let asked = config.engine.option("firewall-backend").or(facts.daemon_json.firewall_backend.as_deref());
    if asked == Some("nftables") {
        return Ok((Backend::Native, "`firewall-backend` asks for it"));
    }
    match config.iptables_legacy {
        Some(true) if firewall.ipv4.has_legacy() == Some(false) => return Err(no_legacy(&firewall.ipv4)),
        Some(true) => return Ok((Backend::Legacy, "DOCKER_IPTABLES_LEGACY asks for it")),
        Some(false) => return Ok((Backend::Nft, "DOCKER_IPTABLES_LEGACY asks for it")),
        None if facts.kernel.is_gvisor && switch(config, facts, "iptables").is_none() => {
            return Ok((Backend::Off, "gVisor has none that dockerd can use"));
        }
        None => {}
    }
    if firewall.legacy_in_use && firewall.ipv4.has_legacy() != Some(false) {
        return Ok((Backend::Legacy, "legacy tables are in use in this network namespace"));
    }
    let native = firewall.native && firewall.ipv4.has_native() == Some(true) && asked.is_none();
    match firewall.ipv4.has_compat() {
        Some(true) if firewall.nft_in_use => {
            Ok((Backend::Nft, "nf_tables is in use in this network namespace"))
        }
        Some(true) => Ok((Backend::Nft, "the kernel answers on nf_tables")),
        None => Ok((Backend::Nft, "it is the default")),
        Some(false) if native && firewall.nft_in_use => {
            Ok((Backend::Native, "nf_tables is in use in this network namespace, and has no xtables here"))
        }
        Some(false) if firewall.ipv4.has_legacy() == Some(true) => {
            Ok((Backend::Legacy, "nf_tables cannot do here what iptables needs"))
        }
        Some(false) if native => Ok((Backend::Native, "the kernel has no xtables, neither new nor old")),
        Some(false) => Err(nothing_works(&firewall.ipv4)),
    }
}

fn nothing_works(ipv4: &Family) -> Problem {
    Problem::new("this kernel has no packet filter that dockerd can use")
        .cause(format!("nf_tables lacks {}", options(ipv4.nft.as_ref())))
        .cause(format!("the legacy tables lack {}", options(ipv4.legacy.as_ref())))
        .remedy(
            "load the modules on the host",
            "modprobe -a nf_tables nft_chain_nat nft_compat xt_addrtype xt_MASQUERADE",
        )
        .remedy(
            "or do without published ports and a way out of bridge networks",
            "--iptables=false --ip6tables=false",
        )
        .remedy("or try nevertheless", "DOCKER_IPTABLES_LEGACY=")
}

fn no_legacy(ipv4: &Family) -> Problem {
    Problem::new("DOCKER_IPTABLES_LEGACY asks for the legacy tables, which this kernel lacks")
        .cause(format!("they lack {}", options(ipv4.legacy.as_ref())))
        .remedy("load the modules on the host", "modprobe -a iptable_nat iptable_filter iptable_raw")
        .hint("or leave DOCKER_IPTABLES_LEGACY out, and the launcher takes what there is")
}

fn options(lacks: Option<&Vec<String>>) -> String {
    let names = lacks.into_iter().flatten().map(|name| format!("CONFIG_{name}"));
    let names: Vec<String> = names.collect();
    if names.is_empty() { "what cannot be told from here".to_owned() } else { names.join(", ") }
}

/// A switch of the engine, wherever it stands.
pub fn switch(config: &Config, facts: &Facts, name: &str) -> Option<bool> {
    let file = &facts.daemon_json;
    let in_file = match name {
        "iptables" => file.iptables,
        "ip6tables" => file.ip6tables,
        "ipv6" => file.ipv6,
        _ => file.ip_forward,
    };
    config.engine.switch(name).or(in_file)
}

/// What IPv6 lacks for this backend; `None` where it lacks nothing, or nobody knows.
fn ipv6_lacks(backend: Backend, facts: &Facts) -> Option<String> {
    let ipv6 = &facts.firewall.ipv6;
    let (works, lacks) = match backend {
        Backend::Nft => (ipv6.has_compat(), &ipv6.nft),
        Backend::Native => (ipv6.has_native(), &ipv6.nft),
        Backend::Legacy => (ipv6.has_legacy(), &ipv6.legacy),
        Backend::Off => (None, &None),
    };
    (works == Some(false)).then(|| options(lacks.as_ref()))
}

/// Options for the engine, as far as the user has not set them.
pub fn flags(config: &Config, facts: &Facts) -> Vec<String> {
    let mut flags = Vec::new();
    let mut off = |name: &str| {
        if switch(config, facts, name).is_none() {
            flags.push(format!("--{name}=false"));
        }
    };
    if forwarding_is_fixed(facts) {
        off("ip-forward");
    }
    if switch(config, facts, "iptables") == Some(false) {
        return flags;
    }
    // That there is none stops the launch in its own step.
    let Ok((backend, _)) = choose(config, facts) else { return flags };
    if backend == Backend::Off {
        off("iptables");
    }
    if backend == Backend::Off || ipv6_lacks(backend, facts).is_some() {
        off("ip6tables");
    }
    let is_asked = config.engine.option("firewall-backend").is_some();
    if backend == Backend::Native && !is_asked && facts.daemon_json.firewall_backend.is_none() {
        flags.push("--firewall-backend=nftables".to_owned());
    }
    flags
}

/// Whether dockerd would fail to switch forwarding on, since it cannot write there.
pub fn forwarding_is_fixed(facts: &Facts) -> bool {
    let mount = facts.mount_of(super::network::FORWARD).filter(|mount| mount.target.starts_with("/proc"));
    mount.is_some_and(Mount::is_read_only)
}

/// Without the table `raw` dockerd does not start a container that publishes a port, unless it is told so (since 28.0.2; moby,
/// libnetwork/drivers/bridge, `rawRulesDisabled`; before 28 it has no rules there).
pub const NO_RAW: &str = "DOCKER_INSECURE_NO_IPTABLES_RAW";

/// Whether the engine is told so.
pub fn does_without_raw(config: &Config, facts: &Facts) -> bool {
    let firewall = &facts.firewall;
    switch(config, facts, "iptables") != Some(false)
        && (firewall.ipv4.lacks_raw() || firewall.ipv6.lacks_raw())
        && matches!(choose(config, facts), Ok((Backend::Legacy, _)))
}

/// What the user has to do that we cannot.
pub fn warning(config: &Config, facts: &Facts) -> Option<String> {
    if does_without_raw(config, facts) {
        return Some(format!(
            "the kernel lacks the table `raw`, so {NO_RAW}=1: machines on the same network reach containers past their \
             published ports, as before Docker 28; on the host: `modprobe -a iptable_raw ip6table_raw`"
        ));
    }
    matches!(choose(config, facts), Ok((Backend::Off, _))).then(|| {
        let iptables = legacy_iptables();
        format!(
            "gVisor: containers on bridge networks get no published ports, and a way out only by a rule of your own, such \
             as `{iptables} -t nat -A POSTROUTING -o eth0 -j SNAT --to-source ADDRESS` in a hook"
        )
    })
}

/// Says what was chosen; the choice itself is in the engine's command line and `PATH` (see [`super::engine::command`]).
pub fn backend(config: &Config, facts: &Facts) -> Verdict {
    if switch(config, facts, "iptables") == Some(false) {
        return Verdict::skipped("--iptables=false");
    }
    let (backend, why) = match choose(config, facts) {
        Ok(choice) => choice,
        Err(problem) => return Verdict::Blocked { problem },
    };
    if backend == Backend::Legacy && !facts.exists(&legacy_iptables()) && facts.exists(&xtables()) {
        let problem = Problem::new("the legacy iptables is needed, and this image has none")
            .cause(why)
            .hint("build the image with the component `iptables`, legacy included");
        return Verdict::Blocked { problem };
    }
    let name = match backend {
        Backend::Nft => "iptables-nft",
        Backend::Legacy => "iptables-legacy",
        Backend::Native => "nftables",
        Backend::Off => "none",
    };
    let ipv6 = ipv6_lacks(backend, facts);
    let ipv6 = ipv6.map_or_else(String::new, |lacks| format!("; not for IPv6, which lacks {lacks}"));
    Verdict::satisfied(format!("{name}: {why}{ipv6}"))
}

fn legacy_iptables() -> String {
    format!("{}/iptables", legacy_dir())
}

fn xtables() -> String {
    format!("{PRIVATE}/xtables")
}

/// Directory that goes first in `PATH` for the legacy variant.
pub fn legacy_dir() -> String {
    format!("{PRIVATE}/iptables-legacy")
}

#[cfg(test)]
mod tests;
