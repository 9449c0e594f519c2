use super::*;
use crate::facts::Mount;

fn configured(config: &str) -> Kernel {
    Kernel { config: config.into(), ..Kernel::default() }
}

fn item(name: &str) -> Item {
    items().find(|item| format!("{}.{}", item.group, item.name) == name).expect("item")
}

fn works() -> Option<Trial> {
    Some(Trial::Works("made one".into()))
}

fn absent() -> Option<Trial> {
    Some(Trial::Absent("Operation not supported".into()))
}

#[test]
fn the_table_is_whole() {
    let mut names = std::collections::BTreeSet::new();
    for line in ITEMS.lines().filter(|line| !line.starts_with('[')) {
        assert_eq!(line.split('|').count(), 6, "{line}");
    }
    for item in items() {
        assert!(!item.consequence.is_empty() && !item.name.is_empty() && !item.group.is_empty(), "{item:?}");
        assert!(names.insert((item.group, item.name)), "{item:?} stands there twice");
        assert!(!item.trial.is_empty() || !item.options.is_empty(), "{item:?}: nothing could tell");
        assert!(!item.remedy.is_empty() || !item.options.is_empty(), "{item:?}: no remedy");
    }
}

#[test]
fn a_try_tells_more_than_a_configuration() {
    let veth = item("network.veth");
    let with = configured("CONFIG_VETH=y\n");
    let module = configured("CONFIG_VETH=m\n");
    let without = configured("CONFIG_NET=y\n");
    let unknown = Kernel::default();
    let cases = [
        (works(), &without, Status::Ok, "made one", ""),
        (None, &with, Status::Ok, "CONFIG_VETH=y", ""),
        (absent(), &with, Status::Missing, "Operation not supported", "a kernel with CONFIG_VETH"),
        (absent(), &module, Status::Missing, "Operation not supported", "modprobe veth"),
        (absent(), &unknown, Status::Missing, "Operation not supported", "a kernel with CONFIG_VETH"),
        (None, &without, Status::Missing, "not in this kernel", "a kernel with CONFIG_VETH"),
        (None, &unknown, Status::Unknown, "nothing tells", ""),
        (Some(Trial::Refused("x".into())), &unknown, Status::Unknown, "x", "run the check as root"),
        (Some(Trial::Refused("x".into())), &with, Status::Ok, "CONFIG_VETH=y", ""),
    ];
    for (trial, kernel, status, evidence, remedy) in cases {
        let line = judge(&veth, trial.clone(), kernel);
        assert_eq!((line.status, &*line.evidence, &*line.remedy), (status, evidence, remedy), "{trial:?}");
        assert_eq!(line.consequence.is_empty(), status == Status::Ok || status == Status::Unknown);
    }
    assert_eq!(judge(&item("network.vxlan"), absent(), &unknown).status, Status::Degraded);
}

/// runc does without a keyring where the kernel has none, and only there (libcontainer/standard_init_linux.go).
#[test]
fn keyrings_that_are_not_there_are_no_obstacle_and_refused_ones_are() {
    let (keys, unknown) = (item("security.keys"), Kernel::default());
    let lacks = Some(Trial::Lacks("Function not implemented".into()));
    assert_eq!(judge(&keys, lacks.clone(), &configured("CONFIG_KEYS=y\n")).status, Status::Degraded);
    assert_eq!(judge(&keys, lacks.clone(), &unknown).status, Status::Degraded);
    assert_eq!(judge(&keys, None, &configured("CONFIG_NET=y\n")).status, Status::Degraded);
    let refused = judge(&keys, absent(), &configured("CONFIG_KEYS=y\n"));
    assert!(refused.status == Status::Missing && refused.remedy.contains("root_maxkeys"), "{refused:?}");
    assert_eq!(judge(&item("namespaces.pid"), lacks, &unknown).status, Status::Missing);
}

