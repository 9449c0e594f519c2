//! The host, looked at from outside: what `up` promises not to touch, and what it must not leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{command, need};

/// A process that has ended and that nobody has waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zombie {
    pid: u32,
    parent: u32,
    name: String,
}

/// The host's zombies that can be ours: in another pid namespace, or with the name of a program that we start. Other
/// people's dying processes are no evidence.
pub fn zombies() -> Result<Vec<Zombie>> {
    const OURS: [&str; 7] = ["docker", "containerd", "runc", "from-scratch", "pasta", "busybox", "ps"];
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        // It may be gone by now.
        let Ok(status) = fs::read_to_string(path.join("status")) else { continue };
        let Some(zombie) = parse_zombie(pid, &status) else { continue };
        if zombie.nested || OURS.iter().any(|name| zombie.zombie.name.starts_with(name)) {
            found.push(zombie.zombie);
        }
    }
    Ok(found)
}

struct Parsed {
    zombie: Zombie,
    nested: bool,
}

/// From the text of `/proc/PID/status`; `None` for a process that lives.
fn parse_zombie(pid: u32, status: &str) -> Option<Parsed> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("State:")?.starts_with('Z').then_some(())?;
    Some(Parsed {
        zombie: Zombie { pid, parent: field("PPid:")?.parse().ok()?, name: field("Name:")?.to_owned() },
        nested: field("NSpid:").is_some_and(|pids| pids.split_whitespace().count() > 1),
    })
}

/// Everything of the host that `up` promises to leave alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Area (`sysctl`, `links`, …) to its items.
    areas: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Host {
    /// Looks at it now. Only reads: even listing rules through an `iptables` program could create tables.
    pub fn look() -> Result<Self> {
        let nft = need::program("nft").context("no `nft` to read the firewall's rules with")?;
        let ip = need::program("ip").context("no `ip` to read links and routes with")?;
        let show = |program: &Path, args: &[&str]| -> Result<BTreeSet<String>> {
            Ok(lines(&command::run(Command::new(program).args(args), b"")?.success()?))
        };
        let mut areas = BTreeMap::from([
            ("sysctls", sysctls()?),
            ("nftables rules", show(&nft, &["list", "ruleset"])?),
            ("addresses", show(&ip, &["-o", "-d", "address"])?),
            ("links", show(&ip, &["-o", "link"])?),
            ("routes", show(&ip, &["route", "show", "table", "all"])?),
            ("listeners", listeners()?),
            ("mounts", lines(&fs::read_to_string("/proc/self/mountinfo")?)),
            ("cgroups", cgroups()?),
        ]);
        for family in ["ip", "ip6"] {
            // Which tables of the old firewall exist; reading the file makes none.
            let tables = fs::read_to_string(format!("/proc/net/{family}_tables_names")).unwrap_or_default();
            areas
                .entry("xtables")
                .or_default()
                .extend(tables.lines().map(|table| format!("{family} {table}")));
        }
        Ok(Host { areas })
    }

    /// What is different now, except lines that `expected` says yes to.
    pub fn changes(&self, now: &Host, expected: impl Fn(&str, &str) -> bool) -> Vec<String> {
        let mut changes = Vec::new();
        for (area, before) in &self.areas {
            let after = &now.areas[area];
            let gone = before.difference(after).map(|line| ('-', line));
            let new = after.difference(before).map(|line| ('+', line));
            changes.extend(
                gone.chain(new)
                    .filter(|(_, line)| !expected(area, line))
                    .map(|(sign, line)| format!("{area}: {sign} {line}")),
            );
        }
        changes
    }

    /// [`Host::changes`] as an error.
    pub fn unchanged(&self, now: &Host, expected: impl Fn(&str, &str) -> bool) -> Result<()> {
        let changes = self.changes(now, expected);
        ensure!(changes.is_empty(), "the host has changed:\n{}", changes.join("\n"));
        Ok(())
    }
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Values that the kernel itself moves while a machine just stands there.
fn moves_by_itself(path: &str) -> bool {
    ["/proc/sys/fs/", "/proc/sys/kernel/random/", "/proc/sys/kernel/ns_last_pid", "/proc/sys/kernel/pty/nr"]
        .iter()
        .any(|volatile| path.starts_with(volatile) && !path.contains("/max") && !path.contains("/protected"))
}

fn sysctls() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut directories = vec![PathBuf::from("/proc/sys")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else if !moves_by_itself(&path.to_string_lossy())
                && let Ok(value) = fs::read(&path)
            {
                // Some can only be written; they have no value to compare.
                found.insert(format!("{} = {}", path.display(), String::from_utf8_lossy(&value).trim()));
            }
        }
    }
    Ok(found)
}

