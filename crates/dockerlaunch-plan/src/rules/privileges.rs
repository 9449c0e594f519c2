//! What we may do here. Everything that is missing is told at once, as what to add to a command line or a pod's spec.

use crate::facts::confinement::DETACHED_PROC;
use crate::facts::{CGROUP_ROOT, Capability, Facts, Mount, Version, process};
use crate::rules::files;
use crate::{Action, Config, Hint, Problem, Verdict};

/// Profiles of runtimes that let nobody mount, whatever capabilities he has.
const PROFILES: [&str; 4] =
    ["docker-default", "cri-containerd.apparmor.d", "crio-default", "containers-default"];

/// What is missing, and what brings it.
#[derive(Default)]
struct Missing {
    causes: Vec<String>,
    /// Options of `docker run`, and fields of `securityContext`.
    wanted: (Vec<String>, Vec<String>),
    /// Those that a privileged container needs as well.
    wanted_even_so: (Vec<String>, Vec<String>),
    /// The pod must be in the host's user namespace.
    host_users: bool,
    /// What no option brings.
    hints: Vec<&'static str>,
}

/// Capabilities, system calls, mounts and cgroups that Docker cannot do without.
pub fn decide(config: &Config, facts: &Facts) -> Verdict {
    let process = &facts.process;
    let mut missing = Missing::default();
    if process.uid != 0 {
        missing.add("it does not run as root".into(), "--user 0", "runAsUser: 0");
    }
    missing.capabilities(facts);
    missing.calls(facts);
    missing.cgroups(facts);
    missing.root(config, facts);
    if missing.causes.is_empty() {
        return Verdict::satisfied(format!("CapEff {:016x}", process.capabilities));
    }
    let mut problem = Problem::new("this process lacks privileges that Docker needs")
        .cause(format!("uid {}, CapEff {:016x}", process.uid, process.capabilities));
    problem.causes.append(&mut missing.causes);
    if process.uid != 0 && process.pid != 1 {
        problem = problem.remedy("run it as root", "sudo dockerlaunch …");
    }
    let (mut flags, mut fields) = missing.wanted;
    let (mut flags_even_so, mut fields_even_so) = missing.wanted_even_so;
    flags.extend_from_slice(&flags_even_so);
    fields.extend_from_slice(&fields_even_so);
    flags_even_so.insert(0, "--privileged".into());
    fields_even_so.insert(0, "privileged: true".into());
    // Nobody is privileged in another user namespace.
    let in_another = process.in_user_namespace;
    flags_even_so.extend(in_another.then(|| "--userns=host".to_owned()));
    let ways = [
        ("add", flags, fields, missing.host_users),
        ("or let it have everything", flags_even_so, fields_even_so, in_another),
    ];
    for (text, flags, fields, host_users) in ways {
        let command = if config.in_pod {
            let users = if host_users { "hostUsers: true, " } else { "" };
            format!("{users}securityContext: {{ {} }}", fields.join(", "))
        } else {
            format!("docker run {} …", flags.join(" "))
        };
        problem = problem.remedy(text, command);
    }
    problem.hints.extend(missing.hints.into_iter().map(Hint::new));
    Verdict::Blocked { problem }
}

impl Missing {
    fn add(&mut self, cause: String, flag: &str, field: &str) {
        self.causes.push(cause);
        self.wanted.0.push(flag.to_owned());
        self.wanted.1.push(field.to_owned());
    }

    fn capabilities(&mut self, facts: &Facts) {
        let process = &facts.process;
        let absent: Vec<_> = process::REQUIRED.iter().filter(|(cap, _)| !process.has(*cap)).collect();
        let mut names: Vec<&str> = absent.iter().map(|(capability, _)| capability.name()).collect();
        for (capability, purpose) in absent {
            self.causes.push(format!("CAP_{} is absent: {purpose}", capability.name()));
        }
        if let Some(score) = facts.confinement.oom_score {
            self.causes
                .push(format!("oom_score_adj is {score}, and cannot be lowered to the 0 of containers"));
            if process.in_user_namespace {
                self.wanted_even_so.0.push("--oom-score-adj 0".into());
                self.hints.push("in a pod, set limits equal to requests (QoS class Guaranteed)");
            } else {
                names.push(Capability::SysResource.name());
            }
        }
        if !names.is_empty() {
            self.wanted
                .0
                .push(names.iter().map(|name| format!("--cap-add {name}")).collect::<Vec<_>>().join(" "));
            self.wanted.1.push(format!("capabilities: {{ add: [{}] }}", names.join(", ")));
        }
    }

