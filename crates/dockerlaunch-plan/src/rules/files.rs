//! Directories, and default files of `/etc`.

use crate::facts::{Entry, Facts, PRIVATE};
use crate::{Action, Config, Verdict};

use super::address;

/// Directories and their modes, parents first (hier(7)).
const DIRECTORIES: &[(&str, u32)] = &[
    ("/etc", 0o755),
    ("/root", 0o700),
    ("/run", 0o755),
    ("/tmp", 0o1777),
    ("/var", 0o755),
    ("/var/lib", 0o755),
    ("/var/lib/docker", 0o710),
    ("/var/tmp", 0o1777),
];

/// What every program expects, and `/var/run`, where clients look for the socket.
pub fn directories(_: &Config, facts: &Facts) -> Verdict {
    let missing = DIRECTORIES.iter().filter(|(path, _)| !facts.exists(path));
    let mut actions: Vec<Action> =
        missing.map(|&(path, mode)| Action::Mkdir { path: path.into(), mode }).collect();
    if !facts.exists("/var/run") {
        actions.push(Action::Symlink { path: "/var/run".into(), target: "/run".into() });
    }
    // What begins with `#!/bin/sh` finds the image's own shell, where it has one and the system has none.
    let shell = format!("{PRIVATE}/bin/sh");
    if facts.exists(&shell) && !facts.exists("/bin/sh") {
        if !facts.exists("/bin") {
            actions.push(Action::Mkdir { path: "/bin".into(), mode: 0o755 });
        }
        actions.push(Action::Symlink { path: "/bin/sh".into(), target: shell });
    }
    Verdict::needed_or(actions, "all exist")
}

/// `/etc/hosts` of a machine without a name.
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Copies what the image keeps for systems that have none of their own; never over an existing file.
pub fn etc_defaults(_: &Config, facts: &Facts) -> Verdict {
    let mut actions: Vec<Action> = facts
        .etc_defaults
        .iter()
        .map(|name| (format!("{PRIVATE}/etc/{name}"), format!("/etc/{name}")))
        .filter(|(_, to)| !facts.exists(to))
        .map(|(from, to)| Action::CopyFile { from, to })
        .collect();
    if !facts.exists("/etc/hosts") {
        actions.push(Action::WriteFile { path: "/etc/hosts".into(), content: HOSTS.into(), mode: 0o644 });
    }
    if !facts.exists(RESOLV_CONF)
        && let Some(content) = address::resolv_conf(facts)
    {
        actions.push(Action::WriteFile { path: RESOLV_CONF.into(), content, mode: 0o644 });
    }
    Verdict::needed_or(actions, "this system has its own")
}

/// Whether the system, once prepared, has this file.
pub(super) fn is_regular(facts: &Facts, path: &str) -> bool {
    matches!(facts.paths.get(path), Some(Entry::File(_) | Entry::Link(_)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Engine;

    #[test]
    fn the_images_shell_is_bin_sh_only_where_there_is_none() {
        let config = Config::new(Engine::default(), &BTreeMap::new());
        let links = |facts: &Facts| match directories(&config, facts) {
            Verdict::Needed { actions } => {
                actions.iter().any(|action| action.to_string().contains("/bin/sh"))
            }
            _ => false,
        };
        let mut facts = Facts::default();
        assert!(!links(&facts));
        facts.paths.insert(format!("{PRIVATE}/bin/sh"), Entry::Link("busybox".into()));
        assert!(links(&facts));
        facts.paths.insert("/bin/sh".into(), Entry::Link("dash".into()));
        assert!(!links(&facts));
    }
}
