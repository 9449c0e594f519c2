//! What an outer runtime refuses, whatever capabilities we have.

use serde::{Deserialize, Serialize};

/// What holds us back besides missing capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confinement {
    /// System calls that Docker needs and a seccomp filter refuses.
    pub refused_calls: Vec<String>,
    /// The AppArmor profile that is enforced on us.
    pub apparmor: Option<String>,
    /// What a trial could not mount, or use: `tmpfs`, `proc`, [`DETACHED_PROC`].
    pub unmountable: Vec<String>,
    /// Our `oom_score_adj`, where we could not lower it to the 0 of containers.
    pub oom_score: Option<i32>,
}

/// A proc that is mounted nowhere.
pub const DETACHED_PROC: &str = "detached proc";

/// The profile of `/proc/self/attr/current` (apparmor(7)), where it is enforced; `unconfined` and what complains only is none.
pub fn parse_apparmor(text: &str) -> Option<String> {
    text.trim_matches(['\0', '\n']).strip_suffix(" (enforce)").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enforced_profiles_only() {
        assert_eq!(parse_apparmor("docker-default (enforce)\n").as_deref(), Some("docker-default"));
        assert_eq!(
            parse_apparmor("cri-containerd.apparmor.d (enforce)\0").as_deref(),
            Some("cri-containerd.apparmor.d")
        );
        for text in ["unconfined\n", "x (complain)\n", "", "system_u:system_r:container_t:s0:c1,c2\0"] {
            assert_eq!(parse_apparmor(text), None, "{text}");
        }
    }
}
