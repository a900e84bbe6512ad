//! The head of every message after the hello.

use std::time::Duration;

/// What precedes a message's extension block and body.
///
/// On the wire: version, kind, code (one byte each), one byte that is zero, then big-endian the
/// remaining milliseconds (four bytes), the length of the body (four) and of the extension block
/// (two). The block comes before the body; nothing in it is known to this version, so it is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// The protocol of a request, the reason of a refusal, zero otherwise.
    pub(super) code: u8,
    /// How long the sender of a request still waits.
    pub(super) remaining: Duration,
    pub(super) body_len: u32,
    pub(super) extension_len: u16,
}

/// What a message is.
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
}

/// Why bytes are no header that this node accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHeader {
    #[error("unknown frame version {0}")]
    UnknownVersion(u8),
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    #[error("body is too large")]
    BodyTooLarge,
    #[error("extension block is too large")]
    ExtensionsTooLarge,
}

impl Header {
    /// Length of an encoded header.
    pub(super) const LEN_BYTES: usize = 14;

    /// A header of a message with so long a body.
    pub(super) fn new(kind: Kind, code: u8, body_len: u32) -> Self {
        Self {
            kind,
            code,
            remaining: Duration::ZERO,
            body_len,
            extension_len: 0,
        }
    }

    pub(super) fn encode(&self) -> [u8; Self::LEN_BYTES] {
        let remaining_ms = u32::try_from(self.remaining.as_millis()).unwrap_or(u32::MAX);
        let mut out = [0; Self::LEN_BYTES];
        out[0] = VERSION;
        out[1] = self.kind as u8;
        out[2] = self.code;
        out[4..8].copy_from_slice(&remaining_ms.to_be_bytes());
        out[8..12].copy_from_slice(&self.body_len.to_be_bytes());
        out[12..].copy_from_slice(&self.extension_len.to_be_bytes());
        out
    }

    pub(super) fn decode(
        input: [u8; Self::LEN_BYTES],
        max_body_bytes: usize,
    ) -> Result<Self, BadHeader> {
        let [version, kind, code, _, a, b, c, d, e, f, g, h, i, j] = input;
        if version != VERSION {
            return Err(BadHeader::UnknownVersion(version));
        }
        let header = Self {
            kind: Kind::from_wire(kind).ok_or(BadHeader::UnknownKind(kind))?,
            code,
            remaining: Duration::from_millis(u32::from_be_bytes([a, b, c, d]).into()),
            body_len: u32::from_be_bytes([e, f, g, h]),
            extension_len: u16::from_be_bytes([i, j]),
        };
        if usize::from(header.extension_len) > MAX_EXTENSION_BLOCK_BYTES {
            return Err(BadHeader::ExtensionsTooLarge);
        }
        match usize::try_from(header.body_len) {
            Ok(len) if len <= max_body_bytes => Ok(header),
            _ => Err(BadHeader::BodyTooLarge),
        }
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
            _ => return None,
        })
    }
}

/// The version of this layout.
const VERSION: u8 = 1;

/// The longest extension block that is skipped.
const MAX_EXTENSION_BLOCK_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(
            kind in prop::sample::select(vec![Kind::Request, Kind::Reply, Kind::Refusal, Kind::ReplyTooLarge, Kind::OutOfTime]),
            code in any::<u8>(),
            remaining_ms in any::<u32>(),
            body_len in 0u32..=1 << 20,
            extension_len in 0u16..=4096,
        ) {
            let remaining = Duration::from_millis(remaining_ms.into());
            let header = Header { kind, code, remaining, body_len, extension_len };
            prop_assert_eq!(Header::decode(header.encode(), LIMIT), Ok(header));
        }

        #[test]
        fn every_header_decodes_within_the_limits_or_not_at_all(bytes in any::<[u8; 14]>()) {
            if let Ok(header) = Header::decode(bytes, LIMIT) {
                prop_assert!(header.body_len as usize <= LIMIT);
                prop_assert!(usize::from(header.extension_len) <= MAX_EXTENSION_BLOCK_BYTES);
            }
        }
    }

    #[test]
    fn the_layout_is_written_down() {
        let mut header = Header::new(Kind::Request, 2, 5);
        header.remaining = Duration::from_millis(1500);
        let expected = [1, 1, 2, 0, 0, 0, 5, 0xdc, 0, 0, 0, 5, 0, 0];
        assert_eq!(header.encode(), expected);
    }

    #[test]
    fn unknown_versions_kinds_and_length_bombs_are_told_apart() {
        let good = Header::new(Kind::Reply, 0, 1).encode();
        let with = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            Header::decode(bytes, LIMIT)
        };
        assert_eq!(with(0, 9), Err(BadHeader::UnknownVersion(9)));
        assert_eq!(with(1, 9), Err(BadHeader::UnknownKind(9)));
        assert_eq!(with(8, 0xff), Err(BadHeader::BodyTooLarge));
        assert_eq!(with(12, 0xff), Err(BadHeader::ExtensionsTooLarge));
    }

    #[test]
    fn the_bound_in_the_specification_is_that_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../SPEC.md");
        let text = std::fs::read_to_string(path).unwrap();
        let row = format!("| `MAX_EXTENSION_BLOCK_BYTES` | {MAX_EXTENSION_BLOCK_BYTES} |\n");
        assert!(text.contains(&row), "{row}");
    }
}
