//! `oci:` an OCI image layout.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, DescriptorBuilder, ImageConfiguration, ImageIndex, ImageIndexBuilder,
    ImageManifest, ImageManifestBuilder, MediaType, Os, PlatformBuilder, SCHEMA_VERSION, Sha256Digest,
};

use super::layer::Layer;
use super::staging::{StagedDir, write_file};
use super::{EmitError, Emitter, Written, write_error};
use crate::cache::Cache;
use crate::config::{CREATED_BY, SUITE_LABEL};
use crate::digest::Digest;
use crate::name::ImageName;
use crate::request::{Arch, Compression};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// An image whose layers are in the cache.
pub(crate) struct Packed {
    arch: Arch,
    config: Vec<u8>,
    manifest: Vec<u8>,
    layers: Vec<(&'static str, Layer)>,
}

impl Emitter<'_> {
    pub(super) fn oci(&self, path: &Path) -> Result<Written, EmitError> {
        let packed = self.pack()?;
        self.check_cancelled()?;
        write_layout(path, &[packed], &self.request.tag, self.cache)
    }

    /// Compresses the layers and writes the documents that name them.
    pub(crate) fn pack(&self) -> Result<Packed, EmitError> {
        let layers = self.layers()?;
        let diff_ids: Vec<_> = layers.iter().map(|(name, layer)| (*name, layer.diff_id)).collect();
        let arch = self.request.arch;
        let config = self.config.to_json(arch, &diff_ids, self.request.epoch).map_err(EmitError::Config)?;
        let media_type = match self.request.compression {
            Compression::None => MediaType::ImageLayer,
            Compression::Gzip(_) => MediaType::ImageLayerGzip,
            Compression::Zstd(_) => MediaType::ImageLayerZstd,
        };
        let annotations = self.config.annotations();
        let manifest = manifest(&config, &media_type, &layers, annotations).map_err(EmitError::Config)?;
        Ok(Packed { arch, config, manifest, layers })
    }
}

