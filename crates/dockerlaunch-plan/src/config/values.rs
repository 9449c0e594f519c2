//! What a variable for a flag may hold, by the flag's kind.

use std::net::IpAddr;

use crate::facts::dockerd_flags::{Flag, Kind};

/// What was expected, in words and as an example.
pub(super) type Expected = (&'static str, &'static str);

/// The values in a variable: one for flags that are given once; for others what stands between commas, or between semicolons
/// or line ends where there is one, since values may hold commas themselves. Address pools always do: there a comma
/// begins the next pool when its key was had already.
pub(super) fn split(flag: &Flag, text: &str) -> Vec<String> {
    if !flag.kind.repeats() {
        return vec![text.trim().to_owned()];
    }
    let by_lines = text.contains([';', '\n']);
    let pieces: Vec<&str> = if by_lines {
        text.split([';', '\n']).collect()
    } else if flag.kind == Kind::Pools {
        return pools(text);
    } else {
        text.split(',').collect()
    };
    pieces.into_iter().map(str::trim).filter(|piece| !piece.is_empty()).map(str::to_owned).collect()
}

fn pools(text: &str) -> Vec<String> {
    let key = |field: &str| field.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut pools: Vec<Vec<&str>> = Vec::new();
    for field in text.split(',').map(str::trim).filter(|field| !field.is_empty()) {
        match pools.last_mut() {
            Some(pool) if pool.iter().all(|other| key(other) != key(field)) => pool.push(field),
            _ => pools.push(vec![field]),
        }
    }
    pools.into_iter().map(|pool| pool.join(",")).collect()
}

/// The value as it is passed on.
///
/// # Errors
/// What was expected instead.
pub(super) fn check(flag: &Flag, value: &str) -> Result<String, Expected> {
    let fine = |ok: bool, expected: Expected| if ok { Ok(value.to_owned()) } else { Err(expected) };
    match flag.kind {
        Kind::Bool => switch(value).map(|on| on.to_string()).ok_or(("true or false", "true")),
        Kind::Int => fine(value.parse::<i64>().is_ok(), ("a whole number", "1450")),
        Kind::Uint => fine(value.parse::<u64>().is_ok(), ("a whole number from 0 on", "10")),
        Kind::Duration => fine(is_duration(value), ("a duration", "1m30s")),
        Kind::Bytes => fine(is_size(value), ("a size", "64m")),
        Kind::Ip => fine(value.parse::<IpAddr>().is_ok(), ("an IP address", "192.0.2.1")),
        Kind::Ips => fine(value.parse::<IpAddr>().is_ok(), ("IP addresses", "192.0.2.1,192.0.2.2")),
        Kind::Pools => fine(is_pool(value), ("address pools", "base=10.10.0.0/16,size=24")),
        Kind::Ulimit => fine(is_ulimit(value), ("limits of the form NAME=SOFT[:HARD]", "nofile=1024:2048")),
        Kind::Runtime => fine(has_pairs(value, 1), ("runtimes of the form NAME=PATH", "crun=/usr/bin/crun")),
        Kind::MapMap => fine(
            has_pairs(value, 2),
            ("options of the form DRIVER=KEY=VALUE", "bridge=com.docker.network.driver.mtu=1450"),
        ),
        // A feature without a value is on.
        Kind::Map if flag.name == "feature" => fine(!value.starts_with('='), ("features", "buildkit=true")),
        Kind::Map => fine(
            has_pairs(value, 1),
            (
                "options of the form KEY=VALUE (between semicolons, where a value has commas)",
                "max-size=10m,max-file=3",
            ),
        ),
        Kind::Text | Kind::List => Ok(value.to_owned()),
    }
}

pub(super) fn switch(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" | "on" => Some(true),
        "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// As Go reads it (time.ParseDuration).
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    let mut any = false;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        let Some(unit) = ["ns", "us", "µs", "ms", "s", "m", "h"]
            .iter()
            .filter(|u| after.starts_with(**u))
            .max_by_key(|u| u.len())
        else {
            return false;
        };
        if digits.parse::<f64>().is_err() {
            return false;
        }
        rest = &after[unit.len()..];
        any = true;
    }
    any
}

/// As docker/go-units reads it (RAMInBytes): `64m`, `1.5 GiB`.
fn is_size(text: &str) -> bool {
    let number = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = text[number..].trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    text[..number].parse::<f64>().is_ok() && ["", "k", "m", "g", "t", "p"].contains(&unit)
}

fn is_pool(text: &str) -> bool {
    let fields: Vec<(&str, &str)> =
        text.split(',').filter_map(|field| field.trim().split_once('=')).collect();
    let get =
        |name: &str| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
    get("base").is_some_and(is_network) && get("size").is_some_and(|size| size.parse::<u8>().is_ok())
}

