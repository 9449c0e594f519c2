//! What the engine is told of the network that it is in.

mod empty_system;

use empty_system::{EmptySystem, assert_status, text};

/// A way out that takes packets of this size; `$1` of the stage is the prepared directory.
fn way_out(mtu: u32) -> String {
    format!(
        "mkdir proc sys; mount -t proc proc proc; mount -t sysfs sys sys
         ip link add eth0 mtu {mtu} type veth peer name far; ip address add 10.0.2.15/24 dev eth0
         ip link set far up; ip link set eth0 up; ip route add default via 10.0.2.1"
    )
}

/// An engine that knows `--default-network-opt`, and tells what it is called with.
const ENGINE: &str = r#"if [ "$*" = --help ]; then echo "      --default-network-opt mapmap   x"; exit; fi
                        echo "args $*""#;

const DRIVER: &str = "--default-network-opt=bridge=com.docker.network.driver.mtu";

fn told(engine: &str, prepare: &str, args: &[&str]) -> String {
    let system = EmptySystem::new(engine);
    system.prepare(prepare);
    let output = system.launch(args);
    assert_status(&output, 0);
    let text = text(&output);
    assert!(!text.contains("the system does not show it"), "prediction and new probe differ:\n{text}");
    text
}

#[test]
fn ns_every_network_gets_the_mtu_of_the_way_out_pain_2() {
    for mtu in [1400, 1280] {
        let text = told(ENGINE, &way_out(mtu), &["dockerd", "-D"]);
        assert!(text.contains(&format!("args -H fd:// -D --mtu={mtu} {DRIVER}={mtu}\n")), "{text}");
        assert!(
            text.contains(&format!(
                "mtu       {mtu}, as the way out by eth0, on docker0 and new bridge networks\n"
            )),
            "{text}"
        );
    }
    // An engine before 24.0, and a route that says less than its interface.
    let route = way_out(1500).replace("via 10.0.2.1", "via 10.0.2.1 mtu 1350");
    let text = told(r#"echo "args $*""#, &route, &["dockerd"]);
    assert!(text.contains("args -H fd:// --mtu=1350\n") && text.contains("keep 1500"), "{text}");
}

#[test]
fn ns_of_two_ways_out_the_narrower_counts() {
    let two = way_out(1450)
        + "\nip link add eth1 mtu 1420 type veth peer name far1; ip address add fd00:1::2/64 dev eth1 nodad
           ip link set far1 up; ip link set eth1 up; ip -6 route add default via fd00:1::1 table 51820";
    let text = told(ENGINE, &two, &["dockerd"]);
    assert!(text.contains("--mtu=1420 "), "{text}");
}

#[test]
fn ns_without_a_way_out_nothing_is_changed() {
    for prepare in [
        "mkdir proc sys; mount -t proc proc proc; mount -t sysfs sys sys".to_owned(),
        way_out(1500),
        // No carrier: the other end is down.
        way_out(1400).replace("ip link set far up", "ip link set far down") + "; ip link set far down",
    ] {
        let text = told(ENGINE, &prepare, &["dockerd"]);
        assert!(text.contains("args -H fd://\n"), "{text}");
    }
}

#[test]
fn ns_addresses_in_sight_are_not_given_to_containers_pain_12() {
    let nested = way_out(1500).replace("10.0.2.", "172.17.0.");
    let text = told(ENGINE, &nested, &["dockerd"]);
    let pools = "--bip=172.20.0.1/22 --default-address-pool=base=172.20.0.0/14,size=22";
    assert!(text.contains(&format!("args -H fd:// {pools}\n")), "{text}");
    // A bridge that a predecessor left behind, as in a pod in which only our container starts again.
    let left = way_out(1500)
        + "; ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0; ip link set docker0 up";
    let text = told(ENGINE, &left, &["dockerd"]);
    assert!(text.contains("args -H fd://\n"), "{text}");
    let routed = way_out(1500) + "; ip route add 172.19.0.0/16 via 10.0.2.7";
    let text = told(ENGINE, &routed, &["dockerd"]);
    assert!(text.contains(pools) && text.contains("the route to 172.19.0.0/16 is in the way"), "{text}");
}

/// A nameserver on loopback: to whatever is asked, over UDP and TCP, it answers with the question in capitals.
const NAMESERVER: &str = r#"ip link set lo up; mkdir -p etc; echo nameserver 127.0.0.11 > etc/resolv.conf
cat > server <<'END'
use IO::Socket::INET; use IO::Select;
my @at = (LocalAddr => "127.0.0.11", LocalPort => 53, ReuseAddr => 1);
my $udp = IO::Socket::INET->new(@at, Proto => "udp") or die $!;
my $tcp = IO::Socket::INET->new(@at, Proto => "tcp", Listen => 5) or die $!;
open my $ready, ">", "ready";
my $all = IO::Select->new($udp, $tcp);
while (my @ready = $all->can_read(60)) { for my $s (@ready) {
  if ($s == $udp) { my $from = $udp->recv(my $m, 9000); $udp->send(uc $m, 0, $from) if $m ne "lost"; }
  elsif ($s == $tcp) { $all->add(scalar $tcp->accept) }
  elsif ($s->sysread(my $m, 9000)) { $s->syswrite(uc $m) }
  else { $all->remove($s); close $s }
} }
END
perl server > server.log 2>&1 & until [ -e ready ]; do sleep 0.01; done"#;

#[test]
fn ns_a_nameserver_on_loopback_answers_on_the_bridge_pain_13() {
    // The engine makes the bridge, as dockerd would, and asks on its address.
    let ask = r#"echo "args $*"; cat > /ask <<'END'
use IO::Socket::INET; use IO::Select;
my $to = shift;
my $udp = IO::Socket::INET->new(PeerAddr => $to, PeerPort => 53, Proto => "udp") or die $!;
$udp->send("lost"); $udp->send("over udp");
IO::Select->new($udp)->can_read(30) or die "no answer";
$udp->recv(my $m, 9000); print "$m\n";
my $big = IO::Socket::INET->new(PeerAddr => $to, PeerPort => 53, Proto => "tcp") or die $!;
for my $text ("over tcp", "y" x 3000) {
  $big->send(pack("n/a*", $text)); my $all = "";
  while (length $all < 2 + length $text) { $big->sysread($all, 9000, length $all) or die "tcp: $!" }
  print length($all), " ", substr($all, 2, 8), "\n";
}
END
ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0; ip link set docker0 up
perl /ask 172.17.0.1"#;
    let system = EmptySystem::new(ask);
    system.prepare(&(way_out(1500) + "\n" + NAMESERVER));
    let output = system.launch(&["dockerd"]);
    let text = text(&output);
    assert_status(&output, 0);
    assert!(text.contains("--bip=172.17.0.1/16 --dns=172.17.0.1\n"), "{text}");
    for wanted in ["OVER UDP\n", "10 OVER TCP\n", "3002 YYYYYYYY\n", "dns       we answer on 172.17.0.1\n"] {
        assert!(text.contains(wanted), "no `{wanted}` in:\n{text}");
    }
}

#[test]
fn ns_what_is_no_nameserver_is_told() {
    let nobody =
        way_out(1500) + "\nip link set lo up; mkdir etc; echo nameserver 127.0.0.53 > etc/resolv.conf";
    let text = told(ENGINE, &nobody, &["dockerd"]);
    assert!(text.contains("args -H fd://\n") && text.contains("does not answer here either"), "{text}");
    let none =
        way_out(1500) + "\nmkdir etc; echo 'nameserver example.org\nnameserver 10.0.2.3' > etc/resolv.conf";
    let text = told(ENGINE, &none, &["dockerd"]);
    assert!(text.contains("args -H fd://\n") && !text.contains("warning: containers"), "{text}");
}

#[test]
fn ns_another_engine_in_this_network_namespace_is_left_alone_pain_51() {
    // Its socket was made in another mount namespace, so it is not to be seen here.
    let other = r#"mkdir -p hidden/docker/libnetwork; mount -t proc proc /proc; mkdir proc; mount -t proc proc proc
perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new(Local => "hidden/docker/libnetwork/0e2d6ff12345.sock", Listen => 1) or die $!;
  open my $r, ">", "ready"; sleep 600' & until [ -e ready ]; do sleep 0.01; done; mv hidden elsewhere"#;
    for (args, status, wanted) in [
        (&["dockerd"][..], 125, "another Docker runs in this network namespace"),
        (&["dockerd", "-b", "none"], 125, "another Docker runs in this network namespace"),
        (
            &["dockerd", "-bbr0", "--bip=10.9.0.1/24", "--iptables=false", "--ip6tables=false"],
            0,
            "the engine runs",
        ),
    ] {
        let system = EmptySystem::new("echo the engine runs");
        system.prepare(other);
        let output = system.launch(args);
        assert_status(&output, status);
        assert!(text(&output).contains(wanted), "{}", text(&output));
    }
    // The engine's own is to be seen.
    let system = EmptySystem::new(
        r#"mkdir -p /run/docker/libnetwork; perl -MIO::Socket::UNIX -e '
             $s = IO::Socket::UNIX->new(Local => "/run/docker/libnetwork/0e2d6ff12345.sock", Listen => 1) or die $!;
             system "grep libnetwork /proc/net/unix; dockerlaunch plan dockerd | grep net.neighbour"'"#,
    );
    let output = system.launch(&["dockerd"]);
    let text = text(&output);
    assert!(text.contains("/run/docker/libnetwork/") && text.contains("no other engine is in"), "{text}");
}
