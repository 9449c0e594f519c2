//! The flags that an engine takes, as its `--help` tells and as the image's list keeps them.

/// Where the image keeps the list of its own dockerd.
pub const LIST: &str = "/usr/lib/dockerlaunch/dockerd.flags";

/// A flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Its long name, without dashes.
    pub name: String,
    /// What it takes.
    pub kind: Kind,
}

/// What a flag takes: the words of spf13/pflag and of moby's own types (opts/*.go, `Type()`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Bool,
    Int,
    Uint,
    Duration,
    Bytes,
    Ip,
    Ips,
    Text,
    List,
    Map,
    MapMap,
    Pools,
    Ulimit,
    Runtime,
}

const WORDS: &[(&str, Kind)] = &[
    ("bool", Kind::Bool),
    ("int", Kind::Int),
    ("uint", Kind::Uint),
    ("duration", Kind::Duration),
    ("bytes", Kind::Bytes),
    ("ip", Kind::Ip),
    ("ipSlice", Kind::Ips),
    ("string", Kind::Text),
    ("list", Kind::List),
    ("strings", Kind::List),
    ("map", Kind::Map),
    ("mapmap", Kind::MapMap),
    ("pool-options", Kind::Pools),
    ("ulimit", Kind::Ulimit),
    ("runtime", Kind::Runtime),
];

impl Kind {
    /// A word that nobody knows yet is passed on as it is.
    fn of(word: &str) -> Self {
        WORDS.iter().find(|(known, _)| *known == word).map_or(Self::Text, |(_, kind)| *kind)
    }

    fn word(self) -> &'static str {
        WORDS.iter().find(|(_, kind)| *kind == self).map_or("string", |(word, _)| word)
    }

    /// Whether the flag may be given several times, each time with one more value.
    pub fn repeats(self) -> bool {
        use Kind::{Ips, List, Map, MapMap, Pools, Runtime, Ulimit};
        matches!(self, Ips | List | Map | MapMap | Pools | Ulimit | Runtime)
    }
}

/// The flags in the output of `dockerd --help`: `  -x, --name word   what it is for`. Text that goes on on the next line
/// stands further in, and may begin with dashes too.
pub fn parse_help(help: &str) -> Vec<Flag> {
    help.lines()
        .filter_map(|line| {
            let indent = line.find(|c| c != ' ')?;
            let rest = match (indent, &line[indent..]) {
                (2, short) => short.strip_prefix('-')?.get(1..)?.strip_prefix(", --")?,
                (6, long) => long.strip_prefix("--")?,
                _ => return None,
            };
            let head = rest.split("  ").next()?;
            let (name, word) = head.split_once(' ').unwrap_or((head, "bool"));
            is_name(name).then(|| Flag { name: name.to_owned(), kind: Kind::of(word) })
        })
        .collect()
}

/// The list as the image keeps it: `name word`, one a line.
pub fn write_list(flags: &[Flag]) -> String {
    flags.iter().map(|flag| format!("{} {}\n", flag.name, flag.kind.word())).collect()
}

/// Reads what [`write_list`] has written.
pub fn parse_list(list: &str) -> Vec<Flag> {
    list.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| is_name(name))
        .map(|(name, word)| Flag { name: name.to_owned(), kind: Kind::of(word) })
        .collect()
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP_28: &str = include_str!("../../fixtures/dockerd/help-28.5.txt");
    const HELP_26: &str = include_str!("../../fixtures/dockerd/help-26.1.txt");

    fn kind(help: &str, name: &str) -> Option<Kind> {
        parse_help(help).into_iter().find(|flag| flag.name == name).map(|flag| flag.kind)
    }

    #[test]
    fn every_flag_of_real_engines_is_found() {
        // Counted with grep.
        for (help, count) in [(HELP_28, 87), (HELP_26, 85)] {
            let flags = parse_help(help);
            let lines = help.lines().filter(|l| l.starts_with("      --") || l.starts_with("  -"));
            assert_eq!(flags.len(), lines.count());
            assert_eq!(flags.len(), count);
        }
    }

    #[test]
    fn kinds_are_those_of_the_engine() {
        for (name, wanted) in [
            ("debug", Kind::Bool),
            ("mtu", Kind::Int),
            ("default-shm-size", Kind::Bytes),
            ("ip", Kind::Ip),
            ("dns", Kind::Ips),
            ("bridge", Kind::Text),
            ("registry-mirror", Kind::List),
            ("host", Kind::List),
            ("log-opt", Kind::Map),
            ("default-network-opt", Kind::MapMap),
            ("default-address-pool", Kind::Pools),
            ("default-ulimit", Kind::Ulimit),
            ("add-runtime", Kind::Runtime),
            ("allow-direct-routing", Kind::Bool),
        ] {
            assert_eq!(kind(HELP_28, name), Some(wanted), "{name}");
        }
        assert_eq!(kind(HELP_26, "host-gateway-ip"), Some(Kind::Ip), "a list since 28");
        assert_eq!(kind(HELP_28, "host-gateway-ip"), Some(Kind::List));
        assert_eq!(kind(HELP_26, "allow-direct-routing"), None);
    }

    #[test]
    fn the_list_keeps_everything() {
        let flags = parse_help(HELP_28);
        assert_eq!(parse_list(&write_list(&flags)), flags);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[ \\-a,é\n]{0,40}") {
            parse_help(&text);
            parse_list(&text);
        }
    }
}