pub(super) fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= longest)
}

fn is_ulimit(text: &str) -> bool {
    let Some((name, limits)) = text.split_once('=') else { return false };
    let numbers: Vec<&str> = limits.split(':').collect();
    !name.is_empty() && numbers.len() <= 2 && numbers.iter().all(|n| n.parse::<i64>().is_ok())
}

/// `k=v` for one, `k=k=v` for two, no key empty.
fn has_pairs(text: &str, keys: usize) -> bool {
    let parts: Vec<&str> = text.splitn(keys + 1, '=').collect();
    parts.len() == keys + 1 && parts[..keys].iter().all(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(name: &str, kind: Kind) -> Flag {
        Flag { name: name.into(), kind }
    }

    #[test]
    fn values_are_split_where_the_flag_repeats() {
        for (kind, text, wanted) in [
            (Kind::Text, "a,b", vec!["a,b"]),
            (Kind::List, "a, b,,c", vec!["a", "b", "c"]),
            (Kind::List, "a,b;c", vec!["a,b", "c"]),
            (Kind::List, "a,b;", vec!["a,b"]),
            (Kind::List, "a\nb,c\n", vec!["a", "b,c"]),
            (Kind::Map, "x=1,y=2", vec!["x=1", "y=2"]),
            (Kind::Map, "labels=a,b;x=1", vec!["labels=a,b", "x=1"]),
            (Kind::Pools, "base=10.0.0.0/16,size=24", vec!["base=10.0.0.0/16,size=24"]),
            (
                Kind::Pools,
                "base=10.0.0.0/16,size=24, base=10.1.0.0/16,size=24",
                vec!["base=10.0.0.0/16,size=24", "base=10.1.0.0/16,size=24"],
            ),
            (Kind::Pools, "size=24,base=a,size=25,base=b", vec!["size=24,base=a", "size=25,base=b"]),
            (Kind::Pools, "base=a,size=24;base=b,size=25", vec!["base=a,size=24", "base=b,size=25"]),
        ] {
            assert_eq!(split(&flag("x", kind), text), wanted, "{text:?}");
        }
    }

    #[test]
    fn nonsense_is_told_from_values() {
        for (kind, good, bad) in [
            (Kind::Bool, &["true", "False", "1", "off"][..], &["maybe", "2", "tru"][..]),
            (Kind::Int, &["1450", "-1"], &["fast", "1.5", "10m", "0x10"]),
            (Kind::Uint, &["0"], &["-1"]),
            (Kind::Duration, &["0", "1m30s", "1.5h", "10ms", "5µs"], &["", "10", "s", "1 m", "1x", "é"]),
            (Kind::Bytes, &["64m", "1024", "1.5GiB", "64 mb"], &["", "m", "64q", "1..5m"]),
            (Kind::Ip, &["192.0.2.1", "::1"], &["192.0.2", "host", "192.0.2.1/24"]),
            (Kind::Ips, &["192.0.2.1"], &["dns.example"]),
            (
                Kind::Pools,
                &["base=10.0.0.0/16,size=24", "Base=fd00::/48,Size=64"],
                &["10.0.0.0/16", "base=x,size=1", "base=10.0.0.0/33,size=24", "base=10.0.0.0/16"],
            ),
            (Kind::Ulimit, &["nofile=1:2", "core=-1"], &["nofile", "nofile=a", "nofile=1:2:3", "=1"]),
            (Kind::Runtime, &["crun=/usr/bin/crun"], &["crun", "=x"]),
            (Kind::Map, &["max-size=10m", "labels=a,b", "x="], &["max-size", "=x"]),
            (
                Kind::MapMap,
                &["bridge=mtu=1", "bridge=mtu=a=b"],
                &["bridge", "bridge=mtu", "=mtu=1", "bridge==1"],
            ),
            (Kind::Text, &["", "anything"], &[]),
        ] {
            for value in good {
                assert!(check(&flag("x", kind), value).is_ok(), "{kind:?} {value}");
            }
            for value in bad {
                let (_, example) = check(&flag("x", kind), value).expect_err(value);
                let example = split(&flag("x", kind), example);
                assert!(example.iter().all(|e| check(&flag("x", kind), e).is_ok()), "{kind:?} {example:?}");
            }
        }
        assert!(check(&flag("feature", Kind::Map), "cdi").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z0-9=:,;./é µ-]{0,24}") {
            for help in crate::facts::dockerd_flags::parse_help(include_str!("../../fixtures/dockerd/help-28.5.txt")) {
                for value in split(&help, &text) {
                    let _ = check(&help, &value);
                }
            }
        }
    }
}
