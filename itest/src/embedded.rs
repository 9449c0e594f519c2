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

/// As the README says, so that whoever enters the container finds git, iptables and the like.
const TOOLS: &str = "ENV PATH=$PATH:/usr/lib/dockerlaunch/bin XTABLES_LIBDIR=/usr/lib/dockerlaunch/xtables GIT_TEMPLATE_DIR=\n";

/// Export the files, add them to a base, build: `tag` is to be run privileged.
pub fn build(outer: &Instance, name: &str, base: &str, tag: &str, with_tools: bool) -> Result<()> {
    let environment: &dyn Environment = outer;
    let context = environment.exchange().directory(&format!("{name}-context"))?;
    let created = environment.docker(&["create", IMAGE])?;
    let files = environment.try_docker(&["export", &created])?.exits(0)?.stdout;
    environment.remove(&[&created])?;
    nothing_outside_usr(&files)?;
    context.write("files.tar", files)?;
    let tools = if with_tools { TOOLS } else { "" };
    context.write(
        "Dockerfile",
        format!(
            "FROM {base}\nADD files.tar /\n{tools}ENTRYPOINT [\"/usr/bin/dockerlaunch\", \"/usr/bin/docker\"]\n\
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
