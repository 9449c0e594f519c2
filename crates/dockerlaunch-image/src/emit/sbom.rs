//! `sbom:`, the bill of materials.

use std::io::Write as _;
use std::path::Path;

use super::staging::StagedFile;
use super::{EmitError, Emitter, Written, write_error};
use crate::config::timestamp;
use crate::sbom;

impl Emitter<'_> {
    pub(super) fn sbom(&self, path: &Path) -> Result<Written, EmitError> {
        let created = timestamp(self.request.epoch).map_err(EmitError::Config)?;
        let document =
            sbom::document(self.contents, &self.trees.container, &created).map_err(write_error(path))?;
        let mut file = StagedFile::create(path)?;
        file.write_all(&document).map_err(write_error(path))?;
        let (digest, size) = file.commit()?;
        Ok(Written { digest, size })
    }
}
