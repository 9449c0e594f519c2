//! Images come in and go out as archives.

use anyhow::{Context, Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::image::{self, BOX, Packing};

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario("images::import", "an image is imported, with a change", import),
    scenario("images::load_plain", "an image is loaded from a plain archive", |env| {
        load(env, Packing::Plain)
    }),
    scenario("images::load_gzip", "an image is loaded from an archive packed with gzip", |env| {
        load(env, Packing::Gzip)
    }),
    scenario("images::load_xz_pain_53", "an image is loaded from an archive packed with xz", |env| {
        load(env, Packing::Xz)
    }),
    scenario("images::load_zstd", "an image is loaded from an archive packed with zstd", |env| {
        load(env, Packing::Zstd)
    }),
    scenario("images::save_and_load", "a saved image is loaded again", save_and_load),
    scenario(
        "images::commit_diff_copy",
        "a container's changes are listed, copied out, exported, and made an image",
        commit_diff_copy,
    ),
];

fn import(env: &dyn Environment) -> Result<()> {
    let rootfs = image::busybox_rootfs()?;
    let change = ["import", "--change", "ENV COLOUR=green", "-", "imported:1"];
    let id = env.docker_with_input(&change, &rootfs)?.success()?;
    ensure!(id.starts_with("sha256:"), "import printed: {id}");
    let colour = env.docker(&["run", "--rm", "imported:1", "/bin/sh", "-c", "echo $COLOUR"])?;
    ensure!(colour == "green", "in the container: {colour}");
    env.docker(&["rmi", "imported:1"]).map(drop)
}

fn load(env: &dyn Environment, packing: Packing) -> Result<()> {
    let name = format!("loaded:{packing:?}").to_lowercase();
    let archive = image::pack(&image::docker_archive(&image::busybox_rootfs()?, &name)?, packing)?;
    let said = env.docker_with_input(&["load"], &archive)?.success()?;
    ensure!(said.contains(&name), "load said: {said}");
    let answer = env.docker(&["run", "--rm", &name, "echo", "out of the archive"])?;
    ensure!(answer == "out of the archive", "{answer}");
    env.docker(&["rmi", &name]).map(drop)
}

fn save_and_load(env: &dyn Environment) -> Result<()> {
    env.docker(&["tag", BOX, "saved:1"])?;
    let archive = env.try_docker(&["save", "saved:1"])?.exits(0)?.stdout;
    env.docker(&["rmi", "saved:1"])?;
    env.docker_with_input(&["load"], &archive)?.success()?;
    env.docker(&["run", "--rm", "saved:1", "true"])?;
    env.docker(&["rmi", "saved:1"]).map(drop)
}

/// A container's changes: seen, copied out, made an image.
fn commit_diff_copy(env: &dyn Environment) -> Result<()> {
    env.docker(&[
        "run",
        "--name",
        "changed",
        BOX,
        "sh",
        "-c",
        "echo new > /tmp/file; rm /etc/not-executable",
    ])?;
    let changes = env.docker(&["diff", "changed"])?;
    for change in ["A /tmp/file", "D /etc/not-executable"] {
        ensure!(changes.lines().any(|line| line == change), "no `{change}` in: {changes}");
    }
    let copied = env.try_docker(&["cp", "changed:/tmp/file", "-"])?.exits(0)?.stdout;
    let mut archive = tar::Archive::new(&copied[..]);
    let mut entry = archive.entries()?.next().context("cp gave an empty archive")??;
    ensure!(std::io::read_to_string(&mut entry)? == "new\n");
    let exported = env.try_docker(&["export", "changed"])?.exits(0)?.stdout;
    ensure!(exported.len() > 1_000_000, "export has {} bytes only", exported.len());
    env.docker(&["commit", "changed", "committed:1"])?;
    ensure!(env.docker(&["run", "--rm", "committed:1", "cat", "/tmp/file"])? == "new");
    env.remove(&["changed"])?;
    env.docker(&["rmi", "committed:1"]).map(drop)
}
