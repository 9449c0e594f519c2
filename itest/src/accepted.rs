//! What others make of our outputs: they must take them without a word of complaint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::build::{self, IMAGE};
use crate::command::{self, Outcome};
use crate::product;
use crate::suite::told;

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

/// A run that succeeded and had nothing to complain about.
fn silent(command: &mut Command) -> Result<Outcome> {
    let outcome = command::run_within(command, b"", Duration::from_secs(300))?.exits(0)?;
    ensure!(outcome.stderr.trim().is_empty(), "`{}` said: {}", outcome.command, outcome.stderr);
    Ok(outcome)
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

/// Our tar unpacked over a base changes nothing of it, and adds what is in it.
pub fn tar_over(base: &Path) -> Result<()> {
    let ours = made()?.join("files.tar");
    let directory = tempfile::tempdir()?;
    let (whole, alone) = (directory.path().join("base"), directory.path().join("alone"));
    for made in [&whole, &alone] {
        std::fs::create_dir(made)?;
    }
    unpack(base, &whole)?;
    let before = nodes(&whole)?;
    unpack(&ours, &whole)?;
    unpack(&ours, &alone)?;
    let (mut after, added) = (nodes(&whole)?, nodes(&alone)?);
    for (path, node) in &added {
        ensure!(after.get(path) == Some(node), "`{path}` of ours is {:?} instead of {node}", after.get(path));
    }
    after.retain(|path, _| before.contains_key(path) || !added.contains_key(path));
    same(&before, &after)
}

fn unpack(archive: &Path, to: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--preserve-permissions", "--numeric-owner", "--file"]).arg(archive);
    silent(tar.arg("--directory").arg(to)).map(drop)
}

/// All that is below a directory, by path: kind, mode, owner, and content or target.
fn nodes(root: &Path) -> Result<BTreeMap<String, String>> {
    let listed = silent(Command::new("find").arg(root).args(["-printf", "%P\\0%y %m %U:%G %l\\0"]))?;
    let listed = String::from_utf8(listed.stdout).context("names in UTF-8")?;
    let fields: Vec<&str> = listed.split_terminator('\0').collect();
    let mut nodes: BTreeMap<String, String> =
        fields.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
    // Of the directory itself only what is in it matters.
    nodes.remove("");
    for (path, node) in &mut nodes {
        if node.starts_with('f') {
            let content = std::fs::read(root.join(path)).with_context(|| format!("reading `{path}`"))?;
            *node += &format!("{:x?}", <sha2::Sha256 as sha2::Digest>::digest(&content));
        }
    }
    Ok(nodes)
}

fn same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Result<()> {
    ensure!(before.len() > 10 || before.is_empty(), "only {} files", before.len());
    for path in before.keys().chain(after.keys()) {
        let (was, is) = (before.get(path), after.get(path));
        if was != is {
            bail!("`{path}` was {was:?} and is {is:?}");
        }
    }
    Ok(())
}
