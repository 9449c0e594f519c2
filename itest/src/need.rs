//! What a suite needs from the machine, decided while listing.

use std::env;
use std::path::{Path, PathBuf};

use crate::product;

/// A prerequisite of a scenario or of a whole environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Real root on the host: `up` makes namespaces and cgroups.
    Root,
    /// A static busybox, which all test images are made of.
    Busybox,
    /// The registry's server and its libraries.
    Registry,
    /// git, sshd and openssl with their libraries.
    GitServer,
    /// Root file system of the distribution's stable release, as a tar.
    Bookworm,
    /// Root file system of bookworm with its Docker and podman, as a directory.
    Engines,
    /// Kernel package of the stable release, unpacked, with `modules.dep`.
    Kernel,
    /// What serves a directory to an emulated machine.
    FileServer,
    /// The validator of SPDX documents.
    Spdx,
    /// A program on the host's `PATH`.
    Program(&'static str),
}

impl Need {
    /// Why this cannot be had here, in a few words; `None` when it is there.
    pub fn missing(self) -> Option<String> {
        match self {
            Need::Root => (!rustix::process::geteuid().is_root()).then(|| "needs root".to_owned()),
            Need::Busybox => file(&product::busybox(), "a static busybox"),
            Need::Registry => file(&product::registry().join("bin/docker-registry"), "a registry's server"),
            Need::GitServer => {
                file(&product::git_server().join("usr/bin/sshd"), "the programs of a git server")
            }
            Need::Bookworm => file(&product::bookworm(), "the stable release's root file system"),
            Need::Engines => file(&product::engines_complete(), "bookworm's Docker and podman"),
            Need::Kernel => product::kernel().err().map(|_| told("an unpacked kernel package")),
            Need::FileServer => file_server().is_none().then(|| told("virtiofsd")),
            Need::Spdx => file(&product::spdx(), "a validator of SPDX documents"),
            Need::Program(name) => program(name).is_none().then(|| told(&format!("`{name}`"))),
        }
    }
}

/// virtiofsd: qemu's own, or the one that came after it, which is a package of its own.
pub fn file_server() -> Option<&'static Path> {
    let places = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];
    places.map(Path::new).into_iter().find(|path| path.is_file())
}

/// Whether the long runs are asked for too, as by `cargo xtask test --full`.
pub fn all_of_it() -> bool {
    env::var_os("FROM_SCRATCH_FULL").is_some_and(|value| value == "1")
}

fn file(path: &Path, what: &str) -> Option<String> {
    (!path.is_file()).then(|| told(what))
}

/// Short, because it stands in the list of tests.
fn told(what: &str) -> String {
    format!("needs {what}, `cargo xtask` fetches it")
}

/// Looks a program up as a shell would, `/usr/sbin` included: a user's `PATH` often lacks it.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// All that is missing, one after the other.
pub fn missing<'a>(needs: impl IntoIterator<Item = &'a Need>) -> Option<String> {
    let reasons: Vec<String> = needs.into_iter().filter_map(|need| need.missing()).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// True in CI's set: nothing may be left out.
pub fn nothing_left_out() -> bool {
    env::var_os("FROM_SCRATCH_CI").is_some_and(|value| value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_way_to_get_it() {
        assert_eq!(Need::Program("sh").missing(), None);
        let reason = missing(&[Need::Program("sh"), Need::Program("no-such-program")]).expect("not there");
        assert_eq!(reason, "needs `no-such-program`, `cargo xtask` fetches it");
    }
}
