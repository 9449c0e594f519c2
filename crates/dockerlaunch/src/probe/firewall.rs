//! Which packet filters the kernel has, by trying them in a network namespace that goes with the try.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use dockerlaunch_plan::Config;
use dockerlaunch_plan::facts::firewall::{ATTEMPTS, Attempt, Family, Firewall, can_do_without, lacks};
use dockerlaunch_plan::facts::{Facts, PRIVATE, kernel};
use dockerlaunch_plan::rules::daemon_json;
use dockerlaunch_plan::rules::firewall::switch;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::sched::CloneFlags;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

use super::Probe;
use super::trial::{self, Trial};
use crate::netlink::{Answer, exchange, message};
use crate::{question, sys};

/// The kernel may have to load a dozen modules, in an emulated machine too.
const PATIENCE: Duration = Duration::from_secs(20);

/// A try that runs while other facts are read.
pub(crate) struct Begun {
    families: io::Result<Trial<[Family; 2]>>,
    is_legacy: bool,
    legacy_in_use: bool,
}

/// Looks at our own network namespace, and begins to try in another one what the engine would use. `None` where the engine uses
/// no packet filter, or nothing may be tried.
pub(crate) fn begin(config: &Config) -> Option<Begun> {
    let by_request = config.iptables_legacy;
    let probe = Probe { root: "/".into() };
    let uname = rustix::system::uname();
    let is_gvisor = kernel::is_gvisor(&uname.release().to_string_lossy(), &uname.version().to_string_lossy());
    let daemon_json = daemon_json::view(config, &probe.config_file(config));
    let is_off = switch(config, &Facts { daemon_json, ..Facts::default() }, "iptables") == Some(false);
    if is_gvisor || config.only_reading || is_off {
        return None;
    }
    let lists = |path: &str| probe.read(path).is_some_and(|tables| !tables.trim().is_empty());
    let legacy_in_use = lists("/proc/net/ip_tables_names") || lists("/proc/net/ip6_tables_names");
    let is_legacy = by_request.unwrap_or(legacy_in_use);
    let families = trial::begin(CloneFlags::CLONE_NEWNET, move || {
        // Asking the legacy tables makes the kernel load them.
        let legacy = || FAMILIES.map(try_legacy);
        let first = if is_legacy { legacy() } else { [None, None] };
        let goes_on = by_request.is_none() && first[0].as_ref().is_some_and(|lacks| !can_do_without(lacks));
        let mut families = if is_legacy && !goes_on { Default::default() } else { try_nft() };
        let is_last = by_request.is_none() && families[0].has_compat() == Some(false);
        let found = if is_last && !is_legacy { legacy() } else { first };
        for (family, legacy) in families.iter_mut().zip(found) {
            family.legacy = legacy;
        }
        families
    });
    Some(Begun { families, is_legacy, legacy_in_use })
}

impl Begun {
    /// What it gave.
    pub(crate) fn finish(self, config: &Config) -> Firewall {
        let Begun { families, is_legacy, legacy_in_use } = self;
        let [ipv4, ipv6] = families.and_then(|trial| trial.answer(PATIENCE)).unwrap_or_default();
        let native =
            ipv4.has_compat() == Some(false) && ipv4.has_native() == Some(true) && has_native(config);
        Firewall { ipv4, ipv6, nft_in_use: !is_legacy && has_nft_tables(), legacy_in_use, native }
    }
}

/// Whether dockerd finds a packet filter for each family; tried here and now, so the namespace must be one to throw away.
pub(crate) fn any_works() -> [Option<bool>; 2] {
    let nft = try_nft();
    [0, 1].map(|n| match (nft[n].has_compat()?, nft[n].has_native()?) {
        (false, false) => Some(can_do_without(&try_legacy(FAMILIES[n])?)),
        _ => Some(true),
    })
}

/// Whether the engine can do without iptables.
fn has_native(config: &Config) -> bool {
    let private = format!("{PRIVATE}/bin");
    let mut path = config.path.iter().chain([&private]);
    let candidates = config.engine.candidates(&config.path);
    path.any(|dir| Path::new(dir).join("nft").exists())
        && candidates.iter().find(|path| Path::new(path).exists()).is_some_and(|engine| {
            question::flags(engine).is_ok_and(|flags| flags.iter().any(|f| f.name == "firewall-backend"))
        })
}

