//! Downloads: parallel, resumable, verified, and never the same bytes twice.

mod error;
mod exchange;
mod release;

use std::fs::{self, File, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::cache::Cache;
use crate::digest::{Digest, hash_reader};
use crate::progress::{Event, Progress};
pub use error::FetchError;
pub(crate) use error::cache_remedy;
use exchange::Exchange;

/// Downloads at a time. More do not help against one mirror.
const PARALLEL: usize = 4;

/// Attempts for one file; each goes on where the last one stopped.
const ATTEMPTS: u32 = 4;

/// How often one who waits asks whether to stop.
const PULSE: Duration = Duration::from_millis(100);

/// A file to fetch, known by its digest.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Where it may be found, the best place first.
    pub(crate) urls: Vec<String>,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Wanted {
    fn name(&self) -> &str {
        // The last place has the name that people know; earlier ones may name the file by its digest.
        let url = self.urls.last().map_or("", String::as_str);
        url.rsplit('/').next().unwrap_or(url)
    }
}

pub(crate) struct Fetcher<'a> {
    agent: ureq::Agent,
    pub(crate) cache: &'a Cache,
    offline: bool,
    /// How long a server may say nothing.
    patience: Duration,
    progress: &'a dyn Progress,
}

impl<'a> Fetcher<'a> {
    pub(crate) fn new(
        cache: &'a Cache,
        offline: bool,
        patience: Duration,
        progress: &'a dyn Progress,
    ) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_resolve(Some(patience))
            .timeout_connect(Some(patience))
            .timeout_per_read(Some(patience))
            // As long as bytes arrive a body may take its time, but a head is short.
            .timeout_recv_response(Some(patience * 2))
            .user_agent(concat!("from-scratch/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, cache, offline, patience, progress }
    }

    /// Fetches what the cache does not have yet, several files at a time.
    pub(crate) fn blobs(&self, wanted: &[Wanted]) -> Result<(), FetchError> {
        let mut missing: Vec<&Wanted> =
            wanted.iter().filter(|wanted| !self.cache.blob(wanted.digest).exists()).collect();
        missing.sort_by_key(|wanted| (wanted.digest, wanted.size));
        missing.dedup_by_key(|wanted| wanted.digest);
        // The largest first, so that the end is not one long download alone; popped from the back.
        missing.sort_by_key(|wanted| wanted.size);
        let queue = Mutex::new(missing);
        let failure = Mutex::new(None);
        let lock =
            |mutex: &Mutex<Option<FetchError>>| mutex.lock().map(|guard| guard.is_some()).unwrap_or(true);
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(|| {
                    while !lock(&failure) {
                        let Some(next) = queue.lock().ok().and_then(|mut queue| queue.pop()) else { return };
                        if let Err(error) = self.blob(next)
                            && let Ok(mut slot) = failure.lock()
                        {
                            slot.get_or_insert(error);
                        }
                    }
                });
            }
        });
        match failure.into_inner() {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(FetchError::Cancelled),
        }
    }

    /// Fetches one file into the cache, unless it is there.
    pub(crate) fn blob(&self, wanted: &Wanted) -> Result<PathBuf, FetchError> {
        let target = self.cache.blob(wanted.digest);
        if target.exists() {
            return Ok(target);
        }
        let url = || wanted.urls.first().cloned().unwrap_or_default();
        if self.offline {
            return Err(FetchError::Offline { url: url() });
        }
        let part = self.cache.part(wanted.digest);
        let Some(mut file) = self.open_part(wanted, &part, &target)? else { return Ok(target) };
        self.insist(|| self.attempt(wanted, &mut file, &part))?;
        self.settle(wanted, &mut file, &part, &target)?;
        self.progress.event(Event::FetchFinished { name: wanted.name() });
        Ok(target)
    }

    /// Fetches all of a file whose size nobody knows before, but that it is not above a limit.
    pub(crate) fn whole(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        if self.offline {
            return Err(FetchError::Offline { url: url.to_owned() });
        }
        let name = url.rsplit('/').next().unwrap_or(url);
        let bytes = self.insist(|| {
            let (head, exchange) = Exchange::begin(url, self.agent.get(url), self.patience, self.progress)?;
            let status = head.status.as_u16();
            if status != 200 {
                return Err(FetchError::Status { url: url.to_owned(), status });
            }
            let length = head.headers.get("content-length").and_then(|value| value.to_str().ok());
            let size = length.and_then(|text| text.parse().ok());
            if size.is_some_and(|size: u64| size > limit) {
                return Err(FetchError::TooLong { url: url.to_owned(), limit });
            }
            self.progress.event(Event::FetchStarted { name, size, resumed_from: 0 });
            let mut bytes = Vec::new();
            while let Some(more) = exchange.bytes()? {
                self.progress.event(Event::FetchAdvanced { name, bytes: more.len() as u64 });
                bytes.extend(more);
                if bytes.len() as u64 > limit {
                    return Err(FetchError::TooLong { url: url.to_owned(), limit });
                }
            }
            match size {
                Some(size) if size != bytes.len() as u64 => {
                    Err(exchange.failed(format!("the connection ended at {} of {size} bytes", bytes.len())))
                }
                _ => Ok(bytes),
            }
        })?;
        self.progress.event(Event::FetchFinished { name });
        Ok(bytes)
    }

    /// What has arrived of a file so far, locked. Another process that is fetching it is waited for; `None` when that
    /// leaves nothing to do.
    fn open_part(&self, wanted: &Wanted, part: &Path, target: &Path) -> Result<Option<File>, FetchError> {
        let cache_error = |source| FetchError::Cache { path: part.to_owned(), source };
        let mut told = false;
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(part)
                .map_err(cache_error)?;
            match file.try_lock() {
                Ok(()) if target.exists() => return Ok(None),
                // The other one has removed it, as it was not what was signed.
                Ok(()) if file.metadata().map_err(cache_error)?.nlink() == 0 => continue,
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::Error(error)) => return Err(cache_error(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            if !std::mem::replace(&mut told, true) {
                let text = format!("waiting for another build that fetches {}", wanted.name());
                self.progress.event(Event::Step(&text));
            }
            self.pause(PULSE)?;
        }
    }

    /// Tries again what a broken connection or a server in trouble has stopped.
    fn insist<T>(&self, mut attempt: impl FnMut() -> Result<T, FetchError>) -> Result<T, FetchError> {
        for number in 1..ATTEMPTS {
            match attempt() {
                Err(FetchError::Transport { .. }) => {}
                Err(FetchError::Status { status, .. }) if status >= 500 => {}
                result => return result,
            }
            self.pause(Duration::from_millis(200 << number))?;
        }
        attempt()
    }

    /// Waits, unless the user asks to stop.
    fn pause(&self, time: Duration) -> Result<(), FetchError> {
        let end = Instant::now() + time;
        loop {
            if self.progress.cancelled() {
                return Err(FetchError::Cancelled);
            }
            match end.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Ok(()),
                left => std::thread::sleep(left.min(PULSE)),
            }
        }
    }

    /// Checks a complete download and gives it its place.
    fn settle(&self, wanted: &Wanted, file: &mut File, part: &Path, target: &Path) -> Result<(), FetchError> {
        let cache_error = |source| FetchError::Cache { path: part.to_owned(), source };
        file.seek(SeekFrom::Start(0)).map_err(cache_error)?;
        let found = hash_reader(&mut *file).map_err(cache_error)?;
        if found != wanted.digest {
            fs::remove_file(part).map_err(cache_error)?;
            let url = wanted.urls.first().cloned().unwrap_or_default();
            return Err(FetchError::WrongDigest { url, expected: wanted.digest, found });
        }
        fs::rename(part, target).map_err(cache_error)
    }

    /// One attempt, over the places in turn; appends to what an earlier one left.
    fn attempt(&self, wanted: &Wanted, file: &mut File, part: &Path) -> Result<(), FetchError> {
        let mut refused = None;
        for url in &wanted.urls {
            match self.transfer(url, wanted, file, part) {
                Err(error @ FetchError::Status { status: 404, .. }) => refused = Some(error),
                result => return result,
            }
        }
        Err(refused.unwrap_or(FetchError::Cancelled))
    }

    fn transfer(&self, url: &str, wanted: &Wanted, file: &mut File, part: &Path) -> Result<(), FetchError> {
        let cache_error = |source| FetchError::Cache { path: part.to_owned(), source };
        let mut have = file.seek(SeekFrom::End(0)).map_err(cache_error)?;
        if have >= wanted.size && wanted.size > 0 {
            if have == wanted.size {
                return Ok(());
            }
            file.set_len(0).map_err(cache_error)?;
            have = 0;
        }
        let mut request = self.agent.get(url);
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let (head, exchange) = Exchange::begin(url, request, self.patience, self.progress)?;
        let status = head.status.as_u16();
        let continued = head
            .headers
            .get("content-range")
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with(&format!("bytes {have}-")));
        match status {
            206 if continued => {}
            // The server knows no ranges, or answered another one: from the beginning.
            200 | 206 | 416 => {
                file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(cache_error)?;
                have = 0;
                if status != 200 {
                    return Err(exchange.failed("the server answered a wrong range"));
                }
            }
            _ => return Err(FetchError::Status { url: url.to_owned(), status }),
        }
        let name = wanted.name();
        self.progress.event(Event::FetchStarted { name, size: Some(wanted.size), resumed_from: have });
        while have < wanted.size {
            let Some(bytes) = exchange.bytes()? else {
                return Err(
                    exchange.failed(format!("the connection ended at {have} of {} bytes", wanted.size))
                );
            };
            // What is more than the index says is dropped; the digest decides.
            let useful = bytes.len().min(usize::try_from(wanted.size - have).unwrap_or(usize::MAX));
            file.write_all(&bytes[..useful]).map_err(cache_error)?;
            have += useful as u64;
            self.progress.event(Event::FetchAdvanced { name, bytes: useful as u64 });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Halted;

    #[test]
    fn a_stop_is_not_kept_waiting_between_attempts() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path().to_owned()).unwrap();
        let day = Duration::from_secs(86_400);
        let fetcher = Fetcher::new(&cache, false, day, &Halted);
        assert!(matches!(fetcher.pause(day), Err(FetchError::Cancelled)));
    }
}
