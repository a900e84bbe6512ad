//! One request of a peer, from its first byte to its reply.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use super::carrier::{MessageReader, ReadError, send_message};
use super::dispatch::{Admission, Dispatch};
use super::frame::{BadHeader, Header, Kind};
use super::link::Lease;
use super::node::Node;
use super::request::{InboundRequest, ProtocolId};
use super::stats::Counters;
use crate::{CloseCode, ReceiveStream, Refusal, Stream};

/// The work on one request. Dropping it ends the handler and resets the stream.
pub(super) struct Inbound {
    lease: Lease,
    _admission: Admission,
    stream: Stream,
    dispatch: Arc<Dispatch>,
    counters: Arc<Counters>,
    max_body_bytes: usize,
    header_timeout: Duration,
    /// Whether a handler has begun with it.
    is_begun: bool,
}

/// Why a request is not handled.
enum Unread {
    Refused(Refusal),
    /// The peer has given it up, or is gone.
    Gone,
}

/// How the handler's work ended.
enum Handled {
    Answered(Result<Bytes, Refusal>),
    Abandoned,
}

impl Inbound {
    pub(super) fn new(node: &Node, lease: Lease, admission: Admission, stream: Stream) -> Self {
        Self {
            lease,
            _admission: admission,
            stream,
            dispatch: Arc::clone(&node.dispatch),
            counters: Arc::clone(&node.counters),
            max_body_bytes: node.config.max_message_bytes.get(),
            header_timeout: node.config.dial_timeout,
            is_begun: false,
        }
    }

    pub(super) async fn run(mut self) {
        let header = match self.header().await {
            Ok(header) => header,
            Err(unread) => return self.give_up(unread).await,
        };
        let deadline = Instant::now() + header.0.remaining;
        // Everything from here on, the reply included, is for nobody after the deadline.
        if timeout_at(deadline, self.answer(header, deadline))
            .await
            .is_err()
        {
            self.out_of_time().await;
        }
        // The peer ends its half once it has the reply. Until then this counts as running, so that
        // a shutdown does not cut the reply off.
        let heard = timeout(LINGER, self.stream.receive.receive()).await;
        if self.is_begun && heard.is_ok() {
            self.lease.link().end_unheard();
        }
    }

    /// Reads the head; what was read beyond it comes along.
    async fn header(&mut self) -> Result<(Header, Bytes), Unread> {
        let mut reader = MessageReader::new(&mut *self.stream.receive);
        let header = match timeout(self.header_timeout, reader.header(self.max_body_bytes)).await {
            Ok(header) => header.map_err(unread)?,
            Err(_) => return Err(Unread::Refused(Refusal::Malformed)),
        };
        match header.kind {
            Kind::Request if header.remaining.is_zero() => {
                Err(Unread::Refused(Refusal::DeadlineExceeded))
            }
            Kind::Request => Ok((header, reader.into_rest())),
            Kind::Reply | Kind::Refusal | Kind::ReplyTooLarge | Kind::OutOfTime => {
                Err(Unread::Refused(Refusal::Malformed))
            }
        }
    }

    async fn answer(&mut self, (header, rest): (Header, Bytes), deadline: Instant) {
        // Held until the reply is out.
        // Held until the reply is out.
        let mut memory = self.dispatch.memory();
        let mut reader = MessageReader::resume(&mut *self.stream.receive, rest);
        let mut has_room = |len_bytes| memory.grow_to(len_bytes);
        let body = match reader.body(&header, &mut has_room).await {
            Ok(body) => body,
            Err(error) => return self.give_up(unread(error)).await,
        };
        match self.handle(ProtocolId(header.code), body, deadline).await {
            Handled::Answered(Ok(reply)) => self.reply(reply).await,
            Handled::Answered(Err(refusal)) => self.give_up(Unread::Refused(refusal)).await,
            Handled::Abandoned => self.give_up(Unread::Gone).await,
        }
    }

    async fn handle(&mut self, protocol: ProtocolId, body: Bytes, deadline: Instant) -> Handled {
        if protocol == ProtocolId::CONTROL {
            return Handled::Answered(Ok(Bytes::new()));
        }
        let Some(handler) = self.dispatch.handler(protocol) else {
            return Handled::Answered(Err(Refusal::UnknownProtocol));
        };
        self.counters.requests_handled.add();
        let link = self.lease.link();
        link.begin_unheard();
        self.is_begun = true;
        let request = InboundRequest {
            from: link.node_id(),
            role: link.hello.role,
            remaining: deadline.saturating_duration_since(Instant::now()),
            body,
        };
        tokio::select! {
            biased;
            answer = handler.handle(request) => Handled::Answered(answer),
            () = abandoned(&mut *self.stream.receive) => Handled::Abandoned,
        }
    }

    async fn reply(&mut self, body: Bytes) {
        let (kind, body) = if body.len() <= self.max_body_bytes {
            (Kind::Reply, body)
        } else {
            (Kind::ReplyTooLarge, Bytes::new())
        };
        // At most the limit, which fits.
        let body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.send(Header::new(kind, 0, body_len), body).await;
    }

    async fn give_up(&mut self, unread: Unread) {
        match unread {
            Unread::Gone => {
                self.counters.requests_cancelled.add();
                self.stream.send.reset(CloseCode::Cancelled);
            }
            Unread::Refused(refusal) => {
                match refusal {
                    Refusal::Overloaded => self.counters.requests_overloaded.add(),
                    Refusal::Malformed => self.counters.requests_malformed.add(),
                    _ => {}
                }
                let header = Header::new(Kind::Refusal, refusal.to_wire(), 0);
                let sending = self.send(header, Bytes::new());
                let _ = timeout(LINGER, sending).await;
            }
        }
    }

    /// The caller is about to notice by itself, unless its clock is the slower one.
    async fn out_of_time(&mut self) {
        self.counters.requests_cancelled.add();
        let sending = self.send(Header::new(Kind::OutOfTime, 0, 0), Bytes::new());
        let _ = timeout(LINGER, sending).await;
    }

    async fn send(&mut self, header: Header, body: Bytes) {
        let sent = send_message(&mut *self.stream.send, header, body).await;
        if sent.is_ok() {
            let _ = self.stream.send.finish();
        }
    }
}

/// Answers a request that was not admitted.
pub(super) async fn refuse(mut stream: Stream, refusal: Refusal) {
    let header = Header::new(Kind::Refusal, refusal.to_wire(), 0);
    if send_message(&mut *stream.send, header, Bytes::new())
        .await
        .is_ok()
    {
        let _ = stream.send.finish();
    }
}

fn unread(error: ReadError) -> Unread {
    match error {
        ReadError::Header(BadHeader::BodyTooLarge) => Unread::Refused(Refusal::TooLarge),
        ReadError::NoRoom => Unread::Refused(Refusal::Overloaded),
        ReadError::Header(_) | ReadError::Truncated | ReadError::Trailing => {
            Unread::Refused(Refusal::Malformed)
        }
        ReadError::Stream(_) => Unread::Gone,
    }
}

/// Waits until the peer gives its request up. A peer that ends its half early cannot do so any more.
async fn abandoned(receive: &mut dyn ReceiveStream) {
    // More bytes than the request has end it too: whoever sends them breaks the protocol.
    if let Ok(None) = receive.receive().await {
        std::future::pending::<()>().await;
    }
}

/// How long to wait for the peer to say that it has the reply.
const LINGER: Duration = Duration::from_secs(1);
