//! What we may do here. Everything that is missing is told at once.

use crate::facts::{CGROUP_ROOT, Facts, Mount, process};
use crate::{Config, Problem, Verdict};

/// Capabilities that Docker cannot do without, and mounts that it must be able to write.
pub fn decide(_: &Config, facts: &Facts) -> Verdict {
    let process = &facts.process;
    let missing: Vec<_> = process::REQUIRED.iter().filter(|(cap, _)| !process.has(*cap)).collect();
    let read_only_cgroups = cgroups_are_read_only(facts);
    if missing.is_empty() && !read_only_cgroups {
        return Verdict::satisfied(format!("CapEff {:016x}", process.capabilities));
    }
    let mut problem = Problem::new("this process lacks privileges that Docker needs")
        .cause(format!("uid {}, CapEff {:016x}", process.uid, process.capabilities));
    for (capability, purpose) in missing {
        problem = problem.cause(format!("CAP_{} is absent: {purpose}", capability.name()));
    }
    if read_only_cgroups {
        problem = problem.cause(format!("{CGROUP_ROOT} is mounted read-only"));
    }
    if facts.mount_at("/proc/sys").is_some_and(Mount::is_read_only) {
        problem = problem.cause("/proc/sys is mounted read-only");
    }
    if process.uid != 0 && process.pid != 1 {
        problem = problem.remedy("run it as root", "sudo dockerlaunch …");
    }
    problem = problem
        .remedy("in a container, run it with `--privileged`", "docker run --privileged …")
        .remedy("in a Kubernetes pod", "securityContext: { privileged: true }");
    Verdict::Blocked { problem }
}

/// Whether no container could get a cgroup: on v1 the hierarchies count, since some hosts keep the tmpfs around them
/// read-only on purpose.
pub(crate) fn cgroups_are_read_only(facts: &Facts) -> bool {
    let mut v1 = facts.mounts.iter().filter(|m| m.fstype == "cgroup").peekable();
    match v1.peek() {
        Some(_) => v1.all(Mount::is_read_only),
        None => facts.mount_at(CGROUP_ROOT).is_some_and(|m| m.fstype == "cgroup2" && m.is_read_only()),
    }
}
