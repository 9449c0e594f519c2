//! The firewall that is chosen for the engine, in network namespaces that differ.

mod empty_system;

use empty_system::{EmptySystem, assert_status, text};

/// Makes the legacy table `nat`, as `iptables-legacy -t nat -L` would: getsockopt(2) with `IPT_SO_GET_INFO`.
const LEGACY: &str = r#"perl -MSocket -MPOSIX -e '
  my $call = {x86_64 => 55, aarch64 => 209}->{(POSIX::uname)[4]} or die "which number has getsockopt?";
  socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!;
  my ($info, $size) = (pack("a84", "nat"), pack("L", 84));
  syscall($call, fileno($s), 0, 64, $info, $size) == 0 or die "no legacy table: $!"'"#;

/// Launches an engine that says what it gets and which tables there are.
fn launched(prepare: &str, env: &[(&str, &str)], args: &[&str]) -> String {
    let system = EmptySystem::new(
        r#"echo "args $*"; echo "path $PATH"; echo "legacy $(cat /proc/net/ip_tables_names /proc/net/ip6_tables_names)"
           nft list tables; for knob in ipv4/ip_forward ipv6/conf/all/forwarding ipv6/conf/default/forwarding
           do echo "$knob $(cat /proc/sys/net/$knob)"; done"#,
    );
    let env: String = env.iter().map(|(name, value)| format!(" '{name}={value}'")).collect();
    // In a network namespace that is as old as its user namespace, the list of legacy tables is nobody's.
    let younger = "[ -n \"${younger-}\" ] || { export younger=1; exec unshare --net sh \"$0\" \"$@\"; }";
    system.stage(|stage| {
        let stage = stage.replace("set -eu\n", &format!("set -eu\n{younger}\n"));
        stage.replace("shift\n", &format!("{prepare}\nshift\n")).replace("env -i", &format!("env -i{env}"))
    });
    let output = system.launch(args);
    assert_status(&output, 0);
    let text = text(&output);
    assert!(!text.contains("the system does not show it"), "prediction and new probe differ:\n{text}");
    text
}

#[track_caller]
fn assert_has(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "no `{wanted}` in:\n{text}");
    }
}

#[test]
fn ns_nft_is_chosen_where_it_answers_and_nothing_stays_behind_pain_1() {
    let text = launched(":", &[], &["dockerd"]);
    assert_has(&text, &["iptables-nft: the kernel answers on nf_tables\n", "args -H fd://\n", "legacy \n"]);
    assert!(!text.lines().any(|line| line.starts_with("table ")), "{text}");
}

#[test]
fn ns_legacy_tables_in_use_decide_pain_1() {
    let text = launched(LEGACY, &[], &["dockerd"]);
    assert_has(
        &text,
        &[
            "iptables-legacy: legacy tables are in use",
            "path /usr/lib/dockerlaunch/iptables-legacy:",
            "legacy nat\n",
        ],
    );
}

#[test]
fn ns_tables_of_nft_in_use_decide_pain_1() {
    let text = launched("nft add table ip6 of-somebody", &[], &["dockerd"]);
    assert_has(&text, &["iptables-nft: nf_tables is in use", "table ip6 of-somebody\n"]);
    // Even so the legacy ones come first: they are never there by themselves.
    let text = launched(&format!("nft add table ip6 of-somebody; {LEGACY}"), &[], &["dockerd"]);
    assert_has(&text, &["iptables-legacy: legacy tables are in use"]);
}

#[test]
fn ns_docker_iptables_legacy_has_the_last_word_pain_1() {
    let legacy = [("DOCKER_IPTABLES_LEGACY", "1")];
    let text = launched("nft add table ip of-somebody", &legacy, &["dockerd"]);
    // The legacy tables are asked for, but not here.
    assert_has(
        &text,
        &["iptables-legacy: DOCKER_IPTABLES_LEGACY asks for it\n", "args -H fd://\n", "legacy \n"],
    );
    let text = launched(LEGACY, &[("DOCKER_IPTABLES_LEGACY", "")], &["dockerd"]);
    assert_has(&text, &["iptables-nft: DOCKER_IPTABLES_LEGACY asks for it\n"]);
    assert!(!text.contains("path /usr/lib/dockerlaunch/iptables-legacy"), "{text}");
}

/// Interfaces have no IPv6, yet the kernel has a firewall for it, so dockerd may have it.
#[test]
fn ns_ipv6_switched_off_does_not_take_its_firewall_away() {
    let off = "mkdir proc; mount -t proc proc proc; for i in all default lo; do echo 1 > proc/sys/net/ipv6/conf/$i/disable_ipv6; done";
    let text = launched(off, &[], &["dockerd"]);
    assert_has(&text, &["iptables-nft: the kernel answers on nf_tables\n", "args -H fd://\n"]);
}

#[test]
fn ns_dockerds_own_backend_finds_forwarding_switched_on_pain_1() {
    // It may be inherited.
    let off = "mkdir proc; mount -t proc proc proc; echo 0 > proc/sys/net/ipv4/ip_forward";
    let text = launched(off, &[], &["dockerd", "--firewall-backend=nftables"]);
    assert_has(&text, &["ipv4/ip_forward 1\n", "ipv6/conf/all/forwarding 0\n"]);
    let text = launched(off, &[], &["dockerd", "--firewall-backend=nftables", "--ipv6"]);
    let knobs = ["ipv4/ip_forward 1\n", "ipv6/conf/all/forwarding 1\n", "ipv6/conf/default/forwarding 1\n"];
    assert_has(&text, &knobs);
    // Else dockerd does it, since it shuts the door only then.
    let text = launched(off, &[], &["dockerd"]);
    assert_has(&text, &["ipv4/ip_forward 0\n", "ipv6/conf/all/forwarding 0\n"]);
    let text = launched(off, &[], &["dockerd", "--firewall-backend=nftables", "--ip-forward=false"]);
    assert_has(&text, &["ipv4/ip_forward 0\n", "ipv6/conf/all/forwarding 0\n"]);
}

#[test]
fn ns_forwarding_that_nobody_can_change_does_not_stop_the_engine_pain_23() {
    let fixed = |value: &str| {
        // All of it, and not the mount of /proc/sys alone, which would be remounted.
        let write = format!("echo {value} > proc/sys/net/ipv4/ip_forward");
        format!("mkdir proc; mount -t proc proc proc; {write}; mount -o remount,ro proc")
    };
    let text = launched(&fixed("1"), &[], &["dockerd"]);
    assert_has(&text, &["args --ip-forward=false -H fd://\n", "ipv4/ip_forward 1\n"]);
    let warning =
        "net.ipv4.ip_forward is 0, and /proc/sys is mounted read-only: containers reach no other networks";
    assert!(!text.contains(warning), "{text}");
    let text = launched(&fixed("0"), &[], &["dockerd"]);
    assert_has(&text, &["args --ip-forward=false -H fd://\n", "ipv4/ip_forward 0\n", warning]);
}
