//! What travels: a call and its reply, each a bounded header followed by the body.
//!
//! The remaining time of a call travels in the endpoint's frame, not here. The body is whatever
//! follows the header, so that it is shared with the received frame instead of copied; so is the
//! name of the service.

use std::borrow::Cow;
use std::fmt;

use bytes::{Buf, Bytes};
use macula_core::codec::{BoundedText, DecodeError, EncodeError};
use macula_core::{Delivery, Extensions, MAX_NAME_BYTES, Metadata};
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

    /// Until it is read.
    const fn unread() -> Self {
        Self::from_u128(0)
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

/// What travels of one attempt of a call before the arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallHeader<'a> {
    /// In front of the rest, which is serialised: an array would be so byte by byte, and take as
    /// long as all the rest.
    #[serde(skip, default = "CallId::unread")]
    pub(crate) call_id: CallId,
    /// Counted from one.
    pub(crate) attempt: u8,
    /// See [`Codec::id`]; a number of a later version is answered, not malformed.
    pub(crate) codec: u8,
    pub(crate) delivery: Delivery,
    /// A name, or a text that is none: then nothing is served under it.
    pub(crate) service: &'a str,
    /// The span of the caller; none when the call begins a trace of its own.
    pub(crate) trace: Option<TraceContext>,
    /// What the caller says besides the arguments.
    pub(crate) headers: Cow<'a, Metadata>,
    pub(crate) extensions: Extensions,
}

impl<'a> CallHeader<'a> {
    /// The message with these arguments.
    pub(crate) fn encode(&self, body: &[u8]) -> Result<Bytes, EncodeError> {
        let mut message = Vec::with_capacity(self.usual_len() + body.len());
        message.extend_from_slice(&self.call_id.0);
        match self.fixed() {
            None => encode(message, self, body),
            Some(fixed) => {
                message.extend_from_slice(&fixed);
                message.extend_from_slice(self.service.as_bytes());
                message.extend_from_slice(&NOTHING_MORE);
                message.extend_from_slice(body);
                Ok(message.into())
            }
        }
    }

    /// What stands between the id and the name in those that [`decode_usual`](Self::decode_usual)
    /// reads. `None` for all others.
    fn fixed(&self) -> Option<[u8; 4]> {
        let name_len = u8::try_from(self.service.len()).ok();
        let name_len = name_len.filter(|len| *len < LONG_LEN)?;
        let delivery = match self.delivery {
            Delivery::AtLeastOnce => 0,
            Delivery::AtMostOnce => 1,
        };
        let is_usual =
            self.trace.is_none() && self.headers.is_empty() && self.extensions.is_empty();
        is_usual.then_some([self.attempt, self.codec, delivery, name_len])
    }

    /// The header of a message, and how long it is: the arguments follow.
    pub(crate) fn decode(message: &'a [u8]) -> Result<(Self, usize), DecodeError> {
        let (id, rest) = message.split_first_chunk().ok_or(DecodeError::Truncated)?;
        let (mut header, body) = Self::decode_usual(rest).map_or_else(|| decode(rest), Ok)?;
        if header.service.len() > MAX_NAME_BYTES {
            return Err(DecodeError::Malformed);
        }
        header.call_id = CallId(*id);
        Ok((header, message.len() - body.len()))
    }

    /// What follows the id in most calls, which belong to no trace and carry no header, and the
    /// arguments. By hand, for serde takes several times as long. `None` for all others.
    fn decode_usual(rest: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[attempt, codec, delivery, name_len], rest) = rest.split_first_chunk()?;
        let delivery = match delivery {
            0 => Delivery::AtLeastOnce,
            1 => Delivery::AtMostOnce,
            _ => return None,
        };
        let is_one_byte = name_len < LONG_LEN;
        let (name, rest) = rest.split_at_checked(name_len.into())?;
        let body = rest.strip_prefix(&NOTHING_MORE)?;
        let header = Self {
            call_id: CallId::unread(),
            attempt,
            codec,
            delivery,
            service: str::from_utf8(name).ok()?,
            trace: None,
            headers: Cow::default(),
            extensions: Extensions::default(),
        };
        is_one_byte.then_some((header, body))
    }

    /// How long it is unless some length takes more than a byte: who has room for exactly as much
    /// spares the message an allocation.
    fn usual_len(&self) -> usize {
        const FIXED: usize = size_of::<CallId>() + 3;
        const LISTS: usize = 2;
        let trace = self.trace.map_or(1, |_| 1 + TraceContext::LEN_BYTES);
        let pairs = self.headers.iter();
        let headers: usize = pairs.map(|(key, value)| 2 + key.len() + value.len()).sum();
        FIXED + 1 + self.service.len() + trace + LISTS + headers
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

    /// A result by hand, as most replies are: serde takes several times as long.
    pub(crate) fn encode(self) -> Result<Bytes, EncodeError> {
        if matches!(self.status, Status::Ok) {
            let header = ok_header(self.codec);
            return Ok([&header, &self.body[..]].concat().into());
        }
        let header = ReplyHeader {
            status: self.status,
            codec: self.codec.id(),
            extensions: Extensions::default(),
        };
        let message = Vec::with_capacity(TYPICAL_HEADER_BYTES + self.body.len());
        encode(message, &header, &self.body)
    }

    /// As [`encode`](Self::encode), a result by hand.
    pub(crate) fn decode(mut message: Bytes) -> Result<Self, DecodeError> {
        if let [0, codec, 0, ..] = message[..]
            && let Some(codec) = Codec::from_id(codec)
        {
            message.advance(ok_header(codec).len());
            return Ok(Self {
                status: Status::Ok,
                codec,
                body: message,
            });
        }
        let (header, body) = decode::<ReplyHeader>(&message)?;
        let header_len = message.len() - body.len();
        message.advance(header_len);
        Ok(Self {
            status: header.status,
            codec: Codec::from_id(header.codec).ok_or(DecodeError::Malformed)?,
            body: message,
        })
    }
}

/// Of a reply that is a result: the status, the codec, and no extension.
const fn ok_header(codec: Codec) -> [u8; 3] {
    [0, codec.id(), 0]
}

/// Appends a header and a body to what a message begins with.
fn encode(message: Vec<u8>, header: &impl Serialize, body: &[u8]) -> Result<Bytes, EncodeError> {
    let mut message =
        postcard::to_extend(header, message).map_err(|_| EncodeError::Unserialisable)?;
    message.extend_from_slice(body);
    Ok(message.into())
}

/// A header, and what follows it.
fn decode<'a, H: Deserialize<'a>>(message: &'a [u8]) -> Result<(H, &'a [u8]), DecodeError> {
    postcard::take_from_bytes(message).map_err(|error| match error {
        postcard::Error::DeserializeUnexpectedEnd => DecodeError::Truncated,
        _ => DecodeError::Malformed,
    })
}

/// A length from which on it takes more than a byte: postcard writes varints.
const LONG_LEN: u8 = 0x80;

/// How a header ends that has no trace, no pair and no extension.
const NOTHING_MORE: [u8; 3] = [0; 3];

/// Of the replies that are no results, most of which carry a text.
const TYPICAL_HEADER_BYTES: usize = 96;

#[cfg(test)]
mod tests;
