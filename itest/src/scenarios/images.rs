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
        "images::save_several",
        "several images go into one file and come out of it, with id, history and labels",
        save_several,
    ),
    scenario(
        "images::export_and_import",
        "an exported container is an image again: owners, modes and links as they were",
        export_and_import,
    ),
    scenario("images::prune", "pruning takes what nothing uses and leaves what a container has", prune),
    scenario("images::two_gigabytes", "a layer of 2 GB is made, read, and gone again", two_gigabytes).long(),
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
    let archive = image::pack(&image::docker_archive(&image::worded_rootfs(&name)?, &name)?, packing)?;
    let said = env.docker_with_input(&["load"], &archive)?.success()?;
    ensure!(said.contains(&name), "load said: {said}");
    let word = env.docker(&["run", "--rm", &name, "cat", "/etc/word"])?;
    ensure!(word == name, "in the image: {word}");
    env.docker(&["rmi", &name]).map(drop)
}

fn save_and_load(env: &dyn Environment) -> Result<()> {
    env.docker_with_input(&["import", "-", "saved:1"], &image::worded_rootfs("saved")?)?.success()?;
    let archive = env.try_docker(&["save", "saved:1"])?.exits(0)?.stdout;
    let gone = env.docker(&["rmi", "saved:1"])?;
    ensure!(gone.contains("Deleted"), "its layer is still there: {gone}");
    env.docker_with_input(&["load"], &archive)?.success()?;
    let word = env.docker(&["run", "--rm", "saved:1", "/bin/cat", "/etc/word"])?;
    ensure!(word == "saved", "in the image: {word}");
    env.docker(&["rmi", "saved:1"]).map(drop)
}

fn save_several(env: &dyn Environment) -> Result<()> {
    env.docker(&["tag", BOX, "several:1"])?;
    env.docker(&["run", "--name", "several", BOX, "sh", "-c", "echo two > /file"])?;
    let labels = ["--change", "LABEL part=two", "--change", "ENV COLOUR=red"];
    env.docker(&[&["commit", "-m", "why it was made"], &labels[..], &["several", "several:2"]].concat())?;
    env.remove(&["several"])?;
    let facts = || -> Result<String> {
        let inspected =
            env.docker(&["inspect", "--format", "{{.Id}} {{.Config.Labels.part}}", "several:2"])?;
        let format = "{{.Comment}}|{{.CreatedAt}}|{{.Size}}";
        Ok(inspected + "\n" + &env.docker(&["history", "--format", format, "several:2"])?)
    };
    let before = facts()?;
    ensure!(before.contains(" two\nwhy it was made|"), "{before}");
    let file = format!("{}/images.tar", env.exchange().directory("several")?.inside);
    env.docker(&["save", "--output", &file, "several:1", "several:2"])?;
    env.docker(&["rmi", "several:1", "several:2"])?;
    let said = env.docker(&["load", "--input", &file])?;
    ensure!(said.contains("several:1") && said.contains("several:2"), "load said: {said}");
    let after = facts()?;
    ensure!(after == before, "before: {before}\nafter: {after}");
    let ran = env.docker(&["run", "--rm", "several:2", "sh", "-c", "cat /file; echo $COLOUR"])?;
    ensure!(ran == "two\nred", "{ran}");
    env.docker(&["run", "--rm", "several:1", "true"])?;
    env.docker(&["rmi", "several:1", "several:2"]).map(drop)
}

