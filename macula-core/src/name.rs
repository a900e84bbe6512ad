//! Names of services: dot-separated segments, `org.app.procedure`.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// The name under which a function is advertised and called.
///
/// One or more segments of ASCII letters, digits, `_` and `-`, separated by single dots; case
/// matters. Parsed once, cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name belongs to the node itself (`_sys.…`) rather than to a user's service.
    pub fn is_system(&self) -> bool {
        self.0.starts_with("_sys.")
    }
}

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No character at all.
    #[error("name is empty")]
    Empty,
    /// More than [`MAX_NAME_BYTES`] bytes.
    #[error("name has {len_bytes} bytes, more than {MAX_NAME_BYTES}")]
    TooLong {
        /// The length that was found.
        len_bytes: usize,
    },
    /// Two dots in a row, or a dot at either end.
    #[error("name has an empty segment at byte {at_byte}")]
    EmptySegment {
        /// Where the missing segment should begin.
        at_byte: usize,
    },
    /// A character other than ASCII letters, digits, `_`, `-` and the separating dots.
    #[error("name has the character {found:?} at byte {at_byte}")]
    BadCharacter {
        /// The character.
        found: char,
        /// Where it stands.
        at_byte: usize,
    },
}

/// For generic code that takes texts, which may be wrong, and values, which may not.
impl From<Infallible> for NameError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Checks the grammar that service names and realms share.
pub(crate) fn check_dotted(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong {
            len_bytes: text.len(),
        });
    }
    let mut segment_start = 0;
    for (at_byte, found) in text.char_indices() {
        match found {
            '.' if at_byte == segment_start => return Err(NameError::EmptySegment { at_byte }),
            '.' => segment_start = at_byte + 1,
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => {}
            _ => return Err(NameError::BadCharacter { found, at_byte }),
        }
    }
    if segment_start == text.len() {
        return Err(NameError::EmptySegment {
            at_byte: segment_start,
        });
    }
    Ok(())
}

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_dotted(text).map(|()| Self(text.into()))
    }
}

impl TryFrom<&str> for ServiceName {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        text.parse()
    }
}

impl TryFrom<String> for ServiceName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl TryFrom<&ServiceName> for ServiceName {
    type Error = NameError;

    fn try_from(name: &ServiceName) -> Result<Self, NameError> {
        Ok(name.clone())
    }
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceName({})", self.0)
    }
}

impl Serialize for ServiceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ServiceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        check_dotted(&text).map_err(D::Error::custom)?;
        Ok(Self(text.into()))
    }
}
