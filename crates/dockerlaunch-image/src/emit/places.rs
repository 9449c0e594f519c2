//! Where outputs go: each to a place of its own.

use std::path::{Path, PathBuf};

use super::EmitError;
use crate::request::Output;

/// Refuses outputs of which one would replace, hold or remove the other.
pub(super) fn check_apart(outputs: &[Output]) -> Result<(), EmitError> {
    let places: Vec<PathBuf> = outputs.iter().map(|output| place(output.path())).collect();
    for (number, (output, here)) in outputs.iter().zip(&places).enumerate() {
        for (other, there) in outputs.iter().zip(&places).take(number) {
            if here.starts_with(there) || there.starts_with(here) {
                let (one, other) = (other.to_string(), output.to_string());
                return Err(EmitError::SamePlace { one, other });
            }
        }
    }
    Ok(())
}

/// Where a path leads, whether or not anything is there yet. Its last part is not followed: what replaces a link
/// replaces the link.
fn place(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => parent.canonicalize().unwrap_or_else(|_| place(parent)).join(name),
        _ => path.canonicalize().unwrap_or(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_under_all_its_names() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        let apart = |one: &str, other: &str| {
            let one = Output::Dir(root.join(one));
            check_apart(&[one, Output::Tar(root.join("elsewhere")), Output::Tar(root.join(other))]).is_ok()
        };
        for (one, other) in [
            ("x", "x"),
            ("x", "./x/"),
            ("x", "real/../x"),
            ("real/x", "link/x"),
            ("link/new/x", "real/new/x"),
            ("x", "x/y"),
            ("real/x/y/z", "link/x"),
            ("real", "link/../real"),
            ("real/..", "real"),
        ] {
            assert!(!apart(one, other), "{one} and {other}");
        }
        for (one, other) in [("x", "xy"), ("x/y", "x/z"), ("real/x", "x")] {
            assert!(apart(one, other), "{one} and {other}");
        }
        let relative = [Output::Tar("x".into()), Output::Docker(std::env::current_dir().unwrap().join("x"))];
        assert!(check_apart(&relative).is_err());
    }
}
