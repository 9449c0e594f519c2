//! The compressed layer, kept in the cache: a build that changed nothing else need not compress again.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::compress::{self, Compressor};
use super::staging::temporary_file;
use super::tar::write_tar;
use super::{EmitError, Emitter, write_error};
use crate::cache::write_atomically;
use crate::digest::{Digest, Hasher, hash_reader};
use crate::progress::stop_if_cancelled;

/// Changes when the same tree would make another layer.
const FORMAT: u32 = 1;

/// Layers kept; each new launcher makes a new one of some 65 MB.
const KEPT: usize = 4;

/// A layer in the cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Layer {
    /// Digest of the compressed bytes: the blob's name.
    pub(super) digest: Digest,
    /// Their number.
    pub(super) size: u64,
    /// Digest of the tar inside.
    pub(super) diff_id: Digest,
}

impl Emitter<'_> {
    /// The container image's layer, made or found.
    pub(super) fn layer(&self) -> Result<Layer, EmitError> {
        let key = format!(
            "{FORMAT} {} {} {}",
            self.trees.container.digest(),
            self.request.compression,
            self.request.epoch
        );
        let record = self.cache.record("layers", &key);
        let fail = write_error(self.cache.root());
        if let Some(layer) =
            fs::read(&record).ok().and_then(|bytes| serde_json::from_slice::<Layer>(&bytes).ok())
            && self.holds_tree(&layer).map_err(&fail)?
        {
            // Used just now: the oldest are removed by this time. A cache that cannot be written serves as well.
            let _ = File::open(&record).and_then(|file| file.set_modified(SystemTime::now()));
            return Ok(layer);
        }
        let layer = self.make_layer().map_err(&fail)?;
        let json = serde_json::to_vec(&layer).map_err(|error| fail(error.into()))?;
        write_atomically(&record, &json).map_err(&fail)?;
        self.drop_old_layers().map_err(&fail)?;
        Ok(layer)
    }

    /// Whether a layer from the cache is this tree. Its record is not believed: the tree says which tar it must unpack to.
    fn holds_tree(&self, layer: &Layer) -> io::Result<bool> {
        let path = self.cache.blob(layer.digest);
        if !Digest::of_file(&path).is_ok_and(|(digest, size)| digest == layer.digest && size == layer.size) {
            return Ok(false);
        }
        let mut plain = Hasher::new(io::sink());
        write_tar(&self.trees.container, self.request.epoch, self.progress, &mut plain)?;
        let (diff_id, _, _) = plain.finish();
        let unpacked = compress::reader(self.request.compression, File::open(&path)?).and_then(hash_reader);
        stop_if_cancelled(self.progress)?;
        Ok(layer.diff_id == diff_id && unpacked.is_ok_and(|found| found == diff_id))
    }

    fn make_layer(&self) -> io::Result<Layer> {
        let file = temporary_file(self.cache.root())?;
        let packed = Hasher::new(BufWriter::with_capacity(1 << 20, file));
        let mut plain = Hasher::new(Compressor::new(self.request.compression, packed)?);
        write_tar(&self.trees.container, self.request.epoch, self.progress, &mut plain)?;
        let (diff_id, _, compressor) = plain.finish();
        let (digest, size, mut writer) = compressor.finish()?.finish();
        writer.flush()?;
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.persist(self.cache.blob(digest)).map_err(|error| error.error)?;
        Ok(Layer { digest, size, diff_id })
    }

    fn drop_old_layers(&self) -> io::Result<()> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.cache.root().join("layers"))? {
            let entry = entry?;
            records.push((entry.metadata()?.modified()?, entry.path()));
        }
        records.sort();
        records.reverse();
        for (_, record) in records.into_iter().skip(KEPT) {
            if let Some(layer) =
                fs::read(&record).ok().and_then(|bytes| serde_json::from_slice::<Layer>(&bytes).ok())
            {
                remove_if_there(&self.cache.blob(layer.digest))?;
            }
            remove_if_there(&record)?;
        }
        Ok(())
    }
}

fn remove_if_there(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
