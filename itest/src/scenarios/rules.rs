//! Firewall rules of users' own, with the image's iptables, beside those of the engine.

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "rules::of_users",
        "rules with what people use in DOCKER-USER are taken, listed, saved, restored and deleted",
        of_users,
    ),
    scenario(
        "rules::that_the_kernel_may_refuse",
        "iptables has what rules for swarm's networks and lists of addresses are made of",
        that_the_kernel_may_refuse,
    ),
];

/// What each is about stands after the last `-m` or `-j`.
const V4: &[&str] = &[
    "DOCKER-USER -p tcp -m tcp --dport 22 -j DROP",
    "DOCKER-USER -p udp -m udp --dport 53 -j RETURN",
    "DOCKER-USER -p icmp -m icmp --icmp-type echo-request -j ACCEPT",
    "DOCKER-USER -m addrtype --dst-type LOCAL -j RETURN",
    "DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
    "DOCKER-USER -m state --state NEW -j RETURN",
    "DOCKER-USER -m comment --comment allowed -j RETURN",
    "DOCKER-USER -m mark --mark 1 -j RETURN",
    "DOCKER-USER -p tcp -m multiport --dports 80,443 -j RETURN",
    "DOCKER-USER -m iprange --src-range 10.9.0.1-10.9.0.9 -j DROP",
    "DOCKER-USER -m mac --mac-source 02:42:ac:11:00:02 -j DROP",
    "DOCKER-USER -m limit --limit 5/min -j DROP",
    "DOCKER-USER -p tcp -m hashlimit --hashlimit-above 9/sec --hashlimit-name web --hashlimit-mode srcip -j DROP",
    "DOCKER-USER -p tcp -m connlimit --connlimit-above 20 -j DROP",
    "DOCKER-USER -m recent --name seen --set -j RETURN",
    "DOCKER-USER -m string --string bad --algo bm -j DROP",
    "DOCKER-USER -j LOG --log-prefix dropped",
    "DOCKER-USER -j REJECT --reject-with icmp-host-prohibited",
    "FORWARD -t mangle -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
    "FORWARD -t mangle -j MARK --set-mark 2",
    "PREROUTING -t nat -p tcp --dport 81 -j REDIRECT --to-ports 80",
    "PREROUTING -t nat -p tcp --dport 82 -j DNAT --to-destination 10.9.0.1:80",
    "POSTROUTING -t nat -s 10.9.0.0/24 -j SNAT --to-source 10.9.1.1",
    "POSTROUTING -t nat -s 10.9.0.0/24 -j MASQUERADE",
    "DOCKER-USER -p gre -j RETURN",
    "DOCKER-USER -m time --timestart 01:00 --timestop 02:00 -j RETURN",
    "DOCKER-USER -m length --length 0:1500 -j RETURN",
    "DOCKER-USER -m statistic --mode random --probability 0.5 -j RETURN",
    "OUTPUT -m owner --uid-owner 1000 -j RETURN",
    "DOCKER-USER -m physdev --physdev-is-bridged -j RETURN",
    "DOCKER-USER -m pkttype --pkt-type broadcast -j RETURN",
    "DOCKER-USER -p tcp -m tcpmss --mss 1:500 -j RETURN",
    "DOCKER-USER -m connmark --mark 1 -j RETURN",
    "DOCKER-USER -m quota --quota 1000000 -j RETURN",
    "OUTPUT -m cgroup --cgroup 1 -j RETURN",
    "PREROUTING -t raw -m rpfilter --invert -j DROP",
    "FORWARD -t mangle -m dscp --dscp 0x10 -j DSCP --set-dscp 0x20",
    "FORWARD -t mangle -j CONNMARK --save-mark",
    "FORWARD -t mangle -j CLASSIFY --set-class 1:1",
    "PREROUTING -t mangle -j TEE --gateway 10.9.0.1",
    "DOCKER-USER -j NFLOG --nflog-group 1",
    "DOCKER-USER -j NFQUEUE --queue-num 1",
    "PREROUTING -t raw -p udp -j CT --notrack",
    "PREROUTING -t raw -p udp -j NOTRACK",
    "PREROUTING -t raw -p udp -j TRACE",
    "DOCKER-USER -m ttl --ttl-lt 5 -j RETURN",
    "PREROUTING -t nat -d 10.9.2.0/24 -j NETMAP --to 10.9.3.0/24",
    "DOCKER-USER -p sctp -m sctp --dport 80 -j RETURN",
];

