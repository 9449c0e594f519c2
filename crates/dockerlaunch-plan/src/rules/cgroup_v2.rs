//! cgroup v2: the mount, and nesting, so that limits reach containers.

use crate::facts::{CGROUP_ROOT, Facts, Version};
use crate::{Action, Config, Problem, Verdict};

use super::api_mounts::mount_unless_there;

/// `cgroup2` at `/sys/fs/cgroup`.
pub fn mount(_: &Config, facts: &Facts) -> Verdict {
    if facts.cgroup_version() != Some(Version::V2) {
        return Verdict::skipped("cgroup v1 is in use");
    }
    if let Some(kind) = facts.cgroups.unified.as_ref().and_then(|unified| unified.kind.as_deref())
        // Its own threads may still be of a domain.
        && kind != "domain threaded"
    {
        return Verdict::Blocked { problem: no_domain(kind) };
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
    Verdict::Needed { actions: vec![Action::NestCgroup { cgroup: CGROUP_ROOT.into(), leaf: "init".into() }] }
}

/// A cgroup inside a threaded subtree has threads only: no container can be put in or below it (kernel
/// Documentation/admin-guide/cgroup-v2.rst, "Threads").
fn no_domain(kind: &str) -> Problem {
    Problem::new(format!("the cgroup of this container is `{kind}`, so no container can run in it"))
        .cause(format!("{CGROUP_ROOT}/cgroup.type says `{kind}`: a cgroup beside or above it was made `threaded`"))
        .remedy("start this container elsewhere in the tree", "docker run --cgroup-parent=/dind …")
        .hint("find what wrote `threaded`, on the host: `grep -r threaded /sys/fs/cgroup --include=cgroup.type`")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;
    use crate::facts::Mount;
    use crate::facts::cgroups::Unified;

    #[test]
    fn a_cgroup_that_takes_threads_only_is_explained_pain_24() {
        let config = Config::new(Engine::default(), &BTreeMap::new());
        let mut facts = Facts::default();
        facts.mounts.push(Mount::new(CGROUP_ROOT, "cgroup2", &["rw"], &["rw"], false));
        for (kind, blocks) in [("threaded", true), ("domain invalid", true), ("domain threaded", false)] {
            facts.cgroups.unified = Some(Unified { kind: Some(kind.into()), ..Unified::default() });
            match mount(&config, &facts) {
                Verdict::Blocked { problem } => {
                    let told = problem.to_string();
                    assert!(blocks && told.contains(kind) && told.contains("--cgroup-parent"), "{told}");
                }
                other => assert!(!blocks, "{kind}: {other:?}"),
            }
        }
    }
}