/// What of a protocol family the two interfaces go by.
#[derive(Clone, Copy)]
struct Which {
    /// As nf_tables numbers it.
    nft: u8,
    /// The family of sockets, and the level of the legacy interface's options.
    socket: AddressFamily,
    level: libc::c_int,
    /// The module and the options of the legacy interface.
    module: &'static str,
    options: [&'static str; 4],
}

const FAMILIES: [Which; 2] = [
    Which {
        nft: libc::NFPROTO_IPV4 as u8,
        socket: AddressFamily::INET,
        level: libc::IPPROTO_IP,
        module: "ip_tables",
        options: ["IP_NF_IPTABLES", "IP_NF_NAT", "IP_NF_FILTER", "IP_NF_RAW"],
    },
    Which {
        nft: libc::NFPROTO_IPV6 as u8,
        socket: AddressFamily::INET6,
        level: libc::IPPROTO_IPV6,
        module: "ip6_tables",
        options: ["IP6_NF_IPTABLES", "IP6_NF_NAT", "IP6_NF_FILTER", "IP6_NF_RAW"],
    },
];

/// The tables that dockerd uses.
fn try_legacy(which: Which) -> Option<Vec<String>> {
    let [interface, nat, filter, raw] = which.options;
    let lacks = |option: &str| Some(vec![option.to_owned()]);
    let Ok(socket) = socket(which.socket, SocketType::DGRAM, None) else { return lacks(interface) };
    let find = |table: &str| {
        sys::find_table(socket.as_fd(), which.level, table)
            .map_err(|error| error.raw_os_error().unwrap_or_default())
    };
    let mut found = find("nat");
    if found == Err(libc::ENOPROTOOPT) {
        // For a name that no interface has the kernel loads a module (net/core/dev_ioctl.c, `dev_load`).
        let _ = name_to_index(&socket, which.module);
        found = find("nat");
    }
    match found {
        Err(libc::EPERM) => None,
        Err(libc::ENOPROTOOPT) => lacks(interface),
        _ => {
            let missing = [(found, nat), (find("filter"), filter), (find("raw"), raw)].into_iter();
            Some(missing.filter(|(found, _)| found.is_err()).map(|(_, option)| option.to_owned()).collect())
        }
    }
}

// linux/netfilter/nfnetlink.h and nf_tables.h.
const SUBSYSTEM: u16 = 10;
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLM_F_DUMP: u16 = 0x300;
const NESTED: u16 = 0x8000;

/// Whether our own network namespace has tables.
fn has_nft_tables() -> bool {
    let request = message(SUBSYSTEM << 8 | GETTABLE, NLM_F_DUMP, 0, &genmsg(0, 0));
    let first = exchange(NETLINK_NETFILTER, &request).ok().and_then(|answers| answers.first().copied());
    first.is_some_and(|answer| answer.kind == SUBSYSTEM << 8 | NEWTABLE)
}

/// Makes in one transaction what the engine would make. The kernel tells everything that fails in it.
fn try_nft() -> [Family; 2] {
    let mut batch = message(BEGIN, 0, 0, &genmsg(0, SUBSYSTEM));
    for (which, first) in FAMILIES.iter().zip([1, 101]) {
        for (attempt, seq) in ATTEMPTS.into_iter().zip(first..) {
            batch.extend(request(attempt, which.nft, seq));
        }
    }
    batch.extend(message(END, 0, 0, &genmsg(0, SUBSYSTEM)));
    let failed: Vec<Answer> = match exchange(NETLINK_NETFILTER, &batch) {
        Ok(answers) => answers.into_iter().filter(|answer| answer.errno != 0).collect(),
        // There is no netlink for packet filters.
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
            vec![Answer { kind: 0, seq: 0, errno: libc::EOPNOTSUPP }]
        }
        Err(_) => return Default::default(),
    };
    // Anything else, as for want of memory or of permission, tells nothing about the kernel.
    let is_lacking =
        |errno| matches!(errno, libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EINVAL);
    if failed.iter().any(|answer| !is_lacking(answer.errno)) {
        return Default::default();
    }
    let has_failed = |seq: u32| failed.iter().any(|answer| answer.seq == 0 || answer.seq == seq);
    [1, 101].map(|first| {
        let seq =
            |attempt| first + ATTEMPTS.iter().zip(0..).find(|(a, _)| **a == attempt).map_or(0, |(_, n)| n);
        Family { nft: Some(lacks(|attempt| has_failed(seq(attempt)))), legacy: None }
    })
}

