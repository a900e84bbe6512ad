//! The bounded wire codec: postcard with limits on both sides.
//!
//! Decoding never panics, never allocates more than a small multiple of the bytes it was given,
//! and rejects trailing garbage. The multiple is the type's: a type that spends much memory on
//! few bytes, such as a list of empty lists, bounds its items with [`BoundedVec`].

use serde::Serialize;
use serde::de::DeserializeOwned;

mod bounded;
mod buffer;

pub use bounded::{BoundedBytes, BoundedText, BoundedVec};

use buffer::BoundedBuffer;

/// Why a value could not be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The encoding is longer than the limit; nothing was produced.
    #[error("encoding is longer than {limit_bytes} bytes")]
    TooLarge {
        /// The limit that was given.
        limit_bytes: usize,
    },
    /// The value's own `Serialize` implementation refused.
    #[error("value cannot be encoded")]
    Unserialisable,
}

/// Why bytes could not be decoded. The bytes are at fault, never the reader's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are more bytes than the limit allows; none was looked at.
    #[error("input is longer than {limit_bytes} bytes")]
    TooLarge {
        /// The limit that was given.
        limit_bytes: usize,
    },
    /// The bytes end in the middle of a value.
    #[error("input is truncated")]
    Truncated,
    /// A complete value is followed by more bytes.
    #[error("input has {count} trailing bytes")]
    Trailing {
        /// How many bytes were left over.
        count: usize,
    },
    /// The bytes are no encoding of the expected type, or break one of its bounds.
    #[error("input is malformed")]
    Malformed,
}

/// Encodes a value into at most `limit_bytes` bytes.
///
/// # Errors
/// [`EncodeError::TooLarge`] beyond the limit, [`EncodeError::Unserialisable`] when the value
/// itself refuses.
pub fn encode<T: Serialize + ?Sized>(
    value: &T,
    limit_bytes: usize,
) -> Result<Vec<u8>, EncodeError> {
    let bounded = BoundedBuffer::new(limit_bytes);
    postcard::serialize_with_flavor(value, bounded).map_err(|error| match error {
        postcard::Error::SerializeBufferFull => EncodeError::TooLarge { limit_bytes },
        _ => EncodeError::Unserialisable,
    })
}

/// Decodes exactly one value out of at most `limit_bytes` bytes.
///
/// # Errors
/// Every variant of [`DecodeError`], each for the reason it names.
pub fn decode<T: DeserializeOwned>(input: &[u8], limit_bytes: usize) -> Result<T, DecodeError> {
    if input.len() > limit_bytes {
        return Err(DecodeError::TooLarge { limit_bytes });
    }
    match postcard::take_from_bytes(input) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(DecodeError::Trailing { count: rest.len() }),
        Err(postcard::Error::DeserializeUnexpectedEnd) => Err(DecodeError::Truncated),
        Err(_) => Err(DecodeError::Malformed),
    }
}

#[cfg(test)]
mod tests;
