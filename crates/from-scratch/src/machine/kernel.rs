//! Finds a kernel, and the modules that belong to it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use dockerlaunch_image::Version;

use crate::report::Hinted;

/// A kernel to be booted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Its file, a bzImage.
    pub(crate) image: PathBuf,
    /// What `uname -r` will say.
    pub(crate) release: String,
    /// The directory with its `modules.dep`; it may have no modules.
    pub(crate) modules: Option<PathBuf>,
}

const INSTALL: &str =
    "install one, such as `apt-get install linux-image-cloud-amd64`, or name one: `--kernel FILE`";

impl Kernel {
    /// The one that is named, or the newest of this host; its modules lie where they are named, or beside it.
    pub(crate) fn find(image: Option<&Path>, modules: Option<&Path>) -> Result<Self, Hinted> {
        let image = match image {
            Some(image) => image.to_path_buf(),
            None => newest(Path::new("/boot")).ok_or_else(|| {
                Hinted::new("this host has no kernel to boot: there is no /boot/vmlinuz-*").hint(INSTALL)
            })?,
        };
        let release = release(&image).map_err(|error| {
            let told = Hinted::new(format!("cannot boot the kernel `{}`", image.display()));
            let told = if error.kind() == ErrorKind::PermissionDenied {
                told.hint("some distributions let only root read kernels: copy it, or run this as root")
            } else {
                told.hint(INSTALL)
            };
            told.because(error)
        })?;
        let modules =
            match modules {
                Some(named) => Some(index_in(named, &release).ok_or_else(|| {
                    no_index(&format!("`{}` has no modules.dep", named.display()), &release)
                })?),
                None => beside(&image, &release)?,
            };
        Ok(Self { image, release, modules })
    }
}

fn no_index(what: &str, release: &str) -> Hinted {
    Hinted::new(format!("{what} for the kernel {release}"))
        .hint(format!("name the directory `lib/modules/{release}` of its package: `--modules DIR`"))
        .hint(format!("packages that were only unpacked lack it: `depmod --basedir ROOT {release}`"))
}

/// The kernel with the highest version.
fn newest(boot: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(boot).into_iter().flatten().flatten();
    let named = files.filter_map(|file| {
        let version = file.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned();
        Some((Version::new(&version), file.path()))
    });
    named.max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, path)| path)
}

/// Its release, from the header of a bzImage (kernel Documentation/arch/x86/boot.rst, `kernel_version`).
fn release(image: &Path) -> io::Result<String> {
    const SETUP: u64 = 0x200;
    const MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
    const POINTER: usize = 0x20e;
    let file = File::open(image)?;
    let unlike = || io::Error::new(ErrorKind::InvalidData, "it is no Linux kernel for x86-64 (bzImage)");
    let mut header = [0; 0x210];
    file.read_exact_at(&mut header, 0).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => unlike(),
        _ => error,
    })?;
    if &header[MAGIC.0..MAGIC.0 + MAGIC.1.len()] != MAGIC.1 {
        return Err(unlike());
    }
    let at = SETUP + u64::from(u16::from_le_bytes([header[POINTER], header[POINTER + 1]]));
    let mut text = [0; 128];
    let length = file.read_at(&mut text, at)?;
    let word = text[..length].split(|byte| matches!(byte, 0 | b' ')).next().unwrap_or_default();
    let release = std::str::from_utf8(word).map_err(|_| unlike())?;
    if release.is_empty() || release.contains('/') { Err(unlike()) } else { Ok(release.to_owned()) }
}

/// The directory itself, or its part for this release, where depmod(8) has been.
fn index_in(directory: &Path, release: &str) -> Option<PathBuf> {
    let places = [directory.to_path_buf(), directory.join(release)];
    places.into_iter().find(|place| place.join("modules.dep").is_file())
}

/// Where a package has put them: below the root that has the kernel in `boot/`, or below this host's.
fn beside(image: &Path, release: &str) -> Result<Option<PathBuf>, Hinted> {
    let own = image.parent().and_then(Path::parent).map(Path::to_path_buf);
    let mut without_index = None;
    for root in own.into_iter().chain(["/".into()]) {
        for lib in ["lib/modules", "usr/lib/modules"] {
            let directory = root.join(lib);
            if let Some(found) = index_in(&directory, release) {
                return Ok(Some(found));
            }
            let part = directory.join(release);
            if without_index.is_none() && part.is_dir() {
                without_index = Some(part);
            }
        }
    }
    match without_index {
        Some(part) => Err(no_index(&format!("`{}` has no modules.dep", part.display()), release)),
        // All that it has may be built in.
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a kernel that calls itself so.
    fn kernel(version: &str) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        bytes[0x300..0x300 + version.len()].copy_from_slice(version.as_bytes());
        bytes
    }

    fn root(release: &str, files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, kernel(&format!("{release} (debian) #1 SMP"))).unwrap();
        }
        root
    }

    #[test]
    fn a_kernel_says_its_own_release_and_its_modules_lie_beside_it() {
        let root =
            root("6.1.0-48-cloud-amd64", &["boot/vmlinuz", "lib/modules/6.1.0-48-cloud-amd64/modules.dep"]);
        let image = root.path().join("boot/vmlinuz");
        let found = Kernel::find(Some(&image), None).unwrap();
        assert_eq!(found.release, "6.1.0-48-cloud-amd64");
        let modules = root.path().join("lib/modules/6.1.0-48-cloud-amd64");
        assert_eq!(found.modules, Some(modules.clone()));
        for named in [modules.clone(), root.path().join("lib/modules")] {
            assert_eq!(Kernel::find(Some(&image), Some(&named)).unwrap().modules, Some(modules.clone()));
        }
    }

    #[test]
    fn modules_without_an_index_are_not_passed_over() {
        let root = root("6.1.0", &["boot/vmlinuz", "lib/modules/6.1.0/kernel/net/x.ko"]);
        let image = root.path().join("boot/vmlinuz");
        for modules in [None, Some(root.path().join("lib/modules")), Some("/nowhere".into())] {
            let told = Kernel::find(Some(&image), modules.as_deref()).unwrap_err();
            let told = crate::report::render(&told.into());
            assert!(
                told.contains("no modules.dep") && told.contains("depmod --basedir ROOT 6.1.0"),
                "{told}"
            );
        }
        std::fs::remove_dir_all(root.path().join("lib")).unwrap();
        assert_eq!(Kernel::find(Some(&image), None).unwrap().modules, None);
    }

    #[test]
    fn the_newest_kernel_is_the_one_with_the_highest_version() {
        let root =
            root("x", &["vmlinuz-6.9.1-amd64", "vmlinuz-6.12.3-amd64", "vmlinuz-6.12.3~rc1", "config-7"]);
        assert_eq!(newest(root.path()), Some(root.path().join("vmlinuz-6.12.3-amd64")));
        assert_eq!(newest(Path::new("/nowhere")), None);
    }

    #[test]
    fn what_is_no_kernel_is_told() {
        let root = tempfile::tempdir().unwrap();
        let image = root.path().join("image");
        for bytes in [&b""[..], b"#!/bin/sh\n", &[0; 0x400], &kernel("")] {
            std::fs::write(&image, bytes).unwrap();
            let told = crate::report::render(&Kernel::find(Some(&image), None).unwrap_err().into());
            assert!(told.contains("no Linux kernel for x86-64") && told.contains("--kernel FILE"), "{told}");
        }
        assert!(Kernel::find(Some(Path::new("/nowhere")), None).is_err());
    }
}
