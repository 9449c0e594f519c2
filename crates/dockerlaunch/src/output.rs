//! Where the engine's output goes, and its last lines (docs/adr/0005).

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dockerlaunch_plan::supervise::Tail;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::sys;

/// How long the end of the output may take after the engine has ended: a process of its own may hold the pipe.
const REST: Duration = Duration::from_secs(1);

/// The last lines are in it, since they are cut off where they are long.
const END_OF_FILE: u64 = 64 * 1024;

/// The output of one run of the engine.
#[derive(Debug)]
pub(crate) enum Output {
    /// It writes to our own standard error.
    Ours,
    /// It writes to a file.
    File(PathBuf),
    /// It writes to a pipe, and a thread passes that on to our standard error.
    Kept(Arc<Mutex<Tail>>, JoinHandle<()>),
}

impl Output {
    /// Directs the output of a command that is about to be started: to `log`, if there is one; else to our standard
    /// error, through a pipe when the last lines shall be kept. Standard output is left to the job, if there is one.
    pub(crate) fn of(command: &mut Command, log: Option<&str>, keep: bool, job: bool) -> io::Result<Self> {
        if let Some(log) = log {
            let file = open_log(log)?;
            command.stdout(file.try_clone()?).stderr(file);
            return Ok(Self::File(log.into()));
        }
        if !keep {
            if job {
                command.stdout(sys::stderr()?);
            }
            return Ok(Self::Ours);
        }
        let (reader, writer) = io::pipe()?;
        if job {
            command.stdout(writer.try_clone()?);
        }
        command.stderr(writer);
        let tail = Arc::new(Mutex::new(Tail::default()));
        let kept = Arc::clone(&tail);
        let thread = thread::Builder::new().name("engine log".into()).stack_size(64 * 1024);
        let passing = thread.spawn(move || pass_on(reader, &kept))?;
        Ok(Self::Kept(tail, passing))
    }

    /// The last lines, after the engine's end.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.finish(Instant::now() + REST);
        self.lines_so_far()
    }

    /// The last lines until now.
    pub(crate) fn lines_so_far(&self) -> Vec<String> {
        match self {
            Self::Ours => Vec::new(),
            Self::File(path) => end_of(path).unwrap_or_default(),
            Self::Kept(tail, _) => tail.lock().unwrap_or_else(PoisonError::into_inner).lines(),
        }
    }

    /// After the engine's end: lets the rest of its output pass, until then at most.
    pub(crate) fn finish(&self, by: Instant) {
        while let Self::Kept(_, passing) = self
            && !passing.is_finished()
            && Instant::now() < by
        {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Opening waits for nothing (a pipe for its other end), and makes no terminal ours.
const AT_ONCE: i32 = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();

/// Opens the engine's log to append to it. A pipe must have a reader by now; `/dev/stdout` of a container is one.
pub(crate) fn open_log(path: &str) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(AT_ONCE).open(path);
    let file = file.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => io::Error::other("it is a pipe that nobody reads, or a socket"),
        _ => error,
    })?;
    // The engine may wait when it writes.
    rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Until the engine closes its end. When our standard error waits, so does the engine, as if it wrote there itself; when
/// it is gone, the engine need not go too.
fn pass_on(mut reader: PipeReader, tail: &Mutex<Tail>) {
    let mut buffer = [0; 8192];
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let mut piece = buffer.get(..length).unwrap_or_default();
        tail.lock().unwrap_or_else(PoisonError::into_inner).feed(piece);
        while !piece.is_empty() {
            // Past std's lock: PID 1 must be able to write its own lines while this waits.
            match rustix::io::write(rustix::stdio::stderr(), piece) {
                Ok(written) => piece = piece.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
    }
}

fn end_of(path: &PathBuf) -> io::Result<Vec<String>> {
    let mut file = OpenOptions::new().read(true).custom_flags(AT_ONCE).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        // What has been written to a pipe or a terminal is not there any more.
        return Ok(Vec::new());
    }
    let size = meta.len();
    file.seek(SeekFrom::Start(size.saturating_sub(END_OF_FILE)))?;
    let mut tail = Tail::default();
    let mut bytes = Vec::new();
    file.take(END_OF_FILE).read_to_end(&mut bytes)?;
    // The first line is cut off where the file is longer than what is read.
    let begin = bytes.iter().position(|byte| *byte == b'\n').filter(|_| size > END_OF_FILE);
    tail.feed(bytes.get(begin.map_or(0, |at| at + 1)..).unwrap_or_default());
    Ok(tail.lines())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_file_is_found() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("log");
        // Fifty of the longest.
        let text: String = (0..9000).map(|n| format!("line {n} {}\n", "x".repeat(980))).collect();
        std::fs::write(&path, text).expect("write");
        let lines = end_of(&path).expect("lines");
        assert_eq!((lines.len(), &lines[0][..9]), (50, "line 8950"));
        std::fs::write(&path, "only one").expect("write");
        assert_eq!(end_of(&path).expect("line"), ["only one"]);
    }

    #[test]
    fn what_passes_through_is_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one >&2; echo two >&2; exit 3"]);
        let output = Output::of(&mut command, None, true, false).expect("pipe");
        assert_eq!(command.status().expect("sh").code(), Some(3));
        drop(command);
        assert_eq!(output.last_lines(), ["one", "two"]);
    }
}
