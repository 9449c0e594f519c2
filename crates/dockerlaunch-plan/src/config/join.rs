//! Settings of a weaker source are joined to the options that stand already: what may repeat is added, what may not gives
//! way.

use super::argv::{add, given};
use crate::masked_word;

/// Flags that may repeat, and how much of a value says what it sets: of two that set the same only one may stand.
const REPEAT: &[(&str, Sets)] = &[
    ("add-runtime", Sets::Key),
    ("allow-nondistributable-artifacts", Sets::Whole),
    ("authorization-plugin", Sets::Whole),
    ("cdi-spec-dir", Sets::Whole),
    ("default-address-pool", Sets::Whole),
    ("default-network-opt", Sets::Keys),
    ("default-ulimit", Sets::Key),
    ("dns", Sets::Whole),
    ("dns-opt", Sets::Whole),
    ("dns-search", Sets::Whole),
    ("exec-opt", Sets::Key),
    ("feature", Sets::Key),
    ("host", Sets::Whole),
    ("host-gateway-ip", Sets::Family),
    ("insecure-registry", Sets::Whole),
    ("label", Sets::Key),
    ("log-opt", Sets::Key),
    ("node-generic-resource", Sets::Whole),
    ("registry-mirror", Sets::Whole),
    ("storage-opt", Sets::Key),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sets {
    /// All of the value.
    Whole,
    /// What stands before the first `=`.
    Key,
    /// The family of the address: of each there may be one.
    Family,
    /// What stands before the second `=`: `bridge=mtu=1400`.
    Keys,
}

/// Whether the flag is known to repeat, whatever the engine.
pub(crate) fn repeats(name: &str) -> bool {
    REPEAT.iter().any(|(known, _)| *known == name)
}

/// What the value sets.
pub(crate) fn subject<'a>(name: &str, value: &'a str) -> &'a str {
    let sets = REPEAT.iter().find(|(known, _)| *known == name).map_or(Sets::Whole, |(_, sets)| *sets);
    let equals = match sets {
        Sets::Whole => None,
        Sets::Family => return if value.contains(':') { "IPv6" } else { "IPv4" },
        Sets::Key => value.find('='),
        Sets::Keys => value.match_indices('=').nth(1).map(|(i, _)| i),
    };
    equals.map_or(value, |i| &value[..i])
}

/// Adds `--name=value` for each value that nothing in `args` sets yet. What gives way to something else than itself is told,
/// as `origin`.
pub(crate) fn join(
    args: &mut Vec<String>,
    notices: &mut Vec<String>,
    name: &str,
    values: &[&str],
    repeat: bool,
    origin: &str,
) {
    let mut same: Vec<String> = given(args)
        .iter()
        .filter(|option| option.name == name)
        .map(|option| option.value.unwrap_or("true").to_owned())
        .collect();
    for value in values {
        let winner = if repeat {
            same.iter().find(|other| subject(name, other) == subject(name, value))
        } else {
            same.last()
        };
        match winner {
            Some(winner) if winner == value => {}
            Some(winner) => {
                let winner = masked_word(&format!("--{name}={winner}"));
                notices.push(format!("{origin} gives way to `{winner}`"));
            }
            None => {
                add(args, format!("--{name}={value}"));
                same.push((*value).to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(line: &str, name: &str, values: &[&str]) -> (String, usize) {
        let mut args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut notices = Vec::new();
        join(&mut args, &mut notices, name, values, repeats(name), "X");
        (args.join(" "), notices.len())
    }

    #[test]
    fn what_stands_already_wins() {
        for (line, name, value, wanted, notices) in [
            ("", "mtu", "1", "--mtu=1", 0),
            ("--mtu=2", "mtu", "1", "--mtu=2", 1),
            ("--mtu 1", "mtu", "1", "--mtu 1", 0),
            ("-D", "debug", "false", "-D", 1),
            ("-D", "debug", "true", "-D", 0),
            ("--dns=1", "dns", "2", "--dns=1 --dns=2", 0),
            ("--dns=1", "dns", "1", "--dns=1", 0),
            ("--log-opt a=1", "log-opt", "a=2", "--log-opt a=1", 1),
            ("--log-opt a=1", "log-opt", "b=2", "--log-opt a=1 --log-opt=b=2", 0),
            (
                "--default-network-opt=b=m=1",
                "default-network-opt",
                "b=n=1",
                "--default-network-opt=b=m=1 --default-network-opt=b=n=1",
                0,
            ),
            ("--default-network-opt=b=m=1", "default-network-opt", "b=m=2", "--default-network-opt=b=m=1", 1),
            ("--host-gateway-ip 1.1.1.1", "host-gateway-ip", "2.2.2.2", "--host-gateway-ip 1.1.1.1", 1),
            (
                "--host-gateway-ip 1.1.1.1",
                "host-gateway-ip",
                "::2",
                "--host-gateway-ip 1.1.1.1 --host-gateway-ip=::2",
                0,
            ),
            ("--label a=1", "label", "a=2", "--label a=1", 1),
        ] {
            assert_eq!(joined(line, name, &[value]), (wanted.to_owned(), notices), "{line} {name} {value}");
        }
        assert_eq!(joined("", "dns", &["1", "1", "2"]), ("--dns=1 --dns=2".to_owned(), 0));
    }

    #[test]
    fn the_kinds_of_real_engines_agree() {
        for help in [
            include_str!("../../fixtures/dockerd/help-28.5.txt"),
            include_str!("../../fixtures/dockerd/help-26.1.txt"),
        ] {
            for flag in crate::facts::dockerd_flags::parse_help(help) {
                // Became a list in 28; the older one takes the last value.
                if flag.name != "host-gateway-ip" {
                    assert_eq!(flag.kind.repeats(), repeats(&flag.name), "{}", flag.name);
                }
            }
        }
    }
}
