//! Raw files of a real system (a virtual machine with hybrid cgroups), read as facts.

use std::collections::BTreeMap;
use std::path::Path;

use dockerlaunch::probe::Probe;
use dockerlaunch_plan::config::{Config, Engine};
use dockerlaunch_plan::facts::{Capability, Entry, Version};
use dockerlaunch_plan::rules::containerd::OF_THE_SYSTEM;

fn facts() -> dockerlaunch_plan::Facts {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hybrid-vm");
    Probe { root }.facts(&Config::new(Engine::default(), &BTreeMap::new()))
}

#[test]
fn mounts_and_cgroups_are_the_kernels() {
    let facts = facts();
    assert_eq!(facts.mount_at("/").map(|m| m.fstype.as_str()), Some("ext4"));
    assert_eq!(facts.mounts.iter().filter(|m| m.fstype == "cgroup").count(), 9);
    assert_eq!(facts.cgroup_version(), Some(Version::V1));
    assert!(facts.cgroups.membership.iter().any(|m| m.controllers == "name=systemd"));
    assert!(facts.process.root_can_be_pivoted && !facts.process.in_user_namespace);
}

#[test]
fn what_the_rules_ask_for_is_there() {
    let facts = facts();
    assert!(facts.process.has(Capability::SysAdmin) && !facts.process.has(Capability::SysResource));
    assert_eq!(facts.kernel.parameters, ["on-failure=wait"]);
    assert!(facts.kernel.filesystems.iter().any(|fs| fs == "cgroup2"));
    assert_eq!(facts.knobs.get("/proc/sys/net/ipv4/ip_forward").map(String::as_str), Some("0"));
    assert_eq!(facts.etc_defaults, ["passwd", "ssl/certs/ca-certificates.crt"]);
    assert!(matches!(facts.paths.get("/var/run"), Some(Entry::Dir(_))));
    assert!(facts.links.iter().any(|l| l.loopback && l.up));
    assert_eq!(facts.daemon_json.hosts, ["unix:///x"]);
}

#[test]
fn leftovers_are_told_apart() {
    let leftovers = facts().leftovers;
    assert_eq!(leftovers.broken_json, ["/var/lib/docker/image/overlay2/repositories.json"]);
    assert!(leftovers.pid_files.iter().any(|f| f.path == "/var/run/docker.pid" && f.is_live()));
}

/// A crash leaves the socket behind, and nobody at it.
#[test]
fn a_containerd_of_the_system_is_there_while_it_listens() {
    let root = tempfile::tempdir().expect("dir");
    let socket = root.path().join(OF_THE_SYSTEM.trim_start_matches('/'));
    std::fs::create_dir_all(socket.parent().expect("below the root")).expect("mkdir");
    let probe = Probe { root: root.path().to_owned() };
    let seen = || probe.facts(&Config::new(Engine::default(), &BTreeMap::new())).paths.remove(OF_THE_SYSTEM);
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
    assert_eq!(seen(), Some(Entry::Special));
    drop(listener);
    assert_eq!((socket.exists(), seen()), (true, None));
}
