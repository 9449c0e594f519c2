//! `tar:` and the tar that layers are made of.

use std::io::{self, Write};
use std::path::Path;

use super::staging::StagedFile;
use super::{EmitError, Emitter, Written, write_error};
use crate::progress::{Progress, Stoppable, stop_if_cancelled};
use crate::tree::{Kind, Tree};

impl Emitter<'_> {
    pub(super) fn tar(&self, path: &Path) -> Result<Written, EmitError> {
        let mut file = StagedFile::create(path)?;
        write_tar(&self.trees.embedding, self.request.epoch, self.progress, &mut file)
            .map_err(write_error(path))?;
        let (digest, size) = file.commit()?;
        Ok(Written { digest, size })
    }
}

/// Writes a tree as a tar, sorted by path, all times equal.
pub(super) fn write_tar(
    tree: &Tree,
    epoch: u64,
    progress: &dyn Progress,
    writer: &mut dyn Write,
) -> io::Result<()> {
    let mut builder = ::tar::Builder::new(writer);
    for (path, node) in tree.iter() {
        stop_if_cancelled(progress)?;
        let mut header = ::tar::Header::new_gnu();
        header.set_mode(node.mode);
        header.set_uid(node.uid.into());
        header.set_gid(node.gid.into());
        header.set_mtime(epoch);
        match &node.kind {
            Kind::Dir => {
                header.set_entry_type(::tar::EntryType::Directory);
                header.set_size(0);
                builder.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
            Kind::File(content) => {
                header.set_entry_type(::tar::EntryType::Regular);
                header.set_size(content.size());
                builder.append_data(&mut header, path, Stoppable { inner: content.reader(), progress })?;
            }
            Kind::Symlink(target) => {
                header.set_entry_type(::tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, path, target)?;
            }
        }
    }
    builder.into_inner()?.flush()
}
