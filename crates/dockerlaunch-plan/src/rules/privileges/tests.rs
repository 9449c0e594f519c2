use std::collections::BTreeMap;

use super::*;
use crate::config::Engine;
use crate::facts::mountinfo;

/// Docker's default set.
const DEFAULT: u64 = 0xa804_25fb;

const ENOUGH: u64 = DEFAULT | 1 << Capability::SysAdmin as u64 | 1 << Capability::NetAdmin as u64;

fn config(in_pod: bool) -> Config {
    let env = in_pod.then(|| ("KUBERNETES_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned()));
    Config::new(Engine::default(), &BTreeMap::from_iter(env))
}

fn facts(capabilities: u64) -> Facts {
    let mut facts = Facts::default();
    facts.process.pid = 1;
    facts.process.capabilities = capabilities;
    facts
}

/// The first remedy's command, or what was seen where nothing is missing.
fn remedy(in_pod: bool, facts: &Facts) -> String {
    match decide(&config(in_pod), facts) {
        Verdict::Blocked { problem } => {
            let command = problem.hints.iter().find_map(|hint| hint.command.clone());
            command.expect("a command")
                + &problem.hints.iter().map(|hint| format!("; {}", hint.text)).collect::<String>()
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn two_capabilities_more_than_a_containers_are_enough_pain_41() {
    assert!(remedy(false, &facts(ENOUGH)).contains("Satisfied"));
    let told = remedy(false, &facts(DEFAULT));
    assert!(told.starts_with("docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN …"), "{told}");
    let told = remedy(true, &facts(DEFAULT));
    assert!(
        told.starts_with("securityContext: { capabilities: { add: [SYS_ADMIN, NET_ADMIN] } };"),
        "{told}"
    );
    let told = remedy(true, &facts(ENOUGH & !(1 << Capability::NetRaw as u64)));
    assert!(told.contains("add: [NET_RAW]"), "{told}");
}

#[test]
fn everything_that_is_missing_is_told_at_once_pain_41() {
    let mut facts = facts(DEFAULT);
    facts.confinement.refused_calls = vec!["keyctl".into(), "pivot_root".into()];
    facts.confinement.apparmor = Some("docker-default".into());
    facts.mounts = mountinfo::parse("1 0 0:1 / / ro - overlay overlay ro\n");
    let told = remedy(false, &facts);
    let wanted = "docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined \
                  --security-opt apparmor=unconfined --read-only=false …";
    assert!(told.starts_with(wanted), "{told}");
    let told = remedy(true, &facts);
    let wanted = "securityContext: { capabilities: { add: [SYS_ADMIN, NET_ADMIN] }, seccompProfile: { type: Unconfined }, \
                  appArmorProfile: { type: Unconfined }, readOnlyRootFilesystem: false }";
    assert!(told.starts_with(wanted), "{told}");
}

#[test]
fn a_user_namespace_gets_its_cgroups_from_outside_pain_41() {
    let mut facts = facts(ENOUGH);
    facts.process.in_user_namespace = true;
    facts.cgroups.foreign = vec!["/sys/fs/cgroup".into()];
    facts.mounts = mountinfo::parse("1 0 0:1 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n");
    let told = remedy(false, &facts);
    assert!(told.starts_with("docker run --security-opt writable-cgroups=true …"), "{told}");
    assert!(told.contains("cgroup_writable"), "{told}");
    facts.mounts = mountinfo::parse("1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    facts.cgroups.foreign = vec!["/sys/fs/cgroup/memory".into()];
    facts.mounts.insert(0, Mount::new("/sys/fs/cgroup", "tmpfs", &["rw"], &["rw"], false));
    assert!(remedy(false, &facts).starts_with("docker run --userns=host …"));
    assert!(
        remedy(true, &facts).starts_with("hostUsers: true, securityContext: { "),
        "{}",
        remedy(true, &facts)
    );
    facts.confinement.unmountable = vec!["proc".into()];
    assert!(remedy(true, &facts).contains("procMount: Unmasked"));
}

#[test]
fn a_score_that_containers_cannot_leave_takes_a_capability_pain_35() {
    let mut facts = facts(ENOUGH);
    facts.confinement.oom_score = Some(1000);
    assert!(remedy(true, &facts).contains("add: [SYS_RESOURCE]"));
    facts.process.in_user_namespace = true;
    let told = remedy(false, &facts);
    assert!(told.starts_with("docker run --oom-score-adj 0 …") && told.contains("Guaranteed"), "{told}");
}

#[test]
fn profiles_that_refuse_mounts_or_runcs_sysctls_pain_40() {
    let mut facts = facts(ENOUGH);
    facts.confinement.apparmor = Some("lxc-container-default-with-nesting".into());
    assert!(remedy(false, &facts).contains("Satisfied"));
    facts.confinement.unmountable = vec!["detached proc".into()];
    let told = remedy(false, &facts);
    assert!(told.contains("apparmor=unconfined") && told.contains("lxc.apparmor.profile"), "{told}");
    facts.confinement.unmountable = vec!["tmpfs".into(), "proc".into()];
    assert!(remedy(false, &facts).contains("apparmor=unconfined"));
    facts.confinement.apparmor = None;
    assert!(remedy(false, &facts).contains("label=disable --security-opt seccomp=unconfined"));
}

#[test]
fn a_read_only_root_is_fine_where_all_that_is_written_has_mounts() {
    let mut facts = facts(ENOUGH);
    facts.mounts = mountinfo::parse("1 0 0:1 / / ro - overlay overlay ro\n2 1 0:2 / /var rw - tmpfs t rw\n");
    assert!(remedy(false, &facts).starts_with("docker run --read-only=false …"));
    for path in ["/etc", "/root", "/run", "/tmp", "/var"] {
        facts.paths.insert(path.into(), crate::facts::Entry::Dir(0o755));
    }
    assert!(remedy(false, &facts).contains("Satisfied"));
}

#[test]
fn what_runtimes_mount_read_only_is_written_again_pain_23() {
    let mut facts = facts(ENOUGH);
    facts.mounts = mountinfo::parse(
        "1 0 0:1 / /proc rw - proc proc rw\n2 1 0:1 /sys /proc/sys ro,nosuid,relatime - proc proc rw\n\
         3 1 0:1 /bus /proc/bus ro,nosuid - proc proc rw\n4 0 0:4 / /sys/fs/cgroup ro,nosuid - cgroup2 c rw\n",
    );
    let Verdict::Needed { actions } = writable(&config(false), &facts) else { panic!("nothing is done") };
    let told: Vec<String> = actions.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["remount /proc/sys writable", "remount /sys/fs/cgroup writable"]);
    assert!(matches!(&actions[0], Action::RemountWritable { flags, .. } if *flags == ["nosuid", "relatime"]));
    actions.iter().for_each(|action| action.predict(&mut facts));
    assert!(matches!(writable(&config(false), &facts), Verdict::Satisfied { .. }));
    // LXC's way.
    facts.mounts.push(Mount::new("/proc/sys/net", "proc", &["rw"], &["rw"], false));
    facts.mounts.iter_mut().filter(|m| m.target == "/proc/sys").for_each(|m| m.options = vec!["ro".into()]);
    assert!(matches!(writable(&config(false), &facts), Verdict::Satisfied { .. }));
}
