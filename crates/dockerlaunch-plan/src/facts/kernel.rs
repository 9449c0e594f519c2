//! What the kernel says of itself: release, command line, file systems.

use serde::{Deserialize, Serialize};

/// The kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// Words of `/proc/cmdline` that begin with `dockerlaunch.`, without that prefix.
    pub parameters: Vec<String>,
    /// Names in `/proc/filesystems`.
    pub filesystems: Vec<String>,
    /// Whether `/lib/modules/RELEASE` (or `/usr/lib/modules/RELEASE`) has a `modules.dep`.
    pub has_modules: bool,
    /// Whether it is gVisor, which only looks like Linux.
    pub is_gvisor: bool,
}

/// Whether this is gVisor, by `uname -r` and `uname -v`. Before 2025 only the second one tells: it is always the same
/// (gvisor, pkg/sentry/syscalls/linux/linux64.go).
pub fn is_gvisor(release: &str, version: &str) -> bool {
    release.contains("gvisor") || version == "#1 SMP Sun Jan 10 15:06:54 PST 2016"
}

/// Parses `/proc/filesystems`.
pub fn parse_filesystems(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}

/// The parameters meant for us on a kernel command line.
pub fn parse_parameters(cmdline: &str) -> Vec<String> {
    cmdline
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("dockerlaunch."))
        .map(str::to_owned)
        .collect()
}

/// Arguments for init on a kernel command line: what follows the first `--`, double quotes as the kernel reads them
/// (kernel Documentation/admin-guide/kernel-parameters.rst). The kernel itself hands over no more than stands before
/// a second `--`, and words of its own that it did not know, so we read them here.
pub fn parse_init_arguments(cmdline: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in cmdline.trim_end().chars().chain([' ']) {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    match words.iter().position(|w| w == "--") {
        Some(at) => words.split_off(at + 1),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files() {
        assert_eq!(parse_filesystems("nodev\tsysfs\n\text4\n"), ["sysfs", "ext4"]);
        assert_eq!(parse_parameters("quiet dockerlaunch.on-failure=wait -- x"), ["on-failure=wait"]);
    }

    #[test]
    fn arguments_for_init_follow_the_first_dashes() {
        assert_eq!(parse_init_arguments("quiet rw\n"), [""; 0]);
        assert_eq!(parse_init_arguments("a=b -- run -- \"/x y\" z\n"), ["run", "--", "/x y", "z"]);
    }
}
