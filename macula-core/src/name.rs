//! Names of services: dot-separated segments, `org.app.procedure`.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Error, Visitor};
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
        deserialize_dotted(deserializer).map(Self)
    }
}

/// Reads a text of the grammar that service names and realms share.
pub(crate) fn deserialize_dotted<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Arc<str>, D::Error> {
    deserializer.deserialize_str(DottedVisitor)
}

struct DottedVisitor;

impl Visitor<'_> for DottedVisitor {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dot-separated segments")
    }

    // Checked before it is copied: a name may be announced to be as long as its message.
    fn visit_str<E: Error>(self, text: &str) -> Result<Arc<str>, E> {
        check_dotted(text).map_err(E::custom)?;
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Realm;

    fn refused(text: &str) -> NameError {
        let error = text.parse::<ServiceName>().unwrap_err();
        assert_eq!(text.parse::<Realm>().unwrap_err(), error);
        assert!(serde_json::from_str::<ServiceName>(&format!("{text:?}")).is_err());
        assert!(postcard::from_bytes::<ServiceName>(&postcard::to_stdvec(text).unwrap()).is_err());
        assert!(postcard::from_bytes::<Realm>(&postcard::to_stdvec(text).unwrap()).is_err());
        error
    }

    #[test]
    fn dotted_segments_are_a_name() {
        for text in ["a", "9", "_", "-", "myapp.get_user", "A.b-C.0", "_sys.ping"] {
            let name: ServiceName = text.parse().unwrap();
            assert_eq!(name.as_str(), text);
            assert_eq!(name.to_string(), text);
            assert_eq!(text.parse::<Realm>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn case_matters() {
        let name = |text: &str| text.parse::<ServiceName>().unwrap();
        assert_ne!(name("app.get"), name("app.Get"));
    }

    #[test]
    fn empty_is_refused() {
        assert_eq!(refused(""), NameError::Empty);
    }

    #[test]
    fn the_longest_name_is_accepted_and_a_longer_one_refused() {
        let longest = "a".repeat(MAX_NAME_BYTES);
        assert_eq!(MAX_NAME_BYTES, 255);
        assert_eq!(longest.parse::<ServiceName>().unwrap().as_str(), longest);
        let len_bytes = MAX_NAME_BYTES + 1;
        assert_eq!(
            refused(&"a".repeat(len_bytes)),
            NameError::TooLong { len_bytes }
        );
    }

    #[test]
    fn an_empty_segment_is_refused_where_it_is() {
        for (text, at_byte) in [(".", 0), (".a", 0), ("a.", 2), ("a..b", 2), ("ab.c..", 5)] {
            assert_eq!(refused(text), NameError::EmptySegment { at_byte }, "{text}");
        }
    }

    #[test]
    fn a_bad_character_is_refused_where_it_is() {
        for (text, found, at_byte) in [
            ("a b", ' ', 1),
            ("a/b", '/', 1),
            ("a.\u{e9}", '\u{e9}', 2),
            ("\0", '\0', 0),
            ("a\n", '\n', 1),
            ("a*", '*', 1),
            ("a@b", '@', 1),
        ] {
            let expected = NameError::BadCharacter { found, at_byte };
            assert_eq!(refused(text), expected, "{text:?}");
        }
    }

    #[test]
    fn system_names_are_told_apart() {
        let is_system = |text: &str| text.parse::<ServiceName>().unwrap().is_system();
        assert!(is_system("_sys.ping"));
        assert!(!is_system("_system.ping"));
        assert!(!is_system("my._sys.ping"));
    }

    #[test]
    fn a_node_that_names_no_realm_is_in_the_open_one() {
        assert_eq!(Realm::default(), "open".parse().unwrap());
    }
}
