//! cgroup v1 hierarchies, alone or beside a cgroup2 one (hybrid).

use crate::facts::{CGROUP_ROOT, Facts, Mount, Version};
use crate::{Action, Config, Problem, Verdict};

/// Mounts every v1 hierarchy that is in use, with the controllers that the kernel keeps together in it.
pub fn decide(_: &Config, facts: &Facts) -> Verdict {
    match facts.cgroup_version() {
        Some(Version::V1) => {}
        Some(Version::V2) => return Verdict::skipped("cgroup v2 is in use"),
        None if facts.kernel.filesystems.is_empty() => {
            return Verdict::skipped("decided once /proc is mounted");
        }
        None => return Verdict::Blocked { problem: no_cgroups() },
    }
    let nothing_mounted = !facts.mounts.iter().any(|m| m.fstype.starts_with("cgroup"));
    let mut actions = Vec::new();
    if facts.mount_at(CGROUP_ROOT).is_none() && nothing_mounted {
        actions.push(mount("tmpfs", CGROUP_ROOT, &["mode=755"]));
    }
    for set in hierarchies(facts) {
        let controllers: Vec<&str> = set.split(',').collect();
        if facts.mounts.iter().any(|m| holds(m, &controllers)) {
            continue;
        }
        let name = set.strip_prefix("name=").unwrap_or(&set);
        let target = format!("{CGROUP_ROOT}/{name}");
        actions.push(Action::Mkdir { path: target.clone(), mode: 0o755 });
        if set.starts_with("name=") {
            actions.push(mount("cgroup", &target, &["none", &set]));
        } else {
            actions.push(mount("cgroup", &target, &controllers));
        }
        if controllers.len() > 1 {
            actions.extend(controllers.iter().map(|controller| Action::Symlink {
                path: format!("{CGROUP_ROOT}/{controller}"),
                target: name.to_owned(),
            }));
        }
    }
    // Where somebody else mounted cgroups, a cgroup2 mount could show a root above our own cgroup.
    let is_hybrid = facts.cgroups.membership.iter().any(|m| m.hierarchy == 0)
        && facts.kernel.filesystems.iter().any(|fs| fs == "cgroup2");
    if is_hybrid && nothing_mounted {
        let target = format!("{CGROUP_ROOT}/unified");
        actions.push(Action::Mkdir { path: target.clone(), mode: 0o755 });
        actions.push(mount("cgroup2", &target, &[]));
    }
    let count = facts.mounts.iter().filter(|m| m.fstype == "cgroup").count();
    Verdict::needed_or(actions, format!("{count} v1 hierarchies are mounted"))
}

/// The controllers of each hierarchy: as the kernel groups them, or one each when nothing is in use yet.
fn hierarchies(facts: &Facts) -> Vec<String> {
    let used: Vec<String> = facts
        .cgroups
        .membership
        .iter()
        .filter(|m| m.hierarchy != 0 && !m.controllers.is_empty())
        .map(|m| m.controllers.clone())
        .collect();
    if !used.is_empty() {
        return used;
    }
    facts.cgroups.controllers.iter().filter(|c| c.enabled).map(|c| c.name.clone()).collect()
}

/// Whether the mount is the hierarchy with these controllers.
fn holds(mount: &Mount, controllers: &[&str]) -> bool {
    mount.fstype == "cgroup" && controllers.iter().all(|c| mount.super_options.iter().any(|o| o == c))
}

fn mount(fstype: &str, target: &str, data: &[&str]) -> Action {
    Action::Mount {
        fstype: fstype.into(),
        target: target.into(),
        flags: ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec(),
        data: data.iter().map(|d| (*d).to_owned()).collect(),
    }
}

fn no_cgroups() -> Problem {
    Problem::new("this kernel offers no cgroups")
        .cause("neither cgroup nor cgroup2 is usable according to /proc/filesystems and /proc/cgroups")
        .hint("use a kernel with CONFIG_CGROUPS and the controllers cpu, cpuset, memory, pids and devices or CGROUP_BPF")
}
