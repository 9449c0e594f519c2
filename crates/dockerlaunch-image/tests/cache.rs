//! Building from a cache that somebody has changed.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked as tests for tests")]
mod repository;

use std::path::{Path, PathBuf};

use dockerlaunch_image::{BuildRequest, Compression, Digest, Output, Silent, build};
use repository::Fixture;

/// Every record in the cache.
fn records(cache: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(cache).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(records(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Puts bytes into the cache, and their digest into every record in place of another.
fn forge(cache: &Path, genuine: &str, bytes: &[u8]) {
    let forged = Digest::of(bytes);
    std::fs::write(cache.join("blobs/sha256").join(forged.hex()), bytes).unwrap();
    for record in records(cache) {
        let text = std::fs::read_to_string(&record).unwrap();
        std::fs::write(&record, text.replace(genuine, &forged.to_string())).unwrap();
    }
}

#[test]
fn a_forged_note_of_a_packages_files_is_not_believed() {
    let fixture = Fixture::new();
    build(&fixture.request(), &Silent).unwrap();
    let bundle = fixture.path("out/usr/lib/dockerlaunch/etc/ssl/certs/ca-certificates.crt");
    let genuine = std::fs::read(&bundle).unwrap();
    forge(&fixture.path("cache"), &Digest::of(b"bbb\n").to_string(), b"a certificate that nobody signed\n");
    build(&fixture.request(), &Silent).unwrap();
    assert!(std::fs::read(&bundle).unwrap() == genuine, "the forged file went into the image");
}

/// As after a change of how records are called.
#[test]
fn a_layer_that_an_old_record_names_too_stays() {
    let fixture = Fixture::new();
    let request = BuildRequest { outputs: vec![Output::Oci(fixture.path("out"))], ..fixture.request() };
    build(&request, &Silent).unwrap();
    let layers = fixture.path("cache").join("layers");
    let of_now = records(&layers);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for record in &of_now {
        for number in 0..50 {
            let other = layers.join(format!("{number:064}.json"));
            std::fs::copy(record, &other).unwrap();
            std::fs::File::open(&other).unwrap().set_modified(old).unwrap();
        }
        std::fs::remove_dir_all(fixture.path("out")).unwrap();
        build(&request, &Silent).unwrap();
    }
    assert!(records(&layers).len() < of_now.len() + 50, "old records go");
}

#[test]
fn a_forged_note_of_a_layer_is_not_believed() {
    let fixture = Fixture::new();
    let request = BuildRequest {
        compression: Compression::Zstd(1),
        outputs: vec![Output::Oci(fixture.path("out"))],
        ..fixture.request()
    };
    let genuine = build(&request, &Silent).unwrap();
    let cache = fixture.path("cache");
    let record = || {
        let text = std::fs::read_to_string(&records(&cache.join("layers"))[0]).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let before = record();
    let forged = zstd::encode_all(b"another tar".as_slice(), 1).unwrap();
    for diff_id in [before["diff_id"].as_str().unwrap().to_owned(), Digest::of(b"another tar").to_string()] {
        std::fs::write(cache.join("blobs/sha256").join(Digest::of(&forged).hex()), &forged).unwrap();
        let lie = serde_json::json!({
            "digest": Digest::of(&forged), "size": forged.len(), "diff_id": diff_id,
        });
        std::fs::write(&records(&cache.join("layers"))[0], lie.to_string()).unwrap();
        let again = build(&request, &Silent).unwrap();
        assert_eq!(again.outputs[0].digest, genuine.outputs[0].digest, "the forged layer was used");
        assert_eq!(record(), before);
    }
}
