//! Release files: the one thing that is asked for again in each build.

use std::fs;
use std::io;

use super::exchange::Exchange;
use super::{FetchError, Fetcher};
use crate::cache::write_atomically;

/// A Release file larger than this is none.
const MAX_RELEASE: usize = 16 << 20;

/// A Release file that is not verified yet.
pub(crate) struct Fetched {
    pub(crate) bytes: Vec<u8>,
    /// Its `Last-Modified`.
    modified: Option<String>,
    /// Whether it comes out of the cache.
    pub(crate) kept: bool,
}

/// What a server says when it is asked for a Release file.
enum Answer {
    None,
    Unchanged,
    New(Fetched),
}

impl Fetcher<'_> {
    /// A Release file: asked for each time, sent again only when it has changed, or when `anew` says so. `None` when
    /// there is none. What comes is not kept yet: nobody has looked at its signature.
    pub(crate) fn release(&self, url: &str, anew: bool) -> Result<Option<Fetched>, FetchError> {
        let kept = self.kept_release(url).filter(|_| !anew).map(|bytes| Fetched {
            bytes,
            modified: None,
            kept: true,
        });
        if self.offline {
            return kept.map(Some).ok_or_else(|| FetchError::Offline { url: url.to_owned() });
        }
        let fetched = self.insist(|| self.ask_for_release(url, kept.is_some()))?;
        Ok(match fetched {
            Answer::None => None,
            Answer::Unchanged => kept,
            Answer::New(fetched) => Some(fetched),
        })
    }

    fn ask_for_release(&self, url: &str, kept: bool) -> Result<Answer, FetchError> {
        let mut request = self.agent.get(url);
        if kept && let Ok(date) = fs::read_to_string(self.cache.release(url).join("Last-Modified")) {
            request = request.header("If-Modified-Since", date);
        }
        let (head, exchange) = Exchange::begin(url, request, self.patience, self.progress)?;
        match head.status.as_u16() {
            200 => {}
            304 if kept => return Ok(Answer::Unchanged),
            404 | 403 => return Ok(Answer::None),
            status => return Err(FetchError::Status { url: url.to_owned(), status }),
        }
        let modified =
            head.headers.get("last-modified").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut bytes = Vec::new();
        while let Some(more) = exchange.bytes()? {
            bytes.extend(more);
            if bytes.len() > MAX_RELEASE {
                return Err(FetchError::TooLong { url: url.to_owned(), limit: MAX_RELEASE as u64 });
            }
        }
        Ok(Answer::New(Fetched { bytes, modified, kept: false }))
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
