//! Archives that unpack to more than there is room for.

use std::io::{self, Read};

/// No package and no release of Docker unpacks to so many bytes. Tests do not wait for that many.
pub(crate) const UNPACKED_LIMIT: u64 = if cfg!(test) { 32 << 20 } else { 1 << 30 };

/// Reads [`UNPACKED_LIMIT`] bytes and no more.
pub(crate) struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R> Limited<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, left: UNPACKED_LIMIT }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            let told =
                format!("it unpacks to more than {UNPACKED_LIMIT} bytes, far above what belongs in it");
            io::Error::new(io::ErrorKind::FileTooLarge, told)
        })?;
        Ok(count)
    }
}

/// A tar of one file of zeros that is too large, packed small.
#[cfg(test)]
pub(crate) fn bomb(path: &str) -> Vec<u8> {
    use std::io::Write as _;
    let size = 2 * UNPACKED_LIMIT;
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o755);
    header.set_size(size);
    header.set_cksum();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(header.as_bytes()).unwrap();
    io::copy(&mut io::repeat(0).take(size), &mut encoder).unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    bomb
}
