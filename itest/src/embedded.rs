//! Our files in another base image, by the seed's recipe.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::build::IMAGE;
use crate::up::Instance;
use crate::{Environment, command, product, sources};

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
    let files = export(outer)?;
    nothing_outside_usr(&files)?;
    add(outer, name, base, tag, &files, with_tools)
}

/// The image's files, by the seed's command.
pub fn export(outer: &Instance) -> Result<Vec<u8>> {
    let environment: &dyn Environment = outer;
    let created = environment.docker(&["create", IMAGE])?;
    let files = environment.try_docker(&["export", &created])?.exits(0)?.stdout;
    environment.remove(&[&created])?;
    Ok(files)
}

/// Add files to a base, and build.
pub fn add(
    outer: &Instance,
    name: &str,
    base: &str,
    tag: &str,
    files: &[u8],
    with_tools: bool,
) -> Result<()> {
    let environment: &dyn Environment = outer;
    let context = environment.exchange().directory(&format!("{name}-context"))?;
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

/// What the engine adds to every container (moby's `daemon/initlayer`), and so to an export: `dev/console` too, as an empty file.
/// It mounts over them in the next one.
pub const ENGINES_OWN: [&str; 6] =
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

/// A base with a C library that is newer than that of the files, which are those of an older suite.
pub struct Newer {
    /// Archive of the base: a C library and one program that needs it, as their packages have them.
    pub base: PathBuf,
    /// Archive of our files.
    pub files: PathBuf,
}

/// The packages that the base is made of: the build of the default suite has fetched them.
const NEWER: &[&str] = &["libc6", "liblzma5", "xz-utils"];

impl Newer {
    /// Makes both.
    pub fn make() -> Result<Self> {
        let (directory, path) = sources::empty("embedded-newer")?;
        let files = format!("tar:{}", path("files.tar"));
        sources::from_scratch(&["build", "--suite", "trixie", "-o", &files])?.success()?;
        let lock = path("image.lock");
        sources::from_scratch(&["lock", "-o", &lock])?.success()?;
        let (lock, cache, root) = (fs::read_to_string(lock)?, product::cache()?, directory.join("root"));
        for package in NEWER {
            sources::unpack(&lock, package, &cache, &root)?;
        }
        // As the package base-files has them.
        for name in ["lib", "lib64"] {
            symlink(format!("usr/{name}"), root.join(name))?;
        }
        let base = directory.join("base.tar");
        let mut tar = Command::new("tar");
        tar.arg("--create").arg("--file").arg(&base).arg("--directory").arg(&root).arg(".");
        command::run(&mut tar, b"")?.success()?;
        Ok(Newer { base, files: directory.join("files.tar") })
    }
}

/// The version of a C library, which it tells when it is run: `2.41`.
pub fn c_library(environment: &dyn Environment, command: &[&str]) -> Result<(u32, u32)> {
    let said = environment.exec(command, b"")?.success()?;
    let version = said.split_once("release version ").and_then(|(_, rest)| rest.split_once('.'));
    let parsed = version.and_then(|(major, rest)| {
        let minor = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    parsed.with_context(|| format!("no version in: {said}"))
}
