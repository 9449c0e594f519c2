//! Where things are: the program under test and what `cargo xtask test` has fetched for the suites.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::{command, need};

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Build directory of the workspace.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Things fetched or made once and kept between runs. `xtask/src/provision.rs` fills it.
pub fn provisions() -> PathBuf {
    target().join("itest")
}

/// The static busybox.
pub fn busybox() -> PathBuf {
    provisions().join("busybox/bin/busybox")
}

/// Root file system of an image with the registry's server.
pub fn registry() -> PathBuf {
    provisions().join("registry")
}

/// Programs of a server of git repositories, with their libraries.
pub fn git_server() -> PathBuf {
    provisions().join("git-server")
}

/// Where builds keep what they have downloaded, unless they are told another place.
pub fn cache() -> Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("from-scratch"))
}

/// The stable release's root file system.
pub fn bookworm() -> PathBuf {
    provisions().join("bookworm.tar")
}

/// The validator of SPDX documents.
pub fn spdx() -> PathBuf {
    provisions().join("spdx/bin/pyspdxtools")
}

/// The root file system of bookworm with its Docker and podman.
pub fn engines() -> PathBuf {
    provisions().join("engines/root")
}

/// What is there once that is complete.
pub fn engines_complete() -> PathBuf {
    provisions().join("engines/complete")
}

/// The kernel of the unpacked package and its version.
pub fn kernel() -> Result<(PathBuf, String)> {
    let root = provisions().join("kernel");
    let modules = root.join("lib/modules");
    let version = std::fs::read_dir(&modules)
        .with_context(|| format!("reading `{}`", modules.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|version| modules.join(version).join("modules.dep").is_file())
        .context("no kernel version with a modules.dep")?;
    Ok((root, version))
}

/// The program under test: `FROM_SCRATCH_BIN`, or built here, once: as users build it with `--full`, else as the unit
/// tests have built it already. The launcher in it is the same.
pub fn from_scratch() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY
        .get_or_init(|| locate_or_build().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn locate_or_build() -> Result<PathBuf> {
    if let Some(given) = env::var_os("FROM_SCRATCH_BIN") {
        return Ok(given.into());
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    without_the_package(&mut build);
    build.current_dir(workspace()).args(["build", "--locked"]);
    let binary = if need::all_of_it() {
        build.args(["--release", "--package", "from-scratch"]);
        target().join("release/from-scratch")
    } else {
        // The whole workspace decides on the features of its libraries: alone, it would be compiled anew.
        build.args(["--workspace", "--bin", "from-scratch"]);
        target().join("debug/from-scratch")
    };
    command::run_within(&mut build, b"", std::time::Duration::from_secs(1200))?.success()?;
    ensure!(binary.is_file(), "`{}` was not built", binary.display());
    Ok(binary)
}

/// Cargo tells a program that it runs which package that is of, and build scripts that look at these variables (ring's) run
/// again when they change, with all that depends on them.
fn without_the_package(cargo: &mut Command) {
    let of_a_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_a_package)) {
        cargo.env_remove(name);
    }
}

/// Short and stable for this clone: what a killed run left behind is found again and cleared by the next one, and two
/// clones on one machine do not meet in the cgroup tree.
pub fn instance_name(purpose: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(workspace().as_os_str().as_encoded_bytes());
    format!("{purpose}-{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2])
}
