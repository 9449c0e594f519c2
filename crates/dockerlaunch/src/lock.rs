//! The lock of the data root: held by the launcher that supervises an engine, or by the engine that it became.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use dockerlaunch_plan::ActionError;
use dockerlaunch_plan::facts::storage::LOCK;
use dockerlaunch_plan::facts::tls::date;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::say::say;

/// Nobody looks for longer.
const LOOK: Duration = Duration::from_millis(300);

/// Who holds it, as the file says: host, pid, pid namespace, boot, since when.
pub(crate) struct Holder(String);

impl Display for Holder {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "one that has left no name" } else { &self.0 })
    }
}

impl Holder {
    fn of(file: &mut File) -> Self {
        let mut text = String::new();
        let _ = file.rewind().and_then(|()| file.take(400).read_to_string(&mut text));
        Self(text.lines().next().unwrap_or_default().to_owned())
    }

    fn ourselves() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let processes = processes().unwrap_or_else(|| "a place without /proc".to_owned());
        Self(format!(
            "{}, pid {} in {processes}, since {}",
            host(),
            std::process::id(),
            date(since.as_secs())
        ))
    }

    /// Its pid, where it lives among the processes that we see.
    fn pid_here(&self) -> Option<&str> {
        let (pid, place) = self.0.strip_prefix(&host())?.strip_prefix(", pid ")?.split_once(" in ")?;
        place.strip_prefix(&processes()?)?.starts_with(", since ").then_some(pid)
    }

    /// Whether it lives among the processes that we see.
    pub(crate) fn is_of_this_place(&self) -> bool {
        self.pid_here().is_some()
    }

    /// It has ended, and only what it started, such as the shims of containers, has the file still open.
    fn is_gone(&self) -> bool {
        self.pid_here().is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The pid namespace, and the boot of its machine: the first namespace has the same number on every one.
fn processes() -> Option<String> {
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{} of boot {}", namespace.display(), boot.trim_end()))
}

/// Takes it, or says who has it. Where the file system has no locks there is none, which is told.
pub(crate) fn take(data_root: &str, wait: Duration) -> Result<Option<File>, ActionError> {
    let failed = |call: &str, error: &io::Error| ActionError {
        call: call.to_owned(),
        reason: error.to_string(),
        errno: error.raw_os_error().unwrap_or(0),
    };
    fs::create_dir_all(data_root).map_err(|error| failed("mkdir", &error))?;
    let path = Path::new(data_root).join(LOCK);
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(&path)
        .map_err(|error| failed("open", &error))?;
    let start = Instant::now();
    let mut told = false;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) => {
                let holder = Holder::of(&mut file);
                // Somebody who only looks has it for a moment, and leaves the name of the last holder.
                if start.elapsed() >= LOOK && holder.is_gone() {
                    say!(
                        Warn,
                        "{} was locked by {holder}, which has ended; what it started has not",
                        path.display()
                    );
                    return Ok(None);
                }
                if start.elapsed() >= wait.max(LOOK) {
                    return Err(failed_with(&holder));
                }
                if !told {
                    say!(Info["storage"], "waiting for {data_root}: it is locked by {holder}");
                }
                told = true;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(Errno::INTR) => {}
            Err(error) => {
                say!(Warn, "{data_root} cannot be locked ({error}): see that no other engine uses it");
                return Ok(None);
            }
        }
    }
    // For people; the lock itself is what counts.
    let _ =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", Holder::ourselves()));
    Ok(Some(file))
}

fn failed_with(holder: &Holder) -> ActionError {
    ActionError { call: "flock".to_owned(), reason: holder.to_string(), errno: libc::EAGAIN }
}

/// Who holds it, without taking it for longer than that takes.
pub(crate) fn look(path: &Path) -> Option<Holder> {
    let mut file = File::open(path).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Some(Holder::of(&mut file)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_has_one_holder_and_tells_its_name() {
        let dir = tempfile::tempdir().expect("dir");
        let root = dir.path().join("new/root");
        let root = root.to_str().expect("path");
        let file = Path::new(root).join(LOCK);
        assert!(look(&file).is_none(), "there is not even a file");
        let held = take(root, Duration::ZERO).expect("free").expect("locks");
        let holder = look(&file).expect("held");
        assert!(holder.is_of_this_place() && !holder.is_gone());
        let error = take(root, Duration::from_millis(60)).expect_err("held");
        assert_eq!((error.errno, &error.reason), (libc::EAGAIN, &holder.to_string()));
        assert!(error.reason.contains(&format!("pid {} in pid:[", std::process::id())), "{}", error.reason);
        drop(held);
        assert!(look(&file).is_none(), "let go");
        take(root, Duration::ZERO).expect("free again").expect("locks");
    }

    #[test]
    fn a_holder_that_has_ended_is_no_obstacle() {
        let dir = tempfile::tempdir().expect("dir");
        let root = dir.path().to_str().expect("path");
        let mut held = take(root, Duration::ZERO).expect("free").expect("locks");
        let mut write = |text: &str| {
            held.set_len(0).and_then(|()| held.rewind()).expect("empty");
            writeln!(held, "{text}").expect("write");
        };
        let (host, processes) = (host(), processes().expect("/proc"));
        // No pid is that large (PID_MAX_LIMIT).
        let ended = format!("{host}, pid 4194305 in {processes}, since ever");
        // The same numbers on another machine are somebody else's: we cannot see whether that lives.
        let (namespace, _) = processes.split_once(" of boot ").expect("boot");
        let other_boot = format!(
            "{host}, pid 4194305 in {namespace} of boot 3f0c1a52-0000-4000-8000-000000000000, since ever"
        );
        let other_host = format!("not-{ended}");
        let no_boot = format!("{host}, pid 4194305 in {namespace}, since ever");
        for other in [other_boot, other_host, no_boot] {
            write(&other);
            assert_eq!(take(root, Duration::ZERO).expect_err(&other).errno, libc::EAGAIN);
        }
        write(&ended);
        assert!(take(root, Duration::ZERO).expect("what it started has the file").is_none());
    }
}