const V6: &[&str] = &[
    "FORWARD -p ipv6-icmp -m icmp6 --icmpv6-type echo-request -j ACCEPT",
    "FORWARD -m hl --hl-lt 5 -j RETURN",
    "PREROUTING -t nat -d fd09:2::/64 -j NETMAP --to fd09:3::/64",
    "FORWARD -p tcp -m tcp --dport 22 -j REJECT --reject-with icmp6-adm-prohibited",
];

fn of_users(env: &dyn Environment) -> Result<()> {
    for (program, rules) in [("iptables", V4), ("ip6tables", V6)] {
        let before = save(env, program)?;
        let result = take(env, program, rules);
        let flushed = flush(env, program);
        restore(env, program, &before)?;
        result.and(flushed)?;
        let (before, after) = (of_tables(&before), of_tables(&save(env, program)?));
        ensure!(before == after, "rules before: {before:#?}, and left: {after:#?}");
    }
    Ok(())
}

/// Tables that were not there before are not among what is restored.
fn flush(env: &dyn Environment, program: &str) -> Result<()> {
    let saved = save(env, program)?;
    let mut tables = saved.lines().filter_map(|line| line.strip_prefix('*'));
    tables.try_for_each(|table| env.exec(&[program, "--wait", "-t", table, "-F"], b"")?.exits(0).map(drop))
}

fn take(env: &dyn Environment, program: &str, rules: &[&str]) -> Result<()> {
    let run = |what: &str, rule: &str| {
        let argv = format!("{program} --wait {what} {rule}");
        env.exec(&argv.split(' ').collect::<Vec<_>>(), b"")
    };
    let mut refused = Vec::new();
    for rule in rules {
        let added = run("-A", rule)?;
        if added.stderr.contains("missing kernel module") {
            refused.push(rule);
            continue;
        }
        added.exits(0)?;
        run("-C", rule)?.exits(0)?;
        run("-D", rule)?.exits(0)?;
        run("-C", rule)?.exits(1)?;
        run("-A", rule)?.exits(0)?;
    }
    // Not every kernel has everything, which is not for the image to bring.
    ensure!(refused.len() * 4 <= rules.len(), "the kernel lacks what these are about: {refused:#?}");
    let listed = run("-S", rules[0].split(' ').next().unwrap_or_default())?.exits(0)?.text();
    ensure!(listed.lines().filter(|line| line.starts_with("-A")).count() > 1, "{listed}");
    let saved = save(env, program)?;
    restore(env, program, &saved)?;
    let (before, after) = (of_tables(&saved), of_tables(&save(env, program)?));
    ensure!(before == after, "other rules than before: {after:#?}, not {before:#?}");
    Ok(())
}

/// The rules among what was saved.
fn of_tables(saved: &str) -> Vec<String> {
    saved.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect()
}

fn save(env: &dyn Environment, program: &str) -> Result<String> {
    env.exec(&[&format!("{program}-save")], b"")?.success()
}

fn restore(env: &dyn Environment, program: &str, saved: &str) -> Result<()> {
    let lines = format!("{saved}\n");
    env.exec(&[&format!("{program}-restore"), "--wait"], lines.as_bytes())?.exits(0).map(drop)
}

/// What these rules need is not in every kernel, or must be made with another tool, so they are only asked for.
fn that_the_kernel_may_refuse(env: &dyn Environment) -> Result<()> {
    for (extension, option) in
        [("ipvs", "--ipvs"), ("policy", "--pol"), ("bpf", "--bytecode"), ("set", "--match-set")]
    {
        let help = env.exec(&["iptables", "-m", extension, "--help"], b"")?.success()?;
        ensure!(help.contains(option), "of {extension} iptables says: {help}");
    }
    Ok(())
}
