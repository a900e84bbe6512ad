//! The two halves of a stream, as one end of it sees them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::connection::{End as ConnectionEnd, Opened};
use super::pipe::{End, MAX_CHUNK_BYTES, Pipe, Pulled, Pushed};
use crate::{CloseCode, ReceiveStream, SendStream, Stream, StreamError};

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
            _credit: Arc::clone(&credit),
        }),
        receive: Box::new(MemoryReceive {
            side: Arc::clone(side),
            pipe: inbound,
            ended: false,
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
    _credit: Credit,
}

impl MemorySend {
    fn announce(&mut self) {
        if let Some(opened) = self.announcement.take() {
            self.side.announce(opened);
        }
    }

    async fn push(&self, mut piece: Bytes) -> Result<(), StreamError> {
        loop {
            self.side.check()?;
            match self.pipe.push(piece, self.side.due()) {
                Pushed::Queued => return Ok(()),
                Pushed::Stopped(code) => return Err(StreamError::Reset(code)),
                Pushed::Ended => return Err(StreamError::Closed),
                Pushed::Full(back) => piece = back,
            }
            tokio::select! {
                () = self.pipe.writable.notified() => {}
                error = self.side.ended() => return Err(error.into()),
            }
        }
    }
}

#[async_trait]
impl SendStream for MemorySend {
    async fn send(&mut self, mut chunk: Bytes) -> Result<(), StreamError> {
        if self.ended {
            return Err(StreamError::Closed);
        }
        self.side.check()?;
        self.announce();
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(MAX_CHUNK_BYTES));
            self.push(piece).await?;
        }
        Ok(())
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
    _credit: Credit,
}

#[async_trait]
impl ReceiveStream for MemoryReceive {
    async fn receive(&mut self) -> Result<Option<Bytes>, StreamError> {
        if self.ended {
            return Err(StreamError::Closed);
        }
        loop {
            self.side.check()?;
            let pulled = if self.side.is_cut() {
                Pulled::Due(Instant::now())
            } else {
                self.pipe.pull(Instant::now())
            };
            let due = match pulled {
                Pulled::Chunk(chunk) => return Ok(Some(chunk)),
                Pulled::End(End::Finished) => return Ok(None),
                Pulled::End(End::Reset(code)) => return Err(StreamError::Reset(code)),
                Pulled::Due(due) => Some(due),
                Pulled::Nothing => None,
            };
            tokio::select! {
                () = self.pipe.readable.notified() => {}
                () = self.side.delivery(due) => {}
                error = self.side.ended() => return Err(error.into()),
            }
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
