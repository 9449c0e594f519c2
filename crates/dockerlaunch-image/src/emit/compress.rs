//! Compression with one outcome for one input, on any number of cores.

use std::io::{self, Read, Write};

use zstd::zstd_safe::CParameter;

use crate::request::Compression;

/// Jobs of a Zstandard stream are cut by size alone; any number of workers from one up gives the same bytes, none at
/// all gives others. So there is always at least one.
const MAX_WORKERS: usize = 8;

/// Bytes of a job at the slow levels, whose own choice is 32 MB and more: a build that is told to stop waits for those
/// under way.
const SLOW_JOB: u32 = 4 << 20;

/// The first level that is slow enough for that to matter.
pub(super) const SLOW_LEVEL: u8 = 10;

/// Levels whose own tables are larger than what a job looks back at, 8 MB: of the 80 MB of a worker at level 19 half do nothing
/// but fill memory. With these logarithms of the numbers of entries, layers are larger by less than a thousandth.
const LARGE_TABLES: std::ops::RangeInclusive<u8> = 17..=19;
const CHAIN_LOG: u32 = 23;
const HASH_LOG: u32 = 21;

/// A compressing writer.
pub(super) enum Compressor<W: Write> {
    None(W),
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    pub(super) fn new(compression: Compression, writer: W) -> io::Result<Self> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_workers(workers, compression, writer)
    }

    fn with_workers(workers: usize, compression: Compression, writer: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(writer),
            // flate2 writes no time and no name into the header.
            Compression::Gzip(level) => {
                Self::Gzip(flate2::write::GzEncoder::new(writer, flate2::Compression::new(level.into())))
            }
            Compression::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(writer, level.into())?;
                encoder.multithread(u32::try_from(workers.clamp(1, MAX_WORKERS)).unwrap_or(1))?;
                if level >= SLOW_LEVEL {
                    encoder.set_parameter(CParameter::JobSize(SLOW_JOB))?;
                }
                if LARGE_TABLES.contains(&level) {
                    encoder.set_parameter(CParameter::ChainLog(CHAIN_LOG))?;
                    encoder.set_parameter(CParameter::HashLog(HASH_LOG))?;
                }
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(writer) => Ok(writer),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(writer) => writer.write(buffer),
            Self::Gzip(encoder) => encoder.write(buffer),
            Self::Zstd(encoder) => encoder.write(buffer),
        }
    }

    /// Passes nothing on early: a flush in the middle would put a boundary into the compressed stream.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what a [`Compressor`] wrote.
pub(super) fn reader<'a>(compression: Compression, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(packed),
        Compression::Gzip(_) => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        Compression::Zstd(_) => Box::new(zstd::Decoder::new(packed)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_read_back() {
        let text = b"text ".repeat(10_000);
        for compression in [Compression::None, Compression::Gzip(6), Compression::Zstd(3)] {
            let mut compressor = Compressor::new(compression, Vec::new()).unwrap();
            compressor.write_all(&text).unwrap();
            let packed = compressor.finish().unwrap();
            let mut unpacked = Vec::new();
            reader(compression, packed.as_slice()).unwrap().read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == text, "{compression}");
        }
    }

    #[test]
    fn the_number_of_workers_does_not_show() {
        // Several jobs' worth of text that does not compress to nothing.
        let text: Vec<u8> =
            (0..6_000_000u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        // Less of it where it takes long, but more than two jobs all the same.
        for (level, length) in [(1, text.len()), (SLOW_LEVEL, text.len()), (*LARGE_TABLES.end(), 9 << 20)] {
            let pack = |workers| {
                let compression = Compression::Zstd(level);
                let mut compressor = Compressor::with_workers(workers, compression, Vec::new()).unwrap();
                compressor.write_all(&text[..length]).unwrap();
                compressor.finish().unwrap()
            };
            let one = pack(1);
            assert!(pack(2) == one && pack(99) == one, "zstd:{level}");
        }
    }
}
