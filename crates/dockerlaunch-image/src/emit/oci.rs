//! `oci:` an OCI image layout.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, DescriptorBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType,
    Os, PlatformBuilder, SCHEMA_VERSION, Sha256Digest,
};

use super::staging::{StagedDir, write_file};
use super::{EmitError, Emitter, Written, write_error};
use crate::digest::Digest;
use crate::name::ImageName;
use crate::request::{Arch, Compression};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

impl Emitter<'_> {
    pub(super) fn oci(&self, path: &Path) -> Result<Written, EmitError> {
        let fail = write_error(path);
        let layer = self.layer()?;
        self.check_cancelled()?;
        let config = self
            .config
            .to_json(self.request.arch, layer.diff_id, self.request.epoch)
            .map_err(EmitError::Config)?;
        let media_type = match self.request.compression {
            Compression::None => MediaType::ImageLayer,
            Compression::Gzip(_) => MediaType::ImageLayerGzip,
            Compression::Zstd(_) => MediaType::ImageLayerZstd,
        };
        let manifest = manifest(&config, media_type, layer.digest, layer.size).map_err(EmitError::Config)?;
        let index = index(&manifest, self.request.arch, &self.request.tag).map_err(EmitError::Config)?;

        let staged = StagedDir::create(path, is_layout)?;
        let blobs = staged.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(&fail)?;
        for directory in [staged.path().join("blobs"), blobs.clone()] {
            fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .map_err(&fail)?;
        }
        let blob = blobs.join(layer.digest.hex());
        fs::copy(self.cache.blob(layer.digest), &blob).map_err(&fail)?;
        fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(&fail)?;
        let documents = [
            (blobs.join(Digest::of(&config).hex()), &config),
            (blobs.join(Digest::of(&manifest).hex()), &manifest),
            (staged.path().join("index.json"), &index),
            (staged.path().join("oci-layout"), &br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ];
        let mut size = layer.size;
        for (path, bytes) in documents {
            write_file(&path, bytes).map_err(&fail)?;
            size += bytes.len() as u64;
        }
        staged.commit()?;
        Ok(Written { digest: Digest::of(&manifest), size })
    }
}

/// A directory with nothing but a layout in it.
fn is_layout(path: &Path) -> bool {
    let names = ["oci-layout", "index.json", "blobs"];
    let all_there = names.iter().all(|name| path.join(name).exists());
    let nothing_else = fs::read_dir(path).is_ok_and(|entries| {
        entries.flatten().all(|entry| names.iter().any(|name| entry.file_name() == *name))
    });
    all_there && nothing_else
}

fn descriptor(media_type: MediaType, digest: Digest, size: u64) -> Result<DescriptorBuilder, AnyError> {
    let digest: Sha256Digest = digest.hex().parse()?;
    Ok(DescriptorBuilder::default().media_type(media_type).digest(digest).size(size))
}

/// Through `Value`, whose maps are sorted: the same document is always the same bytes.
fn sorted_json(document: &impl serde::Serialize) -> Result<Vec<u8>, AnyError> {
    Ok(serde_json::to_vec(&serde_json::to_value(document)?)?)
}

fn manifest(
    config: &[u8],
    media_type: MediaType,
    layer: Digest,
    layer_size: u64,
) -> Result<Vec<u8>, AnyError> {
    let config: Descriptor =
        descriptor(MediaType::ImageConfig, Digest::of(config), config.len() as u64)?.build()?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(vec![descriptor(media_type, layer, layer_size)?.build()?])
        .build()?;
    sorted_json(&manifest)
}

fn index(manifest: &[u8], arch: Arch, name: &ImageName) -> Result<Vec<u8>, AnyError> {
    let platform = PlatformBuilder::default().architecture(arch.name()).os(Os::Linux).build()?;
    // Two annotations, for two readers: `docker load` and containerd take the whole name, skopeo and podman the tag.
    let annotations = HashMap::from([
        (ANNOTATION_REF_NAME.to_owned(), name.tag().to_owned()),
        ("io.containerd.image.name".to_owned(), name.full()),
    ]);
    let entry = descriptor(MediaType::ImageManifest, Digest::of(manifest), manifest.len() as u64)?
        .platform(platform)
        .annotations(annotations)
        .build()?;
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(vec![entry])
        .build()?;
    sorted_json(&index)
}
