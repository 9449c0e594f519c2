//! `docker:` an archive for `docker load` and `podman load`, uncompressed as `docker save` writes it.

use std::io::{self, Write};
use std::path::Path;

use super::parts::{Part, parts};
use super::staging::StagedFile;
use super::tar::write_tar;
use super::{EmitError, Emitter, Written, write_error};
use crate::digest::{Digest, Hasher};

impl Emitter<'_> {
    pub(super) fn docker(&self, path: &Path) -> Result<Written, EmitError> {
        let fail = write_error(path);
        let epoch = self.request.epoch;
        // The archive names each layer and its size before the layer itself, which is too large to be kept in memory
        // meanwhile. So it is made twice, and is the same each time.
        let layers = self.each_part(|part| {
            let mut layer = Hasher::new(io::sink());
            self.write_layer(part, &mut layer).map_err(&fail)?;
            let (diff_id, size, _) = layer.finish();
            Ok((diff_id, size))
        })?;
        let diff_ids: Vec<_> = layers.iter().map(|(name, (diff_id, _))| (*name, *diff_id)).collect();
        let config = self.config.to_json(self.request.arch, &diff_ids, epoch).map_err(EmitError::Config)?;
        let config_name = format!("{}.json", Digest::of(&config).hex());
        let names: Vec<String> =
            diff_ids.iter().map(|(_, diff_id)| format!("{}/layer.tar", diff_id.hex())).collect();
        let manifest = serde_json::to_vec(&serde_json::json!([{
            "Config": config_name,
            "RepoTags": [self.request.tag.to_string()],
            "Layers": names,
        }]))
        .map_err(|error| EmitError::Config(Box::new(error)))?;

        let mut file = StagedFile::create(path)?;
        let mut builder = ::tar::Builder::new(&mut file);
        let parts = parts(&self.trees.container);
        let mut write = || {
            for (name, bytes) in [("manifest.json", &manifest), (config_name.as_str(), &config)] {
                builder.append(&header(name, bytes.len() as u64, epoch)?, bytes.as_slice())?;
            }
            for ((part, name), (_, (_, size))) in parts.iter().zip(&names).zip(&layers) {
                // A tar is a whole number of blocks, so nothing is to be filled up after it.
                builder.get_mut().write_all(header(name, *size, epoch)?.as_bytes())?;
                self.write_layer(part, builder.get_mut())?;
            }
            builder.finish()
        };
        write().map_err(&fail)?;
        drop(builder);
        let (digest, size) = file.commit()?;
        Ok(Written { digest, size })
    }

    fn write_layer(&self, part: &Part, writer: &mut dyn Write) -> io::Result<()> {
        write_tar(&part.tree, self.request.epoch, self.progress, writer)
    }
}

fn header(name: &str, size: u64, epoch: u64) -> io::Result<::tar::Header> {
    let mut header = ::tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    header.set_entry_type(::tar::EntryType::Regular);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}
