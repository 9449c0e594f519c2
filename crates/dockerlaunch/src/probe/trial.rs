//! Trying what only a try can tell, where nobody notices.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};

/// Runs `probe` in a thread that has namespaces of its own (unshare(2)); they go with it, and all that was made in them.
///
/// Mounts that it makes are seen by nobody else. In there `/proc/self` is still that of the whole process: its own is
/// `/proc/thread-self`, and its network's is `/proc/thread-self/net`.
///
/// # Errors
/// The namespaces are refused, or there was no answer within `limit`: the thread is then left to itself.
pub(crate) fn trial<T: Send + 'static>(
    namespaces: CloneFlags,
    limit: Duration,
    probe: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    begin(namespaces, probe)?.answer(limit)
}

/// One that runs.
pub(crate) struct Trial<T>(Arc<(Mutex<Option<io::Result<T>>>, Condvar)>);

/// The same, to be waited for by and by.
pub(crate) fn begin<T: Send + 'static>(
    namespaces: CloneFlags,
    probe: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Trial<T>> {
    let answer = Arc::new((Mutex::new(None), Condvar::new()));
    let ours = Arc::clone(&answer);
    std::thread::Builder::new().name("trial".to_owned()).spawn(move || {
        let result = enter(namespaces).map(|()| probe());
        *ours.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        ours.1.notify_one();
    })?;
    Ok(Trial(answer))
}

impl<T> Trial<T> {
    /// What it gave, once it has. Where that is not within the limit (`TimedOut`), one may ask again.
    pub(crate) fn answer(&self, limit: Duration) -> io::Result<T> {
        let Trial(answer) = self;
        let answered = answer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut answered, _) = answer
            .1
            .wait_timeout_while(answered, limit, |result| result.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        answered.take().unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}

fn enter(namespaces: CloneFlags) -> io::Result<()> {
    unshare(namespaces)?;
    if namespaces.contains(CloneFlags::CLONE_NEWNS) {
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_no_answer_is_left_to_itself() {
        let limit = Duration::from_millis(10);
        let error = trial(CloneFlags::empty(), limit, || std::thread::sleep(Duration::from_secs(2)));
        assert_eq!(error.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
        assert_eq!(trial(CloneFlags::empty(), Duration::from_secs(10), || 7).expect("answers"), 7);
    }

    #[test]
    fn what_answers_late_may_be_asked_again() {
        let (tell, told) = std::sync::mpsc::channel::<u8>();
        let late = begin(CloneFlags::empty(), move || told.recv()).expect("thread");
        let error = late.answer(Duration::from_millis(10)).expect_err("nothing yet");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        tell.send(7).expect("it waits");
        assert_eq!(late.answer(Duration::from_secs(60)).expect("answers"), Ok(7));
    }
}
