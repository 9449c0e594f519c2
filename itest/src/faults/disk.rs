//! No space and no inodes in the middle of what fills the disk; and then there is some again.

use anyhow::{Context, Result, ensure};

use super::{Fault, acknowledged, fault};
use crate::Environment;
use crate::command::{self, Outcome};
use crate::image::BOX;
use crate::up::{Instance, Options};

/// The area's table.
pub const FAULTS: &[Fault] = &[
    fault(
        "disk::full_in_a_load",
        "the load says that the disk is full, nothing half loaded is listed, and with space it succeeds without another start",
        full_in_a_load,
    ),
    fault(
        "disk::full_in_a_build",
        "the build says that the disk is full, and with space it succeeds without another start",
        full_in_a_build,
    ),
    fault(
        "disk::full_and_started_again",
        "an engine whose disk has been filled to the last byte starts, says so, and lets space be made",
        full_and_started_again,
    ),
    fault(
        "disk::no_inodes",
        "a load says that the disk is full, and with inodes it succeeds without another start",
        no_inodes,
    ),
];

/// What the kernel says, also when it is inodes that are missing.
const FULL: &str = "no space left on device";

const IMAGE: &str = "large:1";

/// An engine on a memory file system of this size.
fn in_memory(purpose: &str, size: &str) -> Result<Instance> {
    let variables = [("DOCKERLAUNCH_STORAGE", size)];
    Instance::start_with(purpose, &Options { variables: &variables, ..Options::default() })
}

/// Fills what is left, all but so many megabytes, with a file in a volume.
fn fill(env: &dyn Environment, left: u32) -> Result<()> {
    let script = format!(
        "free=$(df -m /fill | awk 'END {{print $4}}'); dd if=/dev/zero of=/fill/file bs=1M count=$((free-{left}))"
    );
    env.docker(&["run", "--rm", "-v", "fill:/fill", BOX, "sh", "-c", &script]).map(drop)
}

fn make_space(env: &dyn Environment) -> Result<()> {
    env.docker(&["volume", "rm", "fill"]).map(drop)
}

fn says_full(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.status != 0, "it succeeded on a full disk");
    let said = format!("{}{}", outcome.text(), outcome.stderr);
    ensure!(said.contains(FULL), "it names no cause: {said}");
    Ok(())
}

fn full_in_a_load() -> Result<()> {
    let mut instance = in_memory("full-load", "tmpfs:200m")?;
    let env: &dyn Environment = &instance;
    acknowledged::make(env)?;
    fill(env, 20)?;
    let archive = acknowledged::large_image(IMAGE, 40)?;
    says_full(&env.docker_with_input(&["load"], &archive)?)?;
    acknowledged::nothing_half_made(env, IMAGE)?;
    acknowledged::is_there(env).context("on the full disk")?;
    make_space(env)?;
    env.docker_with_input(&["load"], &archive)?.success()?;
    env.docker(&["run", "--rm", IMAGE, "/bin/busybox", "true"])?;
    acknowledged::is_there(env)?;
    instance.tear_down()
}

fn full_in_a_build() -> Result<()> {
    let mut instance = in_memory("full-build", "tmpfs:200m")?;
    let env: &dyn Environment = &instance;
    acknowledged::make(env)?;
    fill(env, 20)?;
    let dockerfile =
        format!("FROM {BOX}\nRUN echo first > /first\nRUN dd if=/dev/zero of=/big bs=1M count=40\n");
    // Else the failed step's container stays, and with it what it has filled: then nothing new can be started at all.
    let build = || env.docker_with_input(&["build", "--force-rm", "-t", "built", "-"], dockerfile.as_bytes());
    let outcome = build()?;
    ensure!(outcome.status != 0, "it succeeded on a full disk");
    // The step's own program says it, in its own words.
    let said = format!("{}{}", outcome.text(), outcome.stderr).to_lowercase();
    ensure!(said.contains(FULL), "it names no cause: {said}");
    let images = env.docker(&["images", "--format", "{{.Repository}}"])?;
    ensure!(!images.lines().any(|image| image == "built"), "a half-built image is listed");
    acknowledged::is_there(env).context("on the full disk")?;
    make_space(env)?;
    build()?.success()?;
    env.docker(&["run", "--rm", "built", "cat", "/first"])?;
    acknowledged::is_there(env)?;
    instance.tear_down()
}

/// On a file, which outlives the start, and whose ext4 keeps nothing back for root.
fn in_a_file(purpose: &str, size: &str) -> Result<Instance> {
    let storage = format!("--storage=loop:{size}");
    let options = Options { up: &["--with", "ext4"], engine: &[&storage], ..Options::default() };
    Instance::start_with(purpose, &options)
}

fn full_and_started_again() -> Result<()> {
    let mut instance = in_a_file("full-start", "256m")?;
    let env: &dyn Environment = &instance;
    acknowledged::make(env)?;
    // To the last byte.
    let rest = "cat /dev/zero > /fill/file; true";
    env.docker(&["run", "--rm", "-v", "fill:/fill", BOX, "sh", "-c", rest])?;
    instance.down()?;
    instance.up()?;
    let log = command::run(&mut instance.command("logs")?, b"")?.text();
    ensure!(log.contains("is nearly full"), "it does not say so:\n{log}");
    let env: &dyn Environment = &instance;
    make_space(env)?;
    acknowledged::is_there(env)?;
    instance.tear_down()
}

fn no_inodes() -> Result<()> {
    let mut instance = in_a_file("no-inodes", "128m")?;
    let env: &dyn Environment = &instance;
    acknowledged::make(env)?;
    // All but a few, which the container that takes them needs to end itself.
    let script = "free=$(df -i /fill | awk 'END {print $4}'); mkdir /fill/d; cd /fill/d; i=0; \
        while [ $i -lt $((free-40)) ]; do : > $i || exit 1; i=$((i+1)); done";
    env.docker(&["run", "--rm", "-v", "fill:/fill", BOX, "sh", "-c", script])?;
    let archive = many_files(IMAGE, 200)?;
    says_full(&env.docker_with_input(&["load"], &archive)?)?;
    acknowledged::nothing_half_made(env, IMAGE)?;
    make_space(env)?;
    env.docker_with_input(&["load"], &archive)?.success()?;
    env.docker(&["run", "--rm", IMAGE, "/bin/busybox", "true"])?;
    acknowledged::is_there(env)?;
    instance.tear_down()
}

/// An image with many small files.
fn many_files(name: &str, count: usize) -> Result<Vec<u8>> {
    let mut tree = crate::image::Tree::default();
    tree.directory("bin", 0o755)?;
    tree.file("bin/busybox", 0o755, &std::fs::read(crate::product::busybox())?)?;
    for number in 0..count {
        tree.file(&format!("file-{number}"), 0o644, b"small")?;
    }
    crate::image::docker_archive(&tree.finish()?, name)
}
