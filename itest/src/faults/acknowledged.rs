//! What clients have been told is done: it must be there after every fault.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::Environment;
use crate::command::eventually;
use crate::image::{self, BOX, Tree};

/// A container that is to run whatever happens.
pub(crate) const FAITHFUL: &str = "faithful";

/// An image that was loaded, a container that was created, a network, a volume whose file is on the disk, and a container
/// with a restart policy.
pub(crate) fn make(env: &dyn Environment) -> Result<()> {
    let archive = image::docker_archive(&image::worded_rootfs("told")?, "told:1")?;
    env.docker_with_input(&["load"], &archive)?.success()?;
    env.docker(&["create", "--name", "told", BOX, "sh", "-c", "exit 7"])?;
    env.docker(&["network", "create", "told"])?;
    let write = "echo on the disk | dd of=/data/file conv=fsync";
    env.docker(&["run", "--rm", "-v", "told:/data", BOX, "sh", "-c", write])?;
    let head = ["run", "-d", "--name", FAITHFUL, "--restart", "always", "--stop-timeout", "1"];
    env.docker(&[&head[..], &[BOX, "sleep", "6000"]].concat()).map(drop)
}

/// All of it is there, and works.
pub(crate) fn is_there(env: &dyn Environment) -> Result<()> {
    let look = || {
        let read = ["run", "--rm", "told:1", "cat", "/etc/word"];
        let word = env.docker(&read).context("the image that was loaded")?;
        ensure!(word == "told", "the image that was loaded has another word: {word}");
        env.try_docker(&["start", "--attach", "told"])?.exits(7).context("the container that was created")?;
        env.docker(&["run", "--rm", "--network", "told", BOX, "true"]).context("the network")?;
        let read = ["run", "--rm", "-v", "told:/data", BOX, "cat", "/data/file"];
        let file = env.docker(&read).context("the volume")?;
        ensure!(file == "on the disk", "the volume's file holds: {file}");
        runs(env, FAITHFUL)
    };
    look().with_context(|| format!("the engine's last lines:\n{}", env.log_tail()))
}

/// The container runs, or does soon: its restart policy waits between tries.
pub(crate) fn runs(env: &dyn Environment, container: &str) -> Result<()> {
    eventually(&format!("the container `{container}` runs"), Duration::from_secs(30), || {
        env.try_docker(&["exec", container, "true"])?.exits(0).map(|_| true)
    })
}

/// An image of many megabytes that no compression makes small, so that its load takes a moment.
pub(crate) fn large_image(name: &str, megabytes: usize) -> Result<Vec<u8>> {
    image::docker_archive(&large_rootfs(megabytes)?, name)
}

/// Its one layer.
pub(crate) fn large_rootfs(megabytes: usize) -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    tree.directory("bin", 0o755)?;
    tree.file("bin/busybox", 0o755, &std::fs::read(crate::product::busybox())?)?;
    tree.file("noise", 0o644, &noise(megabytes << 20))?;
    tree.finish()
}

/// Bytes without any order, the same each time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    // Marsaglia's xorshift64.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

/// Nothing half made is listed: every image has a name, and this one is not among them.
pub(crate) fn nothing_half_made(env: &dyn Environment, image: &str) -> Result<()> {
    let images = env.docker(&["images", "--all", "--format", "{{.Repository}}:{{.Tag}}"])?;
    ensure!(!images.lines().any(|line| line == image), "`{image}` is listed");
    ensure!(!images.contains("<none>"), "an image without a name is listed: {images}");
    Ok(())
}
