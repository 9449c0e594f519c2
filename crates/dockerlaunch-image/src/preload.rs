//! Images of the user that come with ours: the launcher loads them at the first start.

use std::io::{self, Read};
use std::path::Path;

use dockerlaunch_plan::facts::image_archive::{BLOCK, INDEXES, digests, header};

use crate::file_content::{Content, Reader};

/// No list of images is as long.
const INDEX_LIMIT: u64 = 16 << 20;

/// An archive of images, as `docker save` or an OCI tool writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preload {
    /// Its name in the image.
    pub name: String,
    /// All of it.
    pub content: Content,
}

impl Preload {
    /// Reads an archive. It stays where it is, and must stay as it is until the build has ended.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no plain tar that names images.
    pub fn read(path: &Path) -> io::Result<Self> {
        let content = Content::of_file(path)?;
        if !names_images(content.reader())? {
            let why = match content.head(4)?.as_slice() {
                [0x1f, 0x8b, ..]
                | [0x28, 0xb5, 0x2f, 0xfd]
                | [0xfd, b'7', b'z', b'X']
                | [b'B', b'Z', b'h', _] => "it is compressed",
                _ => {
                    "it is no archive of images: there is neither a manifest.json nor an index.json that names one"
                }
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = if name.ends_with(".tar") { name } else { name + ".tar" };
        Ok(Self { name, content })
    }
}

/// Whether an archive names images. It is read to its end: that of a broken download is missing, and what it lacks would be
/// found out at the start of a container.
fn names_images(mut tar: Reader<'_>) -> io::Result<bool> {
    let mut found = false;
    let mut block = [0; BLOCK];
    loop {
        match tar.read_exact(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && found => return Err(cut_off()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        let Some((name, size)) = header(&block) else { return Ok(found) };
        let padded = size.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX);
        let mut rest = padded;
        if INDEXES.contains(&&*name) && size < INDEX_LIMIT {
            let mut text = Vec::new();
            tar.by_ref().take(size).read_to_end(&mut text)?;
            found |= std::str::from_utf8(&text).is_ok_and(|text| !digests(text).is_empty());
            rest -= text.len() as u64;
        }
        if tar.skip(rest) < rest && found {
            return Err(cut_off());
        }
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is cut off: its end is missing")
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        // The index may come first, and all that it names be missing.
        let mut whole = tar::Builder::new(Vec::new());
        for (name, content) in [("index.json", index.as_bytes()), ("layer", &[7; 2000])] {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_cksum();
            whole.append_data(&mut header, name, content).unwrap();
        }
        let whole = whole.into_inner().unwrap();
        assert_eq!(read("whole.tar", &whole), Ok("whole.tar".to_owned()));
        for length in [1024, 1200, 1536, 2000, 3500] {
            let error = read("cut.tar", &whole[..length]).unwrap_err();
            assert!(error.contains("it is cut off"), "{length}: {error}");
        }
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