#[test]
fn one_of_several_ways_is_enough() {
    let overlay = item("storage.overlay");
    let btrfs = configured("CONFIG_BTRFS_FS=m\nCONFIG_BTRFS_FS_POSIX_ACL=y\n");
    assert_eq!(judge(&overlay, None, &btrfs).evidence, "btrfs");
    let half = configured("CONFIG_BTRFS_FS=m\n");
    assert_eq!(judge(&overlay, None, &half).remedy, "a kernel with CONFIG_OVERLAY_FS");
}

#[test]
fn an_answer_of_the_packet_filter_does_not_outweigh_what_it_lacks() {
    let ipv4 = item("firewall.ipv4");
    let bare = configured("CONFIG_NF_TABLES=y\n");
    assert_eq!(judge(&ipv4, works(), &bare).status, Status::Missing);
    assert_eq!(judge(&ipv4, works(), &Kernel::default()).status, Status::Ok);
    // Kernels of 2025 and later may have no tables of old, which is no loss.
    let new = configured("CONFIG_NF_TABLES=y\nCONFIG_NFT_COMPAT=m\nCONFIG_NF_NAT=y\n");
    assert_eq!(judge(&ipv4, None, &new).evidence, "iptables-nft");
    let old: String = ["FILTER", "MANGLE", "RAW", "NAT", "TARGET_MASQUERADE"]
        .map(|name| format!("CONFIG_IP_NF_{name}=y\n"))
        .concat();
    assert_eq!(judge(&ipv4, None, &configured(&old)).evidence, "iptables-legacy");
}

#[test]
fn controllers_are_those_of_the_version_in_use() {
    let mut facts = Facts::default();
    facts.mounts.push(Mount::new(CGROUP_ROOT, "cgroup2", &["rw"], &["rw"], false));
    facts.cgroups.unified = Some(crate::facts::cgroups::Unified {
        controllers: Some(vec!["memory".into(), "io".into()]),
        ..Default::default()
    });
    let told = |name: &str, facts: &Facts| from_facts(&item(name), facts).expect("told");
    assert_eq!(told("cgroups.io", &facts), Trial::Works("controller io".into()));
    assert_eq!(told("cgroups.freezer", &facts), Trial::Works("controller freezer".into()));
    assert!(matches!(told("cgroups.pids", &facts), Trial::Absent(_)));
    assert!(matches!(told("cgroups.hierarchy", &facts), Trial::Works(_)));
    facts.mounts = vec![Mount::new("/sys/fs/cgroup/memory", "cgroup", &["rw"], &["rw"], false)];
    facts.mounts.insert(0, Mount::new(CGROUP_ROOT, "tmpfs", &["ro"], &["ro"], false));
    facts.cgroups.controllers =
        crate::facts::cgroups::parse_controllers("memory\t3\t9\t0\nblkio\t4\t9\t1\ndevices\t5\t1\t1\n");
    assert_eq!(told("cgroups.memory", &facts), Trial::Absent("memory is switched off".into()));
    assert_eq!(told("cgroups.io", &facts), Trial::Works("controller blkio".into()));
    assert_eq!(told("cgroups.devices", &facts), Trial::Works("controller devices".into()));
}

#[test]
fn what_may_not_be_done_is_named() {
    let Some(Trial::Absent(text)) = from_facts(&item("privileges.capabilities"), &Facts::default()) else {
        panic!("all capabilities are there")
    };
    assert!(text.contains("CAP_SYS_ADMIN, "), "{text}");
}

#[test]
fn it_reads_as_designed() {
    let kernel = configured("CONFIG_VETH=y\n");
    let lines = [
        judge(&item("namespaces.pid"), works(), &kernel),
        judge(&item("network.veth"), None, &kernel),
        judge(&item("network.vxlan"), None, &kernel),
        judge(&item("network.bridge"), absent(), &Kernel::default()),
        judge(&item("network.ftp"), None, &Kernel::default()),
    ];
    let checked = Checked::new("6.1".into(), Some("/proc/config.gz".into()), lines.into(), None);
    insta::assert_snapshot!(checked.text());
    insta::assert_snapshot!(render::json(&checked));
}