fn export_and_import(env: &dyn Environment) -> Result<()> {
    let make = "mkdir -m 2750 /made; cd /made; echo content > file; chown 1000:1000 file; chmod 604 file; \
                ln -s file symbolic; ln file hard; mkfifo pipe; touch -d '2001-02-03 04:05:06' file";
    let list = [
        "ls",
        "-ln",
        "--full-time",
        "-d",
        "/made",
        "/made/file",
        "/made/hard",
        "/made/symbolic",
        "/made/pipe",
    ];
    env.docker(&["run", "--name", "exported", BOX, "sh", "-c", &format!("{make}; {}", list.join(" "))])?;
    let before = env.docker(&["logs", "exported"])?;
    let file = format!("{}/container.tar", env.exchange().directory("exported")?.inside);
    env.docker(&["export", "--output", &file, "exported"])?;
    env.docker(&["import", "--change", "CMD cat /made/hard", &file, "exported:1"])?;
    let after = env.docker(&[&["run", "--rm", "exported:1"], &list[..]].concat())?;
    ensure!(after == before && after.contains("-> file"), "before: {before}\nafter: {after}");
    ensure!(env.docker(&["run", "--rm", "exported:1"])? == "content");
    let layers = env.docker(&["inspect", "--format", "{{len .RootFS.Layers}}", "exported:1"])?;
    ensure!(layers == "1", "an imported image has {layers} layers");
    env.remove(&["exported"])?;
    env.docker(&["rmi", "exported:1"]).map(drop)
}

/// A name that moves on leaves an image without one.
fn prune(env: &dyn Environment) -> Result<()> {
    let is_there = |id: &str| Ok::<_, anyhow::Error>(env.try_docker(&["image", "inspect", id])?.status == 0);
    let mut ids = Vec::new();
    for word in ["unused", "used", "named"] {
        env.docker(&["run", "--name", "pruned", BOX, "sh", "-c", &format!("echo {word} > /word")])?;
        ids.push(env.docker(&["commit", "--change", "LABEL itest=pruned", "pruned", "pruned:1"])?);
        env.remove(&["pruned"])?;
        if word == "used" {
            env.docker(&["create", "--name", "user", "pruned:1", "true"])?;
        }
    }
    env.docker(&["image", "prune", "--force"])?;
    let left = ids.iter().map(|id| is_there(id)).collect::<Result<Vec<_>>>()?;
    ensure!(left == [false, true, true], "of unused, used and named are left: {left:?}");
    env.docker(&["image", "prune", "--force", "--all", "--filter", "label=itest=pruned"])?;
    let left = ids.iter().map(|id| is_there(id)).collect::<Result<Vec<_>>>()?;
    ensure!(left == [false, true, false], "with --all are left: {left:?}");
    ensure!(is_there(BOX)?, "the filter did not keep `{BOX}`");
    env.remove(&["user"])?;
    env.docker(&["image", "prune", "--force"])?;
    ensure!(!is_there(&ids[1])?, "the image outlives its last container and `prune`");
    Ok(())
}

/// 32 times the same random bytes: nothing that a file system could leave out.
fn two_gigabytes(env: &dyn Environment) -> Result<()> {
    let used = || -> Result<u64> {
        let data = env.docker(&["info", "--format", "{{.DockerRootDir}}"])?;
        let sizes =
            env.docker(&["run", "--rm", "-v", &format!("{data}:/data:ro"), BOX, "du", "-sm", "/data"])?;
        Ok(sizes.split_whitespace().next().unwrap_or_default().parse()?)
    };
    let before = used()?;
    let fill = "dd if=/dev/urandom of=/tmp/block bs=1M count=64 && for i in $(seq 32); do cat /tmp/block; done > /large \
                && rm /tmp/block && md5sum /large > /sum";
    let dockerfile = format!("FROM {BOX}\nRUN {fill}\n");
    env.docker_with_input(&["build", "-t", "large", "-"], dockerfile.as_bytes())?.exits(0)?;
    let size: u64 = env.docker(&["inspect", "--format", "{{.Size}}", "large"])?.parse()?;
    ensure!(size > 2 << 30, "the image has {size} bytes");
    env.docker(&["run", "--rm", "large", "md5sum", "-c", "/sum"])?;
    ensure!(used()? > before + 2000, "2 GB are nowhere in the data root");
    env.docker(&["rmi", "large"])?;
    let after = used()?;
    ensure!(after < before + 100, "the data root had {before} MB, and has {after} MB without the image");
    Ok(())
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
