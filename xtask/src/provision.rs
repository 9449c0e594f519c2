//! What the tests need from outside: programs of the distribution, a static busybox, a kernel, a base system.
//!
//! All but cargo's own tools comes through apt from the mirror that this machine is set up with. Downloaded things are kept in
//! `target/itest/`, where `itest::product` looks for them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::interrupt;
use crate::process::{self, command, find, output, target};

/// Something that a tier cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// A program and the package that has it.
    Program(&'static str, &'static str),
    /// A program that comes from crates.io, under the crate's name.
    Crate(&'static str),
    /// What all test images are made of.
    Busybox,
    /// A registry's server, with the libraries it needs.
    Registry,
    /// What serves git repositories by http, https and ssh, with its libraries.
    GitServer,
    /// Root file system of the distribution's own release.
    Bookworm,
    /// Bookworm with its Docker and podman.
    Engines,
    /// Validator of SPDX documents.
    Spdx,
    /// Kernel package, unpacked, with `modules.dep`.
    Kernel,
    /// What serves a directory to an emulated machine: virtiofsd.
    FileServer,
    /// Real root.
    Root,
    /// User namespaces for processes without privileges.
    UserNamespaces,
}

impl Need {
    /// Is it here already?
    pub(crate) fn met(self) -> bool {
        match self {
            Need::Program(name, _) => find(name).is_some(),
            Need::Crate(name) => {
                output(&mut command(&["cargo", name.trim_start_matches("cargo-"), "--version"])).is_ok()
            }
            Need::Busybox => busybox().is_file(),
            Need::Registry => registry().is_file(),
            Need::GitServer => kept("git-server/usr/bin/sshd").is_file(),
            Need::Bookworm => bookworm().is_file(),
            Need::Engines => kept("engines").join("complete").is_file(),
            Need::Kernel => kept("kernel").join("complete").is_file(),
            Need::FileServer => FILE_SERVERS.iter().any(|path| Path::new(path).is_file()),
            Need::Spdx => kept("spdx/bin/pyspdxtools").is_file(),
            Need::Root => process::is_root(),
            Need::UserNamespaces => command(&["unshare", "--user", "--map-root-user", "true"])
                .output()
                .is_ok_and(|output| output.status.success()),
        }
    }

    /// What it takes to make it.
    fn made_with(self) -> Option<Need> {
        match self {
            Need::Bookworm | Need::Engines => Some(Need::Program("debootstrap", "debootstrap")),
            Need::Kernel => Some(Need::Program("depmod", "kmod")),
            Need::Spdx => Some(Need::Program("python3", "python3-venv")),
            _ => None,
        }
    }

    /// In words, for the plan and for what is left out.
    pub(crate) fn told(self) -> String {
        match self {
            Need::Program(name, package) => format!("`{name}` (package {package})"),
            Need::Crate(name) => format!("`{name}` (crates.io)"),
            Need::Busybox => "a static busybox (package busybox-static, unpacked in target/)".to_owned(),
            Need::Registry => "a registry's server (package docker-registry, unpacked in target/)".to_owned(),
            Need::GitServer => "a git server (git, openssh-server, openssl, unpacked in target/)".to_owned(),
            Need::Bookworm => "a base system (debootstrap, into target/)".to_owned(),
            Need::Engines => {
                "bookworm's Docker and podman (debootstrap with docker.io and podman, into target/)"
                    .to_owned()
            }
            Need::Kernel => {
                "a cloud kernel (package linux-image-cloud-amd64, unpacked in target/)".to_owned()
            }
            Need::FileServer => "virtiofsd (package of that name, or qemu-system-common)".to_owned(),
            Need::Spdx => "a validator of SPDX documents (spdx-tools of PyPI, into target/)".to_owned(),
            Need::Root => "root".to_owned(),
            Need::UserNamespaces => "user namespaces".to_owned(),
        }
    }
}

