//! Images of the user that come with ours: the launcher loads them at the first start.

use std::fs;
use std::io;
use std::path::Path;

use dockerlaunch_plan::facts::image_archive::{BLOCK, INDEXES, digests, header};

use crate::tree::Content;

/// An archive of images, as `docker save` or an OCI tool writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preload {
    /// Its name in the image.
    pub name: String,
    /// All of it.
    pub content: Content,
}

impl Preload {
    /// Reads an archive.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no plain tar that names images.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        if !names_images(&bytes) {
            let why = match bytes.get(..4) {
                Some(
                    [0x1f, 0x8b, ..]
                    | [0x28, 0xb5, 0x2f, 0xfd]
                    | [0xfd, b'7', b'z', b'X']
                    | [b'B', b'Z', b'h', _],
                ) => "it is compressed",
                _ => {
                    "it is no archive of images: there is neither a manifest.json nor an index.json that names one"
                }
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = if name.ends_with(".tar") { name } else { name + ".tar" };
        Ok(Self { name, content: Content::new(bytes) })
    }
}

fn names_images(tar: &[u8]) -> bool {
    let mut rest = tar;
    while let Some((block, content)) = rest.split_first_chunk::<BLOCK>() {
        let Some((name, size)) = header(block) else { return false };
        let Ok(size) = usize::try_from(size) else { return false };
        if INDEXES.contains(&&*name) {
            let text = content.get(..size).and_then(|bytes| std::str::from_utf8(bytes).ok());
            if text.is_some_and(|text| !digests(text).is_empty()) {
                return true;
            }
        }
        rest = content.get(size.next_multiple_of(BLOCK)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(name: &str, content: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in [("layer", "x"), (name, content)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn only_archives_of_images_are_taken_pain_27() {
        let directory = tempfile::tempdir().unwrap();
        let read = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, bytes).unwrap();
            Preload::read(&path).map(|preload| preload.name).map_err(|error| error.to_string())
        };
        let index = format!(r#"{{"manifests":[{{"digest":"sha256:{}"}}]}}"#, "ab".repeat(32));
        assert_eq!(read("base.tar", &archive("index.json", &index)), Ok("base.tar".to_owned()));
        assert_eq!(read("base.oci", &archive("index.json", &index)), Ok("base.oci.tar".to_owned()));
        for (bytes, why) in [
            (archive("index.json", "{}"), "no archive of images"),
            (archive("etc/passwd", &index), "no archive of images"),
            (b"\x1f\x8b\x08\0".to_vec(), "it is compressed"),
            (Vec::new(), "no archive of images"),
        ] {
            let error = read("x.tar", &bytes).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
