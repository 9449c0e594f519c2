//! `--bip` together with `-b`.

mod empty_system;

use empty_system::{EmptySystem, assert_status, text};

#[test]
fn ns_a_bridge_with_its_address_is_made_for_the_engine() {
    // The engine asks the launcher again, now that the bridge is there.
    let system = EmptySystem::new(
        r#"echo "args $*"; cat /proc/net/fib_trie /proc/net/route /proc/net/if_inet6; cat /sys/class/net/br0/flags
           for bip in 10.77.0.1/24 10.77.0.2/24 10.77.0.1/16; do dockerlaunch plan dockerd -b br0 --bip $bip | grep net.bridge; done
           dockerlaunch plan dockerd -b lo --bip 10.77.0.1/24 | grep net.bridge"#,
    );
    // As in containers whose runtime switches IPv6 off for new interfaces.
    system
        .prepare("mkdir proc; mount -t proc proc proc; echo 1 > proc/sys/net/ipv6/conf/default/disable_ipv6");
    let output = system.launch(&["dockerd", "--bip", "10.77.0.1/24", "-Dbbr0", "--bip6=fd77::1/64"]);
    assert_status(&output, 0);
    let text = text(&output);
    for wanted in [
        "args -H fd:// -D -bbr0\n",
        // Our address, and the route of its network: 10.77.0.0, mask 255.255.255.0.
        "|-- 10.77.0.1\n",
        "br0\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF",
        "fd770000000000000000000000000001",
        "\n0x1003\n",
        "ok    net.bridge     the bridge `br0` has its address\n",
        "stop  net.bridge     the bridge `br0` is there, without the address 10.77.0.2/24\n",
        "stop  net.bridge     the bridge `br0` is there, without the address 10.77.0.1/16\n",
        "stop  net.bridge     the interface `lo` is not a bridge\n",
    ] {
        assert!(text.contains(wanted), "no `{wanted}` in:\n{text}");
    }
    assert!(!text.contains("the system does not show it"), "prediction and new probe differ:\n{text}");
}

#[test]
fn ns_a_bridge_that_cannot_be_made_stops_the_launch() {
    let system = EmptySystem::new("echo the engine runs");
    let output = system.launch(&["dockerd", "-b", "a-name-much-too-long", "--bip", "10.77.0.1/24"]);
    assert_status(&output, 125);
    let text = text(&output);
    assert!(
        text.contains("`a-name-much-too-long` cannot be the name of a bridge") && text.contains("15 bytes"),
        "{text}"
    );
    assert!(!text.contains("the engine runs"), "{text}");
}
