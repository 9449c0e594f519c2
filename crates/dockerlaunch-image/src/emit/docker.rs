//! `docker:` an archive for `docker load` and `podman load`, uncompressed as `docker save` writes it.

use std::path::Path;

use super::staging::StagedFile;
use super::tar::{append_document, write_tar};
use super::{EmitError, Emitter, Written, write_error};
use crate::digest::{Digest, Hasher};
use crate::progress::stop_if_cancelled;

impl Emitter<'_> {
    pub(super) fn docker(&self, path: &Path) -> Result<Written, EmitError> {
        let fail = write_error(path);
        let epoch = self.request.epoch;
        // The archive gives the layer's size before the layer; in memory it is about 200 MB, for a moment.
        let mut layer = Hasher::new(Vec::new());
        write_tar(&self.trees.container, epoch, self.progress, &mut layer).map_err(&fail)?;
        let (diff_id, _, layer) = layer.finish();
        let config = self.config.to_json(self.request.arch, diff_id, epoch).map_err(EmitError::Config)?;
        let config_name = format!("{}.json", Digest::of(&config).hex());
        let layer_name = format!("{}/layer.tar", diff_id.hex());
        let manifest = serde_json::to_vec(&serde_json::json!([{
            "Config": config_name,
            "RepoTags": [self.request.tag.to_string()],
            "Layers": [layer_name],
        }]))
        .map_err(|error| EmitError::Config(Box::new(error)))?;

        let mut file = StagedFile::create(path)?;
        let mut builder = ::tar::Builder::new(&mut file);
        for (name, bytes) in
            [("manifest.json", &manifest), (config_name.as_str(), &config), (layer_name.as_str(), &layer)]
        {
            stop_if_cancelled(self.progress).map_err(&fail)?;
            append_document(&mut builder, name, bytes, epoch).map_err(&fail)?;
        }
        builder.into_inner().map_err(&fail)?;
        let (digest, size) = file.commit()?;
        Ok(Written { digest, size })
    }
}
