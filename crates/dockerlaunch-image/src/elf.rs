//! ELF: what an executable asks of the system, and how it is made to ask for the image's private loader and libraries.
//!
//! The files are read through their program headers, as the kernel and the loader read them, and never through their
//! section headers, which may say something else.

mod versions;

use std::borrow::Cow;
use std::io;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader, SectionHeader as _};
use object::{Endian as _, Endianness, FileKind, ReadRef as _};

pub(crate) use versions::{Versions, versions};

use crate::error::Hints;
use crate::file_content::Content;
use crate::{INTERPRETER, LIBRARY_DIR};

/// An executable cannot be read or adapted.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It is damaged, or of a kind we do not handle.
    #[error("cannot read the executable `{name}`: {message}")]
    Read {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The library that rewrites it failed.
    #[error("cannot adapt the executable `{name}`: {message}")]
    Rewrite {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The library that rewrites it did something else than it was told.
    #[error("the adapted executable `{name}` is wrong: {message}")]
    Check {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
}

impl Hints for ElfError {
    fn hints(&self) -> Vec<String> {
        vec![
            "this is a fault of this program or of the package: please report it, with the suite's name"
                .to_owned(),
        ]
    }
}

/// What the loader sees of an executable or a library.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ElfFacts {
    pub(crate) machine: u16,
    pub(crate) interpreter: Option<String>,
    pub(crate) needed: Vec<String>,
    pub(crate) soname: Option<String>,
    pub(crate) rpath: Option<String>,
    pub(crate) runpath: Option<String>,
}

impl ElfFacts {
    /// Whether it runs without a loader and without libraries.
    pub(crate) fn is_static(&self) -> bool {
        self.interpreter.is_none() && self.needed.is_empty()
    }
}

/// Whether this is an ELF file, by its first bytes.
pub(crate) fn is_elf(content: &Content) -> io::Result<bool> {
    Ok(content.head(elf::ELFMAG.len() as u64)? == elf::ELFMAG)
}

/// Either class of ELF files: a 32-bit architecture has its own.
macro_rules! by_class {
    ($bytes:expr, $function:ident($($argument:expr),*)) => {
        match FileKind::parse($bytes) {
            Ok(FileKind::Elf64) => $function::<FileHeader64<Endianness>>($($argument),*),
            Ok(FileKind::Elf32) => $function::<FileHeader32<Endianness>>($($argument),*),
            _ => Err("it is no ELF file".to_owned()),
        }
    };
}

type Segments<'a, E> = (Endianness, &'a E, &'a [<E as FileHeader>::ProgramHeader]);

fn segments<E: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Segments<'_, E>, String> {
    let header = E::parse(bytes).map_err(|error| error.to_string())?;
    let endian = header.endian().map_err(|error| error.to_string())?;
    let segments = header.program_headers(endian, bytes).map_err(|error| error.to_string())?;
    Ok((endian, header, segments))
}

/// Reads what the loader would see.
pub(crate) fn inspect(name: &str, bytes: &[u8]) -> Result<ElfFacts, ElfError> {
    read_facts(bytes).map_err(|message| ElfError::Read { name: name.to_owned(), message })
}

fn read_facts(bytes: &[u8]) -> Result<ElfFacts, String> {
    by_class!(bytes, facts_of(bytes))
}

