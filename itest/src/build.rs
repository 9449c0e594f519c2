//! What `from-scratch build` makes, for the tiers that start from its archives.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::{command, product};

/// Name and tag of our image in the archives made here.
pub const IMAGE: &str = "from-scratch:itest";

/// Builds one output (`docker:FILE`, `initramfs:FILE`, …) below the scratch directory of `purpose` and returns the file.
pub fn output(purpose: &str, kind: &str, file: &str) -> Result<PathBuf> {
    output_with(purpose, kind, file, "")
}

/// [`output`] of an image with these components beside those of the default profile.
pub fn output_with(purpose: &str, kind: &str, file: &str, components: &str) -> Result<PathBuf> {
    let directory = scratch(purpose)?;
    let path = directory.join(file);
    remove(&path)?;
    let mut build = Command::new(product::from_scratch()?);
    build
        .args(["build", "--compression", "zstd:3", "--tag", IMAGE, "-o"])
        .arg(format!("{kind}:{}", path.display()));
    if !components.is_empty() {
        build.args(["--with", components]);
    }
    // The first one on a machine downloads the packages.
    command::run_within(&mut build, b"", Duration::from_secs(600))?.success()?;
    Ok(path)
}

/// A directory for the files of one test binary, emptied by the next run and not by this one: a failure can be looked at.
pub fn scratch(purpose: &str) -> Result<PathBuf> {
    let directory = product::target().join("itest-run").join(purpose);
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(std::fs::remove_dir_all(path)?),
        Ok(_) => Ok(std::fs::remove_file(path)?),
        Err(_) => Ok(()),
    }
}
