//! What a build is asked to do.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Digest;
use crate::lock::Lock;
use crate::name::ImageName;
use crate::preload::Preload;
use crate::source::AptSettings;
use crate::spec::Spec;
use crate::spec_file::ExtraFile;
use crate::tree::Tree;
use crate::upstream::Engine;

/// Everything that decides what a build makes. Two equal requests over the same packages make the same bytes.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Distribution suite, by codename or by alias (`forky`, `testing`).
    pub suite: String,
    /// Architecture of the image.
    pub arch: Arch,
    /// Name of the profile in `image/profiles.toml`.
    pub profile: String,
    /// Components added to the profile.
    pub with: Vec<String>,
    /// Components taken from the profile.
    pub without: Vec<String>,
    /// These components alone, in place of a profile; the one way to get a host-side component such as `passt`.
    pub only: Option<Vec<String>>,
    /// Exactly these packages, in place of the newest.
    pub lock: Option<Lock>,
    /// The engine and its client out of a tarball, in place of the distribution's.
    pub engine: Option<Engine>,
    /// Base URL of the archive, in place of what apt is configured with.
    pub mirror: Option<String>,
    /// Base URL of the security archive; without it, apt's, or the mirror's sibling `…-security`.
    pub security_mirror: Option<String>,
    /// OpenPGP keys that the archive may be signed with, in place of the distribution's keyring on this host.
    pub keyring: Option<PathBuf>,
    /// Accept a Release file whose Valid-Until has passed, with a warning.
    pub allow_expired: bool,
    /// Use the cache alone.
    pub offline: bool,
    /// How long a mirror may send nothing, or not be reached, before that counts as a broken connection.
    pub patience: Duration,
    /// Where downloads are kept; without it `$XDG_CACHE_HOME/from-scratch` or `~/.cache/from-scratch`.
    pub cache_dir: Option<PathBuf>,
    /// The static launcher, as bytes.
    pub launcher: Arc<[u8]>,
    /// How layers and the initramfs are compressed.
    pub compression: Compression,
    /// Name that `oci:` and `docker:` outputs carry.
    pub tag: ImageName,
    /// What to write, in this order.
    pub outputs: Vec<Output>,
    /// Archives of images that the launcher loads at the first start.
    pub preload: Vec<Preload>,
    /// Files of the user, in the image at their own places.
    pub extra: Vec<ExtraFile>,
    /// Environment variables besides ours, or in place of ours.
    pub env: BTreeMap<String, String>,
    /// Labels besides ours, or in place of ours.
    pub labels: BTreeMap<String, String>,
    /// Added to `initramfs:` outputs only: kernel modules, for one.
    pub initramfs_extra: Option<Tree>,
    /// Time stamp of every file and of the image, in seconds since 1970; `SOURCE_DATE_EPOCH` by custom.
    pub epoch: u64,
    /// apt's settings; without it they are read from the host.
    pub apt: Option<AptSettings>,
}

impl BuildRequest {
    /// The request of `from-scratch build` without options: this host's architecture, suite forky, profile default.
    #[must_use]
    pub fn new(launcher: impl Into<Arc<[u8]>>) -> Self {
        Self {
            suite: "forky".to_owned(),
            arch: Arch::HOST,
            profile: "default".to_owned(),
            with: Vec::new(),
            without: Vec::new(),
            only: None,
            lock: None,
            engine: None,
            mirror: None,
            security_mirror: None,
            keyring: None,
            allow_expired: false,
            offline: false,
            patience: Duration::from_secs(30),
            cache_dir: None,
            launcher: launcher.into(),
            compression: Compression::default(),
            tag: ImageName::default(),
            outputs: Vec::new(),
            preload: Vec::new(),
            extra: Vec::new(),
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            initramfs_extra: None,
            epoch: 0,
            apt: None,
        }
    }

