//! The two laws of planning, over systems that nobody thought of.

use dockerlaunch_plan::config::{Config, Engine};
use dockerlaunch_plan::facts::firewall::{Family, Firewall};
use dockerlaunch_plan::facts::network::Route;
use dockerlaunch_plan::facts::storage::{Device, Overlay, Storage};
use dockerlaunch_plan::facts::{Capability, Entry, Facts, Link, Mount, certificates, cgroups, state_files};
use dockerlaunch_plan::rules::dist;
use dockerlaunch_plan::{RULES, plan};
use proptest::prelude::*;

const BIP: &str = "10.9.0.1/24";

fn config(args: &[&str]) -> Config {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let over = ("DOCKERD_CONFIG_JSON".to_owned(), r#"{"debug": true}"#.to_owned());
    Config::new(Engine::new("dockerd", &args), &[over].into())
}

/// Command lines that lead to different steps.
fn configs() -> impl Strategy<Value = Config> {
    prop_oneof![
        Just(config(&[])),
        Just(config(&["-b", "br0", "--bip", BIP, "--bip6", "fd00::1/64"])),
        Just(config(&["--storage=tmpfs"])),
        Just(config(&["--storage=loop:1g"])),
        any::<bool>().prop_map(|hooks_have_run| Config { hooks_have_run, ..config(&["--storage=/dev/vda"]) }),
    ]
}

fn mounts() -> impl Strategy<Value = Vec<Mount>> {
    let one = |target: &'static str, fstype: &'static str| {
        (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(move |(there, ro, shared)| {
            there.then(|| Mount::new(target, fstype, &[if ro { "ro" } else { "rw" }], &["rw"], shared))
        })
    };
    let all = [
        one("/", "ext4").boxed(),
        one("/proc", "proc").boxed(),
        one("/sys", "sysfs").boxed(),
        one("/dev", "tmpfs").boxed(),
        one("/dev/pts", "devpts").boxed(),
        one("/dev/shm", "tmpfs").boxed(),
        one("/dev/mqueue", "mqueue").boxed(),
        one("/run", "tmpfs").boxed(),
        one("/run/docker", "ext4").boxed(),
        one("/sys/fs/cgroup", "cgroup2").boxed(),
        one("/sys/fs/cgroup/cpu", "cgroup").boxed(),
        one("/var/lib/docker", "ext4").boxed(),
    ];
    all.to_vec().prop_map(|mounts| mounts.into_iter().flatten().collect())
}

fn cgroup_facts() -> impl Strategy<Value = cgroups::Cgroups> {
    let names = ["cpu", "cpuacct", "memory", "pids"];
    (proptest::collection::vec((0u32..3, any::<bool>()), 4), any::<(bool, bool, bool, bool)>()).prop_map(
        move |(states, (unified, is_true_root, has_processes, is_private))| {
            let path = if is_private { "/" } else { "/docker/x" };
            let controllers: Vec<_> = names
                .iter()
                .zip(&states)
                .map(|(name, (hierarchy, enabled))| cgroups::Controller {
                    name: (*name).into(),
                    hierarchy: *hierarchy,
                    enabled: *enabled,
                })
                .collect();
            let mut membership: Vec<_> = (1..3)
                .filter_map(|hierarchy| {
                    let set: Vec<&str> = controllers
                        .iter()
                        .filter(|c| c.hierarchy == hierarchy)
                        .map(|c| c.name.as_str())
                        .collect();
                    let controllers = set.join(",");
                    (!set.is_empty()).then(|| cgroups::Membership {
                        hierarchy,
                        controllers,
                        path: path.into(),
                    })
                })
                .collect();
            membership.push(cgroups::Membership {
                hierarchy: 0,
                controllers: String::new(),
                path: path.into(),
            });
            let unified = unified.then(|| cgroups::Unified {
                is_true_root,
                controllers: Some(vec!["cpu".into(), "memory".into()]),
                enabled: if has_processes { vec![] } else { vec!["cpu".into()] },
                has_processes,
                kind: None,
            });
            cgroups::Cgroups { controllers, membership, unified, foreign: Vec::new() }
        },
    )
}

fn families() -> impl Strategy<Value = Family> {
    let lacks = || {
        let names =
            prop_oneof![Just(vec![]), Just(vec!["NFT_COMPAT".to_owned()]), Just(vec!["NF_TABLES".into()])];
        proptest::option::of(names)
    };
    (lacks(), lacks()).prop_map(|(nft, legacy)| Family { nft, legacy })
}

prop_compose! {
    fn storage()(
        (exists, works, prior, full) in any::<(bool, bool, bool, bool)>(),
        (mke2fs, on_loop, has_image, locked) in any::<(bool, bool, bool, bool)>(),
        device in proptest::option::of(prop_oneof![
            Just(Device::Mounted), Just(Device::Empty), Just(Device::Holds("xfs".into())), Just(Device::Unknown),
        ]),
        data_root in prop_oneof![Just("/var/lib/docker"), Just("/run/data")],
    ) -> Storage {
        Storage {
            place: if exists { data_root } else { "/" }.into(),
            exists,
            overlay: Some(if works { Overlay::Works } else { Overlay::Refused("EINVAL".into()) }),
            unwritable: full.then(|| (28, "ENOSPC".into())),
            prior: prior.then(|| "overlay2".into()).into_iter().collect(),
            mke2fs: mke2fs.then(|| "/usr/sbin/mke2fs".into()),
            on_loop,
            has_image,
            device,
            locked,
            ..Storage::default()
        }
    }
}

prop_compose! {
    fn facts()(
        storage in storage(),
        mounts in mounts(),
        cgroups in cgroup_facts(),
        present in proptest::collection::vec(any::<bool>(), dockerlaunch_plan::facts::WATCHED_PATHS.len()),
        (pid, kernel_init, pivotable, powerful) in (1u32..3, any::<bool>(), any::<bool>(), any::<bool>()),
        nofile in (0u64..3_000_000, 0u64..3_000_000),
        (up, forward, has_modules, modern) in any::<(bool, bool, bool, bool)>(),
        (stale, certificates, bridge) in (any::<bool>(), any::<bool>(), proptest::option::of((any::<bool>(), 0usize..3))),
        programs in proptest::collection::vec(any::<bool>(), 8),
        firewall in (families(), families(), any::<(bool, bool, bool)>()),
        (local, answers, neighbour, mtu) in (any::<bool>(), any::<bool>(), any::<bool>(), 1200u32..1600),
        daemon_json in proptest::option::of("\\{(\"hosts\": \\[\"fd://\"\\]|\"debug\": true)?\\}?"),
    ) -> Facts {
        let mut facts = Facts { mounts, cgroups, storage, ..Facts::default() };
        for (path, _) in dockerlaunch_plan::facts::WATCHED_PATHS.iter().zip(present).filter(|(_, there)| *there) {
            facts.paths.insert((*path).into(), Entry::Dir(0o755));
        }
        facts.paths.insert("/usr/bin/dockerd".into(), Entry::File(0o755));
        facts.process.pid = pid;
        facts.process.is_kernel_init = pid == 1 && kernel_init;
        if facts.process.is_kernel_init {
            facts.kernel.ip = modern.then(|| "10.0.2.15::10.0.2.2:255.255.255.0:::off:10.0.2.3".into());
            facts.kernel.drivers = forward.then(|| "virtio_net".into()).into_iter().collect();
        }
        facts.process.root_can_be_pivoted = pivotable;
        facts.process.capabilities = if powerful { u64::MAX } else { !(1 << Capability::SysResource as u32) };
        facts.process.nofile = nofile;
        facts.kernel.filesystems = ["proc", "sysfs", "tmpfs", "cgroup", "mqueue"].map(str::to_owned).to_vec();
        if modern { facts.kernel.filesystems.push("cgroup2".into()); }
        facts.kernel.has_modules = has_modules;
        facts.knobs.insert("/proc/sys/net/ipv4/ip_forward".into(), if forward { "1" } else { "0" }.into());
        let (ipv4, ipv6, (nft_in_use, legacy_in_use, native)) = firewall;
        facts.firewall = Firewall { ipv4, ipv6, nft_in_use, legacy_in_use, native };
        for knob in ["all", "default"] {
            facts.knobs.insert(format!("/proc/sys/net/ipv6/conf/{knob}/forwarding"), "0".into());
        }
        facts.knobs.insert("/proc/sys/kernel/modprobe".into(), "/sbin/modprobe".into());
        facts.links.push(Link { name: "lo".into(), loopback: true, up, ..Link::default() });
        if let Some((up, addresses)) = bridge {
            let addresses = ["fe80::1/64", BIP][..addresses].iter().map(|a| a.parse().expect("address")).collect();
            facts.links.push(Link { name: "br0".into(), is_bridge: true, up, addresses, ..Link::default() });
        }
        let addresses = vec!["172.18.0.2/16".parse().expect("address")];
        facts.links.push(Link { name: "eth0".into(), index: 2, up, mtu, carrier: true, addresses, ..Link::default() });
        let to = "0.0.0.0/0".parse().expect("route");
        facts.network.routes.push(Route { to, link: 2, gateway: None, mtu: None });
        facts.network.nameservers.push(if local { [127, 0, 0, 11] } else { [10, 96, 0, 10] }.into());
        if local && answers { facts.network.local_resolvers = facts.network.nameservers.clone(); }
        facts.network.other_engine = neighbour.then(|| "/run/docker/libnetwork/1.sock".to_owned());
        facts.network.takes_network_opts = mtu % 2 == 0;
        for (path, _) in dist::watched(&config(&[])).zip(programs).filter(|(_, there)| *there) {
            facts.paths.insert(path, Entry::File(0o755));
        }
        facts.etc_defaults = vec!["passwd".into(), "ssl/certs/ca-certificates.crt".into()];
        facts.config_file.path = "/etc/docker/daemon.json".into();
        facts.config_file.content = daemon_json;
        if certificates {
            let path = Some("/certs.d/a.crt".to_owned());
            facts.extra_ca.sources.push(certificates::Source { path, asked: false, error: None });
        }
        if stale {
            facts.leftovers.pid_files.push(state_files::PidFile {
                path: "/var/run/docker.pid".into(), owner: Some("sh".into()), program: "dockerd".into() });
            facts.leftovers.broken_json.push("/var/lib/docker/swarm/docker-state.json".into());
        }
        facts
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn same_inputs_same_plan(facts in facts(), config in configs()) {
        prop_assert_eq!(plan(&config, &facts), plan(&config, &facts.clone()));
    }

    #[test]
    fn planning_over_predicted_facts_needs_nothing_more(facts in facts(), config in configs()) {
        let mut predicted = facts.clone();
        let first = plan(&config, &facts);
        first.needed().flat_map(|(_, actions)| actions).for_each(|a| a.predict(&mut predicted));
        let again = plan(&config, &predicted);
        let more: Vec<_> = again.needed().collect();
        prop_assert!(more.is_empty(), "still needed: {:#?}\nat first: {:#?}", more, first);
        // A plan that may be carried out does not lead into a system in which nothing may be.
        if first.blockers().is_empty() {
            prop_assert!(again.blockers().is_empty(), "blocked now: {:#?}", again.blockers());
        }
    }

    #[test]
    fn whatever_stops_a_launch_has_a_remedy(facts in facts(), capabilities: u64, program in "[a-z/]{1,12}") {
        let mut facts = facts;
        facts.process.capabilities = capabilities;
        let config = Config { engine: Engine::new(&program, &[]), ..config(&[]) };
        for problem in plan(&config, &facts).blockers() {
            prop_assert!(!problem.hints.is_empty() && problem.step.is_some());
        }
    }
}

/// GitLab keeps clients' certificates from job to job: who could connect before they are today's would come with yesterday's.
#[test]
fn nobody_can_connect_before_certificates_are_current() {
    let place = |id: &str| RULES.iter().position(|rule| rule.id.0 == id).expect(id);
    assert!(place("tls") < place("tls.renew") && place("tls.renew") < place("listen.tcp"));
}

/// `cargo xtask pictures` takes them anew.
#[test]
fn the_readmes_pictures_show_the_steps_of_today() {
    let (plan, error) =
        (include_str!("../../../docs/pictures/plan.svg"), include_str!("../../../docs/pictures/error.svg"));
    let mut rest = plan;
    for rule in RULES {
        let at = rest.find(&format!("  {:<13}  ", rule.id));
        rest = &rest[at.unwrap_or_else(|| panic!("plan.svg does not have {} in its place", rule.id))..];
    }
    let place = 1 + RULES.iter().position(|rule| rule.id.0 == "privileges").expect("a step");
    assert!(error.contains(&format!("{place} of {}: ", RULES.len())), "error.svg counts other steps");
}