/// Gets what can be got. Says what it will do before it does it; what cannot be had stays unmet, and the error tells why.
pub(crate) fn provide(needs: &[Need]) -> Vec<(Need, anyhow::Error)> {
    let mut missing: Vec<Need> = needs.iter().copied().filter(|need| !need.met()).collect();
    let tools: Vec<Need> = missing.iter().filter_map(|need| need.made_with()).collect();
    missing.extend(tools.into_iter().filter(|need| !need.met()));
    missing.sort_unstable();
    missing.dedup();
    missing.retain(|need| !matches!(need, Need::Root | Need::UserNamespaces));
    if missing.is_empty() {
        return Vec::new();
    }
    println!("missing here, to be fetched with apt or cargo:");
    for need in &missing {
        println!("  {}", need.told());
    }
    let mut failed = Vec::new();
    if missing.iter().any(|need| !matches!(need, Need::Crate(_)))
        && let Err(error) = package_lists()
    {
        failed.extend(missing.iter().map(|need| (*need, anyhow::anyhow!("{error:#}"))));
        return failed;
    }
    // Programs come first in the order of `Need`: debootstrap and depmod are among them.
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|need| if let Need::Program(_, package) = need { Some(*package) } else { None })
        .collect();
    let installed = if packages.is_empty() { Ok(()) } else { install(&packages) };
    let why = installed.err().map(|error| format!("{error:#}"));
    for need in missing {
        if interrupt::happened() {
            break;
        }
        let got = match need {
            Need::Program(..) => match &why {
                Some(why) if !need.met() => Err(anyhow::anyhow!("{why}")),
                _ => Ok(()),
            },
            Need::Crate(name) => {
                output(&mut command(&["cargo", "install", "--locked", "--quiet", name])).map(drop)
            }
            Need::Busybox => fetch_busybox(),
            Need::Registry => {
                fetch_programs("registry", "bin", &[("docker-registry", "usr/bin/docker-registry")], &[])
            }
            Need::GitServer => fetch_programs("git-server", "usr/bin", GIT_SERVER, &["libwrap0"]),
            Need::Bookworm => make_bookworm(),
            Need::Engines => make_engines(),
            Need::Kernel => fetch_kernel(),
            Need::FileServer => install_file_server(),
            Need::Spdx => fetch_spdx(),
            Need::Root | Need::UserNamespaces => Ok(()),
        };
        failed.extend(got.err().map(|error| (need, error)));
    }
    failed
}

/// A new machine has no package lists yet.
fn package_lists() -> Result<()> {
    ensure!(find("apt-get").is_some(), "no apt-get here");
    if output(command(&["apt-cache", "policy", "busybox-static"]).env("LC_ALL", "C"))?.contains("Candidate:")
    {
        return Ok(());
    }
    ensure!(process::is_root(), "apt's package lists are empty and `apt-get update` needs root");
    output(&mut command(&["apt-get", "update", "--quiet"])).map(drop)
}

