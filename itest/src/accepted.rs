//! What others make of our outputs: they must take them without a word of complaint.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::build::{self, IMAGE};
use crate::command;
use crate::product;
use crate::suite::told;
use crate::unpacked::{self, nodes, same, silent, unpack};

/// All outputs of one build, as users make it who ask for nothing: gzip, which everybody reads.
fn made() -> Result<&'static Path> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| make().map_err(|error| told(&error)));
    made.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn make() -> Result<PathBuf> {
    let directory = build::scratch("accepted")?;
    let mut build = Command::new(product::from_scratch()?);
    build.current_dir(&directory).args(["build", "--tag", IMAGE]);
    for output in ["oci:oci", "docker:docker.tar", "tar:files.tar", "sbom:sbom.json"] {
        build.args(["-o", output]);
    }
    command::run_within(&mut build, b"", Duration::from_secs(600))?.success()?;
    Ok(directory)
}

/// skopeo reads both kinds of archive, and finds the same image in them.
pub fn skopeo() -> Result<()> {
    let made = made()?;
    let references = [format!("oci:{}", made.join("oci").display()), {
        format!("docker-archive:{}", made.join("docker.tar").display())
    }];
    let mut configurations = Vec::new();
    for reference in references {
        let to = tempfile::tempdir()?;
        let copy = format!("dir:{}", to.path().display());
        silent(Command::new("skopeo").args(["--insecure-policy", "copy", &reference, &copy]))?;
        let config = silent(Command::new("skopeo").args(["inspect", "--config", "--raw", &reference]))?;
        configurations.push(config.text());
    }
    let layout = format!("oci:{}", made.join("oci").display());
    let manifest = silent(Command::new("skopeo").args(["inspect", "--raw", &layout]))?.text();
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let title = &manifest["annotations"]["org.opencontainers.image.title"];
    ensure!(title == "Docker FROM scratch", "the manifest's title is {title}");
    ensure!(configurations[0].contains("/usr/bin/dockerlaunch"), "{}", configurations[0]);
    ensure!(configurations[0] == configurations[1], "not one image: {configurations:?}");
    Ok(())
}

/// umoci unpacks the layout, and what comes out is what the tar has, besides the names in `/usr/local/bin`.
pub fn umoci() -> Result<()> {
    let made = made()?;
    let to = tempfile::tempdir()?;
    let (_, tag) = IMAGE.split_once(':').context("a tag")?;
    let image = format!("{}:{tag}", made.join("oci").display());
    let bundle = to.path().join("bundle");
    silent(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle))?;
    let plain = to.path().join("plain");
    std::fs::create_dir(&plain)?;
    unpack(&made.join("files.tar"), &plain)?;
    let mut unpacked = nodes(&bundle.join("rootfs"))?;
    unpacked.retain(|path, _| !path.starts_with("usr/local"));
    same(&nodes(&plain)?, &unpacked)
}

/// The bill of materials is valid SPDX by the word of the project that keeps SPDX.
pub fn spdx() -> Result<()> {
    let validator = product::spdx();
    silent(Command::new(validator).arg("--infile").arg(made()?.join("sbom.json"))).map(drop)
}

/// Our tar unpacked over a base changes nothing of it.
pub fn tar_over(base: &Path) -> Result<()> {
    unpacked::over(base, &made()?.join("files.tar"), &[])
}