fn facts_of<E: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<ElfFacts, String> {
    let text = |error: object::Error| error.to_string();
    let (endian, header, segments) = segments::<E>(bytes)?;
    let mut facts = ElfFacts { machine: header.e_machine(endian), ..ElfFacts::default() };
    for segment in segments {
        if let Some(interpreter) = segment.interpreter(endian, bytes).map_err(text)? {
            facts.interpreter = Some(String::from_utf8_lossy(interpreter).into_owned());
        }
        let Some(dynamic) = segment.dynamic(endian, bytes).map_err(text)? else { continue };
        let value = |tag: u32| -> Option<u64> {
            dynamic
                .iter()
                .find(|entry| entry.tag32(endian) == Some(tag))
                .map(|entry| entry.d_val(endian).into())
        };
        let Some(strings) = value(elf::DT_STRTAB) else { continue };
        let size = value(elf::DT_STRSZ).unwrap_or_default();
        let string = |offset: u64| -> Result<String, String> {
            if offset >= size {
                return Err(format!("string {offset} lies outside of the string table"));
            }
            let start = file_offset(endian, segments, strings.wrapping_add(offset))
                .ok_or("the dynamic string table is not loaded from the file")?;
            let end = start.saturating_add(size - offset).min(bytes.len() as u64);
            let found = bytes
                .read_bytes_at_until(start..end, 0)
                .map_err(|()| format!("string {offset} does not end"))?;
            Ok(String::from_utf8_lossy(found).into_owned())
        };
        for entry in dynamic.iter().take_while(|entry| entry.tag32(endian) != Some(elf::DT_NULL)) {
            let offset = entry.d_val(endian).into();
            match entry.tag32(endian) {
                Some(elf::DT_NEEDED) => facts.needed.push(string(offset)?),
                Some(elf::DT_SONAME) => facts.soname = Some(string(offset)?),
                Some(elf::DT_RPATH) => facts.rpath = Some(string(offset)?),
                Some(elf::DT_RUNPATH) => facts.runpath = Some(string(offset)?),
                _ => {}
            }
        }
    }
    Ok(facts)
}

fn file_offset<P: ProgramHeader<Endian = Endianness>>(
    endian: Endianness,
    segments: &[P],
    address: u64,
) -> Option<u64> {
    segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).find_map(|segment| {
        let into = address.checked_sub(segment.p_vaddr(endian).into())?;
        (into < segment.p_filesz(endian).into())
            .then(|| segment.p_offset(endian).into().checked_add(into))
            .flatten()
    })
}

/// Makes an executable use the private loader and look for its libraries in the private directory first of all.
///
/// DT_RPATH and not DT_RUNPATH: the latter loses to a base image's `LD_LIBRARY_PATH`, and does not count for the
/// libraries' own libraries, which stay as they are.
pub(crate) fn relocate(name: &str, bytes: &[u8]) -> Result<Vec<u8>, ElfError> {
    let read = |message| ElfError::Read { name: name.to_owned(), message };
    let failed = |message| ElfError::Rewrite { name: name.to_owned(), message };
    let before = inspect(name, bytes)?;
    let readable = by_class!(bytes, hide_attributes(bytes)).map_err(read)?;
    let after = match rewrite(&readable, &before) {
        Ok(after) => after,
        // Where the dynamic section has no room for one more entry, one that only debuggers use makes way.
        Err(error) => match by_class!(bytes, spare_entry(&readable)).map_err(read)? {
            Some(roomy) => rewrite(&roomy, &before).map_err(|error| failed(error.to_string()))?,
            None => return Err(failed(error.to_string())),
        },
    };
    check(bytes, &before, &after).map_err(|message| ElfError::Check { name: name.to_owned(), message })?;
    Ok(after)
}

fn rewrite(bytes: &[u8], before: &ElfFacts) -> Result<Vec<u8>, object_rewrite::Error> {
    let mut rewriter = object_rewrite::Rewriter::read(bytes)?;
    if before.interpreter.is_some() {
        rewriter.elf_set_interpreter(INTERPRETER.as_bytes().to_vec())?;
    }
    rewriter.elf_set_runpath(LIBRARY_DIR.as_bytes().to_vec())?;
    rewriter.elf_use_rpath()?;
    let mut after = Vec::with_capacity(bytes.len() + (64 << 10));
    rewriter.write(&mut after)?;
    Ok(after)
}

