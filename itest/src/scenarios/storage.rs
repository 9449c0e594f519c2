//! Data outlives containers, and what must not be written is not.

use anyhow::{Result, ensure};

use super::{Scenario, scenario};
use crate::Environment;
use crate::image::BOX;

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "storage::named_volume",
        "a named volume outlives its containers, and is not written where it is read-only",
        named_volume,
    ),
    scenario("storage::bind_mount", "a directory is shared with a container, both ways", bind_mount),
    scenario(
        "storage::tmpfs_and_read_only",
        "a read-only container writes to its tmpfs alone",
        tmpfs_and_read_only,
    ),
];

fn named_volume(env: &dyn Environment) -> Result<()> {
    env.docker(&["run", "--rm", "-v", "kept:/data", BOX, "sh", "-c", "echo from the first > /data/file"])?;
    let second = env.docker(&["run", "--rm", "-v", "kept:/data:ro", BOX, "cat", "/data/file"])?;
    ensure!(second == "from the first", "{second}");
    env.try_docker(&["run", "--rm", "-v", "kept:/data:ro", BOX, "touch", "/data/other"])?.exits(1)?;
    env.docker(&["volume", "rm", "kept"])?;
    ensure!(!env.docker(&["volume", "ls", "-q"])?.lines().any(|volume| volume == "kept"));
    Ok(())
}

fn bind_mount(env: &dyn Environment) -> Result<()> {
    let shared = env.exchange().directory("bound")?;
    shared.write("in", "from outside")?;
    let mount = format!("{}:/shared", shared.inside);
    let script = "cat /shared/in; echo from inside > /shared/out";
    let read = env.docker(&["run", "--rm", "-v", &mount, BOX, "sh", "-c", script])?;
    ensure!(read == "from outside", "{read}");
    ensure!(std::fs::read_to_string(shared.outside.join("out"))? == "from inside\n");
    Ok(())
}

fn tmpfs_and_read_only(env: &dyn Environment) -> Result<()> {
    let script = "echo x > /scratch/file && ! echo x > /file && grep ' /scratch tmpfs ' /proc/mounts";
    env.docker(&["run", "--rm", "--read-only", "--tmpfs", "/scratch", BOX, "sh", "-c", script]).map(drop)
}