/// Writes images of one name, one an architecture, as a layout. One alone stands in `index.json`; several in an index of
/// their own, which has the name.
pub(crate) fn write_layout(
    path: &Path,
    images: &[Packed],
    name: &ImageName,
    cache: &Cache,
) -> Result<Written, EmitError> {
    let fail = write_error(path);
    let mut documents: Vec<&[u8]> = Vec::new();
    let mut layers: Vec<&Layer> = Vec::new();
    for image in images {
        documents.extend([image.config.as_slice(), &image.manifest]);
        layers.extend(image.layers.iter().map(|(_, layer)| layer));
    }
    layers.sort_by_key(|layer| layer.digest);
    layers.dedup_by_key(|layer| layer.digest);
    let together = index_of(images).map_err(EmitError::Config)?;
    let named = match images {
        [image] => named(MediaType::ImageManifest, &image.manifest, Some(image.arch), name),
        _ => {
            documents.push(&together);
            named(MediaType::ImageIndex, &together, None, name)
        }
    };
    let index = named.map_err(EmitError::Config)?;

    let staged = StagedDir::create(path, is_former)?;
    let blobs = staged.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(&fail)?;
    for directory in [staged.path().join("blobs"), blobs.clone()] {
        fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(&fail)?;
    }
    let mut size = 0;
    for layer in layers {
        let blob = blobs.join(layer.digest.hex());
        fs::copy(cache.blob(layer.digest), &blob).map_err(&fail)?;
        fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(&fail)?;
        size += layer.size;
    }
    let mut files: Vec<(_, &[u8])> =
        documents.iter().map(|bytes| (blobs.join(Digest::of(bytes).hex()), *bytes)).collect();
    files.push((staged.path().join("index.json"), &index));
    files.push((staged.path().join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#));
    for (path, bytes) in files {
        write_file(&path, bytes).map_err(&fail)?;
        size += bytes.len() as u64;
    }
    staged.commit()?;
    let digest = Digest::of(documents.last().copied().unwrap_or_default());
    Ok(Written { digest, size })
}

/// A layout as a build left it: one image, made by a build and by nothing after it, and what belongs to that alone.
pub(super) fn is_former(path: &Path) -> bool {
    let names = |directory: &str| -> Option<BTreeSet<String>> {
        fs::read_dir(path.join(directory))
            .ok()?
            .map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect()
    };
    let expected = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
    names("") == expected(&["blobs", "index.json", "oci-layout"])
        && names("blobs") == expected(&["sha256"])
        && blobs_of_our_image(path).is_some_and(|blobs| names("blobs/sha256") == Some(blobs))
}

fn blobs_of_our_image(path: &Path) -> Option<BTreeSet<String>> {
    let blob = |descriptor: &Descriptor| path.join("blobs/sha256").join(descriptor.digest().digest());
    let index = ImageIndex::from_file(path.join("index.json")).ok()?;
    let [entry] = index.manifests().as_slice() else { return None };
    let mut blobs = BTreeSet::new();
    let mut manifests = vec![entry.clone()];
    if *entry.media_type() == MediaType::ImageIndex {
        blobs.insert(entry.digest().digest().to_owned());
        manifests = ImageIndex::from_file(blob(entry)).ok()?.manifests().clone();
    }
    for entry in &manifests {
        let manifest = ImageManifest::from_file(blob(entry)).ok()?;
        let config = ImageConfiguration::from_file(blob(manifest.config())).ok()?;
        // An image that somebody derived from ours has inherited the label.
        let steps = config.history().as_deref()?;
        let by_us = |by: &str| by.strip_prefix(CREATED_BY).is_some_and(|rest| rest.starts_with(':'));
        let all_by_us = steps.iter().all(|step| step.created_by().as_deref().is_some_and(by_us));
        let labels = config.config().as_ref()?.labels().as_ref()?;
        if !all_by_us || steps.len() != manifest.layers().len() || !labels.contains_key(SUITE_LABEL) {
            return None;
        }
        let all = [entry, manifest.config()].into_iter().chain(manifest.layers());
        blobs.extend(all.map(|descriptor| descriptor.digest().digest().to_owned()));
    }
    Some(blobs)
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
    media_type: &MediaType,
    layers: &[(&str, Layer)],
    annotations: HashMap<String, String>,
) -> Result<Vec<u8>, AnyError> {
    let config: Descriptor =
        descriptor(MediaType::ImageConfig, Digest::of(config), config.len() as u64)?.build()?;
    let layers = layers
        .iter()
        .map(|(_, layer)| Ok(descriptor(media_type.clone(), layer.digest, layer.size)?.build()?))
        .collect::<Result<Vec<_>, AnyError>>()?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(layers)
        .annotations(annotations)
        .build()?;
    sorted_json(&manifest)
}

fn entry(media_type: MediaType, bytes: &[u8]) -> Result<DescriptorBuilder, AnyError> {
    descriptor(media_type, Digest::of(bytes), bytes.len() as u64)
}

fn with_platform(entry: DescriptorBuilder, arch: Arch) -> Result<DescriptorBuilder, AnyError> {
    let mut platform = PlatformBuilder::default().architecture(arch.oci()).os(Os::Linux);
    if let Some(variant) = arch.variant() {
        platform = platform.variant(variant);
    }
    Ok(entry.platform(platform.build()?))
}

fn index_of(images: &[Packed]) -> Result<Vec<u8>, AnyError> {
    let entries = images
        .iter()
        .map(|image| {
            Ok(with_platform(entry(MediaType::ImageManifest, &image.manifest)?, image.arch)?.build()?)
        })
        .collect::<Result<Vec<_>, AnyError>>()?;
    index(entries)
}

/// The layout's own index: one entry, which has the name.
fn named(
    media_type: MediaType,
    bytes: &[u8],
    arch: Option<Arch>,
    name: &ImageName,
) -> Result<Vec<u8>, AnyError> {
    // Two annotations, for two readers: `docker load` and containerd take the whole name, skopeo and podman the tag.
    let annotations = HashMap::from([
        (ANNOTATION_REF_NAME.to_owned(), name.tag().to_owned()),
        ("io.containerd.image.name".to_owned(), name.full()),
    ]);
    let mut entry = entry(media_type, bytes)?.annotations(annotations);
    if let Some(arch) = arch {
        entry = with_platform(entry, arch)?;
    }
    index(vec![entry.build()?])
}

fn index(entries: Vec<Descriptor>) -> Result<Vec<u8>, AnyError> {
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(entries)
        .build()?;
    sorted_json(&index)
}
