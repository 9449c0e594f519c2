//! One request and its answer, carried out in a thread of its own: whoever waits for it can stop at any moment.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ureq::http::response::Parts as Head;
use ureq::{RequestBuilder, Timeout};

use super::{FetchError, PULSE};
use crate::progress::Progress;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Bytes handed over at a time.
const CHUNK: usize = 64 << 10;

/// Chunks that may lie ready.
const AHEAD: usize = 4;

/// What arrives, in this order.
enum Part {
    Head(Box<Head>),
    Bytes(Vec<u8>),
    Failed(AnyError),
}

/// An exchange under way. Once it is dropped its thread ends by itself: with the next thing that arrives, or with one
/// of the agent's timeouts.
pub(super) struct Exchange<'a> {
    url: &'a str,
    parts: Receiver<Part>,
    progress: &'a dyn Progress,
}

impl<'a> Exchange<'a> {
    /// Sends the request and waits for the answer's head.
    pub(super) fn begin(
        url: &'a str,
        request: RequestBuilder<ureq::typestate::WithoutBody>,
        patience: Duration,
        progress: &'a dyn Progress,
    ) -> Result<(Head, Self), FetchError> {
        let (sender, parts) = sync_channel(AHEAD);
        let exchange = Self { url, parts, progress };
        std::thread::Builder::new()
            .spawn(move || {
                if let Err(error) = carry_out(request, &sender) {
                    // Nobody may be waiting any more.
                    let _ = sender.send(Part::Failed(explain(error, patience)));
                }
            })
            .map_err(|error| exchange.failed(error))?;
        match exchange.next()? {
            Some(Part::Head(head)) => Ok((*head, exchange)),
            _ => Err(exchange.failed("the connection ended without an answer")),
        }
    }

    /// More of the answer's body; `None` at its end.
    pub(super) fn bytes(&self) -> Result<Option<Vec<u8>>, FetchError> {
        match self.next()? {
            Some(Part::Bytes(bytes)) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// The exchange is worth nothing, for this reason.
    pub(super) fn failed(&self, source: impl Into<AnyError>) -> FetchError {
        FetchError::Transport { url: self.url.to_owned(), source: source.into() }
    }

    fn next(&self) -> Result<Option<Part>, FetchError> {
        loop {
            if self.progress.cancelled() {
                return Err(FetchError::Cancelled);
            }
            match self.parts.recv_timeout(PULSE) {
                Ok(Part::Failed(source)) => return Err(self.failed(source)),
                Ok(part) => return Ok(Some(part)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

fn carry_out(
    request: RequestBuilder<ureq::typestate::WithoutBody>,
    to: &SyncSender<Part>,
) -> Result<(), ureq::Error> {
    let (head, body) = request.call()?.into_parts();
    let mut wanted = to.send(Part::Head(Box::new(head))).is_ok();
    let mut body = body.into_reader();
    while wanted {
        let mut bytes = vec![0; CHUNK];
        let count = body.read(&mut bytes)?;
        if count == 0 {
            break;
        }
        bytes.truncate(count);
        wanted = to.send(Part::Bytes(bytes)).is_ok();
    }
    Ok(())
}

/// Names the timeouts that users meet as what happened to them.
fn explain(error: ureq::Error, patience: Duration) -> AnyError {
    match error {
        ureq::Error::Timeout(Timeout::PerRead) => format!("the server sent nothing for {patience:?}").into(),
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            format!("no connection within {patience:?}").into()
        }
        error => error.into(),
    }
}
