//! What the kernel says of itself: release, command line, file systems.

use serde::{Deserialize, Serialize};

/// The kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// Words of `/proc/cmdline` that begin with `dockerlaunch.`, without that prefix.
    pub parameters: Vec<String>,
    /// Names in `/proc/filesystems`.
    pub filesystems: Vec<String>,
    /// Whether `/lib/modules/RELEASE` (or `/usr/lib/modules/RELEASE`) has a `modules.dep`.
    pub has_modules: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files() {
        assert_eq!(parse_filesystems("nodev\tsysfs\n\text4\n"), ["sysfs", "ext4"]);
        assert_eq!(parse_parameters("quiet dockerlaunch.on-failure=wait -- x"), ["on-failure=wait"]);
    }
}
