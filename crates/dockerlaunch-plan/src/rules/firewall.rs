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
mod tests {
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
        assert!(
            problem.hints[0].command.as_ref().is_some_and(|c| c.contains("--sysctl net.ipv4.ip_forward=1"))
        );
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
}
