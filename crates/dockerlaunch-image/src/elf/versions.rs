//! Symbol versions: those that a file asks of its libraries, and those that a library has. The loader refuses to start
//! a program that asks for one that is not there.

use std::collections::BTreeSet;

use object::elf::{self, FileHeader32, FileHeader64, Verdaux, Verdef, Vernaux, Verneed};
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind, Pod, ReadRef as _};

use super::{ElfError, segments};

/// The versions that a file names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Versions {
    /// Library and version, but for those that the file can do without.
    pub(crate) needed: BTreeSet<(String, String)>,
    /// Its own.
    pub(crate) defined: BTreeSet<String>,
}

/// An index of versions has 15 bits; tables with more entries go in circles.
const MOST: usize = 1 << 15;

/// Reads the versions that the loader would look at.
pub(crate) fn versions(name: &str, bytes: &[u8]) -> Result<Versions, ElfError> {
    let read = match FileKind::parse(bytes) {
        Ok(FileKind::Elf64) => read::<FileHeader64<Endianness>>(bytes),
        Ok(FileKind::Elf32) => read::<FileHeader32<Endianness>>(bytes),
        _ => Err("it is no ELF file".to_owned()),
    };
    read.map_err(|message| ElfError::Read { name: name.to_owned(), message })
}

/// The tables of one file, found by address as the loader finds them.
struct Tables<'a> {
    bytes: &'a [u8],
    endian: Endianness,
    /// Address, bytes of it in the file, and where they lie there.
    loaded: Vec<(u64, u64, u64)>,
    strings: u64,
}

impl Tables<'_> {
    fn offset(&self, address: u64) -> Option<u64> {
        self.loaded.iter().find_map(|&(start, length, offset)| {
            let into = address.checked_sub(start)?;
            (into < length).then(|| offset.checked_add(into)).flatten()
        })
    }

    fn entry<T: Pod>(&self, address: u64) -> Result<&T, String> {
        let outside = || format!("its version table at {address:#x} lies outside of the file");
        self.bytes.read_at(self.offset(address).ok_or_else(outside)?).map_err(|()| outside())
    }

    fn string(&self, offset: u32) -> Result<String, String> {
        let place = self.strings.checked_add(offset.into()).and_then(|address| self.offset(address));
        let start = place.ok_or_else(|| format!("string {offset} lies outside of the file"))?;
        let found = self.bytes.read_bytes_at_until(start..self.bytes.len() as u64, 0);
        let found = found.map_err(|()| format!("string {offset} does not end"))?;
        Ok(String::from_utf8_lossy(found).into_owned())
    }
}

fn read<Elf: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Versions, String> {
    let text = |error: object::Error| error.to_string();
    let (endian, _, segments) = segments::<Elf>(bytes)?;
    let loaded = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == elf::PT_LOAD)
        .map(|segment| {
            (segment.p_vaddr(endian).into(), segment.p_filesz(endian).into(), segment.p_offset(endian).into())
        })
        .collect();
    let mut versions = Versions::default();
    for segment in segments {
        let Some(dynamic) = segment.dynamic(endian, bytes).map_err(text)? else { continue };
        let value = |tag: u32| -> Option<u64> {
            dynamic
                .iter()
                .find(|entry| entry.tag32(endian) == Some(tag))
                .map(|entry| entry.d_val(endian).into())
        };
        let Some(strings) = value(elf::DT_STRTAB) else { continue };
        let tables = Tables { bytes, endian, loaded, strings };
        if let Some(at) = value(elf::DT_VERNEED) {
            versions.needed = tables.needed(at, value(elf::DT_VERNEEDNUM).unwrap_or_default())?;
        }
        if let Some(at) = value(elf::DT_VERDEF) {
            versions.defined = tables.defined(at, value(elf::DT_VERDEFNUM).unwrap_or_default())?;
        }
        break;
    }
    Ok(versions)
}

impl Tables<'_> {
    fn needed(&self, mut at: u64, count: u64) -> Result<BTreeSet<(String, String)>, String> {
        let endian = self.endian;
        let mut needed = BTreeSet::new();
        let mut read = 0;
        for _ in 0..count {
            let library: &Verneed<Endianness> = self.entry(at)?;
            let name = self.string(library.vn_file.get(endian))?;
            let mut aux = at.wrapping_add(library.vn_aux.get(endian).into());
            for _ in 0..library.vn_cnt.get(endian).max(1) {
                read += 1;
                if read > MOST {
                    return Err("its versions have no end".to_owned());
                }
                let version: &Vernaux<Endianness> = self.entry(aux)?;
                if version.vna_flags.get(endian) & elf::VER_FLG_WEAK == 0 {
                    needed.insert((name.clone(), self.string(version.vna_name.get(endian))?));
                }
                aux = aux.wrapping_add(version.vna_next.get(endian).into());
            }
            at = at.wrapping_add(library.vn_next.get(endian).into());
        }
        Ok(needed)
    }

    fn defined(&self, mut at: u64, count: u64) -> Result<BTreeSet<String>, String> {
        let endian = self.endian;
        if count > MOST as u64 {
            return Err("its versions have no end".to_owned());
        }
        let mut defined = BTreeSet::new();
        for _ in 0..count {
            let version: &Verdef<Endianness> = self.entry(at)?;
            // The base version is the library's own name.
            if version.vd_flags.get(endian) & elf::VER_FLG_BASE == 0 {
                let aux: &Verdaux<Endianness> =
                    self.entry(at.wrapping_add(version.vd_aux.get(endian).into()))?;
                defined.insert(self.string(aux.vda_name.get(endian))?);
            }
            at = at.wrapping_add(version.vd_next.get(endian).into());
        }
        Ok(defined)
    }
}
