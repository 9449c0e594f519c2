//! Compressed modules, for kernels that do not unpack them.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use miniz_oxide::inflate::decompress_to_vec_with_limit;

/// No module is larger, even unpacked.
const LIMIT: usize = 256 << 20;

/// The module in the file.
pub(super) fn unpack(path: &Path) -> io::Result<Vec<u8>> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => gunzip(&std::fs::read(path)?),
        Some("xz") => run("xz", path),
        Some("zst") => run("zstd", path),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "compressed in an unknown way")),
    }
}

/// The image's own program, where it has one: the kernel's PATH does not lead there.
fn run(program: &str, path: &Path) -> io::Result<Vec<u8>> {
    let own = Path::new("/usr/lib/dockerlaunch/bin").join(program);
    let mut command = Command::new(if own.exists() { own.as_os_str() } else { program.as_ref() });
    let output =
        command.args(["-d", "-c", "-q"]).arg(path).stdin(Stdio::null()).stderr(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(output.stdout),
        Ok(output) => Err(io::Error::other(format!("{program}: {}", output.status))),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!(
                "the kernel does not unpack modules (CONFIG_MODULE_DECOMPRESS), and `{program}` is not here"
            ),
        )),
    }
}

/// gzip (RFC 1952): a header, deflate, a trailer.
fn gunzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no gzip file");
    let [0x1f, 0x8b, 8, flags, _, _, _, _, _, _, rest @ ..] = bytes else { return Err(invalid()) };
    let mut rest = rest;
    // An extra field, then name and comment, each ended by a zero, and a checksum of all that.
    if flags & 4 != 0 {
        let [low, high, after @ ..] = rest else { return Err(invalid()) };
        rest = after.get(usize::from(u16::from_le_bytes([*low, *high]))..).ok_or_else(invalid)?;
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(invalid)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & 2 != 0 {
        rest = rest.get(2..).ok_or_else(invalid)?;
    }
    decompress_to_vec_with_limit(rest, LIMIT).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gzip_and_xz_pack_is_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let plain = b"\x7fELF, and some more".repeat(1000);
        for (program, ending) in [("gzip", "gz"), ("xz", "xz")] {
            let path = folder.path().join("module.ko");
            std::fs::write(&path, &plain).unwrap();
            assert!(Command::new(program).arg(&path).status().unwrap().success());
            assert_eq!(
                unpack(&folder.path().join(format!("module.ko.{ending}"))).unwrap(),
                plain,
                "{program}"
            );
        }
    }

    #[test]
    fn what_is_no_gzip_file_is_refused() {
        for bytes in
            [&b""[..], b"\x1f\x8b\x08\x08\0\0\0\0\0\0name", b"\x1f\x8b\x08\x04\0\0\0\0\0\0\xff\xff", &[0; 40]]
        {
            assert!(gunzip(bytes).is_err());
        }
    }
}
