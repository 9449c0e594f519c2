//! Readers of outside input that only the targets in `fuzz/` call from outside of this crate.

use std::path::Path;

use crate::file_content::Content;
use crate::lock::Lock;
use crate::progress::Silent;
use crate::spec::Component;
use crate::spec_file::SpecFile;
use crate::{deb, elf, upstream};

/// A distribution package.
pub fn package(bytes: &[u8]) {
    let _ = deb::read_data(bytes, &std::env::temp_dir(), &Silent, &|_| true);
}

/// An executable or a library; what can be adapted can be read afterwards.
///
/// # Panics
///
/// When it cannot.
pub fn executable(bytes: &[u8]) {
    let _ = elf::inspect("x", bytes);
    if let Ok(adapted) = elf::relocate("x", bytes) {
        assert!(elf::inspect("x", &adapted).is_ok(), "what was adapted cannot be read");
    }
}

/// A tarball of the engine.
pub fn tarball(bytes: &[u8]) {
    let _ = upstream::unpack("x", bytes, &std::env::temp_dir());
}

/// A file of `image/components`.
pub fn component(text: &str) {
    let _ = toml::from_str::<Component>(text);
}

/// A spec file.
pub fn spec_file(text: &str) {
    let _ = SpecFile::parse(Path::new("x"), text, &|name| Ok(Content::new(name.as_bytes())));
}

/// A lockfile; what is written is read as it was.
///
/// # Panics
///
/// When it is not.
pub fn lockfile(text: &str) {
    if let Ok(lock) = Lock::parse(Path::new("x"), text) {
        let again = Lock::parse(Path::new("x"), &lock.to_text());
        assert!(again.is_ok_and(|again| again == lock), "a lock is not read as it was written");
    }
}