/// Local ends of what listens: TCP in state LISTEN, UDP bound.
fn listeners() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let table = fs::read_to_string(format!("/proc/net/{protocol}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listening = fields.get(3).is_some_and(|state| matches!(*state, "0A" | "07"));
            if let (true, Some(local)) = (listening, fields.get(1)) {
                found.insert(format!("{protocol} {local}"));
            }
        }
    }
    Ok(found)
}

/// Every group of every mounted hierarchy, `name=systemd` and cgroup2 included, and what the root of cgroup2 hands down.
fn cgroups() -> Result<BTreeSet<String>> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own: Vec<&str> = own.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    let mut found = BTreeSet::new();
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        if !right.starts_with("cgroup") {
            continue;
        }
        let Some(mountpoint) = left.split(' ').nth(4) else { continue };
        if let Ok(controllers) = fs::read_to_string(format!("{mountpoint}/cgroup.subtree_control")) {
            found.insert(format!("{mountpoint} hands down: {}", controllers.trim()));
        }
        let mut directories = vec![PathBuf::from(mountpoint)];
        while let Some(directory) = directories.pop() {
            // A group may vanish while we look.
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            let below =
                entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path());
            directories.extend(below.filter(|path| {
                let group = path.to_string_lossy();
                !somebody_elses(group.strip_prefix(mountpoint).unwrap_or(&group), &own)
            }));
            found.insert(directory.display().to_string());
        }
    }
    Ok(found)
}

/// A group beside the one that we were put into, such as another session's: it comes and goes without us. What leaks from
/// an engine lands at the root of a hierarchy or below our own group.
fn somebody_elses(group: &str, own: &[&str]) -> bool {
    let Some((parent, _)) = group.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) else {
        return false;
    };
    let beside = |own: &&str| own.starts_with(&format!("{parent}/"));
    own.iter().any(beside) && !own.iter().any(|own| *own == group || own.starts_with(&format!("{group}/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_told_from_the_living() {
        let dead = "Name:\tcontainerd-shim\nState:\tZ (zombie)\nPPid:\t7\nNSpid:\t42\t3\n";
        let parsed = parse_zombie(42, dead).expect("it is one");
        assert_eq!(parsed.zombie, Zombie { pid: 42, parent: 7, name: "containerd-shim".to_owned() });
        assert!(parsed.nested);
        assert!(parse_zombie(42, &dead.replace("Z (zombie)", "S (sleeping)")).is_none());
    }

    #[test]
    fn a_zombie_of_ours_is_found() {
        // `docker…` as a name: a shell script's child that its parent never waits for.
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("docker-dies");
        fs::copy("/bin/true", &program).expect("copies");
        let mut child = Command::new(&program).spawn().expect("starts");
        let seen = command::eventually("the zombie shows", std::time::Duration::from_secs(5), || {
            Ok(zombies()?.iter().any(|zombie| zombie.pid == child.id() && zombie.name == "docker-dies"))
        });
        child.wait().expect("reaped");
        seen.expect("found");
        assert!(zombies().expect("looks").iter().all(|zombie| zombie.pid != child.id()));
    }

    #[test]
    fn other_sessions_groups_are_told_from_what_may_leak() {
        let own = ["/", "/sessions/mine/shell"];
        for theirs in ["/sessions/theirs", "/sessions/mine/other"] {
            assert!(somebody_elses(theirs, &own), "{theirs}");
        }
        for perhaps_ours in
            ["/docker", "/sessions", "/sessions/mine", "/sessions/mine/shell", "/from-scratch/x"]
        {
            assert!(!somebody_elses(perhaps_ours, &own), "{perhaps_ours}");
        }
        assert!(!somebody_elses("/sessions/mine/shell/docker", &own));
    }

    #[test]
    fn a_difference_is_told_with_its_area() {
        let host = |line: &str| Host { areas: BTreeMap::from([("links", lines(line))]) };
        let before = host("lo\neth0");
        assert_eq!(before.changes(&host("lo\ndocker0"), |_, _| false), ["links: - eth0", "links: + docker0"]);
        assert_eq!(before.changes(&host("lo\ndocker0"), |_, line| line == "docker0"), ["links: - eth0"]);
        assert!(before.unchanged(&before.clone(), |_, _| false).is_ok());
    }
}
