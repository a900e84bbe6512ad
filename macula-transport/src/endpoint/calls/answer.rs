//! A request as it goes out, and what becomes of it.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::endpoint::frame::{CallId, Header, Kind};
use crate::endpoint::horizon::after;
use crate::endpoint::request::ProtocolId;
use crate::{
    CloseCode, ConnectionError, Executed, Refusal, RequestError, RequestFailure, StreamError,
};

/// A request on its way out.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::endpoint) struct Outgoing {
    pub(in crate::endpoint) protocol: ProtocolId,
    pub(in crate::endpoint) deadline: Instant,
    pub(in crate::endpoint) body: Bytes,
}

impl Outgoing {
    /// A request that the peer's endpoint answers by itself.
    pub(in crate::endpoint) fn ping(timeout: Duration) -> Self {
        Self {
            protocol: ProtocolId::CONTROL,
            deadline: after(Instant::now(), timeout),
            body: Bytes::new(),
        }
    }

    pub(super) fn is_ping(&self) -> bool {
        self.protocol == ProtocolId::CONTROL
    }

    pub(super) fn header(&self, call: CallId, alone: bool, now: Instant) -> Header {
        // A body has passed the limit, which fits.
        let body_len = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        Header {
            code: self.protocol.0,
            alone,
            remaining: self.deadline.saturating_duration_since(now),
            ..Header::new(Kind::Request, call, body_len)
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::endpoint) enum Answer {
    Reply(Bytes),
    Refused(Refusal),
    TooLarge,
    /// The peer says that its time is over.
    OutOfTime,
    /// It has not come in time, whatever the peer says.
    Overdue(Executed),
    /// It was begun, and there will be no reply.
    Aborted(CloseCode),
    /// The peer broke the protocol.
    Malformed,
    /// The way back broke down.
    Lost(StreamError),
    /// The way there broke down before it was sent.
    Unsent(StreamError),
}

/// What became of a request, and the request itself while its caller may send it again.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::endpoint) struct Answered {
    pub(in crate::endpoint) answer: Answer,
    pub(in crate::endpoint) request: Option<Outgoing>,
}

impl Answered {
    pub(super) fn malformed() -> Self {
        Self {
            answer: Answer::Malformed,
            request: None,
        }
    }
}

/// A request that did not begin, and why not.
pub(in crate::endpoint) struct NotBegun {
    pub(in crate::endpoint) request: Outgoing,
    /// `None` when there was no room for it in time.
    pub(in crate::endpoint) stopped: Option<Stopped>,
}

/// Why a request cannot begin on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::endpoint) enum Stopped {
    /// The connection has ended.
    Ended(ConnectionError),
    /// The peer takes no more requests on it.
    Leaving(CloseCode),
}

impl Answer {
    /// Whether the peer has said it itself.
    pub(in crate::endpoint) fn is_heard(&self) -> bool {
        !matches!(self, Self::Overdue(_) | Self::Lost(_) | Self::Unsent(_))
    }

    /// As the caller of a request sees it.
    pub(in crate::endpoint) fn into_result(
        self,
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<Bytes, RequestError> {
        let (failure, executed) = match self {
            Self::Reply(body) => return Ok(body),
            Self::Refused(refusal) => (RequestFailure::Refused(refusal), Executed::No),
            Self::TooLarge => (RequestFailure::TooLarge { limit_bytes }, Executed::Yes),
            Self::OutOfTime => (RequestFailure::Timeout(timeout), Executed::Unknown),
            Self::Overdue(executed) => (RequestFailure::Timeout(timeout), executed),
            Self::Aborted(code) => {
                let reset = StreamError::Reset(code);
                (RequestFailure::Interrupted(reset), Executed::Unknown)
            }
            Self::Malformed => (RequestFailure::Malformed, Executed::Unknown),
            Self::Lost(error) => (RequestFailure::Interrupted(error), Executed::Unknown),
            Self::Unsent(error) => (RequestFailure::Interrupted(error), Executed::No),
        };
        Err(RequestError { failure, executed })
    }
}