    /// Names what is asked for, without what the archive happens to hold today: an image made for an equal fingerprint
    /// may be used again, for as long as newer packages are not wanted.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let sources = (&self.suite, self.arch, &self.mirror, &self.security_mirror, &self.keyring);
        let preload: Vec<_> = self.preload.iter().map(|p| (&p.name, p.content.digest())).collect();
        let choice = (&self.profile, &self.with, &self.without, &self.only, preload);
        let extra: Vec<_> = self.extra.iter().map(|e| (&e.to, e.mode, e.content.digest())).collect();
        let own = (extra, &self.env, &self.labels, self.lock.as_ref().map(Lock::digest), &self.engine);
        let choice = (choice, own);
        let launcher = Digest::of(&self.launcher);
        let version = env!("CARGO_PKG_VERSION");
        Digest::of(
            format!("{version} {} {launcher} {} {sources:?} {choice:?}", Spec::digest(), self.epoch)
                .as_bytes(),
        )
    }
}

/// An architecture that images can be built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
    /// 32-bit ARM, version 7 with hardware floating point.
    Armhf,
    /// 64-bit RISC-V.
    Riscv64,
}

impl Arch {
    /// The architecture this program was compiled for.
    pub const HOST: Self = if cfg!(target_arch = "aarch64") {
        Self::Arm64
    } else if cfg!(target_arch = "arm") {
        Self::Armhf
    } else if cfg!(target_arch = "riscv64") {
        Self::Riscv64
    } else {
        Self::Amd64
    };

    /// Debian's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::Armhf => "armhf",
            Self::Riscv64 => "riscv64",
        }
    }

    pub(crate) fn oci(self) -> oci_spec::image::Arch {
        match self {
            Self::Amd64 => oci_spec::image::Arch::Amd64,
            Self::Arm64 => oci_spec::image::Arch::ARM64,
            Self::Armhf => oci_spec::image::Arch::ARM,
            Self::Riscv64 => oci_spec::image::Arch::RISCV64,
        }
    }

    /// What OCI says besides of an architecture that has several.
    pub(crate) fn variant(self) -> Option<&'static str> {
        (self == Self::Armhf).then_some("v7")
    }

    pub(crate) fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => object::elf::EM_X86_64,
            Self::Arm64 => object::elf::EM_AARCH64,
            Self::Armhf => object::elf::EM_ARM,
            Self::Riscv64 => object::elf::EM_RISCV,
        }
    }
}

/// An option's value cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{value}`: expected {expected}")]
pub struct ParseOptionError {
    pub(crate) what: &'static str,
    pub(crate) value: String,
    pub(crate) expected: &'static str,
}

impl FromStr for Arch {
    type Err = ParseOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "amd64" | "x86_64" => Ok(Self::Amd64),
            "arm64" | "aarch64" => Ok(Self::Arm64),
            "armhf" | "armv7l" => Ok(Self::Armhf),
            "riscv64" => Ok(Self::Riscv64),
            _ => Err(ParseOptionError {
                what: "unknown architecture",
                value: text.to_owned(),
                expected: "amd64, arm64, armhf or riscv64",
            }),
        }
    }
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, levels 1 to 9: what every registry and engine reads.
    Gzip(u8),
    /// Zstandard, levels 1 to 22: smaller and much faster, read by Docker 23 and later.
    Zstd(u8),
}

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip(6)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip(level) => write!(f, "gzip:{level}"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

impl FromStr for Compression {
    type Err = ParseOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseOptionError {
            what: "unknown compression",
            value: text.to_owned(),
            expected: "none, gzip:1 to gzip:9, or zstd:1 to zstd:22",
        };
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse::<u8>().map_err(|_| bad())?)),
            None => (text, None),
        };
        match (name, level) {
            ("none", None) => Ok(Self::None),
            ("gzip", level @ (None | Some(1..=9))) => Ok(Self::Gzip(level.unwrap_or(6))),
            ("zstd", level @ (None | Some(1..=22))) => Ok(Self::Zstd(level.unwrap_or(3))),
            _ => Err(bad()),
        }
    }
}

