//! Readers of outside input that only the targets in `fuzz/` call from outside of this crate.

use std::path::Path;

use crate::file_content::Content;
use crate::lock::Lock;
use crate::progress::Silent;
use crate::spec::Component;
use crate::spec_file::SpecFile;
use crate::tree::Tree;
use crate::{LIBRARY_DIR, deb, elf, lint, upstream};

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
    let _ = elf::versions("x", bytes);
    if let Ok(adapted) = elf::relocate("x", bytes) {
        assert!(elf::inspect("x", &adapted).is_ok(), "what was adapted cannot be read");
    }
}

/// Executables that are libraries of each other, as the lints of an image look at them.
pub fn closure(bytes: &[u8]) {
    const MAGIC: &[u8] = b"\x7fELF";
    let starts: Vec<usize> =
        bytes.windows(MAGIC.len()).enumerate().filter(|(_, four)| *four == MAGIC).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let mut tree = Tree::new();
    for (number, (start, end)) in starts.iter().zip(ends).enumerate() {
        let path = format!("{}/lib{number}.so", LIBRARY_DIR.trim_start_matches('/'));
        let _ = tree.add_file(&path, 0o755, Content::new(&bytes[*start..end]));
    }
    let _ = lint::lint(&tree);
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
