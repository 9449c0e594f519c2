//! The `root_` tier: what carries the data root, and what is in it from the first start on.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use itest::suite::Suite;
use itest::up::{Instance, Options};
use itest::{Environment, Need, build, image};

fn main() -> ExitCode {
    Suite::new("root_storage", &[Need::Root, Need::Busybox, Need::Program("script")])
        .test("images_of_the_system_pain_27", &[], images_of_the_system)
        .test("in_a_file_pain_4", &[], in_a_file)
        .run(|| Ok(()))
}

/// An image that was put in at build time is there at the first start, and loaded no more at the second one.
fn images_of_the_system() -> Result<()> {
    let archive = build::scratch("preload")?.join("base.tar");
    std::fs::write(&archive, image::docker_archive(&image::busybox_rootfs()?, "preloaded:1")?)?;
    let mut instance = Instance::start_bare(
        "preload",
        &Options { up: &["--preload", &archive.to_string_lossy()], ..Options::default() },
    )?;
    let engine: &dyn Environment = &instance;
    // `up` returns when the engine answers; whoever wants more asks for it.
    engine.exec(&["dockerlaunch", "ready"], b"")?.exits(0)?;
    engine.docker(&["run", "--rm", "preloaded:1", "/bin/busybox", "true"])?;
    ensure!(instance.log()?.contains("base.tar loaded in "), "{}", instance.log()?);

    let before = instance.log()?.matches("base.tar loaded in ").count();
    instance.restart()?;
    engine_is_ready(&instance)?;
    let text = instance.log()?;
    ensure!(text.contains("base.tar is there already"), "{text}");
    ensure!(text.matches("base.tar loaded in ").count() <= before, "it was loaded twice: {text}");
    instance.tear_down()
}

fn engine_is_ready(instance: &Instance) -> Result<()> {
    instance.exec(&["dockerlaunch", "ready"], b"")?.exits(0).map(drop)
}

/// `--storage=loop`: the same file at every start, and no device is left.
fn in_a_file() -> Result<()> {
    let mut instance = Instance::start_bare(
        "loop",
        &Options { up: &["--with", "ext4"], engine: &["--storage=loop:1g"], ..Options::default() },
    )?;
    let engine: &dyn Environment = &instance;
    engine.docker_with_input(&["import", "-", image::BOX], &image::busybox_rootfs()?)?.success()?;
    let mounted = engine.docker(&["run", "--rm", "-v", "/:/host", image::BOX, "cat", "/proc/mounts"])?;
    ensure!(mounted.contains("overlay / overlay"), "{mounted}");
    ensure!(instance.log()?.contains("overlay2 on ext4, in /var/lib/docker"), "{}", instance.log()?);
    ensure!(!devices(&instance)?.is_empty(), "no loop device has the file");

    instance.restart()?;
    let engine: &dyn Environment = &instance;
    engine.docker(&["run", "--rm", image::BOX, "true"])?;
    instance.down()?;
    let left = devices(&instance)?;
    ensure!(left.is_empty(), "loop devices are left: {left:?}");
    instance.tear_down()
}

/// Loop devices on a file of this instance.
fn devices(instance: &Instance) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/block")? {
        let file = std::fs::read_to_string(entry?.path().join("loop/backing_file")).unwrap_or_default();
        // By the name that it has in there, or out here.
        if file.contains(".dockerlaunch.ext4")
            && (file.contains(instance.name()) || file.starts_with("/var/lib/docker"))
        {
            found.push(file);
        }
    }
    Ok(found)
}
