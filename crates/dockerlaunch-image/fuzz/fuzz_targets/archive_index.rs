//! The files of a distribution archive that are made of paragraphs: Release and Packages.
#![no_main]

use dockerlaunch_image::source::Release;
use dockerlaunch_image::source::packages::PackageIndex;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Release::parse(text);
    let index = PackageIndex::new(&format!("Package: a\n{text}"), "http://archive");
    for package in index.versions("a") {
        assert!(!package.filename.starts_with('/') && !package.filename.contains("../"));
    }
});
