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
    let answer = Arc::new((Mutex::new(None), Condvar::new()));
    let ours = Arc::clone(&answer);
    std::thread::Builder::new().name("trial".to_owned()).spawn(move || {
        let result = enter(namespaces).map(|()| probe());
        *ours.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        ours.1.notify_one();
    })?;
    let answered = answer.0.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut answered, _) = answer
        .1
        .wait_timeout_while(answered, limit, |result| result.is_none())
        .unwrap_or_else(PoisonError::into_inner);
    answered.take().unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
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
}
