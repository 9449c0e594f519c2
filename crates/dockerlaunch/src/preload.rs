//! Images that come with the system, loaded into an engine that is ready and does not have them yet.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use dockerlaunch_plan::facts::image_archive::{BLOCK, INDEXES, digests, header};
use dockerlaunch_plan::facts::storage::PRELOADED;

use crate::say::say;
use crate::sockets;

/// Whoever asks whether the engine is ready is told no while this is there.
const MARK: &str = "/run/dockerlaunch/loading";

/// In the data root: digests of archives that were loaded, and that the engine knows by others.
const RECORD: &str = ".dockerlaunch.images";

/// How long the engine may take for one answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Larger ones are no indexes.
const LONGEST_INDEX: u64 = 4 << 20;

/// Whether images are still to be loaded.
pub(crate) fn is_pending() -> bool {
    Path::new(MARK).exists()
}

/// Says so, or that they are there.
pub(crate) fn pending(is: bool) {
    // Where /run cannot be written, nobody is kept waiting.
    let _ = if is { fs::write(MARK, "") } else { fs::remove_file(MARK) };
}

/// Loads what is missing. An archive that cannot be loaded is told, and the others are loaded.
pub(crate) fn run(socket: &str, data_root: &Path) {
    let entries = fs::read_dir(PRELOADED).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.ends_with(".tar"));
    names.sort();
    for name in names {
        let path = Path::new(PRELOADED).join(name);
        let start = Instant::now();
        match load_unless_there(&path, socket, data_root) {
            Ok(true) => {
                say!(Info["images"], "{} loaded in {} ms", path.display(), start.elapsed().as_millis())
            }
            Ok(false) => say!(Info["images"], "{} is there already", path.display()),
            Err(error) => say!(Warn, "the images in {} are not loaded: {error}", path.display()),
        }
    }
}

fn load_unless_there(path: &Path, socket: &str, data_root: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let indexes = indexes(&mut file)?;
    let Some(first) = indexes.iter().flatten().next() else {
        return Err(io::Error::other(
            "it is no archive of images (`docker save`), and not a plain tar of an OCI layout",
        ));
    };
    let record = data_root.join(RECORD);
    if is_known(&indexes, socket)? || fs::read_to_string(&record).is_ok_and(|text| text.contains(first)) {
        return Ok(false);
    }
    file.rewind()?;
    sockets::load(socket, &mut file)?;
    if !is_known(&indexes, socket)? {
        let mut record = OpenOptions::new().append(true).create(true).open(record)?;
        writeln!(record, "{first}")?;
    }
    Ok(true)
}

/// Whether the engine has all that one of the indexes names.
fn is_known(indexes: &[Vec<String>], socket: &str) -> io::Result<bool> {
    for index in indexes.iter().filter(|index| !index.is_empty()) {
        let mut all = true;
        for digest in index {
            all &= sockets::get(socket, &format!("/images/{digest}/json"), ANSWER)?.0 == 200;
        }
        if all {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The digests in each index of the archive.
fn indexes(file: &mut File) -> io::Result<Vec<Vec<String>>> {
    let mut found = Vec::new();
    let mut block = [0; BLOCK];
    while file.read_exact(&mut block).is_ok() {
        let Some((name, size)) = header(&block) else { break };
        let padded = size.next_multiple_of(BLOCK as u64);
        if INDEXES.contains(&&*name) && size < LONGEST_INDEX {
            let mut text = String::new();
            Read::take(&mut *file, size).read_to_string(&mut text)?;
            found.push(digests(&text));
            file.seek(SeekFrom::Current((padded - size) as i64))?;
        } else {
            file.seek(SeekFrom::Current(i64::try_from(padded).map_err(io::Error::other)?))?;
        }
    }
    Ok(found)
}
