//! `--bip ADDRESS` together with `-b NAME`: dockerd refuses the two beside each other (moby daemon/daemon_unix.go,
//! `verifyDaemonSettings`), so the bridge gets its address from us, and dockerd only the bridge's name.

use core::net::IpAddr;

use crate::facts::{Cidr, Facts, Link};
use crate::{Action, Config, Problem, Verdict};

/// The bridge that dockerd makes and changes itself.
const DOCKERS_OWN: &str = "docker0";

/// What `-b` says for "no bridge at all".
const NO_BRIDGE: &str = "none";

const NAME: &str = "bridge";
const ADDRESSES: [&str; 2] = ["bip", "bip6"];

/// What dockerd has on its command line, or in its configuration file; empty is as good as absent.
fn given<'a>(config: &'a Config, option: &str) -> Option<&'a str> {
    config.engine.option(option).filter(|value| !value.is_empty())
}

fn in_file(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

/// The addresses of `--bip` and `--bip6`, each with its option.
fn wanted(config: &Config) -> impl Iterator<Item = (&'static str, &str)> {
    ADDRESSES.into_iter().filter_map(|option| Some((option, given(config, option)?)))
}

/// Options that dockerd must not see: the addresses, or with `docker0`, which it makes itself, the name.
pub fn not_for_dockerd(config: &Config, facts: &Facts) -> &'static [&'static str] {
    match given(config, NAME) {
        _ if wanted(config).next().is_none() => &[],
        Some(DOCKERS_OWN) => &[NAME],
        None if in_file(&facts.daemon_json.bridge).is_none() => &[],
        _ => &ADDRESSES,
    }
}

/// Makes the bridge, gives it its addresses, brings it up; what is so already is left alone.
pub fn decide(config: &Config, facts: &Facts) -> Verdict {
    let file = &facts.daemon_json;
    let on_command_line = given(config, NAME);
    let Some(name) = on_command_line.or(in_file(&file.bridge)) else {
        return Verdict::skipped("dockerd makes its own bridge");
    };
    for (key, value) in [("bip", &file.bip), ("bip6", &file.bip6)] {
        if let Some(address) = in_file(value) {
            let problem = Problem::new(format!("`{key}` in daemon.json excludes the bridge `{name}`"))
                .cause("dockerd takes one or the other; what `--bip` says we give to the bridge ourselves")
                .remedy(
                    "take it out of that file, and give it on the command line",
                    format!("--{key} {address}"),
                );
            return Verdict::Blocked { problem };
        }
    }
    if wanted(config).next().is_none() {
        return Verdict::skipped(format!("the bridge `{name}` is the user's own"));
    }
    match name {
        NO_BRIDGE => Verdict::skipped("`-b none`: there is no bridge to give an address to"),
        DOCKERS_OWN if on_command_line.is_some() => Verdict::skipped("dockerd makes docker0 itself"),
        _ => match actions(name, config, facts.links.iter().find(|link| link.name == name)) {
            Ok(actions) => Verdict::needed_or(actions, format!("the bridge `{name}` has its address")),
            Err(problem) => Verdict::Blocked { problem },
        },
    }
}

fn actions(name: &str, config: &Config, there: Option<&Link>) -> Result<Vec<Action>, Problem> {
    let mut actions = Vec::new();
    // The kernel's own rule (net/core/dev.c, `dev_valid_name`).
    let is_name = name.len() < 16 && !name.contains(['/', ':']) && !name.contains(char::is_whitespace);
    if !is_name || matches!(name, "." | "..") {
        return Err(Problem::new(format!("`{name}` cannot be the name of a bridge"))
            .cause("it has at most 15 bytes, and neither `/` nor `:` nor spaces are among them")
            .remedy("name another", "-b br0"));
    }
    match there {
        None => actions.push(Action::CreateBridge { name: name.to_owned() }),
        Some(link) if link.is_bridge => {}
        Some(_) => {
            return Err(Problem::new(format!("the interface `{name}` is not a bridge"))
                .cause("`-b` names it, and dockerd attaches containers to nothing else")
                .hint("name another, which is then made: `-b br0`, say"));
        }
    }
    for (option, text) in wanted(config) {
        let refused = |cause: String| {
            let example = if option == "bip" { "10.20.0.1/24" } else { "fd00:20::1/64" };
            Problem::new(format!("`--{option} {text}` does not say which address the bridge `{name}` gets"))
                .cause(cause)
                .remedy("write", format!("--{option} {example}"))
        };
        let address: Cidr = text.parse().map_err(|error| refused(format!("`{text}` is {error}")))?;
        if address.address.is_ipv4() != (option == "bip") {
            let family = if option == "bip" { "IPv4" } else { "IPv6" };
            return Err(refused(format!("`--{option}` takes an address of {family}")));
        }
        let rivals = there.iter().flat_map(|link| &link.addresses).filter(|other| rivals(other, &address));
        let rivals: Vec<&Cidr> = rivals.collect();
        match rivals.first() {
            None => actions.push(Action::AddAddress { name: name.to_owned(), address }),
            Some(_) if rivals.contains(&&address) => {}
            Some(other) => {
                return Err(Problem::new(format!(
                    "the bridge `{name}` is there, without the address {address}"
                ))
                .cause(format!("its address is {other}"))
                .remedy("use it as it is", format!("--{option} {other}"))
                .remedy("or have another bridge made", format!("-b {name}0")));
            }
        }
    }
    if there.is_none_or(|link| !link.up) {
        actions.push(Action::LinkUp { name: name.to_owned() });
    }
    Ok(actions)
}

