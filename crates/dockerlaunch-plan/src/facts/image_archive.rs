//! What is in an archive of images, as `docker save` and OCI tools write them: the digests that an engine may know it by.

use serde_json::Value;

/// The size of a header, and the unit that content is padded to (POSIX ustar).
pub const BLOCK: usize = 512;

/// The two documents that name images: that of `docker save`, and that of an OCI layout.
pub const INDEXES: [&str; 2] = ["manifest.json", "index.json"];

/// The name and size of the entry whose header this is; `None` for what is no header, as the zeros at the end.
pub fn header(block: &[u8; BLOCK]) -> Option<(String, u64)> {
    let is_tar = block.get(257..262)? == b"ustar";
    let end = block.iter().take(100).position(|byte| *byte == 0).unwrap_or(100);
    let name = std::str::from_utf8(block.get(..end)?).ok()?.trim_start_matches("./").to_owned();
    let field = block.get(124..136)?;
    // GNU tar writes what does not fit into eleven digits as a big-endian number.
    let size = if field[0] & 0x80 != 0 {
        u64::from_be_bytes(field.get(4..)?.try_into().ok()?)
    } else {
        let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
        u64::from_str_radix(digits, 8).ok()?
    };
    is_tar.then_some((name, size))
}

/// The digests of the images that such a document names: of their configurations, by which an engine with graph drivers
/// knows them, or of their manifests, as one with containerd does.
pub fn digests(document: &str) -> Vec<String> {
    let Ok(value) = serde_json::from_str::<Value>(document) else { return Vec::new() };
    let of_save = value.as_array().into_iter().flatten().filter_map(|image| image["Config"].as_str());
    let of_oci = value["manifests"].as_array().into_iter().flatten();
    let of_oci = of_oci.filter_map(|manifest| manifest["digest"].as_str());
    let hex = |text: &str| {
        let hex = text.rsplit(['/', ':']).next().unwrap_or(text).trim_end_matches(".json");
        (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| format!("sha256:{hex}"))
    };
    of_save.chain(of_oci).filter_map(hex).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_digests() {
        let digest = "ab".repeat(32);
        for document in [
            format!(r#"[{{"Config":"{digest}.json","RepoTags":["x:1"]}}]"#),
            format!(r#"[{{"Config":"blobs/sha256/{digest}"}}]"#),
            format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha256:{digest}"}}]}}"#),
        ] {
            assert_eq!(digests(&document), [format!("sha256:{digest}")], "{document}");
        }
        for nonsense in [
            "",
            "{}",
            "[1]",
            r#"[{"Config":"../../etc/passwd"}]"#,
            r#"{"manifests":[{"digest":"sha256:x"}]}"#,
        ] {
            assert_eq!(digests(nonsense), [""; 0], "{nonsense}");
        }
    }

    fn block(name: &str, size: &[u8]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..124 + size.len()].copy_from_slice(size);
        block[257..262].copy_from_slice(b"ustar");
        block
    }

    #[test]
    fn headers_tell_names_and_sizes() {
        assert_eq!(header(&block("./index.json", b"00000000017\0")), Some(("index.json".into(), 15)));
        assert_eq!(header(&block("a", b"\x80\0\0\0\0\0\0\x03\0\0\0\0")), Some(("a".into(), 3 << 32)));
        assert_eq!(header(&[0; BLOCK]), None);
        assert_eq!(header(&block("a", b"99999999999\0")), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, BLOCK), text in ".{0,40}") {
            let _ = header(&bytes.try_into().expect("a block"));
            let _ = digests(&text);
        }
    }
}
