//! What travels on the streams after the hello: frames, each a header, an extension block and a body.

use std::time::Duration;

mod burst;
mod decoder;

pub(super) use burst::Burst;
pub(super) use decoder::{Decoded, FrameDecoder};

/// What precedes a frame's extension block and body.
///
/// On the wire: version, kind, code, flags (one byte each), then big-endian the call id (eight
/// bytes), the remaining milliseconds (four), the length of the body (four) and of the extension
/// block (two). The block comes before the body; nothing in it is known to this version, so it is
/// skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// The protocol of a request, the reason of a refusal, a close code, zero otherwise.
    pub(super) code: u8,
    /// Nothing else travels on this stream than this call.
    pub(super) alone: bool,
    pub(super) call: CallId,
    /// How long the sender of a request still waits.
    pub(super) remaining: Duration,
    pub(super) body_len: u32,
    pub(super) extension_len: u16,
}

/// Tells apart the calls that one side of a connection has under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CallId(pub(super) u64);

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request = 1,
    Reply = 2,
    /// Nothing was carried out.
    Refusal = 3,
    /// It was carried out, but the reply is longer than the limit.
    ReplyTooLarge = 4,
    /// It was begun, but its time was over before there was a reply.
    OutOfTime = 5,
    /// It was begun and came to an end without a reply.
    Aborted = 6,
    /// The reply is no longer wanted.
    Cancel = 7,
    /// The sender takes no more requests on this connection. The numbers in between are reserved
    /// for the items and the end of streaming calls.
    Goaway = 10,
}

/// Why bytes are no header that this node accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadFrame {
    #[error("unknown frame version {0}")]
    UnknownVersion(u8),
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    #[error("extension block is too large")]
    ExtensionsTooLarge,
    #[error("a body where there is none")]
    UnexpectedBody,
}

impl Header {
    /// Length of an encoded header.
    pub(super) const LEN_BYTES: usize = 22;

    /// A header of a frame with so long a body.
    pub(super) fn new(kind: Kind, call: CallId, body_len: u32) -> Self {
        Self {
            kind,
            code: 0,
            alone: false,
            call,
            remaining: Duration::ZERO,
            body_len,
            extension_len: 0,
        }
    }

    pub(super) fn encode(&self) -> [u8; Self::LEN_BYTES] {
        let mut out = [0; Self::LEN_BYTES];
        // More than the field holds, 49 days, is as good as for ever.
        let remaining_ms = u32::try_from(self.remaining.as_millis()).unwrap_or(u32::MAX);
        let flags = if self.alone { ALONE } else { 0 };
        out[..4].copy_from_slice(&[VERSION, self.kind as u8, self.code, flags]);
        out[4..12].copy_from_slice(&self.call.0.to_be_bytes());
        out[12..16].copy_from_slice(&remaining_ms.to_be_bytes());
        out[16..20].copy_from_slice(&self.body_len.to_be_bytes());
        out[20..].copy_from_slice(&self.extension_len.to_be_bytes());
        out
    }

    pub(super) fn decode(input: &[u8; Self::LEN_BYTES]) -> Result<Self, BadFrame> {
        let [version, kind, code, flags, rest @ ..] = input;
        let [c0, c1, c2, c3, c4, c5, c6, c7, rest @ ..] = rest;
        let [r0, r1, r2, r3, b0, b1, b2, b3, e0, e1] = rest;
        if *version != VERSION {
            return Err(BadFrame::UnknownVersion(*version));
        }
        let remaining_ms = u32::from_be_bytes([*r0, *r1, *r2, *r3]);
        let header = Self {
            kind: Kind::from_wire(*kind).ok_or(BadFrame::UnknownKind(*kind))?,
            code: *code,
            alone: flags & ALONE != 0,
            call: CallId(u64::from_be_bytes([*c0, *c1, *c2, *c3, *c4, *c5, *c6, *c7])),
            remaining: Duration::from_millis(remaining_ms.into()),
            body_len: u32::from_be_bytes([*b0, *b1, *b2, *b3]),
            extension_len: u16::from_be_bytes([*e0, *e1]),
        };
        if usize::from(header.extension_len) > MAX_EXTENSION_BLOCK_BYTES {
            return Err(BadFrame::ExtensionsTooLarge);
        }
        if header.body_len > 0 && !matches!(header.kind, Kind::Request | Kind::Reply) {
            return Err(BadFrame::UnexpectedBody);
        }
        Ok(header)
    }
}

impl Kind {
    fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Request,
            2 => Self::Reply,
            3 => Self::Refusal,
            4 => Self::ReplyTooLarge,
            5 => Self::OutOfTime,
            6 => Self::Aborted,
            7 => Self::Cancel,
            10 => Self::Goaway,
            _ => return None,
        })
    }
}

/// The version of this layout.
const VERSION: u8 = 1;

/// The flag of a stream that carries one call.
const ALONE: u8 = 1;

/// The longest extension block that is skipped.
pub(super) const MAX_EXTENSION_BLOCK_BYTES: usize = 4096;

#[cfg(test)]
mod tests;
