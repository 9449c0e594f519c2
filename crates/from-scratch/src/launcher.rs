//! The launcher that `build.rs` built: it goes into every image.

use std::path::Path;

use crate::report::Hinted;

static EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dockerlaunch"));

/// The launcher that this program carries inside.
pub(crate) fn embedded() -> &'static [u8] {
    EMBEDDED
}

/// The launcher to put into an image: the user's own, or the embedded one.
pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    match file {
        Some(path) => {
            let bytes = std::fs::read(path).map_err(|error| {
                Hinted::new(format!("cannot read the launcher `{}`", path.display()))
                    .because(error)
                    .hint("leave out `--launcher`: this program brings one of its own")
            });
            Ok(bytes?)
        }
        None => Ok(embedded().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_executable_is_embedded() {
        assert!(super::embedded().starts_with(b"\x7fELF"));
    }
}
