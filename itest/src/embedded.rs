//! Our files in another base image, by the seed's recipe.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::Environment;
use crate::build::IMAGE;
use crate::product;
use crate::up::Instance;

/// The stable release's root file system as the image `bookworm`.
pub fn import_bookworm(outer: &Instance) -> Result<()> {
    let environment: &dyn Environment = outer;
    let archive = environment.exchange().outside.join("bookworm.tar");
    std::fs::copy(product::bookworm(), &archive)?;
    environment.docker(&["import", "/exchange/bookworm.tar", "bookworm"])?;
    Ok(std::fs::remove_file(archive)?)
}

/// Export the files, add them to a base, build: `tag` is to be run privileged.
pub fn build(outer: &Instance, name: &str, base: &str, tag: &str) -> Result<()> {
    let environment: &dyn Environment = outer;
    let context = environment.exchange().directory(&format!("{name}-context"))?;
    let created = environment.docker(&["create", IMAGE])?;
    let files = environment.try_docker(&["export", &created])?.exits(0)?.stdout;
    environment.remove(&[&created])?;
    nothing_outside_usr(&files)?;
    context.write("files.tar", files)?;
    context.write(
        "Dockerfile",
        format!(
            "FROM {base}\nADD files.tar /\nENTRYPOINT [\"/usr/bin/dockerlaunch\", \"/usr/bin/docker\"]\n\
             VOLUME /var/lib/docker\nCMD [\"-d\", \"-s\", \"overlay\"]\n"
        ),
    )?;
    environment.docker(&["build", "-t", tag, &context.inside])?;
    Ok(std::fs::remove_dir_all(&context.outside)?)
}

/// What the engine adds to every container, and so to an export; it mounts over them in the next one.
const ENGINES_OWN: [&str; 6] =
    [".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"];

/// What an image adds to a base lies below `/usr`. The rest of an export are those names, and directories to mount on.
fn nothing_outside_usr(export: &[u8]) -> Result<()> {
    for entry in tar::Archive::new(export).entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let top = path.components().next().context("an entry without a name")?;
        let ours = top.as_os_str() == "usr";
        let to_mount_on = entry.header().entry_type().is_dir()
            && ["dev", "proc", "sys", "etc", "var"].iter().any(|own| top.as_os_str() == *own);
        let engines_own = entry.size() == 0 && ENGINES_OWN.iter().any(|own| *path == *Path::new(own));
        ensure!(
            ours || to_mount_on || engines_own,
            "the export has `{}`, which would replace the base's own",
            path.display()
        );
    }
    Ok(())
}
