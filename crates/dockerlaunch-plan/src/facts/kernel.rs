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
    /// As the kernel's init: what `ip=` on its command line gives.
    pub ip: Option<String>,
    /// As the kernel's init: modules that devices of this machine ask for, and that are not loaded.
    pub drivers: Vec<String>,
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

/// The words of a kernel command line, double quotes as the kernel reads them (kernel lib/cmdline.c, `next_arg`).
fn words(cmdline: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut is_word) = (false, false);
    for c in cmdline.chars() {
        match c {
            // Two of them are a word, though an empty one.
            '"' => (quoted, is_word) = (!quoted, true),
            // The kernel's isspace().
            ' ' | '\t'..='\r' if !quoted => {
                if is_word {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            c => {
                word.push(c);
                is_word = true;
            }
        }
    }
    // A quote that is never closed holds to the end, for the kernel too.
    words.extend(is_word.then_some(word));
    words
}

/// Those for the kernel, and those after the first `--`.
fn split(cmdline: &str) -> (Vec<String>, Vec<String>) {
    let mut kernels = words(cmdline);
    let at = kernels.iter().position(|word| word == "--").unwrap_or(kernels.len());
    let inits = kernels.split_off(at).into_iter().skip(1).collect();
    (kernels, inits)
}

/// The parameters meant for us on a kernel command line.
pub fn parse_parameters(cmdline: &str) -> Vec<String> {
    let ours = |word: String| word.strip_prefix("dockerlaunch.").map(str::to_owned);
    split(cmdline).0.into_iter().filter_map(ours).collect()
}

/// What the last `ip=` on a kernel command line says.
pub fn parse_ip(cmdline: &str) -> Option<String> {
    split(cmdline).0.iter().rev().find_map(|word| word.strip_prefix("ip=")).map(str::to_owned)
}

/// Arguments for init on a kernel command line: what follows the first `--` (kernel
/// Documentation/admin-guide/kernel-parameters.rst). The kernel itself hands over no more than stands before a second `--`, and words
/// of its own that it did not know, so we read them here.
pub fn parse_init_arguments(cmdline: &str) -> Vec<String> {
    split(cmdline).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files() {
        assert_eq!(parse_filesystems("nodev\tsysfs\n\text4\n"), ["sysfs", "ext4"]);
        assert_eq!(parse_ip("ip=off zip=x ip=10.0.0.1 \"A=x ip=1\" -- ip=x").as_deref(), Some("10.0.0.1"));
        assert_eq!(parse_parameters("quiet dockerlaunch.on-failure=wait -- x"), ["on-failure=wait"]);
    }

    #[test]
    fn arguments_for_init_follow_the_first_dashes() {
        assert_eq!(parse_init_arguments("-- a \"b c"), ["a", "b c"]);
        assert_eq!(parse_init_arguments("quiet rw\n"), [""; 0]);
        assert_eq!(parse_init_arguments("a=b -- run -- \"/x y\" z \"\"\n"), ["run", "--", "/x y", "z", ""]);
    }
}
