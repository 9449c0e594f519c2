//! Bookworm's Docker and podman, under `up` in a root of their own: our launcher starts that Docker, podman needs no engine.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use dockerlaunch_plan::facts::process::{Capability, parse_effective_capabilities};

use super::Started;
use crate::build::{self, IMAGE};
use crate::nested::{Client, DOCKER, Nested};
use crate::up::{Instance, Options};
use crate::{Environment, Outcome, product};

/// Without systemd, and with its images on a disk: an overlay on the instance's overlay could not be.
const PODMAN: Client = &["podman", "--cgroup-manager=cgroupfs", "--root=/var/lib/docker/podman"];

/// Docker 20.10 asks for every capability there is when a container is privileged, also for one that root itself lacks, as in some
/// virtual machines; runc refuses that. Later ones ask for what there is.
const RUNC: &str = r#"#!/bin/sh
previous=; file=
for word in "$@"; do
    case $previous in --bundle | -b) file=$word/config.json ;; --process | -p) file=$word ;; esac
    previous=$word
done
[ -z "$file" ] || sed -i 's/,"CAP_SYS_RESOURCE"//g; s/"CAP_SYS_RESOURCE",//g' "$file"
exec /usr/sbin/runc "$@"
"#;

/// In Docker 20.10.
pub(super) fn docker20(components: &str) -> Result<Started> {
    let outer = outer("scenarios-docker20", components)?;
    let status = fs::read_to_string("/proc/self/status")?;
    let capabilities =
        parse_effective_capabilities(&status).context("no capabilities in /proc/self/status")?;
    if capabilities & (1 << Capability::SysResource as u32) == 0 {
        let write = "cat > /usr/local/sbin/runc && chmod 755 /usr/local/sbin/runc";
        outer.exec(&["sh", "-c", write], RUNC.as_bytes())?.success()?;
    }
    let version = outer.exec(&["docker", "version", "--format", "{{.Server.Version}}"], b"")?.success()?;
    ensure!(version.starts_with("20.10"), "the Docker outside is {version}");
    load(DOCKER, &outer)?;
    // It takes IPv6 away from containers of networks that have none, on their loopback too.
    start(DOCKER, outer, &["--sysctl", "net.ipv6.conf.all.disable_ipv6=0"], format!("Docker {version}"))
}

/// In podman 4.3.
pub(super) fn podman(components: &str) -> Result<Started> {
    let outer = outer("scenarios-podman", components)?;
    let version = outer.exec(&["podman", "--version"], b"")?.success()?;
    ensure!(version.contains(" 4.3"), "the podman outside is {version}");
    let layout = build::output_with("scenarios-podman", "oci", "layout", components)?;
    fs::rename(layout, outer.exchange().outside.join("layout"))?;
    let pull = [PODMAN, &["pull", "--quiet", "oci:/exchange/layout"]].concat();
    let pulled = outer.exec(&pull, b"")?.exits(0)?;
    complains_of_nothing(&pulled)?;
    load(PODMAN, &outer)?;
    // An image's name is the digest of its configuration.
    let inspect = [PODMAN, &["image", "inspect", "--format", "{{.Id}}", IMAGE]].concat();
    let loaded = outer.exec(&inspect, b"")?.success()?;
    ensure!(loaded == pulled.text(), "oci: is {}, docker: {loaded}", pulled.text());
    start(PODMAN, outer, &[], version.replace(" version", ""))
}

/// Our archive, which is in the exchange directory.
fn load(client: Client, outer: &Instance) -> Result<()> {
    let load = [client, &["load", "--quiet", "--input", "/exchange/image.tar"]].concat();
    let loaded = outer.exec(&load, b"")?.exits(0)?;
    ensure!(loaded.text().contains(IMAGE), "load said: {}", loaded.text());
    complains_of_nothing(&loaded)
}

/// That podman has no plugins for networks of its own says nothing of what it reads.
fn complains_of_nothing(read: &Outcome) -> Result<()> {
    let complaint = read.stderr.lines().find(|line| !line.contains("Error validating CNI config file"));
    let is_silent = complaint.is_none_or(|line| line.trim().is_empty());
    ensure!(is_silent, "`{}` complained: {}", read.command, read.stderr);
    Ok(())
}

fn start(client: Client, outer: Instance, options: &[&str], outside: String) -> Result<Started> {
    let outer = Arc::new(outer);
    let inner =
        Nested::run_by(client, Arc::clone(&outer), "scenarios", IMAGE, options, &[])?.with_base_image()?;
    Ok(Started::new(inner, Some(outer), outside))
}

fn outer(purpose: &str, components: &str) -> Result<Instance> {
    let root = product::engines();
    add_launcher(&root)?;
    let rootfs = root.to_str().context("a path in UTF-8")?;
    let outer = Instance::start_bare(purpose, &Options { up: &["--rootfs", rootfs], ..Options::default() })?;
    let archive = build::output_with(purpose, "docker", "image.tar", components)?;
    fs::rename(archive, outer.exchange().outside.join("image.tar"))?;
    Ok(outer)
}

/// As `up` wants it in any root.
fn add_launcher(root: &Path) -> Result<()> {
    let image = build::output("scenarios-launcher", "tar", "image.tar")?;
    for entry in tar::Archive::new(File::open(&image)?).entries()? {
        let mut entry = entry?;
        if entry.path()?.ends_with("usr/lib/dockerlaunch/bin/dockerlaunch") {
            // In one step: another run may be starting it.
            let part = root.join("usr/bin/dockerlaunch.part");
            std::io::copy(&mut entry, &mut File::create(&part)?)?;
            fs::set_permissions(&part, PermissionsExt::from_mode(0o755))?;
            fs::rename(part, root.join("usr/bin/dockerlaunch"))?;
            return Ok(fs::remove_file(image)?);
        }
    }
    anyhow::bail!("`{}` has no launcher", image.display())
}
