//! `initramfs:` a cpio archive with `/init`, as the kernel unpacks it.

use std::io::{self, Write};
use std::path::Path;

use ::cpio::newc::{self, ModeFileType};

use super::compress::Compressor;
use super::staging::StagedFile;
use super::{EmitError, Emitter, Written, write_error};
use crate::PRIVATE_DIR;
use crate::progress::{Progress, Stoppable, stop_if_cancelled};
use crate::tree::{Kind, Tree};

impl Emitter<'_> {
    pub(super) fn initramfs(&self, path: &Path) -> Result<Written, EmitError> {
        let taken = |conflict| write_error(path)(io::Error::new(io::ErrorKind::AlreadyExists, conflict));
        let mut tree = self.trees.container.clone();
        // The kernel starts /init; in a link's place it would be a second copy of the launcher.
        tree.add_symlink("init", &format!("{PRIVATE_DIR}/bin/dockerlaunch")).map_err(taken)?;
        if let Some(extra) = &self.request.initramfs_extra {
            tree.merge(extra).map_err(taken)?;
        }
        let mut file = StagedFile::create(path)?;
        let mut compressor =
            Compressor::new(self.request.compression, &mut file).map_err(write_error(path))?;
        write_cpio(&tree, self.request.epoch, self.progress, &mut compressor)
            .and_then(|()| compressor.finish().map(|_| ()))
            .map_err(write_error(path))?;
        let (digest, size) = file.commit()?;
        Ok(Written { digest, size })
    }
}

/// Writes a tree in the "newc" format; inode numbers count up from one.
fn write_cpio(
    tree: &Tree,
    epoch: u64,
    progress: &dyn Progress,
    mut writer: &mut dyn Write,
) -> io::Result<()> {
    for (number, (path, node)) in (1..).zip(tree.iter()) {
        stop_if_cancelled(progress)?;
        let (kind, size, links) = match &node.kind {
            Kind::Dir => (ModeFileType::Directory, 0, 2),
            Kind::File(content) => (ModeFileType::Regular, content.size(), 1),
            Kind::Symlink(target) => (ModeFileType::Symlink, target.len() as u64, 1),
        };
        let too_large = |_| {
            io::Error::new(io::ErrorKind::FileTooLarge, format!("/{path} does not fit into a cpio archive"))
        };
        let size = u32::try_from(size).map_err(too_large)?;
        let mut entry = newc::Builder::new(path)
            .ino(number)
            .mode(node.mode)
            .uid(node.uid)
            .gid(node.gid)
            .nlink(links)
            .mtime(u32::try_from(epoch).unwrap_or(u32::MAX))
            .set_mode_file_type(kind)
            .write(writer, size);
        match &node.kind {
            Kind::Dir => {}
            Kind::File(content) => {
                io::copy(&mut Stoppable { inner: content.reader(), progress }, &mut entry)?;
            }
            Kind::Symlink(target) => entry.write_all(target.as_bytes())?,
        }
        writer = entry.finish()?;
    }
    newc::trailer(writer)?.flush()
}
