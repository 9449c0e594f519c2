//! The boot order, on one screen. Each rule lives in the module of its area.

use crate::step::OnFailure::Abort;
use crate::step::Stage::{Early, Late, Main};
use crate::step::{OnFailure, Rule, Stage, StepId};

pub mod address;
pub mod api_mounts;
pub mod bridge;
pub mod certificates;
pub mod cgroup_ns;
pub mod cgroup_v1;
pub mod cgroup_v2;
pub mod containerd;
pub mod daemon_json;
pub mod dist;
pub mod engine;
pub mod files;
pub mod firewall;
pub mod leftovers;
pub mod limits;
pub mod listeners;
pub mod modules;
pub mod mtu;
pub mod neighbour;
pub mod network;
pub mod pools;
pub mod privileges;
pub mod resolver;
pub mod root;
pub mod settings;
pub mod stop;
pub mod storage;
pub mod tls;

/// What is done, in this order, before the engine starts.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    rule("api.proc",      Early, api_mounts::proc,      Abort,                "dockerd and runc read and re-execute themselves through /proc"),
    rule("api.sys",       Early, api_mounts::sys,       Abort,                "cgroups and network interfaces appear below /sys"),
    rule("devices",       Early, modules::drivers,    degrade("some of this machine's devices do not work"), "disks and networks are there once their drivers are"),
    rule("settings",      Main,  settings::understood,  Abort,                "a setting that nobody understands would be passed over in silence"),
    rule("net.address",   Main,  address::decide,       degrade("this machine reaches nobody"),                  "a machine that the kernel has just started has no address"),
    rule("tls",           Main,  tls::make,             Abort,                "the network reaches the engine by TLS alone"),
    rule("tls.renew",     Main,  tls::renew,            degrade("clients refuse the certificate under a name that it lacks, or once it has ended"), "addresses change, and certificates end"),
    rule("listen.tcp",    Main,  listeners::tcp,        Abort,                "a client that comes early waits instead of failing"),
    rule("privileges",    Main,  privileges::decide,    Abort,                "Docker mounts, makes namespaces and sets up networks"),
    rule("api.writable",  Main,  privileges::writable,  degrade("Docker cannot write kernel settings and cgroups"), "runtimes mount them read-only for containers that are not privileged"),
    rule("engine",        Main,  engine::present,       Abort,                "it is what is being launched"),
    rule("root.pivot",    Main,  root::pivotable,       Abort,                "runc changes the root with pivot_root, which the kernel's first root refuses"),
    rule("api.dev",       Main,  api_mounts::dev,       Abort,                "device nodes for Docker and its containers"),
    rule("root.dirs",     Main,  files::directories,    Abort,                "directories that every program expects"),
    rule("files.dist",    Main,  dist::links,           degrade("Docker does not find a program that it calls"), "programs under the names that Docker calls them by"),
    rule("api.dev.nodes", Main,  api_mounts::dev_nodes, Abort,                "runc and dockerd open these devices"),
    rule("api.pts",       Main,  api_mounts::pts,       Abort,                "terminals of containers"),
    rule("api.shm",       Main,  api_mounts::shm,       degrade("programs that want POSIX shared memory fail"), "POSIX shared memory"),
    rule("api.mqueue",    Main,  api_mounts::mqueue,    degrade("POSIX message queues are not visible"),        "POSIX message queues"),
    rule("api.run",       Main,  api_mounts::run,       Abort,                "pid files and sockets that must not survive a restart"),
    rule("listen.unix",   Main,  listeners::unix_sockets, Abort,              "a client that comes early waits instead of failing"),
    rule("root.rshared",  Main,  root::shared,          degrade("mounts made on one side of a volume do not show on the other (--mount bind-propagation=shared)"), "mount propagation between containers"),
    rule("modules",       Main,  modules::autoload,     degrade("the kernel loads no modules by itself"),        "features that the kernel has as modules load when first used"),
    rule("cgroup.own",    Main,  cgroup_ns::decide,     Abort,                "containers stay within this container's limits, and nothing of them outside"),
    rule("cgroup.v1",     Main,  cgroup_v1::decide,     Abort,                "resource limits of containers"),
    rule("cgroup.v2",     Main,  cgroup_v2::mount,      Abort,                "resource limits of containers"),
    rule("cgroup.nest",   Main,  cgroup_v2::nest,       degrade("resource limits of containers may not work"),   "limits reach containers only from a cgroup without processes of its own"),
    rule("files.etc",     Main,  files::etc_defaults,   degrade("a default file is missing"),                    "users, groups, CA certificates and name resolution"),
    rule("files.ca",      Main,  certificates::decide,  Abort,                "registries and proxies of a company have certificates of its own"),
    rule("config",        Main,  daemon_json::decide,   Abort,                "settings reach dockerd by its command line and by daemon.json, and by one of them only"),
    rule("containerd",    Main,  containerd::configured, Abort,               "beside the engine it starts sooner, takes less memory, and no stop waits for it"),
    rule("storage.root",  Late,  storage::root,         Abort,                "images and containers need a place that can be written"),
    rule("storage.lock",  Late,  storage::lock,         Abort,                "two engines in one data root destroy it"),
    rule("storage.disk",  Late,  storage::medium,       Abort,                "what carries the data root decides which drivers can work"),
    rule("storage",       Late,  storage::driver,       degrade("every layer is copied"),                        "layers share their files where an overlay can be mounted"),
    rule("storage.room",  Late,  storage::room,         degrade("images and containers soon have no room"),      "an engine whose disk is full fails in many ways"),
    rule("images",        Late,  storage::images,       degrade("these images are not there without a pull"),    "images that come with the system are there at the first start"),
    rule("leftovers",     Main,  leftovers::decide,     Abort,                "a crashed predecessor's pid and state files stop a new daemon"),
    rule("limits",        Main,  limits::nofile,        degrade("many containers at once may run out of descriptors"), "dockerd and containerd open many files"),
    rule("limits.kernel", Main,  limits::of_the_kernel, degrade("many containers at once may fail"),       "containers take keys, and programs in them watch files"),
    rule("net.neighbour", Main,  neighbour::decide,     Abort,                "two engines in one network namespace overwrite each other's bridge and firewall"),
    rule("net.loopback",  Main,  network::loopback,     degrade("ports published on 127.0.0.1 do not work"),     "clients and published ports use loopback"),
    rule("net.forward",   Main,  network::forwarding,   degrade("containers cannot reach other networks"),       "packets pass between containers and the outside"),
    rule("net.bridge",    Main,  bridge::decide,        Abort,                "dockerd takes a bridge of one's own only when it is there with its address"),
    rule("net.mtu",       Main,  mtu::decide,           degrade("connections of containers hang"),       "packets that are too large for the way out are lost"),
    rule("net.pools",     Main,  pools::decide,         degrade("containers cannot reach what has the same addresses"), "addresses of containers must be nobody else's"),
    rule("net.dns",       Main,  resolver::decide,      degrade("names of the outer network are not found there"), "a nameserver on loopback is out of containers' reach"),
    rule("firewall",      Main,  firewall::backend,     Abort,                "dockerd programs NAT through iptables, or does not start"),
];

/// One line of the table above.
const fn rule(
    id: &'static str,
    stage: Stage,
    decide: Decide,
    on_failure: OnFailure,
    why: &'static str,
) -> Rule {
    Rule { id: StepId(id), stage, why, on_failure, decide }
}

const fn degrade(consequence: &'static str) -> OnFailure {
    OnFailure::Degrade { consequence }
}

type Decide = fn(&crate::Config, &crate::Facts) -> crate::Verdict;
