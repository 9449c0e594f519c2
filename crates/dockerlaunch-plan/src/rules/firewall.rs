//! Which of the two iptables the engine gets.

use crate::facts::{Facts, PRIVATE};
use crate::{Config, Problem, Verdict};

/// The iptables variants of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// iptables over nf_tables, the default.
    Nft,
    /// The old ip_tables interface.
    Legacy,
}

/// The user's word first; then tables that exist already (the two must not be mixed in one network namespace); then
/// what the kernel answers to.
pub fn choose(config: &Config, facts: &Facts) -> (Backend, &'static str) {
    match config.iptables_legacy {
        Some(true) => return (Backend::Legacy, "DOCKER_IPTABLES_LEGACY asks for it"),
        Some(false) => return (Backend::Nft, "DOCKER_IPTABLES_LEGACY asks for it"),
        None => {}
    }
    if facts.firewall.legacy_tables_in_use {
        return (Backend::Legacy, "legacy tables are in use in this network namespace");
    }
    match facts.firewall.nft {
        Some(false) if !facts.kernel.has_modules => {
            (Backend::Legacy, "the kernel does not answer on nf_tables")
        }
        Some(true) => (Backend::Nft, "the kernel answers on nf_tables"),
        _ => (Backend::Nft, "it is the default"),
    }
}

/// Says what was chosen; the choice itself is the engine's `PATH` (see [`super::engine::command`]).
pub fn backend(config: &Config, facts: &Facts) -> Verdict {
    if config.engine.switch("iptables") == Some(false) {
        return Verdict::skipped("--iptables=false");
    }
    let (backend, why) = choose(config, facts);
    if backend == Backend::Legacy && !facts.exists(&legacy_iptables()) && facts.exists(&xtables()) {
        let problem = Problem::new("the legacy iptables is needed, and this image has none")
            .cause(why)
            .hint("build the image with the component `iptables`, legacy included");
        return Verdict::Blocked { problem };
    }
    let name = if backend == Backend::Legacy { "iptables-legacy" } else { "iptables-nft" };
    Verdict::satisfied(format!("{name}: {why}"))
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
