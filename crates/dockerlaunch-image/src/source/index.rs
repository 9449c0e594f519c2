//! The package index of a suite: fetched as its Release file lists it, and read.

use std::io::{self, Read};

use super::archive::Opened;
use super::error::SourceError;
use super::packages::PackageIndex;
use super::release::IndexEntry;
use crate::digest::Digest;
use crate::fetch::{FetchError, Fetcher, Wanted};
use crate::limited::Limited;
use crate::request::Arch;

/// The packages of an opened suite.
pub(super) fn read(opened: &Opened, arch: Arch, fetcher: &Fetcher<'_>) -> Result<PackageIndex, SourceError> {
    let path = format!("main/binary-{}/Packages", arch.name());
    let plain = opened.release.index(&path);
    let kept = plain.and_then(|entry| fetcher.cache.read_blob(entry.digest));
    let bytes = match kept {
        Some(bytes) => bytes,
        None => {
            let (kind, packed) = fetch(opened, &path, plain, arch, fetcher)?;
            let bytes = decompress(kind, &packed)
                .map_err(|source| SourceError::Decompress { url: opened.url.clone(), source })?;
            if let Some(entry) = plain {
                keep(opened, entry, &bytes, fetcher)?;
            }
            bytes
        }
    };
    Ok(PackageIndex::new(&String::from_utf8_lossy(&bytes), &opened.base))
}

/// How it is compressed, and its bytes.
fn fetch(
    opened: &Opened,
    path: &str,
    plain: Option<IndexEntry>,
    arch: Arch,
    fetcher: &Fetcher<'_>,
) -> Result<(&'static str, Vec<u8>), SourceError> {
    let missing = || SourceError::NoIndex { url: opened.url.clone(), arch: arch.name() };
    let compressed = ["xz", "gz"].iter().find_map(|&kind| {
        let path = format!("{path}.{kind}");
        opened.release.index(&path).map(|entry| (kind, path, entry))
    });
    let (kind, path, entry) =
        compressed.or_else(|| plain.map(|entry| ("", path.to_owned(), entry))).ok_or_else(missing)?;
    let directory = format!("{}/dists/{}", opened.base, opened.suite);
    let mut urls = vec![format!("{directory}/{path}")];
    if opened.release.by_hash {
        // By hash a mirror that is being updated still answers with the index that this Release file lists.
        let (parent, _) = path.rsplit_once('/').unwrap_or(("", &path));
        urls.insert(0, format!("{directory}/{parent}/by-hash/SHA256/{}", entry.digest.hex()));
    }
    let wanted = Wanted { urls, digest: entry.digest, size: entry.size };
    fetcher.blob(&wanted)?;
    if let Some(packed) = fetcher.cache.read_blob(entry.digest) {
        return Ok((kind, packed));
    }
    // The cached copy is damaged: fetch it anew.
    let path = fetcher.cache.blob(entry.digest);
    std::fs::remove_file(&path).map_err(|source| FetchError::Cache { path, source })?;
    fetcher.blob(&wanted)?;
    fetcher.cache.read_blob(entry.digest).map(|packed| (kind, packed)).ok_or_else(missing)
}

fn decompress(kind: &str, packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match kind {
        "xz" => Limited::new(liblzma::read::XzDecoder::new(packed)).read_to_end(&mut bytes),
        "gz" => Limited::new(flate2::read::GzDecoder::new(packed)).read_to_end(&mut bytes),
        _ => Limited::new(packed).read_to_end(&mut bytes),
    }?;
    Ok(bytes)
}

/// Keeps a decompressed index, if it is what the Release file says.
fn keep(opened: &Opened, entry: IndexEntry, bytes: &[u8], fetcher: &Fetcher<'_>) -> Result<(), SourceError> {
    let found = Digest::of(bytes);
    if found != entry.digest {
        let url = opened.url.clone();
        return Err(FetchError::WrongDigest { url, expected: entry.digest, found }.into());
    }
    let path = fetcher.cache.blob(entry.digest);
    let written = fetcher.cache.write_blob(entry.digest, bytes);
    Ok(written.map_err(|source| FetchError::Cache { path, source })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limited::UNPACKED_LIMIT;

    #[test]
    fn a_bomb_does_not_go_off() {
        let zeros = || io::repeat(0).take(2 * UNPACKED_LIMIT);
        let (mut xz, mut gz) = (Vec::new(), Vec::new());
        liblzma::read::XzEncoder::new(zeros(), 0).read_to_end(&mut xz).unwrap();
        flate2::read::GzEncoder::new(zeros(), flate2::Compression::fast()).read_to_end(&mut gz).unwrap();
        for (kind, packed) in [("xz", xz), ("gz", gz)] {
            let error = decompress(kind, &packed).unwrap_err().to_string();
            assert!(error.contains("unpacks to more than"), "{kind}: {error}");
        }
    }
}