/// Whether two addresses are for the same purpose. The link-local one that the kernel gives to every interface does not
/// count, as with dockerd (moby daemon/daemon_unix.go, `selectBIP`).
fn rivals(one: &Cidr, other: &Cidr) -> bool {
    let is_link_local = matches!(one.address, IpAddr::V6(address) if address.is_unicast_link_local());
    one.address.is_ipv4() == other.address.is_ipv4() && !is_link_local
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;

    /// The verdict in words, and what dockerd gets to see.
    fn decided(words: &str, change: impl FnOnce(&mut Facts)) -> (String, String) {
        let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let config = Config::new(Engine::new("dockerd", &args), &BTreeMap::new());
        let mut facts = Facts::default();
        change(&mut facts);
        let text = match decide(&config, &facts) {
            Verdict::Needed { actions } => {
                actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
            Verdict::Satisfied { evidence } => format!("ok: {evidence}"),
            Verdict::Skipped { reason } => format!("skip: {reason}"),
            Verdict::Blocked { problem } => format!("stop: {}; {}", problem.what, problem.causes.join(", ")),
        };
        (text, config.engine.without(not_for_dockerd(&config, &facts)).join(" "))
    }

    fn link(is_bridge: bool, up: bool, addresses: &[&str]) -> Link {
        let addresses = addresses.iter().map(|text| text.parse().expect("address")).collect();
        Link { name: "br0".into(), up, is_bridge, addresses, ..Link::default() }
    }

    #[test]
    fn a_bridge_that_is_not_there_is_made() {
        for words in
            ["--bip 10.9.0.1/24 -b br0", "-bbr0 --bip=10.9.0.1/24", "-D --bridge=br0 --bip 10.9.0.1/24"]
        {
            let (actions, args) = decided(words, |_| {});
            assert_eq!(actions, "create the bridge br0, give br0 the address 10.9.0.1/24, bring br0 up");
            assert!(!args.contains("bip") && args.contains("br0"), "{args}");
        }
        let (actions, args) = decided("-b br0 --bip 10.9.0.1/24 --bip6 fd00::1/64", |_| {});
        assert!(actions.contains("10.9.0.1/24, give br0 the address fd00::1/64"), "{actions}");
        assert_eq!(args, "-b br0");
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let decide = |there: Link| decided("-b br0 --bip 10.9.0.1/24", |facts| facts.links.push(there)).0;
        let ok = "ok: the bridge `br0` has its address";
        assert_eq!(decide(link(true, true, &["fe80::1/64", "10.9.0.1/24"])), ok);
        assert_eq!(decide(link(true, true, &["10.8.0.1/24", "10.9.0.1/24"])), ok);
        assert_eq!(decide(link(true, false, &["10.9.0.1/24"])), "bring br0 up");
        assert_eq!(decide(link(true, true, &["fd00::1/64"])), "give br0 the address 10.9.0.1/24");
        assert!(decide(link(true, true, &["10.9.0.1/16"])).ends_with("its address is 10.9.0.1/16"));
        assert!(decide(link(false, true, &[])).starts_with("stop: the interface `br0` is not a bridge"));
        for words in ["-b br0 --bip fd00::1/64", "-b br0 --bip6 10.9.0.1/24", "-b a/b --bip 10.9.0.1/24"] {
            assert!(decided(words, |_| {}).0.starts_with("stop: "), "{words}");
        }
        let v6 =
            decided("-b br0 --bip6 fd00::1/64", |facts| facts.links.push(link(true, true, &["fe80::1/64"])))
                .0;
        assert_eq!(v6, "give br0 the address fd00::1/64");
    }

    #[test]
    fn one_option_alone_is_dockerds_concern() {
        for words in
            ["--bip 10.9.0.1/24", "-b br0", "-b none", "--bip 10.9.0.1/24 -b=", "--bip= -b br0", "-D"]
        {
            let (verdict, args) = decided(words, |_| {});
            assert!(verdict.starts_with("skip: ") && args == words, "{verdict}: {args}");
        }
    }

    #[test]
    fn names_that_mean_something_to_dockerd() {
        assert_eq!(decided("-b none --bip 10.9.0.1/24", |_| {}).1, "-b none");
        let (verdict, args) = decided("-b docker0 --bip 10.9.0.1/24", |_| {});
        assert!(verdict.starts_with("skip: ") && args == "--bip 10.9.0.1/24", "{verdict}: {args}");
    }

    #[test]
    fn half_of_it_in_the_configuration_file() {
        let (actions, args) =
            decided("--bip 10.9.0.1/24", |facts| facts.daemon_json.bridge = Some("br0".into()));
        assert!(actions.starts_with("create the bridge br0, ") && args.is_empty(), "{actions}: {args}");
        let (stopped, _) = decided("-b br0", |facts| facts.daemon_json.bip = Some("10.9.0.1/24".into()));
        assert!(stopped.starts_with("stop: `bip` in daemon.json excludes the bridge `br0`"), "{stopped}");
        let (skipped, _) = decided("-D", |facts| facts.daemon_json.bip = Some("10.9.0.1/24".into()));
        assert!(skipped.starts_with("skip: "), "{skipped}");
    }

    #[test]
    fn an_address_without_its_prefix_is_told() {
        for wrong in ["10.9.0.1", "10.9.0.1/33", "br0", "10.9.0/24"] {
            let (stopped, _) = decided(&format!("-b br0 --bip {wrong}"), |_| {});
            assert!(stopped.contains(&format!("`{wrong}` is not an address with")), "{stopped}");
        }
    }
}
