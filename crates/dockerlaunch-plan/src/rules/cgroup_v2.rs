//! cgroup v2: the mount, and nesting, so that limits reach containers.

use crate::facts::{CGROUP_ROOT, Facts, Version};
use crate::{Action, Config, Verdict};

use super::api_mounts::mount_unless_there;

/// `cgroup2` at `/sys/fs/cgroup`.
pub fn mount(_: &Config, facts: &Facts) -> Verdict {
    if facts.cgroup_version() != Some(Version::V2) {
        return Verdict::skipped("cgroup v1 is in use");
    }
    mount_unless_there(facts, "cgroup2", CGROUP_ROOT, &["nosuid", "nodev", "noexec"], &[])
}

/// A cgroup that has processes of its own cannot hand controllers to its children ("no internal processes",
/// kernel Documentation/admin-guide/cgroup-v2.rst), so its processes move one level down. The true root is exempt.
pub fn nest(_: &Config, facts: &Facts) -> Verdict {
    let (Some(Version::V2), Some(unified)) = (facts.cgroup_version(), &facts.cgroups.unified) else {
        return Verdict::skipped("cgroup v1 is in use");
    };
    if unified.is_true_root {
        return Verdict::skipped("this is the true root of the hierarchy; processes may stay in it");
    }
    if let Some(controllers) = &unified.controllers
        && controllers.iter().all(|c| unified.enabled.contains(c))
    {
        return Verdict::satisfied(format!("enabled for children: {}", unified.enabled.join(" ")));
    }
    if facts.mount_at(CGROUP_ROOT).is_some_and(crate::facts::Mount::is_read_only) {
        return Verdict::skipped("it is mounted read-only (see privileges)");
    }
    Verdict::Needed {
        actions: vec![
            Action::MoveProcesses { from: CGROUP_ROOT.into(), to: format!("{CGROUP_ROOT}/init") },
            Action::EnableControllers { cgroup: CGROUP_ROOT.into() },
        ],
    }
}
