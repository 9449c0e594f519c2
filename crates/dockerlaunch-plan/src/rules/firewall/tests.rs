use std::collections::BTreeMap;

use super::*;
use crate::config::Engine;
use crate::facts::Entry;
use crate::plan;
use crate::rules::network;

fn family(nft: Option<&[&str]>, legacy: Option<&[&str]>) -> Family {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Family { nft: nft.map(owned), legacy: legacy.map(owned) }
}

const ALL: Option<&[&str]> = Some(&[]);
const NO_NFT: Option<&[&str]> = Some(&["NF_TABLES"]);
const NO_COMPAT: Option<&[&str]> = Some(&["NFT_COMPAT"]);
const NO_LEGACY: Option<&[&str]> = Some(&["IP_NF_IPTABLES"]);

fn config(words: &str, legacy: Option<&str>) -> Config {
    let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let env: BTreeMap<_, _> =
        legacy.map(|value| ("DOCKER_IPTABLES_LEGACY".to_owned(), value.to_owned())).into_iter().collect();
    Config::new(Engine::new("dockerd", &args), &env)
}

/// The verdict in words, and the engine's options.
fn decided(words: &str, legacy: Option<&str>, facts: &Facts) -> (String, String) {
    let config = config(words, legacy);
    let text = match backend(&config, facts) {
        Verdict::Satisfied { evidence } => evidence,
        Verdict::Skipped { reason } => format!("skip: {reason}"),
        Verdict::Blocked { problem } => format!("stop: {}", problem.causes.join("; ")),
        Verdict::Needed { .. } => panic!("nothing is done about it"),
    };
    let args = plan(&config, facts).engine.args;
    let args: Vec<&str> =
        args.iter().map(String::as_str).filter(|arg| !["-H", "fd://"].contains(arg)).collect();
    (text, args.join(" "))
}

#[test]
fn the_kernels_answers_decide_pain_1() {
    for (ipv4, legacy_in_use, nft_in_use, native, wanted, args) in [
        (family(None, None), false, false, false, "iptables-nft: it is the default", ""),
        (family(ALL, None), false, false, false, "iptables-nft: the kernel answers", ""),
        (
            family(Some(&["NFT_MASQ", "NFT_FIB"]), None),
            false,
            false,
            false,
            "iptables-nft: the kernel answers",
            "",
        ),
        (family(ALL, None), false, true, false, "iptables-nft: nf_tables is in use", ""),
        (family(None, ALL), true, false, false, "iptables-legacy: legacy tables are in use", ""),
        (family(NO_NFT, ALL), false, false, false, "iptables-legacy: nf_tables cannot", ""),
        (family(NO_COMPAT, ALL), false, false, true, "iptables-legacy: nf_tables cannot", ""),
        // Never both in one namespace, if there is another way.
        (
            family(NO_COMPAT, ALL),
            false,
            true,
            true,
            "nftables: nf_tables is in use",
            "--firewall-backend=nftables",
        ),
        (family(NO_COMPAT, ALL), false, true, false, "iptables-legacy: nf_tables cannot", ""),
        (
            family(NO_COMPAT, NO_LEGACY),
            false,
            false,
            true,
            "nftables: the kernel has no",
            "--firewall-backend=nftables",
        ),
        (
            family(NO_COMPAT, NO_LEGACY),
            false,
            false,
            false,
            "stop: nf_tables lacks CONFIG_NFT_COMPAT; the legacy tables lack CONFIG_IP_NF_IPTABLES",
            "",
        ),
        (family(NO_NFT, NO_LEGACY), false, false, true, "stop: nf_tables lacks CONFIG_NF_TABLES; ", ""),
        (
            family(NO_NFT, None),
            false,
            false,
            false,
            "stop: nf_tables lacks CONFIG_NF_TABLES; the legacy tables lack what",
            "",
        ),
    ] {
        let mut facts = Facts::default();
        facts.firewall =
            crate::facts::Firewall { ipv4, legacy_in_use, nft_in_use, native, ..Default::default() };
        let (text, shown) = decided("", None, &facts);
        assert!(text.starts_with(wanted), "{text}\nexpected: {wanted}");
        assert_eq!(shown, args, "{wanted}");
    }
}

