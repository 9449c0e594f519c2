//! Images out of other sources than today's packages for this machine: a lockfile, a tarball, another architecture.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::build::scratch;
use crate::{command, image, product};

const DEADLINE: Duration = Duration::from_secs(900);

/// Programs of a static release, where the packages have them.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("docker.io", "usr/sbin/dockerd", "dockerd"),
    ("docker.io", "usr/sbin/docker-proxy", "docker-proxy"),
    ("docker-cli", "usr/bin/docker", "docker"),
    ("containerd", "usr/bin/containerd", "containerd"),
    ("containerd", "usr/bin/containerd-shim-runc-v2", "containerd-shim-runc-v2"),
    ("runc", "usr/sbin/runc", "runc"),
    ("tini-static", "usr/bin/tini-static", "docker-init"),
];

pub(crate) fn from_scratch(args: &[&str]) -> Result<command::Outcome> {
    command::run_within(Command::new(product::from_scratch()?).args(args), b"", DEADLINE)
}

fn bin(root: &Path, program: &str) -> PathBuf {
    root.join("usr/lib/dockerlaunch/bin").join(program)
}

/// An empty directory, and its path as text.
pub(crate) fn empty(purpose: &str) -> Result<(PathBuf, impl Fn(&str) -> String)> {
    let directory = scratch(purpose)?;
    fs::remove_dir_all(&directory)?;
    fs::create_dir_all(&directory)?;
    let base = directory.clone();
    Ok((directory, move |name: &str| base.join(name).display().to_string()))
}

/// A lock made now makes the same image as no lock has made, and needs no renewal.
pub fn lock(plain: &Path, cache: &Path) -> Result<()> {
    let (directory, path) = empty("lock")?;
    let (lock, cache) = (path("image.lock"), cache.display().to_string());
    from_scratch(&["lock", "--cache-dir", &cache, "-o", &lock])?.success()?;
    let output = format!("tar:{}", path("locked"));
    let build = ["build", "--cache-dir", &cache, "--locked", &lock, "-o", &output];
    from_scratch(&build)?.success()?;
    ensure!(fs::read(plain)? == fs::read(directory.join("locked"))?, "the lock makes another image");
    let renewed = from_scratch(&["lock", "--cache-dir", &cache, "--update", "-o", &lock])?.exits(0)?;
    ensure!(renewed.text().is_empty(), "changes where there are none: {}", renewed.text());
    let other = from_scratch(&[build.as_slice(), &["--without", "xz"]].concat())?.exits(1)?;
    ensure!(other.stderr.contains("the lockfile is for the components"), "{}", other.stderr);
    Ok(())
}

/// The files of a package that a lock names, out of the cache of the build that it is of.
pub(crate) fn unpack(lock: &str, package: &str, cache: &Path, to: &Path) -> Result<()> {
    let stanza = lock.split("[[image.package]]").find(|s| s.contains(&format!("name = \"{package}\"")));
    let stanza = stanza.with_context(|| format!("no {package} in the lock"))?;
    let digest = stanza.split("sha256 = \"").nth(1).and_then(|rest| rest.get(..64)).context("a digest")?;
    fs::create_dir_all(to)?;
    let deb = cache.join("blobs/sha256").join(digest);
    command::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(to), b"")?.success().map(drop)
}

/// A tarball of the packages' own programs makes the packages' image: those in it are adapted as those in packages are.
pub fn tarball(cache: &Path) -> Result<()> {
    let (directory, path) = empty("tarball")?;
    let cache_dir = cache.display().to_string();
    let packaged = format!("dir:{}", path("packaged"));
    from_scratch(&["build", "--cache-dir", &cache_dir, "-o", &packaged])?.success()?;
    let lock = path("image.lock");
    from_scratch(&["lock", "--cache-dir", &cache_dir, "-o", &lock])?.success()?;
    let text = fs::read_to_string(&lock)?;
    fs::create_dir_all(directory.join("docker"))?;
    for (package, from, to) in PROGRAMS {
        let unpacked = directory.join("unpacked").join(package);
        unpack(&text, package, cache, &unpacked)?;
        fs::copy(unpacked.join(from), directory.join("docker").join(to))?;
    }
    let pack = |file: &str, without: &[&str]| -> Result<(String, String)> {
        let mut tar = Command::new("tar");
        tar.current_dir(&directory).args(without).args(["-czf", file, "docker"]);
        command::run(&mut tar, b"")?.success()?;
        Ok((path(file), image::sha256(&fs::read(directory.join(file))?)))
    };
    let (engine, digest) = pack("engine.tgz", &[])?;
    let output = format!("dir:{}", path("upstream"));
    let build = |engine: &str, digest: &str| {
        let options = ["--engine", engine, "--engine-sha256", digest, "-o", &output];
        from_scratch(&[&["build", "--cache-dir", &cache_dir], options.as_slice()].concat())
    };
    build(&engine, &digest)?.success()?;
    for (_, _, program) in PROGRAMS {
        let of = |root: &str| fs::read(bin(&directory.join(root), program));
        ensure!(of("packaged")? == of("upstream")?, "{program} is another one");
    }
    fs::remove_dir_all(directory.join("upstream"))?;
    let (lacking, digest_of_lacking) = pack("lacking.tgz", &["--exclude=dockerd"])?;
    for (engine, digest, expected) in [
        (&lacking, &digest_of_lacking, "has no `docker/dockerd`"),
        (&engine, &digest_of_lacking, "is not the one that was asked for"),
    ] {
        let refused = build(engine, digest)?.exits(1)?;
        ensure!(refused.stderr.contains(expected), "{}", refused.stderr);
        ensure!(!directory.join("upstream").exists(), "something was written");
    }
    Ok(())
}

