//! Takes frames out of a stream's chunks, however these were cut.

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::{BadFrame, Header};

/// The frames of one stream. Memory follows the bytes that are there, never an announced length: of
/// a body [`ROOM_FACTOR`] times as much is set apart at most, which is taken as it is written.
#[derive(Debug)]
pub(in crate::endpoint) struct FrameDecoder {
    max_body_bytes: usize,
    part: Part,
}

/// What is being read.
#[derive(Debug)]
enum Part {
    Header {
        bytes: [u8; Header::LEN_BYTES],
        len: usize,
    },
    Extensions {
        head: Head,
        left: usize,
    },
    Body {
        head: Head,
        body: BytesMut,
    },
    /// A body that is not wanted: its bytes are dropped as they come.
    Unwanted {
        left: usize,
    },
}

#[derive(Debug, Clone, Copy)]
struct Head {
    header: Header,
    /// When its last byte came in.
    at: Instant,
}

/// What a chunk brought.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::endpoint) enum Decoded {
    /// A whole frame, and when its header was there.
    Frame(Header, Instant, Bytes),
    /// The header of a frame whose body is longer than the limit; the body is skipped.
    TooLarge(Header),
    /// The header of a frame for whose body there is no memory; the rest of it is skipped.
    NoRoom(Header),
}

impl FrameDecoder {
    pub(in crate::endpoint) fn new(max_body_bytes: usize) -> Self {
        Self {
            max_body_bytes,
            part: Part::START,
        }
    }

    /// Takes the next frame out of a chunk; `None` once the chunk is used up. `has_room` says
    /// whether there is memory for so many bytes of a frame's body that comes in pieces.
    ///
    /// # Errors
    /// [`BadFrame`], after which the stream makes no sense any more.
    pub(in crate::endpoint) fn next(
        &mut self,
        now: Instant,
        chunk: &mut Bytes,
        mut has_room: impl FnMut(&Header, usize) -> bool,
    ) -> Result<Option<Decoded>, BadFrame> {
        loop {
            match &mut self.part {
                Part::Header { bytes, len } => {
                    let taken = chunk.split_to(chunk.len().min(bytes.len() - *len));
                    bytes[*len..*len + taken.len()].copy_from_slice(&taken);
                    *len += taken.len();
                    if *len < bytes.len() {
                        return Ok(None);
                    }
                    let header = Header::decode(bytes)?;
                    let left = usize::from(header.extension_len);
                    let head = Head { header, at: now };
                    self.part = Part::Extensions { head, left };
                }
                Part::Extensions { head, left } => {
                    if !skip(chunk, left) {
                        return Ok(None);
                    }
                    let head = *head;
                    if let Some(decoded) = self.begin_body(head, chunk) {
                        return Ok(Some(decoded));
                    }
                }
                Part::Body { head, body } => {
                    let head = *head;
                    // Within the limit, which is a `usize`.
                    let missing = head.body_len() - body.len();
                    let piece = chunk.split_to(chunk.len().min(missing));
                    if !has_room(&head.header, body.len() + piece.len()) {
                        let left = missing - piece.len();
                        self.part = Part::Unwanted { left };
                        return Ok(Some(Decoded::NoRoom(head.header)));
                    }
                    make_room(body, piece.len(), missing);
                    body.extend_from_slice(&piece);
                    if piece.len() < missing {
                        return Ok(None);
                    }
                    let body = std::mem::take(body).freeze();
                    self.part = Part::START;
                    return Ok(Some(Decoded::Frame(head.header, head.at, body)));
                }
                Part::Unwanted { left } => {
                    if !skip(chunk, left) {
                        return Ok(None);
                    }
                    self.part = Part::START;
                }
            }
        }
    }

    /// Whether a frame has begun and is not whole.
    pub(in crate::endpoint) fn is_within_frame(&self) -> bool {
        !matches!(self.part, Part::Header { len: 0, .. })
    }

    /// The header of the frame whose body is being read in pieces.
    pub(in crate::endpoint) fn within(&self) -> Option<&Header> {
        match &self.part {
            Part::Body { head, .. } => Some(&head.header),
            _ => None,
        }
    }

    /// Decides on the body, which may be there already.
    fn begin_body(&mut self, head: Head, chunk: &mut Bytes) -> Option<Decoded> {
        let len = head.body_len();
        if len > self.max_body_bytes {
            self.part = Part::Unwanted { left: len };
            return Some(Decoded::TooLarge(head.header));
        }
        if chunk.len() < len {
            let body = BytesMut::with_capacity(len.min(EAGER_BYTES));
            self.part = Part::Body { head, body };
            return None;
        }
        self.part = Part::START;
        // Chunks are parts of the transport's buffers: whoever keeps a small body shall not keep a
        // much longer buffer with it.
        let body = match len <= MAX_COPIED_BYTES {
            true => Bytes::copy_from_slice(&chunk.split_to(len)),
            false => chunk.split_to(len),
        };
        Some(Decoded::Frame(head.header, head.at, body))
    }
}

impl Head {
    fn body_len(&self) -> usize {
        usize::try_from(self.header.body_len).unwrap_or(usize::MAX)
    }
}

impl Part {
    const START: Self = Self::Header {
        bytes: [0; Header::LEN_BYTES],
        len: 0,
    };
}

/// Bodies up to this are copied out of the chunk they came in.
const MAX_COPIED_BYTES: usize = 16 * 1024;

/// So much memory is had for a body at once, that of longer ones grows as they come.
const EAGER_BYTES: usize = 8 * 1024;

/// Makes room for a piece of a body, and for more of the `missing` bytes: a long body is copied each
/// time it outgrows its room.
fn make_room(body: &mut BytesMut, piece: usize, missing: usize) {
    if body.capacity() - body.len() < piece {
        let there = body.len() + piece;
        let more = there.saturating_mul(ROOM_FACTOR - 1);
        body.reserve(missing.min(piece.saturating_add(more)));
    }
}

/// How many times the bytes that are there a body may have room for.
const ROOM_FACTOR: usize = 16;

/// Drops bytes; whether all that were to be dropped have come.
fn skip(chunk: &mut Bytes, left: &mut usize) -> bool {
    let skipped = chunk.len().min(*left);
    drop(chunk.split_to(skipped));
    *left -= skipped;
    *left == 0
}

#[cfg(test)]
mod tests;
