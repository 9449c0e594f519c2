//! A cgroup namespace of our own where the outer runtime gave none, as Kubernetes does for privileged pods and Docker on
//! cgroup v1: else containers would be made beside us, outside of our limits, and stay when we are gone.

use crate::facts::cgroups::Membership;
use crate::facts::{Capability, Facts, Mount};
use crate::{Action, Config, Verdict};

/// Makes it, and mounts anew each hierarchy of which more than our own cgroup is mounted.
pub fn decide(config: &Config, facts: &Facts) -> Verdict {
    let process = &facts.process;
    if process.is_kernel_init {
        return Verdict::skipped("the whole tree is this machine's own");
    }
    let Some(place) = facts.cgroups.membership.iter().find(|place| place.path != "/") else {
        return Verdict::satisfied("every hierarchy begins with our own cgroup");
    };
    // Somebody else may be the first here, such as systemd, and keep the tree in order.
    if process.pid != 1 && !config.in_pod {
        return Verdict::skipped(format!("not a container's first process: the cgroup stays {}", place.path));
    }
    if !process.has(Capability::SysAdmin) {
        return Verdict::skipped("it takes CAP_SYS_ADMIN (see privileges)");
    }
    let mut actions = vec![Action::PrivateCgroups];
    for mount in &facts.mounts {
        if let Some(place) = facts.cgroups.place_in(mount)
            && place.path != mount.root
        {
            actions.push(Action::Unmount { target: mount.target.clone() });
            actions.push(anew(mount, place));
        }
    }
    Verdict::Needed { actions }
}

/// Whether all that appears in the hierarchies that we see is of the engine's making, and goes with it.
pub fn is_ours_alone(config: &Config, facts: &Facts) -> bool {
    let process = &facts.process;
    let is_root = |place: &Membership| matches!(place.path.as_str(), "/" | "/init");
    !process.is_kernel_init
        && (process.pid == 1 || config.in_pod)
        && facts.cgroups.membership.iter().all(is_root)
}

fn anew(mount: &Mount, place: &Membership) -> Action {
    let mut data: Vec<String> =
        place.controllers.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    if place.controllers.starts_with("name=") {
        data.insert(0, "none".into());
    }
    Action::Mount {
        fstype: mount.fstype.clone(),
        target: mount.target.clone(),
        flags: ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec(),
        data,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;
    use crate::facts::cgroups::{Unified, parse_membership};
    use crate::facts::{CGROUP_ROOT, mountinfo};
    use crate::rules::cgroup_v2;

    fn config(env: &[(&str, &str)]) -> Config {
        let env: BTreeMap<_, _> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::new(Engine::default(), &env)
    }

    fn facts(membership: &str, mounts: &str) -> Facts {
        let mut facts = Facts { mounts: mountinfo::parse(mounts), ..Facts::default() };
        facts.cgroups.membership = parse_membership(membership);
        facts.process.pid = 1;
        facts.process.capabilities = u64::MAX;
        facts
    }

    fn told(config: &Config, facts: &Facts) -> String {
        match decide(config, facts) {
            Verdict::Needed { actions } => {
                actions.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
            other => format!("{other:?}"),
        }
    }

    const POD: &str = "0::/kubepods/burstable/podx/c\n";
    const WHOLE_TREE: &str = "1 0 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_privileged_pod_gets_a_namespace_and_its_processes_move_pain_6() {
        let mut facts = facts(POD, WHOLE_TREE);
        facts.kernel.filesystems.push("cgroup2".into());
        facts.cgroups.unified = Some(Unified { is_true_root: true, ..Unified::default() });
        let Verdict::Needed { actions } = decide(&config(&[]), &facts) else { panic!("nothing is done") };
        let told: Vec<String> = actions.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "make a cgroup namespace of our own",
                "unmount /sys/fs/cgroup",
                "mount cgroup2 at /sys/fs/cgroup (nosuid,nodev,noexec)"
            ]
        );
        // Before, the root of the machine's tree would have been left alone.
        assert!(matches!(cgroup_v2::nest(&config(&[]), &facts), Verdict::Skipped { .. }));
        actions.iter().for_each(|action| action.predict(&mut facts));
        assert!(matches!(decide(&config(&[]), &facts), Verdict::Satisfied { .. }));
        assert!(matches!(cgroup_v2::nest(&config(&[]), &facts), Verdict::Needed { .. }));
        assert_eq!(facts.mount_at(CGROUP_ROOT).map(|m| m.root.as_str()), Some("/"));
    }

    #[test]
    fn on_v1_only_what_shows_more_than_our_own_is_mounted_anew_pains_6_47() {
        let facts = facts(
            "3:name=systemd:/docker/x\n2:cpu,cpuacct:/docker/x\n1:memory:/docker/x\n",
            "1 0 0:3 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             2 0 0:4 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             3 0 0:5 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n",
        );
        assert_eq!(
            told(&config(&[]), &facts),
            "make a cgroup namespace of our own; unmount /sys/fs/cgroup/cpu,cpuacct; \
             mount cgroup at /sys/fs/cgroup/cpu,cpuacct (nosuid,nodev,noexec,cpu,cpuacct); \
             unmount /sys/fs/cgroup/systemd; \
             mount cgroup at /sys/fs/cgroup/systemd (nosuid,nodev,noexec,none,name=systemd)"
        );
    }

    #[test]
    fn a_host_keeps_its_tree() {
        let mut facts = facts("0::/user.slice/session-1.scope\n", WHOLE_TREE);
        facts.process.pid = 700;
        assert!(told(&config(&[]), &facts).contains("not a container's first process"));
        // A pod's wrapper script, or a shared process namespace.
        let pod = config(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]);
        assert!(told(&pod, &facts).contains("make a cgroup namespace"));
        facts.process.pid = 1;
        facts.process.is_kernel_init = true;
        assert!(told(&pod, &facts).contains("Skipped"));
        facts.process.is_kernel_init = false;
        facts.process.capabilities = 0;
        assert!(told(&pod, &facts).contains("CAP_SYS_ADMIN"));
        assert!(!is_ours_alone(&pod, &facts));
        facts.cgroups.membership = parse_membership("1:memory:/\n0::/init\n");
        facts.cgroups.membership[1].path = "/".into();
        assert!(told(&pod, &facts).contains("Satisfied") && is_ours_alone(&pod, &facts));
    }
}