/// An architecture that this machine is not.
pub struct Foreign {
    name: &'static str,
    qemu: &'static str,
    machine: u16,
    flags: u32,
    bits: u8,
}

/// 64-bit ARM.
pub const ARM64: Foreign = Foreign { name: "arm64", qemu: "qemu-aarch64", machine: 183, flags: 0, bits: 64 };
/// 32-bit ARM.
pub const ARMHF: Foreign =
    Foreign { name: "armhf", qemu: "qemu-arm", machine: 40, flags: 0x0500_0400, bits: 32 };
/// 64-bit RISC-V.
pub const RISCV64: Foreign =
    Foreign { name: "riscv64", qemu: "qemu-riscv64", machine: 243, flags: 5, bits: 64 };

impl Foreign {
    /// An image made here; its programs run under qemu.
    pub fn image(&self) -> Result<()> {
        let (directory, path) = empty(self.name)?;
        let launcher = path("launcher");
        fs::write(&launcher, self.empty_executable())?;
        let output = format!("dir:{}", path("root"));
        from_scratch(&["build", "--arch", self.name, "--launcher", &launcher, "-o", &output])?.success()?;
        let root = directory.join("root");
        for (program, expected) in [
            ("dockerd", "Docker version"),
            ("docker", "Docker version"),
            ("containerd", "containerd "),
            ("runc", "runc version"),
        ] {
            let mut emulated = Command::new(self.qemu);
            emulated.arg("-L").arg(&root).arg(bin(&root, program)).arg("--version");
            let version = command::run(&mut emulated, b"")?.success()?;
            ensure!(version.contains(expected), "{program} says `{version}`");
        }
        Ok(())
    }

    /// A static executable in the launcher's place, which holds nothing: none can be compiled on every machine that tests.
    fn empty_executable(&self) -> Vec<u8> {
        const ADDRESS: u32 = 0x40_0000;
        let wide = self.bits == 64;
        let word = |value: u32| {
            let bytes = u64::from(value).to_le_bytes();
            if wide { bytes.to_vec() } else { bytes[..4].to_vec() }
        };
        let (header, segment) = if wide { (64u16, 56u16) } else { (52, 32) };
        let length = u32::from(header + segment);
        let mut elf = b"\x7fELF".to_vec();
        elf.extend([if wide { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        elf.extend([2, self.machine].iter().flat_map(|value: &u16| value.to_le_bytes()));
        elf.extend(1u32.to_le_bytes());
        for value in [ADDRESS, header.into(), 0] {
            elf.extend(word(value));
        }
        elf.extend(self.flags.to_le_bytes());
        elf.extend([header, segment, 1, 0, 0, 0].iter().flat_map(|value| value.to_le_bytes()));
        // One segment, loaded; the flags stand second in the larger class and last but one in the smaller.
        elf.extend(1u32.to_le_bytes());
        if wide {
            elf.extend(5u32.to_le_bytes());
        }
        for value in [0, ADDRESS, ADDRESS, length, length] {
            elf.extend(word(value));
        }
        if !wide {
            elf.extend(5u32.to_le_bytes());
        }
        elf.extend(word(0x1000));
        elf
    }
}

/// Images for two architectures under one name, in one layout.
pub fn index() -> Result<()> {
    let (directory, path) = empty("index")?;
    let launcher = path("launcher");
    fs::write(&launcher, ARM64.empty_executable())?;
    let of_arm64 = format!("arm64={launcher}");
    let layout = format!("oci:{}", path("oci"));
    let both = ["build", "--arch", "amd64,arm64", "--launcher", &of_arm64, "--compression", "zstd:1", "-o"];
    // The second one replaces the first one.
    for _ in 0..2 {
        from_scratch(&[both.as_slice(), &[&layout]].concat())?.success()?;
    }
    let read = |file: PathBuf| -> Result<serde_json::Value> { Ok(serde_json::from_slice(&fs::read(file)?)?) };
    let named = read(directory.join("oci/index.json"))?;
    let digest = named["manifests"][0]["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    let all = read(directory.join("oci/blobs/sha256").join(digest.context("an index of both")?))?;
    let architectures: Vec<_> =
        (0..2).map(|number| all["manifests"][number]["platform"]["architecture"].clone()).collect();
    ensure!(architectures == ["amd64", "arm64"], "{all}");
    let refused = from_scratch(&[both.as_slice(), &[&format!("tar:{}", path("tar"))]].concat())?.exits(1)?;
    ensure!(refused.stderr.contains("holds the image of one architecture"), "{}", refused.stderr);
    Ok(())
}
