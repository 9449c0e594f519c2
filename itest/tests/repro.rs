//! The `repro_` tier: who builds, where and when must not show in the bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use itest::accepted;
use itest::command;
use itest::need::Need;
use itest::product;
use itest::sources;
use itest::suite::{Suite, told};
use itest::unpacked;
use tempfile::TempDir;

/// Any user that is not root: nothing is installed, so no account is needed.
const SOMEBODY: u32 = 65534;

fn main() -> ExitCode {
    Suite::new("repro", &[])
        .test("repro_tar", &[], || compare("image.tar"))
        .test("repro_docker", &[], || compare("docker.tar"))
        .test("repro_oci", &[], || compare("oci"))
        .test("repro_initramfs", &[], || compare("initramfs"))
        .test("repro_sbom", &[], || compare("sbom.json"))
        .test("repro_dir", &[], compare_roots)
        .long("repro_gzip", &[], compare_gzip)
        .long("repro_lock", &[], || {
            built().and_then(|(one, _)| sources::lock(&one.join("image.tar"), &one.join("cache")))
        })
        .long("repro_engine_tarball", &[Need::Program("dpkg-deb")], || {
            built().and_then(|(one, _)| sources::tarball(&one.join("cache")))
        })
        .long("repro_index", &[], sources::index)
        .long("repro_arm64", &[Need::Program("qemu-aarch64")], || sources::ARM64.image())
        .long("repro_armhf", &[Need::Program("qemu-arm")], || sources::ARMHF.image())
        .long("repro_riscv64", &[Need::Program("qemu-riscv64")], || sources::RISCV64.image())
        .long("repro_accepted::by_skopeo", &[Need::Program("skopeo")], accepted::skopeo)
        .long("repro_accepted::by_umoci", &[Need::Root, Need::Program("umoci")], accepted::umoci)
        .longest("repro_accepted::by_spdx_tools", &[Need::Spdx], accepted::spdx)
        .long("repro_embedded::over_a_base", &[Need::Root, Need::Bookworm], || {
            accepted::tar_over(&product::bookworm())
        })
        .run(|| {
            drop(BUILT.get().map(|built| built.lock().unwrap_or_else(PoisonError::into_inner).take()));
            Ok(())
        })
}

type Pair = (TempDir, TempDir);
static BUILT: OnceLock<Mutex<Option<Result<Pair, String>>>> = OnceLock::new();

/// Both builds, made once for all outputs.
fn built() -> Result<(PathBuf, PathBuf)> {
    let built = BUILT.get_or_init(|| Mutex::new(Some(build_both().map_err(|error| told(&error)))));
    match &*built.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(Ok((one, other))) => Ok((one.path().into(), other.path().into())),
        Some(Err(error)) => bail!("{error}"),
        None => bail!("the builds are gone"),
    }
}

fn build_both() -> Result<Pair> {
    // Not below target/: the second builder is somebody who may not look into a home directory.
    let (one, other) = (TempDir::with_prefix("repro-")?, TempDir::with_prefix("repro-")?);
    build(one.path(), &Builder::here(), "zstd:3", OUTPUTS)?;
    build(other.path(), &Builder::elsewhere(), "zstd:3", OUTPUTS)?;
    Ok((one, other))
}

const OUTPUTS: &[(&str, &str)] = &[
    ("tar", "image.tar"),
    ("docker", "docker.tar"),
    ("oci", "oci"),
    ("initramfs", "initramfs"),
    ("sbom", "sbom.json"),
    ("dir", "root"),
];

/// Who builds, where, and how that is asked for.
struct Builder {
    umask: &'static str,
    zone: &'static str,
    locale: &'static str,
    from: PathBuf,
    user: Option<u32>,
    /// The same options, the last one first.
    backwards: bool,
}

impl Builder {
    fn here() -> Self {
        let from = product::workspace();
        Builder { umask: "022", zone: "UTC", locale: "C", from, user: None, backwards: false }
    }

    fn elsewhere() -> Self {
        let user = rustix::process::geteuid().is_root().then_some(SOMEBODY);
        let (umask, zone, locale) = ("077", "Pacific/Kiritimati", "C.UTF-8");
        Builder { umask, zone, locale, from: PathBuf::from("/"), user, backwards: true }
    }
}

