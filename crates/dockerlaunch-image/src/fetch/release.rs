//! Release files: the one thing that is asked for again in each build.

use std::fs;
use std::io;
use std::time::Duration;

use super::{ATTEMPTS, FetchError, Fetcher};
use crate::cache::write_atomically;

/// A Release file larger than this is none.
const MAX_RELEASE: u64 = 16 << 20;

/// A Release file that is not verified yet.
pub(crate) struct Fetched {
    pub(crate) bytes: Vec<u8>,
    /// Its `Last-Modified`.
    modified: Option<String>,
    /// Whether it comes out of the cache.
    pub(crate) kept: bool,
}

impl Fetcher<'_> {
    /// A Release file: asked for each time, sent again only when it has changed, or when `anew` says so. `None` when
    /// there is none. What comes is not kept yet: nobody has looked at its signature.
    pub(crate) fn release(&self, url: &str, anew: bool) -> Result<Option<Fetched>, FetchError> {
        let directory = self.cache.release(url);
        let kept = self.kept_release(url).filter(|_| !anew).map(|bytes| Fetched {
            bytes,
            modified: None,
            kept: true,
        });
        if self.offline {
            return kept.map(Some).ok_or_else(|| FetchError::Offline { url: url.to_owned() });
        }
        let transport = |source: Box<dyn std::error::Error + Send + Sync>| FetchError::Transport {
            url: url.to_owned(),
            source,
        };
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            if self.progress.cancelled() {
                return Err(FetchError::Cancelled);
            }
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(200 << attempt));
            }
            let mut request = self.agent.get(url);
            if let (Some(_), Ok(date)) = (&kept, fs::read_to_string(directory.join("Last-Modified"))) {
                request = request.header("If-Modified-Since", date);
            }
            let response = match request.call() {
                Ok(response) => response,
                Err(error) => {
                    last = Some(transport(Box::new(error)));
                    continue;
                }
            };
            match response.status().as_u16() {
                200 => {}
                304 if kept.is_some() => return Ok(kept),
                404 | 403 => return Ok(None),
                status if status >= 500 => {
                    last = Some(FetchError::Status { url: url.to_owned(), status });
                    continue;
                }
                status => return Err(FetchError::Status { url: url.to_owned(), status }),
            }
            let modified = response
                .headers()
                .get("last-modified")
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned);
            match response.into_body().into_with_config().limit(MAX_RELEASE).read_to_vec() {
                Ok(bytes) => {
                    return Ok(Some(Fetched { bytes, modified, kept: false }));
                }
                Err(error) => last = Some(transport(Box::new(error))),
            }
        }
        Err(last.unwrap_or(FetchError::Cancelled))
    }

    /// The last Release file from this place that was good.
    pub(crate) fn kept_release(&self, url: &str) -> Option<Vec<u8>> {
        fs::read(self.cache.release(url).join("InRelease")).ok()
    }

    /// Keeps a Release file that has been verified, for the next build.
    pub(crate) fn keep_release(&self, url: &str, fetched: &Fetched) -> Result<(), FetchError> {
        let directory = self.cache.release(url);
        let write = || {
            fs::create_dir_all(&directory)?;
            // The date goes first and comes back last, so that a new date never stands beside an old file.
            let date_file = directory.join("Last-Modified");
            match fs::remove_file(&date_file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            write_atomically(&directory.join("InRelease"), &fetched.bytes)?;
            match &fetched.modified {
                Some(date) => write_atomically(&date_file, date.as_bytes()),
                None => Ok(()),
            }
        };
        if fetched.kept {
            return Ok(());
        }
        write().map_err(|source| FetchError::Cache { path: directory.clone(), source })
    }
}