/// struct nfgenmsg.
fn genmsg(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// struct nlattr, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or_default();
    let mut out = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn request(attempt: Attempt, family: u8, seq: u32) -> Vec<u8> {
    /// Of table and chain; xtables targets look whether theirs is called as they want it.
    const NAME: &[u8] = b"nat\0";
    const POSTROUTING: u32 = 4;
    const SOURCE_NAT: u32 = 100;
    const DADDR: u32 = 2;
    const ADDRESS_TYPE: u32 = 3;
    const REGISTER: u32 = 1;
    /// struct xt_addrtype_info_v1, asking for local ones: source, destination, flags.
    const LOCAL: [u16; 4] = [0, 1 << 2, 0, 0];
    let (kind, flags, attributes) = match attempt {
        Attempt::Table => (NEWTABLE, NLM_F_CREATE, vec![attribute(1, NAME)]),
        Attempt::Chain => {
            let hook = [number(1, POSTROUTING), number(2, SOURCE_NAT)].concat();
            let parts =
                [attribute(1, NAME), attribute(3, NAME), attribute(4 | NESTED, &hook), attribute(7, NAME)];
            (NEWCHAIN, NLM_F_CREATE, parts.to_vec())
        }
        rule => {
            let xtables = |name: &[u8], revision, info: &[u8]| {
                [attribute(1, name), number(2, revision), attribute(3, info)].concat()
            };
            let (expression, data): (&[u8], _) = match rule {
                Attempt::Match => {
                    (b"match\0", xtables(b"addrtype\0", 1, LOCAL.map(u16::to_ne_bytes).as_flattened()))
                }
                Attempt::Target if family == libc::NFPROTO_IPV4 as u8 => {
                    // struct nf_nat_ipv4_multi_range_compat: one range, which is empty.
                    let ranges = [1u32, 0, 0, 0, 0, 0];
                    (b"target\0", xtables(b"MASQUERADE\0", 0, ranges.map(u32::to_ne_bytes).as_flattened()))
                }
                // struct nf_nat_range.
                Attempt::Target => (b"target\0", xtables(b"MASQUERADE\0", 0, &[0; 40])),
                Attempt::Masquerade => (b"masq\0", Vec::new()),
                _ => (b"fib\0", [number(1, REGISTER), number(2, ADDRESS_TYPE), number(3, DADDR)].concat()),
            };
            let expression = [attribute(1, expression), attribute(2 | NESTED, &data)].concat();
            let expressions = attribute(4 | NESTED, &attribute(1 | NESTED, &expression));
            (NEWRULE, NLM_F_CREATE | NLM_F_APPEND, vec![attribute(1, NAME), attribute(2, NAME), expressions])
        }
    };
    message(SUBSYSTEM << 8 | kind, flags, seq, &[&genmsg(family, 0)[..], &attributes.concat()].concat())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use dockerlaunch_plan::config::Engine;

    use super::*;

    #[test]
    fn dockerds_own_backend_takes_its_option_and_the_program_nft_pain_1() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().to_string_lossy().into_owned();
        let config = Config::new(Engine::default(), &BTreeMap::from([("PATH".to_owned(), path)]));
        let engine = |option: &str| {
            let script = format!("#!/bin/sh\necho '      --{option} string   Whatever it is for'\n");
            let file = dir.path().join("dockerd");
            fs::write(&file, script).expect("write");
            fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("chmod");
        };
        engine("firewall-backend");
        assert!(!has_native(&config), "there is no nft");
        fs::write(dir.path().join("nft"), "").expect("write");
        assert!(has_native(&config));
        engine("bridge");
        assert!(!has_native(&config), "an engine before 29");
    }
}
