//! The kernel's packet filters, found by asking it in a network namespace that nobody uses, never by running iptables.

use serde::{Deserialize, Serialize};

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Firewall {
    /// For IPv4.
    pub ipv4: Family,
    /// For IPv6.
    pub ipv6: Family,
    /// Our own network namespace has tables of nf_tables.
    pub nft_in_use: bool,
    /// `/proc/net/ip_tables_names` or its IPv6 twin lists a table.
    pub legacy_in_use: bool,
    /// The engine can do without iptables: it has `--firewall-backend`, and there is an `nft` for it. Looked for only where
    /// iptables-nft would not work.
    pub native: bool,
}

/// The two interfaces of one protocol family: the options of the kernel's configuration that each lacks, without `CONFIG_`.
/// `None` where it was not asked, or could not be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Family {
    /// nf_tables.
    pub nft: Option<Vec<String>>,
    /// ip_tables or ip6_tables.
    pub legacy: Option<Vec<String>>,
}

/// What is tried on nf_tables, each in a message of its own; [`lacks`] goes by their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// A table.
    Table,
    /// A chain of type `nat` in it.
    Chain,
    /// A rule with the xtables match `addrtype`, which dockerd's rules for published ports have.
    Match,
    /// A rule with the xtables target `MASQUERADE`.
    Target,
    /// A rule that masquerades without xtables, as dockerd's own backend makes it.
    Masquerade,
    /// A rule that asks for the type of an address without xtables.
    Fib,
}

/// All of them.
pub const ATTEMPTS: [Attempt; 6] =
    [Attempt::Table, Attempt::Chain, Attempt::Match, Attempt::Target, Attempt::Masquerade, Attempt::Fib];

/// What is missing where these attempts have failed. What fails only because its table or chain is not there counts not.
pub fn lacks(failed: impl Fn(Attempt) -> bool) -> Vec<String> {
    let names: &[(bool, &str)] = match (failed(Attempt::Match), failed(Attempt::Target)) {
        _ if failed(Attempt::Table) => &[(true, "NF_TABLES")],
        _ if failed(Attempt::Chain) => &[(true, "NFT_NAT")],
        (of_match, of_target) => &[
            (of_match && of_target, "NFT_COMPAT"),
            (of_match && !of_target, "NETFILTER_XT_MATCH_ADDRTYPE"),
            (of_target && !of_match, "NETFILTER_XT_TARGET_MASQUERADE"),
            (failed(Attempt::Masquerade), "NFT_MASQ"),
            (failed(Attempt::Fib), "NFT_FIB"),
        ],
    };
    names.iter().filter(|(is_missing, _)| *is_missing).map(|(_, name)| (*name).to_owned()).collect()
}

/// Whether dockerd can do without these options for the legacy tables: without `raw` if it is told so.
pub fn can_do_without(lacks: &[String]) -> bool {
    lacks.iter().all(|name| name.ends_with("_NF_RAW"))
}

impl Family {
    /// Whether iptables-nft works: xtables matches and targets in nf_tables.
    pub fn has_compat(&self) -> Option<bool> {
        Some(self.nft.as_ref()?.iter().all(|name| matches!(name.as_str(), "NFT_MASQ" | "NFT_FIB")))
    }

    /// Whether nf_tables works without xtables.
    pub fn has_native(&self) -> Option<bool> {
        Some(self.nft.as_ref()?.iter().all(|name| name == "NFT_COMPAT" || name.starts_with("NETFILTER_XT_")))
    }

    /// Whether iptables-legacy works.
    pub fn has_legacy(&self) -> Option<bool> {
        self.legacy.as_ref().map(|lacks| can_do_without(lacks))
    }

    /// Whether it works, but without the table `raw`.
    pub fn lacks_raw(&self) -> bool {
        self.has_legacy() == Some(true) && self.legacy != Some(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_by_what_fails() {
        use Attempt::{Chain, Fib, Masquerade, Match, Table, Target};
        for (failed, names, compat, native) in [
            (&[][..], &[][..], true, true),
            // All that comes after fails with them.
            (&ATTEMPTS[..], &["NF_TABLES"][..], false, false),
            (&[Chain, Match, Target, Masquerade, Fib], &["NFT_NAT"], false, false),
            (&[Match, Target], &["NFT_COMPAT"], false, true),
            (&[Match], &["NETFILTER_XT_MATCH_ADDRTYPE"], false, true),
            (&[Target], &["NETFILTER_XT_TARGET_MASQUERADE"], false, true),
            (&[Masquerade, Fib], &["NFT_MASQ", "NFT_FIB"], true, false),
            (&[Target, Fib], &["NETFILTER_XT_TARGET_MASQUERADE", "NFT_FIB"], false, false),
            (&[Table], &["NF_TABLES"], false, false),
        ] {
            let nft = lacks(|attempt| failed.contains(&attempt));
            assert_eq!(nft, names);
            let family = Family { nft: Some(nft), legacy: None };
            assert_eq!((family.has_compat(), family.has_native()), (Some(compat), Some(native)), "{names:?}");
        }
        assert_eq!(Family::default().has_compat(), None);
    }
}
