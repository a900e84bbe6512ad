//! The two halves of a stream, as one end of it sees them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::connection::{End as ConnectionEnd, Opened};
use super::pipe::{End, MAX_CHUNK_BYTES, Pipe, Pulled, Pushed};
use crate::{CloseCode, ConnectionError, ReceiveStream, SendStream, Stream, StreamError};

/// Holds one stream of the opener's limit until every half is gone.
pub(super) type Credit = Arc<OwnedSemaphorePermit>;

/// Builds one end's stream out of the two directions.
pub(super) fn stream(
    side: &Arc<ConnectionEnd>,
    outbound: Arc<Pipe>,
    inbound: Arc<Pipe>,
    credit: Credit,
    announcement: Option<Opened>,
) -> Stream {
    Stream {
        send: Box::new(MemorySend {
            side: Arc::clone(side),
            pipe: outbound,
            announcement,
            ended: false,
            wait: Wait::default(),
            _credit: Arc::clone(&credit),
        }),
        receive: Box::new(MemoryReceive {
            side: Arc::clone(side),
            pipe: inbound,
            ended: false,
            wait: Wait::default(),
            _credit: credit,
        }),
    }
}

struct MemorySend {
    side: Arc<ConnectionEnd>,
    pipe: Arc<Pipe>,
    /// Kept until the first byte: only then the stream exists for the peer.
    announcement: Option<Opened>,
    ended: bool,
    wait: Wait,
    _credit: Credit,
}

impl MemorySend {
    fn announce(&mut self) {
        if let Some(opened) = self.announcement.take() {
            self.side.announce(opened);
        }
    }

    /// Sends one piece, or gives it back.
    fn push(&self, piece: Bytes) -> Result<Option<Bytes>, StreamError> {
        self.side.check()?;
        match self.pipe.push(piece, self.side.due()) {
            Pushed::Queued => Ok(None),
            Pushed::Full(back) => Ok(Some(back)),
            Pushed::Stopped(code) => Err(StreamError::Reset(code)),
            Pushed::Ended => Err(StreamError::Closed),
        }
    }
}

impl SendStream for MemorySend {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamError>> {
        if self.ended {
            return Poll::Ready(Err(StreamError::Closed));
        }
        self.side.check()?;
        self.announce();
        while !chunk.is_empty() {
            let piece = chunk.slice(..chunk.len().min(MAX_CHUNK_BYTES));
            let len = piece.len();
            match self.push(piece)? {
                None => drop(chunk.split_to(len)),
                Some(_) => {
                    let (side, pipe) = (&self.side, &self.pipe);
                    ready!(self.wait.poll(cx, || writable(side, pipe)))?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self) -> Result<(), StreamError> {
        self.side.check()?;
        if self.ended {
            return Err(StreamError::Closed);
        }
        self.ended = true;
        self.announce();
        self.pipe.end(End::Finished, self.side.due());
        Ok(())
    }

    fn reset(&mut self, code: CloseCode) {
        // A stream the peer never heard of just goes away.
        if !self.ended && self.announcement.is_none() {
            self.pipe.end(End::Reset(code), self.side.due());
        }
        self.ended = true;
    }
}

impl Drop for MemorySend {
    fn drop(&mut self) {
        self.reset(CloseCode::Cancelled);
    }
}

struct MemoryReceive {
    side: Arc<ConnectionEnd>,
    pipe: Arc<Pipe>,
    ended: bool,
    wait: Wait,
    _credit: Credit,
}

impl ReceiveStream for MemoryReceive {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        if self.ended {
            return Poll::Ready(Err(StreamError::Closed));
        }
        loop {
            self.side.check()?;
            let pulled = if self.side.is_cut() {
                Pulled::Due(Instant::now())
            } else {
                self.pipe.pull(Instant::now())
            };
            let due = match pulled {
                Pulled::Chunk(chunk) => return Poll::Ready(Ok(Some(chunk))),
                Pulled::End(End::Finished) => return Poll::Ready(Ok(None)),
                Pulled::End(End::Reset(code)) => return Poll::Ready(Err(StreamError::Reset(code))),
                Pulled::Due(due) => Some(due),
                Pulled::Nothing => None,
            };
            let (side, pipe) = (&self.side, &self.pipe);
            ready!(self.wait.poll(cx, || readable(side, pipe, due)))?;
        }
    }

    fn stop(&mut self, code: CloseCode) {
        self.ended = true;
        self.pipe.stop(code);
    }
}

impl Drop for MemoryReceive {
    fn drop(&mut self) {
        self.pipe.stop(CloseCode::Cancelled);
    }
}

/// What a half waits for at the moment.
///
/// The lock is never contended: it makes a future shareable that nobody shares.
#[derive(Default)]
struct Wait(Mutex<Option<Waiting>>);

type Waiting = Pin<Box<dyn Future<Output = Result<(), ConnectionError>> + Send>>;

impl Wait {
    /// Goes on waiting, or begins to.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        begin: impl FnOnce() -> Waiting,
    ) -> Poll<Result<(), ConnectionError>> {
        let waiting = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let outcome = ready!(waiting.get_or_insert_with(begin).as_mut().poll(cx));
        *waiting = None;
        Poll::Ready(outcome)
    }
}

fn writable(side: &Arc<ConnectionEnd>, pipe: &Arc<Pipe>) -> Waiting {
    let (side, pipe) = (Arc::clone(side), Arc::clone(pipe));
    Box::pin(async move {
        tokio::select! {
            () = pipe.writable.notified() => Ok(()),
            error = side.ended() => Err(error),
        }
    })
}

fn readable(side: &Arc<ConnectionEnd>, pipe: &Arc<Pipe>, due: Option<Instant>) -> Waiting {
    let (side, pipe) = (Arc::clone(side), Arc::clone(pipe));
    Box::pin(async move {
        tokio::select! {
            () = pipe.readable.notified() => Ok(()),
            () = side.delivery(due) => Ok(()),
            error = side.ended() => Err(error),
        }
    })
}
