//! What a crashed predecessor leaves behind.

use serde::{Deserialize, Serialize};

/// Left-overs that stop or crash a new daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Leftovers {
    /// Pid files of daemons, with what is known of the process that they name.
    pub pid_files: Vec<PidFile>,
    /// State files of dockerd that are empty or not valid JSON.
    pub broken_json: Vec<String>,
}

/// A pid file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidFile {
    /// Where.
    pub path: String,
    /// `/proc/PID/comm` of the process that it names; `None` when there is no such process.
    pub owner: Option<String>,
    /// The program that writes this file.
    pub program: String,
}

impl PidFile {
    /// The kernel cuts `comm` off after 15 bytes.
    const COMM_LEN: usize = 15;

    /// Whether the file names a living process of the right program.
    pub fn is_live(&self) -> bool {
        let program = self.program.get(..Self::COMM_LEN).unwrap_or(&self.program);
        self.owner.as_deref() == Some(program)
    }
}

/// Pid files that dockerd (cmd/dockerd, `--pidfile`) and the containerd that it manages
/// (daemon/internal/containerd/server/supervisor) write, with the program that each belongs to.
pub const PID_FILES: &[(&str, &str)] =
    &[("/var/run/docker.pid", "dockerd"), ("/var/run/docker/containerd/containerd.pid", "containerd")];

/// JSON state files, below the data root, that dockerd reads at its start and cannot start with when a power cut
/// left them empty: the image store's index, and the state of swarm mode.
pub const STATE_FILES: &[&str] =
    &["image/overlay2/repositories.json", "image/vfs/repositories.json", "swarm/docker-state.json"];

/// Name that a broken state file is set aside under.
pub fn set_aside_name(path: &str) -> String {
    format!("{path}.broken")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_pid_is_not_the_daemon_pain_9() {
        let file = |owner: Option<&str>| PidFile {
            path: "/run/docker.pid".into(),
            owner: owner.map(str::to_owned),
            program: "dockerd".into(),
        };
        assert!(file(Some("dockerd")).is_live());
        assert!(!file(Some("sh")).is_live());
        assert!(!file(None).is_live());
    }
}