/// The file with an empty DT_RUNPATH in place of its DT_DEBUG.
fn spare_entry<E: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let (endian, _, segments) = segments::<E>(bytes)?;
    let cut_off = "its dynamic section is cut off";
    for segment in segments {
        let dynamic = segment.dynamic(endian, bytes).map_err(|error| error.to_string())?;
        let Some(number) =
            dynamic.unwrap_or_default().iter().position(|entry| entry.tag32(endian) == Some(elf::DT_DEBUG))
        else {
            continue;
        };
        let size = size_of::<E::Dyn>();
        let start = usize::try_from(segment.p_offset(endian).into()).map_err(|error| error.to_string())?;
        let mut roomy = bytes.to_vec();
        let entry = roomy.get_mut(start + number * size..start + (number + 1) * size).ok_or(cut_off)?;
        // The string at offset 0 is the empty one. The tag's upper half, in the larger class, is zero already.
        let (tag, value) = entry.split_at_mut(size / 2);
        value.fill(0);
        let place = if endian == Endianness::Big { size / 2 - 4 } else { 0 };
        tag.get_mut(place..place + 4)
            .ok_or(cut_off)?
            .copy_from_slice(&endian.write_u32(elf::DT_RUNPATH).to_ne_bytes());
        return Ok(Some(roomy));
    }
    Ok(None)
}

/// Makes sections of processor attributes (`SHT_ARM_ATTRIBUTES` and what has its number elsewhere) look like plain data.
/// object 0.35 cannot read today's form of them on arm64, and nobody does when a program runs.
fn hide_attributes<E: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let text = |error: object::Error| error.to_string();
    let header = E::parse(bytes).map_err(text)?;
    let endian = header.endian().map_err(text)?;
    let sections = header.section_headers(endian, bytes).map_err(text)?;
    let (start, size): (u64, u64) = (header.e_shoff(endian).into(), header.e_shentsize(endian).into());
    let mut bytes = Cow::Borrowed(bytes);
    for (number, _) in
        (0u64..).zip(sections).filter(|(_, section)| section.sh_type(endian) == elf::SHT_ARM_ATTRIBUTES)
    {
        // The type comes second in a section header, in both classes.
        let place = usize::try_from(start + number * size + 4).map_err(|error| error.to_string())?;
        let value = bytes.to_mut().get_mut(place..place + 4).ok_or("its section headers are cut off")?;
        value.copy_from_slice(&endian.write_u32(elf::SHT_PROGBITS).to_ne_bytes());
    }
    Ok(bytes)
}

/// Does not trust the rewriter: version 0.1.1 was seen to cut off a long interpreter without a word.
fn check(original: &[u8], before: &ElfFacts, rewritten: &[u8]) -> Result<(), String> {
    let after = read_facts(rewritten)?;
    let expected = ElfFacts {
        interpreter: before.interpreter.as_ref().map(|_| INTERPRETER.to_owned()),
        rpath: Some(LIBRARY_DIR.to_owned()),
        runpath: None,
        ..before.clone()
    };
    if after != expected {
        return Err(format!("expected {expected:?}, found {after:?}"));
    }
    by_class!(original, check_segments(original, rewritten))
}

fn check_segments<E: FileHeader<Endian = Endianness>>(
    original: &[u8],
    rewritten: &[u8],
) -> Result<(), String> {
    let (endian, old_header, old_segments) = segments::<E>(original)?;
    let (_, new_header, new_segments) = segments::<E>(rewritten)?;
    if old_header.e_entry(endian).into() != new_header.e_entry(endian).into() {
        return Err("the entry point moved".to_owned());
    }
    for segment in new_segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD) {
        let (offset, address): (u64, u64) = (segment.p_offset(endian).into(), segment.p_vaddr(endian).into());
        let align = segment.p_align(endian).into().max(1);
        if offset % align != address % align {
            return Err(format!("the segment at {address:#x} cannot be mapped: file offset {offset:#x}"));
        }
        if offset.saturating_add(segment.p_filesz(endian).into()) > rewritten.len() as u64 {
            return Err(format!("the segment at {address:#x} is cut off"));
        }
    }
    for segment in old_segments.iter().filter(|segment| is_code(endian, *segment)) {
        let address: u64 = segment.p_vaddr(endian).into();
        let kept = new_segments.iter().any(|other| {
            is_code(endian, other)
                && other.p_vaddr(endian).into() == address
                && other.data(endian, rewritten).ok() == segment.data(endian, original).ok()
        });
        // The first segment of some executables holds headers and code together, and the headers do change.
        if !kept && segment.p_offset(endian).into() != 0 {
            return Err(format!("the code at {address:#x} changed"));
        }
    }
    Ok(())
}