fn install(packages: &[&str]) -> Result<()> {
    ensure!(process::is_root(), "installing needs root");
    let mut apt = command(&["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"]);
    output(apt.args(packages).env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

/// Qemu's own, or the one that came after it.
const FILE_SERVERS: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];

fn install_file_server() -> Result<()> {
    // Up to bookworm it is qemu's own.
    install(&["virtiofsd"]).or_else(|_| install(&["qemu-system-common"]))
}

fn kept(name: &str) -> PathBuf {
    target().join("itest").join(name)
}

pub(crate) fn busybox() -> PathBuf {
    kept("busybox/bin/busybox")
}

pub(crate) fn registry() -> PathBuf {
    kept("registry/bin/docker-registry")
}

fn bookworm() -> PathBuf {
    kept("bookworm.tar")
}

/// Downloads a package and unpacks it, without installing: busybox-static would replace the machine's own busybox.
fn unpack(package: &str, name: &str) -> Result<PathBuf> {
    let directory = kept(name);
    let downloads = kept(&format!("{name}.download"));
    for stale in [&directory, &downloads] {
        if stale.exists() {
            fs::remove_dir_all(stale)?;
        }
        fs::create_dir_all(stale)?;
    }
    // As root apt drops to `_apt` for downloads and complains when that user cannot write here; the result is the same.
    output(command(&["apt-get", "download", "--quiet", package]).current_dir(&downloads))?;
    let archive = fs::read_dir(&downloads)?.next().context("apt-get downloaded nothing")??.path();
    output(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(&directory))?;
    fs::remove_dir_all(&downloads)?;
    Ok(directory)
}

fn fetch_busybox() -> Result<()> {
    let directory = unpack("busybox-static", "busybox")?;
    // Newer releases have it in /usr/bin.
    let merged = directory.join("usr/bin/busybox");
    if merged.is_file() {
        fs::create_dir_all(directory.join("bin"))?;
        fs::rename(merged, busybox())?;
    }
    ensure!(busybox().is_file(), "package busybox-static has no busybox");
    Ok(())
}

/// Packages, and the programs of theirs that serve git repositories.
const GIT_SERVER: &[(&str, &str)] = &[
    ("openssl", "usr/bin/openssl"),
    ("git", "usr/bin/git"),
    ("git", "usr/lib/git-core/git-http-backend"),
    ("openssh-server", "usr/sbin/sshd"),
];

/// Programs of packages with the libraries that this machine or some more packages have for them, to be part of the root file
/// system of an image.
fn fetch_programs(
    name: &str,
    directory: &str,
    programs: &[(&str, &str)],
    libraries_of: &[&str],
) -> Result<()> {
    let part = kept(&format!("{name}.part"));
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    let unpacked = |package: &str| unpack(package, &format!("{name}.{package}"));
    let mut more = Vec::new();
    for package in libraries_of {
        more.push(unpacked(package)?);
    }
    let triplet = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let places: Vec<String> = more.iter().map(|root| root.join(&triplet).display().to_string()).collect();
    for (package, path) in programs {
        let root = unpacked(package)?;
        let program =
            part.join(directory).join(Path::new(path).file_name().context("a program without a name")?);
        copy(&root.join(path), &program)?;
        let ldd = output(Command::new("ldd").arg(&program).env("LD_LIBRARY_PATH", places.join(":")))?;
        ensure!(!ldd.contains("not found"), "libraries of {path} are missing: {ldd}");
        for library in libraries(&ldd).map(Path::new) {
            let own = more.iter().find_map(|root| library.strip_prefix(root).ok());
            copy(library, &part.join(own.unwrap_or(library.strip_prefix("/")?)))?;
        }
        fs::remove_dir_all(root)?;
    }
    more.into_iter().try_for_each(fs::remove_dir_all)?;
    fs::rename(part, kept(name)).map_err(Into::into)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a path without a directory")?)?;
    fs::copy(from, to).with_context(|| format!("copying `{}`", from.display())).map(drop)
}

/// The files that `ldd` names: `libc.so.6 => /lib/…/libc.so.6 (0x…)`, and the loader without an arrow.
fn libraries(ldd: &str) -> impl Iterator<Item = &str> {
    ldd.split_whitespace().filter(|word| word.starts_with('/'))
}

fn fetch_kernel() -> Result<()> {
    let mut depends = command(&["apt-cache", "depends", "--important", "linux-image-cloud-amd64"]);
    let depends = output(depends.env("LC_ALL", "C"))?;
    let package = depends
        .lines()
        .find_map(|line| {
            line.trim().strip_prefix("Depends: ").filter(|name| name.starts_with("linux-image-"))
        })
        .context("linux-image-cloud-amd64 depends on no kernel")?;
    let directory = unpack(package, "kernel")?;
    let version = package.trim_start_matches("linux-image-");
    // Kernel packages carry no modules.dep: their install script makes it.
    let depmod = find("depmod").context("no depmod")?;
    output(Command::new(depmod).arg("--basedir").arg(&directory).arg(version))?;
    fs::write(directory.join("complete"), version)?;
    Ok(())
}

fn fetch_spdx() -> Result<()> {
    let directory = kept("spdx");
    output(command(&["python3", "-m", "venv", "--clear"]).arg(&directory))?;
    let pip = directory.join("bin/pip");
    output(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", "spdx-tools==0.8.5"]))
        .map(drop)
}

fn make_bookworm() -> Result<()> {
    ensure!(process::is_root(), "debootstrap needs root");
    let directory = kept("bookworm");
    let made = debootstrap(&own_release()?, &[], &directory).and_then(|()| pack(&directory));
    // Thousands of files are worth nothing once they are packed, or when something went wrong.
    fs::remove_dir_all(&directory)?;
    made
}

/// In which Docker 20.10 and podman 4.3 are, to nest in. It stays unpacked: an instance lays an overlay over it.
fn make_engines() -> Result<()> {
    ensure!(process::is_root(), "debootstrap needs root");
    let directory = kept("engines");
    let (_, mirror) = own_release()?;
    let packages =
        ["docker.io", "podman", "iptables", "netavark", "aardvark-dns", "crun", "ca-certificates", "kmod"];
    debootstrap(&("bookworm".to_owned(), mirror), &packages, &directory.join("root"))?;
    for downloads in ["var/cache/apt", "var/lib/apt/lists"] {
        fs::remove_dir_all(directory.join("root").join(downloads))?;
    }
    Ok(fs::write(directory.join("complete"), "")?)
}

/// It starts no service of what it installs.
fn debootstrap((codename, mirror): &(String, String), packages: &[&str], directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    let mut debootstrap = Command::new(find("debootstrap").context("no debootstrap")?);
    debootstrap.arg("--variant=minbase");
    if !packages.is_empty() {
        debootstrap.arg(format!("--include={}", packages.join(",")));
    }
    output(debootstrap.arg(codename).arg(directory).arg(mirror)).map(drop)
}

/// Packed under another name first: a half-written tar must not be taken for a whole one.
fn pack(directory: &Path) -> Result<()> {
    let part = kept("bookworm.tar.part");
    let lists = ["--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*"];
    output(
        Command::new("tar")
            .args(lists)
            .arg("--create")
            .arg("--file")
            .arg(&part)
            .arg("--directory")
            .arg(directory)
            .arg("."),
    )?;
    fs::rename(part, bookworm()).map_err(Into::into)
}

/// Codename and mirror of this machine's release, as apt is set up; apt parses its own configuration best.
pub(crate) fn own_release() -> Result<(String, String)> {
    let format = [
        "apt-get",
        "indextargets",
        "--format",
        "$(ORIGIN)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)",
        "Identifier: Packages",
    ];
    let targets = output(&mut command(&format))?;
    let release = fs::read_to_string("/etc/os-release")?;
    let own =
        release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).context("no release name")?;
    for line in targets.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        if let ["Debian", "main", codename, mirror] = fields[..]
            && codename == own.trim_matches('"')
        {
            return Ok((codename.to_owned(), mirror.to_owned()));
        }
    }
    bail!("apt has no Debian source for {own}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_names_files_with_and_without_an_arrow() {
        let ldd =
            "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(libraries(ldd).collect::<Vec<_>>(), ["/lib/x/libc.so.6", "/lib64/ld.so.2"]);
    }
}
