//! How a request and its reply travel: one stream for each exchange.
//!
//! The caller keeps its half of the stream open until it has the reply. So a caller that gives up
//! resets it, which is the cancel, and its end tells the other side that the reply has arrived.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::frame::{BadHeader, Header, Kind};
use super::horizon::after;
use super::request::ProtocolId;
use crate::{
    CloseCode, Connection, ConnectionError, Executed, ReceiveStream, Refusal, RequestError,
    RequestFailure, SendStream, StreamError,
};

/// A request on its way out.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) protocol: ProtocolId,
    /// How long its caller waits in all.
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
    pub(super) body: Bytes,
}

impl Outgoing {
    /// A request that the peer's endpoint answers by itself.
    pub(super) fn ping(timeout: Duration) -> Self {
        Self {
            protocol: ProtocolId::CONTROL,
            timeout,
            deadline: after(Instant::now(), timeout),
            body: Bytes::new(),
        }
    }
}

/// Sends a request and waits for its reply. `sent` turns true before the first byte leaves.
pub(super) async fn exchange(
    connection: &dyn Connection,
    request: Outgoing,
    max_body_bytes: usize,
    sent: &AtomicBool,
) -> Result<Bytes, RequestError> {
    let mut stream = connection
        .open()
        .await
        .map_err(|error| RequestError::not_executed(RequestFailure::Interrupted(error.into())))?;
    let body_len = body_len(&request.body, max_body_bytes)?;
    let mut header = Header::new(Kind::Request, request.protocol.0, body_len);
    header.remaining = request.deadline.saturating_duration_since(Instant::now());
    let timeout = request.timeout;
    sent.store(true, Ordering::Relaxed);
    match send_message(&mut *stream.send, header, request.body).await {
        // Whoever stops a request halfway may have answered it with a refusal.
        Ok(()) | Err(StreamError::Reset(_)) => {}
        Err(error) => return Err(interrupted(error)),
    }
    let mut reader = MessageReader::new(&mut *stream.receive);
    let reply = reader
        .message(max_body_bytes)
        .await
        .map_err(|error| unanswered(error, max_body_bytes))?;
    let _ = stream.send.finish();
    match reply {
        (header, body) if header.kind == Kind::Reply => Ok(body),
        (header, _) => Err(failed(header, timeout, max_body_bytes)),
    }
}

fn failed(header: Header, timeout: Duration, limit_bytes: usize) -> RequestError {
    let (failure, executed) = match header.kind {
        Kind::Refusal => (
            RequestFailure::Refused(Refusal::from_wire(header.code)),
            Executed::No,
        ),
        Kind::ReplyTooLarge => (RequestFailure::TooLarge { limit_bytes }, Executed::Yes),
        Kind::OutOfTime => (RequestFailure::Timeout(timeout), Executed::Unknown),
        Kind::Request | Kind::Reply => (RequestFailure::Malformed, Executed::Unknown),
    };
    RequestError { failure, executed }
}

fn unanswered(error: ReadError, limit_bytes: usize) -> RequestError {
    match error {
        ReadError::Stream(error) => interrupted(error),
        ReadError::Header(BadHeader::BodyTooLarge) => RequestError {
            failure: RequestFailure::TooLarge { limit_bytes },
            executed: Executed::Yes,
        },
        ReadError::Header(_) | ReadError::Truncated | ReadError::Trailing | ReadError::NoRoom => {
            RequestError {
                failure: RequestFailure::Malformed,
                executed: Executed::Unknown,
            }
        }
    }
}

fn interrupted(error: StreamError) -> RequestError {
    let executed = match error {
        // A peer closes as idle only while it has begun none of our requests that we do not know
        // the end of.
        StreamError::Connection(ConnectionError::ClosedByPeer(CloseCode::Idle)) => Executed::No,
        _ => Executed::Unknown,
    };
    RequestError {
        failure: RequestFailure::Interrupted(error),
        executed,
    }
}

fn body_len(body: &Bytes, limit_bytes: usize) -> Result<u32, RequestError> {
    u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= limit_bytes)
        .ok_or_else(|| RequestError::not_executed(RequestFailure::TooLarge { limit_bytes }))
}