#[test]
fn the_user_has_the_last_word_pain_1() {
    let mut facts = Facts::default();
    facts.firewall.ipv4 = family(NO_COMPAT, NO_LEGACY);
    facts.firewall.native = true;
    for (words, legacy, wanted, args) in [
        ("", Some("1"), "stop: they lack CONFIG_IP_NF_IPTABLES", ""),
        ("", Some(""), "iptables-nft: DOCKER_IPTABLES_LEGACY", ""),
        (
            "--firewall-backend=nftables",
            Some("1"),
            "nftables: `firewall-backend`",
            "--firewall-backend=nftables",
        ),
        ("--firewall-backend=iptables", None, "stop: ", "--firewall-backend=iptables"),
        ("--iptables=false", None, "skip: --iptables=false", "--iptables=false"),
    ] {
        let (text, shown) = decided(words, legacy, &facts);
        assert!(text.starts_with(wanted), "{text}\nexpected: {wanted}");
        assert_eq!(shown, args);
    }
    facts.config_file.content = Some(r#"{"firewall-backend": "nftables"}"#.into());
    facts.daemon_json.firewall_backend = Some("nftables".into());
    assert_eq!(decided("", None, &facts).1, "");
    facts.daemon_json = crate::facts::DaemonJson { iptables: Some(false), ..Default::default() };
    assert_eq!(decided("", None, &facts).0, "skip: --iptables=false");
}

#[test]
fn legacy_tables_that_do_not_work_are_not_used_pain_1() {
    let mut facts = Facts::default();
    facts.firewall.legacy_in_use = true;
    facts.firewall.ipv4 = family(ALL, NO_LEGACY);
    assert!(decided("", None, &facts).0.starts_with("iptables-nft: the kernel answers"));
    facts.firewall.ipv4 = family(None, ALL);
    assert!(decided("", Some("1"), &facts).0.starts_with("iptables-legacy: DOCKER_IPTABLES_LEGACY"));
}

#[test]
fn without_the_raw_table_dockerd_is_told_so_pain_1() {
    let mut facts = Facts::default();
    facts.firewall.ipv4 = family(NO_NFT, Some(&["IP_NF_RAW"]));
    let is_told = |words: &str, facts: &Facts| {
        let engine = plan(&config(words, None), facts).engine;
        assert_eq!(
            engine.warnings.iter().any(|text| text.contains(NO_RAW)),
            does_without_raw(&config(words, None), facts)
        );
        engine.env.contains(&(NO_RAW.to_owned(), "1".to_owned()))
    };
    assert!(decided("", None, &facts).0.starts_with("iptables-legacy: "));
    assert!(is_told("", &facts) && !is_told("--iptables=false", &facts));
    facts.firewall.ipv4 = family(NO_NFT, ALL);
    assert!(!is_told("", &facts));
    facts.firewall.ipv4 = family(ALL, Some(&["IP_NF_RAW"]));
    assert!(!is_told("", &facts), "nf_tables is used");
    facts.firewall.ipv4 = family(NO_NFT, Some(&["IP_NF_FILTER", "IP_NF_RAW"]));
    assert!(decided("", None, &facts).0.starts_with("stop: "));
}

#[test]
fn legacy_comes_first_on_the_path_and_must_be_in_the_image_pain_1() {
    let mut facts = Facts::default();
    facts.firewall.legacy_in_use = true;
    facts.paths.insert(xtables(), Entry::Dir(0o755));
    assert!(decided("", None, &facts).0.starts_with("stop: legacy tables are in use"));
    facts.paths.insert(legacy_iptables(), Entry::File(0o755));
    assert!(decided("", None, &facts).0.starts_with("iptables-legacy"));
    let path = |facts: &Facts| plan(&config("", None), facts).engine.env[0].1.clone();
    assert!(path(&facts).starts_with(&legacy_dir()), "{}", path(&facts));
    facts.firewall.legacy_in_use = false;
    assert!(!path(&facts).contains(&legacy_dir()), "{}", path(&facts));
}

#[test]
fn ipv6_is_left_out_where_only_it_is_missing_pain_22() {
    let mut facts = Facts::default();
    facts.firewall.ipv4 = family(ALL, None);
    for (ipv6, legacy, wanted, args) in [
        (family(ALL, None), None, "iptables-nft: the kernel answers on nf_tables", ""),
        (family(None, None), None, "iptables-nft: the kernel answers on nf_tables", ""),
        (family(NO_NFT, None), None, "; not for IPv6, which lacks CONFIG_NF_TABLES", "--ip6tables=false"),
        (
            family(None, Some(&["IP6_NF_NAT"])),
            Some("1"),
            "; not for IPv6, which lacks CONFIG_IP6_NF_NAT",
            "--ip6tables=false",
        ),
    ] {
        facts.firewall.ipv6 = ipv6;
        let (text, shown) = decided("", legacy, &facts);
        assert!(text.ends_with(wanted), "{text}");
        assert_eq!(shown, args, "{text}");
    }
    // What the user says stays as it is, wherever it stands.
    facts.firewall.ipv6 = family(NO_NFT, None);
    for words in ["--ip6tables", "--ip6tables=true", "--ip6tables=false", "--iptables=false"] {
        assert_eq!(decided(words, None, &facts).1, words);
    }
    facts.daemon_json.ip6tables = Some(true);
    assert_eq!(decided("", None, &facts).1, "");
}

#[test]
fn forwarding_that_nobody_can_change_is_not_asked_of_dockerd_pain_23() {
    let mut facts = Facts::default();
    facts.mounts.push(Mount::new("/proc", "proc", &["rw"], &["rw"], false));
    facts.knobs.insert(network::FORWARD.into(), "1".into());
    assert_eq!(decided("", None, &facts).1, "");
    facts.mounts.push(Mount::new("/proc/sys", "proc", &["ro"], &["rw"], false));
    assert_eq!(decided("", None, &facts).1, "--ip-forward=false");
    assert_eq!(decided("--iptables=false", None, &facts).1, "--ip-forward=false --iptables=false");
    assert_eq!(decided("--ip-forward", None, &facts).1, "--ip-forward");
    let forward = |words: &str, facts: &Facts| network::forwarding(&config(words, None), facts);
    assert_eq!(forward("", &facts), Verdict::satisfied("net.ipv4.ip_forward = 1"));
    facts.knobs.insert(network::FORWARD.into(), "0".into());
    let Verdict::Blocked { problem } = forward("", &facts) else { panic!("it cannot be written") };
    assert!(problem.hints[0].command.as_ref().is_some_and(|c| c.contains("--sysctl net.ipv4.ip_forward=1")));
    assert_eq!(forward("--ip-forward=false", &facts), Verdict::skipped("--ip-forward=false"));
}

#[test]
fn forwarding_is_dockerds_but_for_its_own_backend_pain_1() {
    let mut facts = Facts::default();
    for knob in crate::facts::WATCHED_KNOBS.iter().filter(|knob| knob.contains("forward")) {
        facts.knobs.insert((*knob).into(), "0".into());
    }
    let written = |words: &str| match network::forwarding(&config(words, None), &facts) {
        Verdict::Needed { actions } => actions.len(),
        _ => 0,
    };
    assert_eq!(written(""), 0, "dockerd opens it, and shuts the door");
    assert_eq!(written("--ip-forward-no-drop"), 0);
    assert_eq!(written("--iptables=false"), 1);
    assert_eq!(written("--firewall-backend=nftables"), 1);
    assert_eq!(written("--firewall-backend=nftables --ipv6"), 3);
    assert_eq!(written("--firewall-backend=nftables --ip-forward=false"), 0);
}

/// The lock of a host whose network is ours too.
#[test]
fn a_lock_that_is_mounted_is_not_hidden_pain_43() {
    let run = |facts: &Facts| crate::rules::api_mounts::run(&config("", None), facts);
    let mut facts = Facts::default();
    facts.process.pid = 1;
    assert!(matches!(run(&facts), Verdict::Needed { .. }));
    facts.mounts.push(Mount::new("/run/xtables.lock", "tmpfs", &["rw"], &["rw"], false));
    assert!(matches!(run(&facts), Verdict::Skipped { .. }));
}

#[test]
fn on_gvisor_docker_starts_without_and_says_so_pain_44() {
    for version in ["4.19.0-gvisor #1", "4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016"] {
        let (release, version) = version.split_once(' ').expect("two");
        let mut facts = Facts::default();
        facts.kernel.is_gvisor = crate::facts::kernel::is_gvisor(release, version);
        let (text, args) = decided("", None, &facts);
        assert!(text.starts_with("none: gVisor"), "{text}");
        assert_eq!(args, "--iptables=false --ip6tables=false");
        assert!(plan(&config("", None), &facts).engine.warnings[0].contains("SNAT"));
        let (text, args) = decided("--iptables", None, &facts);
        assert!(text.starts_with("iptables-nft") && args == "--iptables", "{text}: {args}");
    }
    assert!(!crate::facts::kernel::is_gvisor("4.4.0", "#1 SMP Sun Jan 10 10:00:00 UTC 2016"));
}