/// Something to write, as `KIND:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// An OCI image layout in a directory.
    Oci(PathBuf),
    /// An archive for `docker load`.
    Docker(PathBuf),
    /// A tar of the private directory and the public names, to be added to any base image.
    Tar(PathBuf),
    /// A cpio archive that a kernel boots.
    Initramfs(PathBuf),
    /// The unpacked root file system.
    Dir(PathBuf),
    /// The bill of materials, as SPDX 2.3 in JSON.
    Sbom(PathBuf),
}

impl Output {
    /// The part before the colon.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Oci(_) => "oci",
            Self::Docker(_) => "docker",
            Self::Tar(_) => "tar",
            Self::Initramfs(_) => "initramfs",
            Self::Dir(_) => "dir",
            Self::Sbom(_) => "sbom",
        }
    }

    /// The part after the colon.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::Oci(path)
            | Self::Docker(path)
            | Self::Tar(path)
            | Self::Initramfs(path)
            | Self::Dir(path)
            | Self::Sbom(path) => path,
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.path().display())
    }
}

impl FromStr for Output {
    type Err = ParseOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseOptionError {
            what: "unknown output",
            value: text.to_owned(),
            expected: "oci:DIR, docker:FILE, tar:FILE, initramfs:FILE, dir:DIR or sbom:FILE",
        };
        let (kind, path) = text.split_once(':').ok_or_else(bad)?;
        if path.is_empty() {
            return Err(bad());
        }
        if path == "-" {
            let expected = "the path of a file or directory; standard output has the report";
            return Err(ParseOptionError { what: "unknown output", value: text.to_owned(), expected });
        }
        let path = PathBuf::from(path);
        match kind {
            "oci" => Ok(Self::Oci(path)),
            "docker" => Ok(Self::Docker(path)),
            "tar" => Ok(Self::Tar(path)),
            "initramfs" => Ok(Self::Initramfs(path)),
            "dir" => Ok(Self::Dir(path)),
            "sbom" => Ok(Self::Sbom(path)),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_kind_and_path() {
        assert_eq!("oci:a:b".parse(), Ok(Output::Oci(PathBuf::from("a:b"))));
        assert_eq!("dir:/x".parse::<Output>().unwrap().to_string(), "dir:/x");
        for bad in ["", "oci", "oci:", "zip:x", ":x"] {
            assert!(bad.parse::<Output>().is_err(), "{bad}");
        }
    }

    fn contents() -> crate::Contents {
        crate::Contents {
            suite: "forky".to_owned(),
            architecture: "amd64",
            components: vec![],
            packages: vec![],
            opened: vec![],
            engine: None,
            tree_digest: Digest::of(b""),
            entries: vec![],
        }
    }

    #[test]
    fn a_fingerprint_names_what_is_asked_for() {
        let request = BuildRequest::new(Vec::new());
        let same = BuildRequest { outputs: vec![Output::Dir("x".into())], ..request.clone() };
        assert_eq!(request.fingerprint(), same.fingerprint(), "where it goes does not matter");
        for other in [
            BuildRequest { suite: "trixie".to_owned(), ..request.clone() },
            BuildRequest { without: vec!["cli".to_owned()], ..request.clone() },
            BuildRequest { lock: Lock::of(&[contents()]), ..request.clone() },
            BuildRequest { launcher: [1].into(), ..request.clone() },
        ] {
            assert_ne!(request.fingerprint(), other.fingerprint());
        }
    }

    #[test]
    fn compressions_have_levels() {
        assert_eq!("gzip".parse(), Ok(Compression::Gzip(6)));
        assert_eq!("zstd:19".parse(), Ok(Compression::Zstd(19)));
        assert_eq!("none".parse(), Ok(Compression::None));
        for bad in ["gzip:0", "gzip:10", "zstd:23", "zstd:x", "xz", "none:1", "gzip:"] {
            assert!(bad.parse::<Compression>().is_err(), "{bad}");
        }
    }
}
