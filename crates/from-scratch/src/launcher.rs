//! The launcher that `build.rs` built: it goes into every image.

use std::path::PathBuf;
use std::str::FromStr;

use dockerlaunch_image::Arch;

use crate::report::Hinted;

static EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dockerlaunch"));

/// Those for other architectures, by the name of the Rust target: of the targets that were installed for it.
static OTHERS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/launchers.rs"));

/// What `build.rs` builds a launcher for, where that is installed.
fn target(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64-unknown-linux-musl",
        Arch::Arm64 => "aarch64-unknown-linux-musl",
        Arch::Armhf => "armv7-unknown-linux-musleabihf",
        Arch::Riscv64 => "riscv64gc-unknown-linux-musl",
    }
}

/// The launcher that this program carries inside.
pub(crate) fn embedded() -> &'static [u8] {
    EMBEDDED
}

/// `--launcher`: a static executable, for every architecture or for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LauncherFile {
    arch: Option<Arch>,
    path: PathBuf,
}

impl FromStr for LauncherFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (arch, path) = match text.split_once('=') {
            // A path may have the sign as well.
            Some((arch, path)) if !arch.contains('/') => {
                (Some(arch.parse::<Arch>().map_err(|error| error.to_string())?), path)
            }
            _ => (None, text),
        };
        if path.is_empty() {
            Err("the path is empty".to_owned())
        } else {
            Ok(Self { arch, path: path.into() })
        }
    }
}

/// The launcher to put into an image: the user's own, or the embedded one.
pub(crate) fn load(files: &[LauncherFile], arch: Arch) -> anyhow::Result<Vec<u8>> {
    let of = |wanted| files.iter().rev().find(|file| file.arch == wanted);
    match of(Some(arch)).or_else(|| of(None)) {
        Some(LauncherFile { path, .. }) => {
            let bytes = std::fs::read(path).map_err(|error| {
                Hinted::new(format!("cannot read the launcher `{}`", path.display()))
                    .because(error)
                    .hint("leave out `--launcher`: this program brings one of its own")
            });
            Ok(bytes?)
        }
        None if arch == Arch::HOST => Ok(embedded().to_vec()),
        None => {
            let target = target(arch);
            if let Some((_, bytes)) = OTHERS.iter().find(|(name, _)| *name == target) {
                return Ok(bytes.to_vec());
            }
            Err(Hinted::new(format!("this program has no launcher for {}", arch.name()))
                .hint(format!("give one that was built for it: `--launcher {}=FILE`", arch.name()))
                .hint(format!(
                    "or install the target, and build this program again: `rustup target add {target}`"
                ))
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_is_for_one_architecture_or_for_all() {
        let one: LauncherFile = "arm64=a=b".parse().unwrap();
        assert_eq!(one, LauncherFile { arch: Some(Arch::Arm64), path: "a=b".into() });
        let any: LauncherFile = "./x=y".parse().unwrap();
        assert_eq!(any, LauncherFile { arch: None, path: "./x=y".into() });
        for wrong in ["z80=x", "arm64=", ""] {
            assert!(wrong.parse::<LauncherFile>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn another_architecture_needs_a_launcher_of_its_own() {
        let other = if Arch::HOST == Arch::Arm64 { Arch::Amd64 } else { Arch::Arm64 };
        assert!(load(&[], Arch::HOST).is_ok());
        let error = crate::report::render(&load(&[], other).unwrap_err());
        assert!(error.contains("--launcher"), "{error}");
    }

    #[test]
    fn an_executable_is_embedded() {
        assert!(embedded().starts_with(b"\x7fELF"));
    }
}