/// One build with all outputs, a cache of its own and nothing in its environment but what is said here.
fn build(to: &Path, builder: &Builder, compression: &str, outputs: &[(&str, &str)]) -> Result<()> {
    let program = to.join("from-scratch");
    fs::copy(product::from_scratch()?, &program)?;
    fs::set_permissions(to, PermissionsExt::from_mode(0o755))?;
    chown(to, builder.user, builder.user)?;
    let place = |name: &str| to.join(name).display().to_string();
    let output = |(kind, name): &(&str, &str)| ["-o".to_owned(), format!("{kind}:{}", place(name))];
    let mut options: Vec<[String; 2]> = outputs.iter().map(output).collect();
    options.push(["--compression".to_owned(), compression.to_owned()]);
    options.push(["--cache-dir".to_owned(), place("cache")]);
    // Which the image has without being asked.
    options.extend(["xz", "git"].map(|name| ["--with".to_owned(), name.to_owned()]));
    if builder.backwards {
        options.reverse();
    }
    // Setting the umask of another process takes a shell.
    let mut build = Command::new("sh");
    build.args(["-c", "umask \"$0\" && exec \"$@\"", builder.umask]).arg(program).arg("build");
    build.args(options.concat()).current_dir(&builder.from);
    build.env_clear().env("PATH", "/usr/bin:/bin").env("TZ", builder.zone).env("LC_ALL", builder.locale);
    build.env("HOME", to);
    for proxy in ["http_proxy", "https_proxy", "no_proxy"] {
        build.envs(std::env::var_os(proxy).map(|value| (proxy, value)));
    }
    if let Some(user) = builder.user {
        build.uid(user).gid(user);
    }
    command::run_within(&mut build, b"", Duration::from_secs(900))?.success().map(drop)
}

/// As most users build: the others are compressed in another way.
fn compare_gzip() -> Result<()> {
    let (one, other) = built()?;
    for (to, builder) in [(one, Builder::here()), (other, Builder::elsewhere())] {
        build(&to, &builder, "gzip:6", &[("oci", "gzip")])?;
    }
    compare("gzip")
}

/// Who is not root owns what is unpacked; all else is the same.
fn compare_roots() -> Result<()> {
    let (one, other) = built()?;
    let nodes = |root: PathBuf| -> Result<unpacked::Nodes> {
        let mut nodes = unpacked::nodes(&root.join("root"))?;
        for node in nodes.values_mut() {
            let mut fields: Vec<&str> = node.splitn(4, ' ').collect();
            fields.remove(2);
            *node = fields.join(" ");
        }
        Ok(nodes)
    };
    unpacked::same(&nodes(one)?, &nodes(other)?)
}

fn compare(name: &str) -> Result<()> {
    let (one, other) = built()?;
    let (one, other) = (files(&one.join(name))?, files(&other.join(name))?);
    let (names, others): (Vec<_>, Vec<_>) = (one.keys().collect(), other.keys().collect());
    ensure!(names == others, "different files in `{name}`: {names:?} and {others:?}");
    for (file, bytes) in &one {
        if *bytes != other[file] {
            bail!("`{name}` differs in `{}`: {}", file.display(), first_difference(bytes, &other[file])?);
        }
    }
    Ok(())
}

/// A file as it is, or all files of a directory.
fn files(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        } else {
            let bytes = fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
            found.insert(path.strip_prefix(root)?.to_path_buf(), bytes);
        }
    }
    ensure!(!found.is_empty(), "`{}` is empty", root.display());
    Ok(found)
}

/// In a tar the first entry that differs, which is what one wants to know; in other files the offset.
fn first_difference(one: &[u8], other: &[u8]) -> Result<String> {
    let mut left = tar::Archive::new(one);
    let mut right = tar::Archive::new(other);
    for (a, b) in left.entries()?.zip(right.entries()?) {
        let (Ok(mut a), Ok(mut b)) = (a, b) else { break };
        let (path_a, path_b) = (a.path()?.into_owned(), b.path()?.into_owned());
        if path_a != path_b {
            return Ok(format!("entry `{}` where the other has `{}`", path_a.display(), path_b.display()));
        }
        if a.header().as_bytes() != b.header().as_bytes() {
            return Ok(format!("entry `{}`: {:?} and {:?}", path_a.display(), a.header(), b.header()));
        }
        let (mut content_a, mut content_b) = (Vec::new(), Vec::new());
        a.read_to_end(&mut content_a)?;
        b.read_to_end(&mut content_b)?;
        if content_a != content_b {
            return Ok(format!("the content of entry `{}`", path_a.display()));
        }
    }
    let offset = one.iter().zip(other).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
    Ok(format!("from byte {offset} on ({} and {} bytes)", one.len(), other.len()))
}
