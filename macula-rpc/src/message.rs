//! What travels: a call and its reply, each a bounded header followed by the body.
//!
//! The remaining time of a call travels in the endpoint's frame, not here. The body is whatever
//! follows the header, so that it is shared with the received frame instead of copied.

use std::fmt;

use bytes::Bytes;
use macula_core::codec::{BoundedText, DecodeError, EncodeError};
use macula_core::{Delivery, Extensions, Metadata, ServiceName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Codec, HandlerError, TraceContext};

/// The most bytes of text that a reply carries.
pub const MAX_ERROR_BYTES: usize = 4096;

/// The most bytes that the header of a call or of a reply takes.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;

/// What a peer says about an error.
pub(crate) type ErrorText = BoundedText<MAX_ERROR_BYTES>;

/// Names one call of one caller; every attempt of the call carries the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId([u8; 16]);

impl CallId {
    /// Takes 128 bits as an id.
    pub const fn from_u128(id: u128) -> Self {
        Self(id.to_be_bytes())
    }

    /// The 128 bits.
    pub const fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.as_u128())
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallId({self})")
    }
}

/// One attempt of a call, as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallMessage {
    pub(crate) header: CallHeader,
    pub(crate) body: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallHeader {
    pub(crate) call_id: CallId,
    /// Counted from one.
    pub(crate) attempt: u8,
    /// See [`Codec::id`]; a number of a later version is answered, not malformed.
    pub(crate) codec: u8,
    pub(crate) delivery: Delivery,
    pub(crate) service: ServiceName,
    /// The span of the caller; none when the call begins a trace of its own.
    pub(crate) trace: Option<TraceContext>,
    /// What the caller says besides the arguments.
    pub(crate) headers: Metadata,
    pub(crate) extensions: Extensions,
}

impl CallMessage {
    pub(crate) fn encode(&self) -> Result<Bytes, EncodeError> {
        encode(&self.header, &self.body)
    }

    pub(crate) fn decode(message: &Bytes) -> Result<Self, DecodeError> {
        let (header, body) = decode(message)?;
        Ok(Self { header, body })
    }
}

/// The answer to one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplyMessage {
    pub(crate) status: Status,
    pub(crate) codec: Codec,
    /// The result when the status is [`Status::Ok`], else empty.
    pub(crate) body: Bytes,
}

/// What became of an attempt that reached the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Status {
    /// The handler returned a result.
    Ok,
    /// The handler returned an error.
    Handler(HandlerError),
    /// The handler panicked.
    Panicked,
    /// The service is not, or no longer, provided here. Not executed.
    NotServed,
    /// A limit of the service or of the node is reached. Not executed.
    Overloaded,
    /// The handler cannot read the arguments. Not executed.
    BadArguments(ErrorText),
    /// The handler's result cannot be encoded.
    BadResult(ErrorText),
    /// The handler's result is longer than a message may be.
    ResultTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The node shuts down. Not executed.
    ShuttingDown,
    /// The time was over before the handler ended; it was stopped.
    DeadlineExceeded,
    /// The handler was stopped because its service was withdrawn or its node shuts down.
    Aborted,
    /// The service's rule of access does not admit the caller. Not executed.
    Denied,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReplyHeader {
    status: Status,
    codec: u8,
    extensions: Extensions,
}

impl ReplyMessage {
    /// An answer that is not a result.
    pub(crate) fn failed(status: Status) -> Self {
        Self {
            status,
            codec: Codec::Raw,
            body: Bytes::new(),
        }
    }

    pub(crate) fn encode(self) -> Result<Bytes, EncodeError> {
        let header = ReplyHeader {
            status: self.status,
            codec: self.codec.id(),
            extensions: Extensions::default(),
        };
        encode(&header, &self.body)
    }

    pub(crate) fn decode(message: &Bytes) -> Result<Self, DecodeError> {
        let (header, body) = decode::<ReplyHeader>(message)?;
        Ok(Self {
            status: header.status,
            codec: Codec::from_id(header.codec).ok_or(DecodeError::Malformed)?,
            body,
        })
    }
}

fn encode(header: &impl Serialize, body: &[u8]) -> Result<Bytes, EncodeError> {
    let message = Vec::with_capacity(TYPICAL_HEADER_BYTES + body.len());
    let mut message =
        postcard::to_extend(header, message).map_err(|_| EncodeError::Unserialisable)?;
    message.extend_from_slice(body);
    Ok(message.into())
}

fn decode<H: DeserializeOwned>(message: &Bytes) -> Result<(H, Bytes), DecodeError> {
    match postcard::take_from_bytes(message) {
        Ok((header, body)) => Ok((header, message.slice_ref(body))),
        Err(postcard::Error::DeserializeUnexpectedEnd) => Err(DecodeError::Truncated),
        Err(_) => Err(DecodeError::Malformed),
    }
}

/// Enough for most names, so that encoding allocates once.
const TYPICAL_HEADER_BYTES: usize = 96;

#[cfg(test)]
mod tests;