    fn calls(&mut self, facts: &Facts) {
        const SECCOMP: (&str, &str) =
            ("--security-opt seccomp=unconfined", "seccompProfile: { type: Unconfined }");
        const APPARMOR: (&str, &str) =
            ("--security-opt apparmor=unconfined", "appArmorProfile: { type: Unconfined }");
        let confinement = &facts.confinement;
        let fails = |what: &str| confinement.unmountable.iter().any(|one| one == what);
        if !confinement.refused_calls.is_empty() {
            let cause = format!("a seccomp filter refuses {}", confinement.refused_calls.join(" and "));
            self.add(cause, SECCOMP.0, SECCOMP.1);
        }
        // Where it could not be tried, what these do is known.
        let untried = !facts.process.has(Capability::SysAdmin);
        match &confinement.apparmor {
            Some(name)
                if fails("tmpfs") || untried && PROFILES.iter().any(|known| name.starts_with(known)) =>
            {
                self.add(format!("the AppArmor profile `{name}` refuses mounts"), APPARMOR.0, APPARMOR.1);
            }
            Some(name) if fails(DETACHED_PROC) => {
                let cause = format!("the AppArmor profile `{name}` refuses runc to set sysctls (runc #4972)");
                self.add(cause, APPARMOR.0, APPARMOR.1);
                self.hints
                    .push("in LXC, set `lxc.apparmor.profile = unconfined`; Incus has mended its profile");
            }
            None if fails("tmpfs") => {
                let cause = "mounts are refused, by a security module or a filter".to_owned();
                self.add(cause, "--security-opt label=disable", "seLinuxOptions: { type: spc_t }");
                if confinement.refused_calls.is_empty() {
                    self.wanted.0.push(SECCOMP.0.into());
                    self.wanted.1.push(SECCOMP.1.into());
                }
            }
            _ if fails("proc") => self.add(
                "a proc cannot be mounted, since parts of /proc are masked".into(),
                "--security-opt systempaths=unconfined",
                "procMount: Unmasked",
            ),
            _ => {}
        }
    }

    /// Read-only ones are remounted; those of another user namespace cannot be used.
    fn cgroups(&mut self, facts: &Facts) {
        let Some(foreign) = facts.cgroups.foreign.first().filter(|_| facts.process.in_user_namespace) else {
            return;
        };
        self.causes
            .push(format!("{foreign} belongs to another user namespace: containers get no cgroup there"));
        if facts.cgroup_version() == Some(Version::V2) {
            self.wanted.0.push("--security-opt writable-cgroups=true".into());
            self.hints.push(
                "on Kubernetes, a runtime class with `cgroup_writable = true` (containerd 2.1), or `hostUsers: true`",
            );
        } else {
            // Its controllers cannot be delegated.
            self.wanted.0.push("--userns=host".into());
            self.host_users = true;
        }
    }

    /// A read-only root is fine where all that we write has mounts of its own.
    fn root(&mut self, config: &Config, facts: &Facts) {
        let is_read_only = facts.mount_at("/").is_some_and(Mount::is_read_only);
        if facts.process.is_kernel_init || !is_read_only {
            return;
        }
        let Verdict::Needed { actions } = files::directories(config, facts) else { return };
        let lost = actions.iter().find_map(|action| match action {
            Action::Mkdir { path, .. } | Action::Symlink { path, .. } => {
                facts.mount_of(path).is_some_and(|mount| mount.target == "/").then_some(path)
            }
            _ => None,
        });
        if let Some(path) = lost {
            self.causes.push(format!("the root is read-only, and has no {path}"));
            self.wanted_even_so.0.push("--read-only=false".into());
            self.wanted_even_so.1.push("readOnlyRootFilesystem: false".into());
        }
    }
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

/// What runtimes mount read-only for containers that are not privileged, and Docker must write: kernel settings and cgroups.
pub fn writable(_: &Config, facts: &Facts) -> Verdict {
    if facts.process.is_kernel_init || !facts.process.has(Capability::SysAdmin) {
        return Verdict::skipped(
            "nobody has made them read-only, or we could not change it (see privileges)",
        );
    }
    // LXC lets /proc/sys/net be written in a mount of its own.
    let settings = facts.mount_of("/proc/sys/net/ipv4").map(|mount| mount.target.as_str());
    let is_ours = |mount: &&Mount| {
        mount.fstype.starts_with("cgroup") || mount.target == "/proc/sys" && settings == Some("/proc/sys")
    };
    let is_visible = |mount: &&Mount| facts.mount_at(&mount.target).is_some_and(|top| top == *mount);
    let read_only = facts.mounts.iter().filter(is_ours).filter(is_visible);
    let actions: Vec<Action> = read_only
        .filter(|mount| mount.options.iter().any(|option| option == "ro"))
        .map(|mount| Action::RemountWritable {
            target: mount.target.clone(),
            flags: mount.options.iter().filter(|option| *option != "ro").cloned().collect(),
        })
        .collect();
    Verdict::needed_or(actions, "/proc/sys and cgroups can be written")
}

#[cfg(test)]
mod tests;