/// Sends a header and its body; small ones in one chunk.
pub(super) async fn send_message(
    send: &mut dyn SendStream,
    header: Header,
    body: Bytes,
) -> Result<(), StreamError> {
    let header = header.encode();
    if body.len() > MAX_JOINED_BYTES {
        send.send(Bytes::copy_from_slice(&header)).await?;
        return send.send(body).await;
    }
    let mut joined = BytesMut::with_capacity(header.len() + body.len());
    joined.extend_from_slice(&header);
    joined.extend_from_slice(&body);
    send.send(joined.freeze()).await
}

/// Puts messages together out of chunks, however these were cut.
pub(super) struct MessageReader<'a> {
    stream: &'a mut dyn ReceiveStream,
    /// What came after what was asked for.
    rest: Bytes,
}

/// Why there is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadError {
    Header(BadHeader),
    /// The stream ended in the middle.
    Truncated,
    /// More bytes than the message has.
    Trailing,
    /// There is no memory for it.
    NoRoom,
    Stream(StreamError),
}

impl<'a> MessageReader<'a> {
    pub(super) fn new(stream: &'a mut dyn ReceiveStream) -> Self {
        Self {
            stream,
            rest: Bytes::new(),
        }
    }

    /// Goes on with what another reader had left over.
    pub(super) fn resume(stream: &'a mut dyn ReceiveStream, rest: Bytes) -> Self {
        Self { stream, rest }
    }

    pub(super) fn into_rest(self) -> Bytes {
        self.rest
    }

    /// Reads the header, and skips the extension block.
    pub(super) async fn header(&mut self, max_body_bytes: usize) -> Result<Header, ReadError> {
        let mut bytes = [0; Header::LEN_BYTES];
        bytes.copy_from_slice(&self.take(Header::LEN_BYTES).await?);
        let header = Header::decode(bytes, max_body_bytes).map_err(ReadError::Header)?;
        self.take(usize::from(header.extension_len)).await?;
        Ok(header)
    }

    /// Reads the body that a header announces, while `has_room` for what has arrived of it.
    pub(super) async fn body(
        &mut self,
        header: &Header,
        has_room: HasRoom<'_>,
    ) -> Result<Bytes, ReadError> {
        // The header's length has passed the limit, which is a `usize`.
        let len = usize::try_from(header.body_len).unwrap_or(usize::MAX);
        let body = self.take_within(len, has_room).await?;
        if self.rest.is_empty() {
            Ok(body)
        } else {
            Err(ReadError::Trailing)
        }
    }

    async fn message(&mut self, max_body_bytes: usize) -> Result<(Header, Bytes), ReadError> {
        let header = self.header(max_body_bytes).await?;
        let body = self.body(&header, &mut |_| true).await?;
        Ok((header, body))
    }

    async fn take(&mut self, count: usize) -> Result<Bytes, ReadError> {
        self.take_within(count, &mut |_| true).await
    }

    /// Memory follows the bytes that are there, never the length that was announced.
    async fn take_within(
        &mut self,
        count: usize,
        has_room: HasRoom<'_>,
    ) -> Result<Bytes, ReadError> {
        let mut check = |len: usize| {
            has_room(len.min(count))
                .then_some(())
                .ok_or(ReadError::NoRoom)
        };
        if self.rest.is_empty() && count > 0 {
            self.rest = self.chunk().await?;
        }
        check(self.rest.len())?;
        if self.rest.len() >= count {
            return Ok(self.rest.split_to(count));
        }
        let mut gathered = BytesMut::from(&self.rest[..]);
        loop {
            let mut chunk = self.chunk().await?;
            check(gathered.len() + chunk.len())?;
            let missing = count - gathered.len();
            if chunk.len() >= missing {
                gathered.extend_from_slice(&chunk.split_to(missing));
                self.rest = chunk;
                return Ok(gathered.freeze());
            }
            gathered.extend_from_slice(&chunk);
        }
    }

    async fn chunk(&mut self) -> Result<Bytes, ReadError> {
        match self.stream.receive().await {
            Ok(Some(chunk)) => Ok(chunk),
            Ok(None) => Err(ReadError::Truncated),
            Err(error) => Err(ReadError::Stream(error)),
        }
    }
}

/// Whether there is memory for so many bytes of a body.
type HasRoom<'a> = &'a mut (dyn FnMut(usize) -> bool + Send);

/// Bodies up to this are copied behind their header: one chunk instead of two.
const MAX_JOINED_BYTES: usize = 4096;

#[cfg(test)]
mod tests;
