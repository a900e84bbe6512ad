//! How arguments and results are written, named in every request.

use bytes::Bytes;
use macula_core::codec as core_codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How a body is encoded. A handler written once in Rust answers callers of either typed codec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// Compact binary, for callers that share the Rust types.
    #[default]
    Postcard,
    /// JSON text, for everybody else.
    Json,
    /// Bytes that mean something to caller and handler only.
    Raw,
}

/// Why a value and its bytes could not be turned into each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value's own `Serialize` implementation refused, or the codec cannot express it.
    #[error("cannot be encoded: {reason}")]
    Unserialisable {
        /// What the codec says.
        reason: String,
    },
    /// The bytes are no encoding of the expected type.
    #[error("cannot be decoded: {reason}")]
    Malformed {
        /// What the codec says.
        reason: String,
    },
    /// [`Codec::Raw`] has no types.
    #[error("raw bytes have no type")]
    Untyped,
}

impl Codec {
    /// The number on the wire.
    pub const fn id(self) -> u8 {
        match self {
            Self::Postcard => 0,
            Self::Json => 1,
            Self::Raw => 2,
        }
    }

    /// The codec of a number; `None` for those of later versions.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Postcard),
            1 => Some(Self::Json),
            2 => Some(Self::Raw),
            _ => None,
        }
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// [`CodecError::Unserialisable`]; [`CodecError::Untyped`] for [`Codec::Raw`].
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, CodecError> {
        match self {
            Self::Postcard => core_codec::encode(value, usize::MAX).map_err(unserialisable),
            Self::Json => serde_json::to_vec(value).map_err(unserialisable),
            Self::Raw => Err(CodecError::Untyped),
        }
        .map(Bytes::from)
    }

    /// Decodes exactly one value; bytes left over are an error.
    ///
    /// # Errors
    /// [`CodecError::Malformed`]; [`CodecError::Untyped`] for [`Codec::Raw`].
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecError> {
        match self {
            Self::Postcard => core_codec::decode(bytes, usize::MAX).map_err(malformed),
            Self::Json => serde_json::from_slice(bytes).map_err(malformed),
            Self::Raw => Err(CodecError::Untyped),
        }
    }
}

fn unserialisable(error: impl std::error::Error) -> CodecError {
    CodecError::Unserialisable {
        reason: error.to_string(),
    }
}

fn malformed(error: impl std::error::Error) -> CodecError {
    CodecError::Malformed {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ALL: [Codec; 3] = [Codec::Postcard, Codec::Json, Codec::Raw];

    #[test]
    fn every_codec_has_its_own_number() {
        for codec in ALL {
            assert_eq!(Codec::from_id(codec.id()), Some(codec));
        }
        assert_eq!(Codec::from_id(3), None);
        assert_eq!(Codec::from_id(u8::MAX), None);
    }

    #[test]
    fn typed_codecs_carry_the_same_value() {
        let value = (7_u32, "seven".to_owned(), vec![Some(1.5), None]);
        for codec in [Codec::Postcard, Codec::Json] {
            let bytes = codec.encode(&value).unwrap();
            assert_eq!(codec.decode(&bytes), Ok(value.clone()));
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        for codec in [Codec::Postcard, Codec::Json] {
            let mut bytes = codec.encode(&1_u8).unwrap().to_vec();
            bytes.push(b'1');
            bytes.push(b'x');
            assert!(matches!(
                codec.decode::<u8>(&bytes),
                Err(CodecError::Malformed { .. })
            ));
        }
    }

    #[test]
    fn a_value_that_json_cannot_express_is_unserialisable() {
        let keyed_by_list = BTreeMap::from([(vec![1], 1)]);
        assert!(matches!(
            Codec::Json.encode(&keyed_by_list),
            Err(CodecError::Unserialisable { .. })
        ));
    }

    #[test]
    fn raw_bytes_have_no_type() {
        assert_eq!(Codec::Raw.encode(&1), Err(CodecError::Untyped));
        assert_eq!(Codec::Raw.decode::<u8>(b"1"), Err(CodecError::Untyped));
    }
}
