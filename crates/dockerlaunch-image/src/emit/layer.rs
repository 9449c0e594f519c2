//! The compressed layers, kept in the cache: a build compresses again only what changed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::compress::{self, Compressor};
use super::parts::{Part, parts};
use super::staging::temporary_file;
use super::tar::write_tar;
use super::{EmitError, Emitter, write_error};
use crate::cache::write_atomically;
use crate::digest::{Digest, Hasher, hash_reader};
use crate::progress::stop_if_cancelled;
use crate::request::Compression;

/// Changes when the same tree would make another layer.
const FORMAT: u32 = 2;

/// Layers kept: some four builds' worth, of about 80 MB each.
const KEPT: usize = 40;

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
    /// The container image's layers with their names, made or found; the lowest first.
    pub(super) fn layers(&self) -> Result<Vec<(&'static str, Layer)>, EmitError> {
        let layers = self.each_part(|part| self.layer(part))?;
        self.drop_old_layers().map_err(write_error(self.cache.root()))?;
        Ok(layers)
    }

    /// Does something with every part of the image, on all cores, and returns what comes of it in the order of the layers.
    pub(super) fn each_part<T: Send>(
        &self,
        work: impl Fn(&Part) -> Result<T, EmitError> + Sync,
    ) -> Result<Vec<(&'static str, T)>, EmitError> {
        let parts = parts(&self.trees.container);
        let mut queue: Vec<(usize, &Part)> = parts.iter().enumerate().collect();
        // The largest first, so that the end is not one long work alone; taken from the back.
        queue.sort_by_key(|(_, part)| part.tree.size());
        let queue = Mutex::new(queue);
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..self.workers() {
                scope.spawn(|| {
                    while let Some((number, part)) = queue.lock().ok().and_then(|mut queue| queue.pop()) {
                        let result = work(part).map(|result| (part.name, result));
                        if result.is_err()
                            && let Ok(mut queue) = queue.lock()
                        {
                            queue.clear();
                        }
                        if let Ok(mut done) = done.lock() {
                            done.push((number, result));
                        }
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_default();
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, result)| result).collect()
    }

    /// Zstandard has workers of its own, which at the slow levels need much memory each.
    fn workers(&self) -> usize {
        match self.request.compression {
            Compression::Zstd(level) if level >= compress::SLOW_LEVEL => 1,
            _ => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    fn layer(&self, part: &Part) -> Result<Layer, EmitError> {
        let key =
            format!("{FORMAT} {} {} {}", part.tree.digest(), self.request.compression, self.request.epoch);
        let record = self.cache.record("layers", &key);
        let fail = write_error(self.cache.root());
        if let Some(layer) =
            fs::read(&record).ok().and_then(|bytes| serde_json::from_slice::<Layer>(&bytes).ok())
            && self.holds(part, &layer).map_err(&fail)?
        {
            // Used just now: the oldest are removed by this time. A cache that cannot be written serves as well.
            let _ = File::open(&record).and_then(|file| file.set_modified(SystemTime::now()));
            return Ok(layer);
        }
        let layer = self.make_layer(part).map_err(&fail)?;
        let json = serde_json::to_vec(&layer).map_err(|error| fail(error.into()))?;
        write_atomically(&record, &json).map_err(&fail)?;
        Ok(layer)
    }

    /// Whether a layer from the cache is this part. Its record is not believed: the tree says which tar it must unpack to.
    fn holds(&self, part: &Part, layer: &Layer) -> io::Result<bool> {
        let path = self.cache.blob(layer.digest);
        if !Digest::of_file(&path).is_ok_and(|(digest, size)| digest == layer.digest && size == layer.size) {
            return Ok(false);
        }
        let mut plain = Hasher::new(io::sink());
        write_tar(&part.tree, self.request.epoch, self.progress, &mut plain)?;
        let (diff_id, _, _) = plain.finish();
        let unpacked = compress::reader(self.request.compression, File::open(&path)?).and_then(hash_reader);
        stop_if_cancelled(self.progress)?;
        Ok(layer.diff_id == diff_id && unpacked.is_ok_and(|found| found == diff_id))
    }

    fn make_layer(&self, part: &Part) -> io::Result<Layer> {
        let file = temporary_file(self.cache.root())?;
        let packed = Hasher::new(BufWriter::with_capacity(1 << 20, file));
        let mut plain = Hasher::new(Compressor::new(self.request.compression, packed)?);
        write_tar(&part.tree, self.request.epoch, self.progress, &mut plain)?;
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
        let layer = |record: &Path| -> Option<Layer> { serde_json::from_slice(&fs::read(record).ok()?).ok() };
        let old = records.split_off(records.len().min(KEPT));
        // Two records may be of one blob, as after a change of `FORMAT` that did not concern it.
        let kept: BTreeSet<Digest> =
            records.iter().filter_map(|(_, record)| layer(record)).map(|layer| layer.digest).collect();
        for (_, record) in old {
            if let Some(layer) = layer(&record)
                && !kept.contains(&layer.digest)
            {
                remove_if_there(&self.cache.blob(layer.digest))?;
            }
            remove_if_there(&record)?;
        }
        Ok(())
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
