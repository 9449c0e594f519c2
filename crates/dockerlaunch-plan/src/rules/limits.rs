//! Resource limits that the engine and its containers inherit.

use crate::facts::{Capability, Facts};
use crate::{Action, Config, Problem, Verdict};

/// What containers get by default from a packaged Docker; "infinity" makes programs that close every possible
/// descriptor crawl.
const NOFILE: u64 = 1_048_576;

/// Open files.
pub fn nofile(_: &Config, facts: &Facts) -> Verdict {
    let (soft, hard) = facts.process.nofile;
    if soft == 0 && hard == 0 {
        return Verdict::skipped("the limit could not be read");
    }
    let may_raise = facts.process.has(Capability::SysResource) && !facts.process.in_user_namespace;
    let wanted = if may_raise { NOFILE } else { hard.min(NOFILE) };
    if (soft, hard) == (wanted, wanted) {
        let why = if wanted < NOFILE { ": without CAP_SYS_RESOURCE no more" } else { "" };
        return Verdict::satisfied(format!("{wanted} open files{why}"));
    }
    Verdict::Needed { actions: vec![Action::LimitNofile { soft: wanted, hard: wanted }] }
}

/// Limits of a user of the whole machine, with the kernel's own default: less is too little.
const KERNEL: [(&str, u64); 2] =
    [("/proc/sys/fs/inotify/max_user_instances", 128), ("/proc/sys/fs/inotify/max_user_watches", 8192)];

/// They count for the whole machine, so they are not ours to raise.
pub fn of_the_kernel(_: &Config, facts: &Facts) -> Verdict {
    let (mut causes, mut settings) = (Vec::new(), Vec::new());
    for (path, default) in KERNEL {
        let value = facts.knobs.get(path).and_then(|value| value.parse::<u64>().ok());
        if let Some(value) = value.filter(|value| *value < default) {
            causes.push(format!("{path} is {value}"));
            let name = path.trim_start_matches("/proc/sys/").replace('/', ".");
            settings.push(format!("{name}={}", default * 8));
        }
    }
    if !causes.is_empty() {
        let mut problem = Problem::new("limits of this machine are low for containers")
            .remedy("raise them, on the host", format!("sysctl -w {}", settings.join(" ")));
        problem.causes = causes;
        return Verdict::Blocked { problem };
    }
    // All containers are one user there, and each takes a key; dockerd raises the limit for root alone.
    match facts.knobs.get("/proc/sys/kernel/keys/maxkeys").filter(|_| facts.process.in_user_namespace) {
        Some(keys) => Verdict::satisfied(format!("{keys} keys (kernel.keys.maxkeys): not more containers")),
        None => Verdict::satisfied("keys and watches suffice"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;

    #[test]
    fn low_limits_of_the_machine_are_told_with_numbers_pains_33_34() {
        let config = Config::new(Engine::default(), &BTreeMap::new());
        let mut facts = Facts::default();
        let mut told = |knobs: &[(&str, &str)], in_user_namespace| {
            facts.knobs = knobs.iter().map(|(k, v)| (format!("/proc/sys/{k}"), (*v).to_owned())).collect();
            facts.process.in_user_namespace = in_user_namespace;
            match of_the_kernel(&config, &facts) {
                Verdict::Blocked { problem } => problem.to_string(),
                other => format!("{other:?}"),
            }
        };
        let usual = [("fs/inotify/max_user_instances", "128"), ("fs/inotify/max_user_watches", "8192")];
        assert!(told(&usual, true).contains("suffice"));
        let keys = ("kernel/keys/maxkeys", "200");
        assert!(told(&[keys], false).contains("suffice"));
        assert!(told(&[keys], true).contains("200 keys"));
        let low = told(&[("fs/inotify/max_user_instances", "64"), keys], true);
        let command = "sysctl -w fs.inotify.max_user_instances=1024`";
        assert!(low.contains("max_user_instances is 64") && low.contains(command), "{low}");
    }

    #[test]
    fn open_files_are_many_but_countable_pain_31() {
        let of = |nofile, capabilities| {
            let mut facts = Facts::default();
            facts.process.nofile = nofile;
            facts.process.capabilities = capabilities;
            nofile_of(&self::nofile(&Config::new(crate::config::Engine::default(), &[].into()), &facts))
        };
        let infinity = (u64::MAX, u64::MAX);
        assert_eq!(of(infinity, u64::MAX), Some((NOFILE, NOFILE)));
        assert_eq!(of(infinity, 0), Some((NOFILE, NOFILE)), "less takes no capability");
        assert_eq!(of((1024, 4096), u64::MAX), Some((NOFILE, NOFILE)));
        assert_eq!(of((1024, 4096), 0), Some((4096, 4096)), "more does");
        assert_eq!(of((NOFILE, NOFILE), u64::MAX), None);
    }

    fn nofile_of(verdict: &Verdict) -> Option<(u64, u64)> {
        match verdict {
            Verdict::Needed { actions } => match actions[..] {
                [Action::LimitNofile { soft, hard }] => Some((soft, hard)),
                _ => panic!("{actions:?}"),
            },
            _ => None,
        }
    }
}