fn is_code<P: ProgramHeader<Endian = Endianness>>(endian: Endianness, segment: &P) -> bool {
    segment.p_type(endian) == elf::PT_LOAD && segment.p_flags(endian) & elf::PF_X != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A dynamic executable as distributions link them. Not this test itself: rust-lld lays its sections out in a way
    /// that object-rewrite refuses.
    fn sample() -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("sample.c");
        std::fs::write(&source, "#include <stdio.h>\nint main(void) { return puts(\"ran\") < 0; }\n")
            .unwrap();
        let output = directory.path().join("sample");
        let status = std::process::Command::new("cc").arg("-o").arg(&output).arg(&source).status().unwrap();
        assert!(status.success(), "the C compiler that this crate is built with cannot link");
        std::fs::read(output).unwrap()
    }

    #[test]
    fn the_interpreter_fits_in_place_of_every_packaged_one() {
        for packaged in
            ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-linux-armhf.so.3"]
        {
            assert!(INTERPRETER.len() <= packaged.len(), "{packaged}");
        }
    }

    #[test]
    fn facts_are_what_the_loader_sees() {
        let facts = inspect("self", &sample()).unwrap();
        assert!(facts.interpreter.as_deref().unwrap().contains("ld-linux"));
        assert!(facts.needed.iter().any(|name| name.starts_with("libc.so")));
        assert!(!facts.is_static());
    }

    #[test]
    fn a_relocated_executable_names_the_private_loader_and_libraries() {
        let original = sample();
        let before = inspect("self", &original).unwrap();
        let after = inspect("self", &relocate("self", &original).unwrap()).unwrap();
        assert_eq!(after.interpreter.as_deref(), Some(INTERPRETER));
        assert_eq!(after.rpath.as_deref(), Some(LIBRARY_DIR));
        assert_eq!(after.runpath, None);
        assert_eq!(after.needed, before.needed);
    }

    #[test]
    fn an_entry_for_debuggers_makes_way() {
        let original = sample();
        let roomy = by_class!(&*original, spare_entry(&original)).unwrap().unwrap();
        assert_eq!(inspect("self", &roomy).unwrap().runpath.as_deref(), Some(""));
        let before = inspect("self", &original).unwrap();
        let after = rewrite(&roomy, &before).unwrap();
        check(&original, &before, &after).unwrap();
    }

    #[test]
    fn a_rewrite_that_went_wrong_is_found() {
        let original = sample();
        let before = inspect("self", &original).unwrap();
        let good = relocate("self", &original).unwrap();
        assert!(check(&original, &before, &original).is_err(), "nothing was rewritten");
        let place =
            good.windows(INTERPRETER.len()).position(|window| window == INTERPRETER.as_bytes()).unwrap();
        let mut cut = good.clone();
        cut[place + 10] = 0;
        assert!(check(&original, &before, &cut).is_err(), "the interpreter is cut off");
        assert!(check(&original, &before, &good[..good.len() / 2]).is_err(), "half of the file is missing");
        let (endian, _, segments) = segments::<FileHeader64<Endianness>>(&good).unwrap();
        let code = segments.iter().find(|segment| is_code(endian, *segment)).unwrap();
        let mut flipped = good.clone();
        flipped[usize::try_from(code.p_offset(endian)).unwrap() + 100] ^= 1;
        assert!(check(&original, &before, &flipped).is_err(), "a bit of the code changed");
    }

    #[test]
    fn other_files_are_refused() {
        for (bytes, expected) in
            [(sample(), true), (b"#!/bin/sh".to_vec(), false), (b"\x7fEL".to_vec(), false)]
        {
            assert_eq!(is_elf(&Content::new(bytes)).unwrap(), expected);
        }
        assert!(inspect("x", b"\x7fELF").is_err());
        assert!(relocate("x", b"text").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(tail in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
            bytes.extend(tail);
            let _ = inspect("x", &bytes);
        }
    }
}
