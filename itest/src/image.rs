//! Test images, made on the spot from the distribution's static busybox: no registry is needed.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::{command, product};

/// The name under which environments have the base image before the first scenario runs.
pub const BOX: &str = "box";

/// How an archive is packed; each is a way that people `docker load`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Plain,
    /// gzip.
    Gzip,
    /// xz: the engine runs the `xz` program for it.
    Xz,
    /// zstd.
    Zstd,
}

/// Root file system of the base image: busybox, its applets, and the few directories programs take for granted.
pub fn busybox_rootfs() -> Result<Vec<u8>> {
    busybox_tree()?.finish()
}

/// The same, with a word in `/etc/word` that makes it another one: an engine that has a layer already takes no second one.
pub fn worded_rootfs(word: &str) -> Result<Vec<u8>> {
    let mut tree = busybox_tree()?;
    tree.file("etc/word", 0o644, word.as_bytes())?;
    tree.finish()
}

fn busybox_tree() -> Result<Tree> {
    let busybox = product::busybox();
    let program = std::fs::read(&busybox).with_context(|| format!("reading `{}`", busybox.display()))?;
    let applets = command::run(Command::new(&busybox).arg("--list"), b"")?.success()?;
    let mut tree = Tree::default();
    for (directory, mode) in [("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)] {
        tree.directory(directory, mode)?;
    }
    tree.file("bin/busybox", 0o755, &program)?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        tree.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    tree.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/tmp:/bin/sh\n")?;
    tree.file("etc/group", 0o644, b"root:x:0:\nguest:x:1000:\n")?;
    // Without it the static C library looks for a database plugin, which it cannot load, and wget crashes.
    tree.file(
        "etc/nsswitch.conf",
        0o644,
        b"passwd: files\ngroup: files\nservices: files\nhosts: files dns\n",
    )?;
    tree.file("etc/not-executable", 0o644, b"data\n")?;
    Ok(tree)
}

/// What `docker save` writes and `docker load` reads: one layer, one name.
pub fn docker_archive(rootfs: &[u8], name: &str) -> Result<Vec<u8>> {
    let layer = sha256(rootfs);
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "Labels": { "made-by": "itest" } },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
        "history": [{ "created_by": "itest" }],
    }))?;
    let config_name = format!("{}.json", sha256(&config));
    let manifest = serde_json::to_vec(&json!([{
        "Config": config_name, "RepoTags": [name], "Layers": [format!("{layer}/layer.tar")],
    }]))?;
    let mut tree = Tree::default();
    tree.directory(&layer, 0o755)?;
    tree.file(&format!("{layer}/layer.tar"), 0o644, rootfs)?;
    tree.file(&config_name, 0o644, &config)?;
    tree.file("manifest.json", 0o644, &manifest)?;
    tree.finish()
}

/// Packs an archive.
pub fn pack(archive: &[u8], packing: Packing) -> Result<Vec<u8>> {
    Ok(match packing {
        Packing::Plain => archive.to_vec(),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(archive)?;
            encoder.finish()?
        }
        Packing::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(archive)?;
            encoder.finish()?
        }
        Packing::Zstd => zstd::encode_all(archive, 1)?,
    })
}

/// Root file system of an image with the registry's server, which needs but a few libraries.
pub fn registry_rootfs() -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    tree.copy(&product::registry())?;
    tree.directory("tmp", 0o1777)?;
    tree.finish()
}

/// Root file system of an image with a git server: the base image and the programs.
pub fn git_server_rootfs() -> Result<Vec<u8>> {
    let mut tree = busybox_tree()?;
    tree.copy(&product::git_server())?;
    tree.finish()
}

/// A tar in memory, in the order things are added.
pub struct Tree {
    tar: Builder<Vec<u8>>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { tar: Builder::new(Vec::new()) }
    }
}

impl Tree {
    /// Adds a directory.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<()> {
        let mut header = header(EntryType::Directory, mode, 0);
        Ok(self.tar.append_data(&mut header, path, &b""[..])?)
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = header(EntryType::Regular, mode, content.len() as u64);
        Ok(self.tar.append_data(&mut header, path, content)?)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        Ok(self.tar.append_link(&mut header, path, target)?)
    }

    /// Adds all that is in a directory, as it is.
    pub fn copy(&mut self, directory: &Path) -> Result<()> {
        Ok(self.tar.append_dir_all("", directory)?)
    }

    /// The whole archive.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(self.tar.into_inner()?)
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

/// What names bytes in an image, in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn names(archive: &[u8]) -> Vec<String> {
        tar::Archive::new(archive)
            .entries()
            .expect("a tar")
            .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
            .collect()
    }

    #[test]
    fn an_archive_names_its_parts_by_digest() {
        let archive = docker_archive(b"layer", "name:tag").expect("packs");
        let names = names(&archive);
        let layer = sha256(b"layer");
        assert_eq!(names[..2], [layer.clone(), format!("{layer}/layer.tar")]);
        assert_eq!(names[3], "manifest.json");
        assert!(String::from_utf8_lossy(&archive).contains(&format!(r#""Config":"{}""#, names[2])));
    }

    #[test]
    fn packing_can_be_undone() {
        let plain = b"the same bytes, every time".repeat(100);
        let unpack = |packing| {
            let packed = pack(&plain, packing).expect("packs");
            let mut bytes = Vec::new();
            match packing {
                Packing::Plain => bytes = packed,
                Packing::Gzip => drop(flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes)),
                Packing::Xz => drop(liblzma::read::XzDecoder::new(&packed[..]).read_to_end(&mut bytes)),
                Packing::Zstd => bytes = zstd::decode_all(&packed[..]).expect("unpacks"),
            }
            bytes
        };
        for packing in [Packing::Plain, Packing::Gzip, Packing::Xz, Packing::Zstd] {
            assert_eq!(unpack(packing), plain, "{packing:?}");
        }
    }
}
