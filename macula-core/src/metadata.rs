//! What a provider says about itself: a small sorted map of text.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The most bytes of all keys and values together.
pub const MAX_METADATA_BYTES: usize = 1024;

/// Key–value pairs of a provider, sorted by key, at most [`MAX_METADATA_BYTES`] in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Metadata(BTreeMap<String, String>);

/// Why an entry was refused; the map is left as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Keys and values together would exceed [`MAX_METADATA_BYTES`].
    #[error("metadata would have {len_bytes} bytes, more than {MAX_METADATA_BYTES}")]
    TooLarge {
        /// What they would add up to.
        len_bytes: usize,
    },
    /// A key has no character.
    #[error("metadata has an empty key")]
    EmptyKey,
}

impl Metadata {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key to a value, replacing its earlier one.
    ///
    /// # Errors
    /// [`MetadataError`] when the key is empty or the whole would be too large.
    pub fn insert(
        &mut self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<(), MetadataError> {
        let (key, value) = (key.into(), value.into());
        if key.is_empty() {
            return Err(MetadataError::EmptyKey);
        }
        let replaced = self.0.get(&key).map_or(0, |old| key.len() + old.len());
        let len_bytes = self.len_bytes() - replaced + key.len() + value.len();
        if len_bytes > MAX_METADATA_BYTES {
            return Err(MetadataError::TooLarge { len_bytes });
        }
        self.0.insert(key, value);
        Ok(())
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All pairs, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all keys and values together.
    pub fn len_bytes(&self) -> usize {
        self.0
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum()
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of at most {MAX_METADATA_BYTES} bytes of text")
    }

    // The bound is kept pair by pair, so that a long map is refused before it is built.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        let (mut metadata, mut len_bytes) = (Metadata::new(), 0);
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            len_bytes += key.len() + value.len();
            if key.is_empty() {
                return Err(A::Error::custom(MetadataError::EmptyKey));
            }
            if len_bytes > MAX_METADATA_BYTES {
                return Err(A::Error::custom(MetadataError::TooLarge { len_bytes }));
            }
            if metadata.0.insert(key, value).is_some() {
                return Err(A::Error::custom("metadata has a key twice"));
            }
        }
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_pairs(pairs: &[(&str, &str)]) -> Result<Metadata, postcard::Error> {
        // A list of pairs and a map have the same encoding.
        postcard::from_bytes(&postcard::to_stdvec(pairs).unwrap())
    }

    #[test]
    fn pairs_come_back_sorted_by_key() {
        let mut metadata = Metadata::new();
        assert!(metadata.is_empty());
        metadata.insert("version", "1.0").unwrap();
        metadata.insert("region", "eu").unwrap();
        metadata.insert("version", "1.1").unwrap();
        let pairs: Vec<_> = metadata.iter().collect();
        assert_eq!(pairs, [("region", "eu"), ("version", "1.1")]);
        assert_eq!(metadata.value("version"), Some("1.1"));
        assert_eq!(metadata.value("missing"), None);
        assert_eq!(from_pairs(&pairs).unwrap(), metadata);
    }

    #[test]
    fn the_bound_counts_keys_and_values_and_what_they_replace() {
        let mut metadata = Metadata::new();
        metadata
            .insert("k", "v".repeat(MAX_METADATA_BYTES - 1))
            .unwrap();
        assert_eq!(metadata.len_bytes(), MAX_METADATA_BYTES);
        let before = metadata.clone();
        let len_bytes = MAX_METADATA_BYTES + 1;
        let too_large = Err(MetadataError::TooLarge { len_bytes });
        assert_eq!(metadata.insert("a", ""), too_large);
        assert_eq!(
            metadata.insert("k", "v".repeat(MAX_METADATA_BYTES)),
            too_large
        );
        assert_eq!(metadata, before);
        metadata.insert("k", "").unwrap();
        metadata
            .insert("a", "v".repeat(MAX_METADATA_BYTES - 2))
            .unwrap();
        assert_eq!(metadata.len_bytes(), MAX_METADATA_BYTES);
    }

    #[test]
    fn an_empty_key_is_refused() {
        assert_eq!(
            Metadata::new().insert("", "v"),
            Err(MetadataError::EmptyKey)
        );
        assert!(from_pairs(&[("", "v")]).is_err());
        assert!(serde_json::from_str::<Metadata>(r#"{"":"v"}"#).is_err());
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        assert!(from_pairs(&[("k", "1"), ("k", "1")]).is_err());
        assert!(serde_json::from_str::<Metadata>(r#"{"k":"1","k":"2"}"#).is_err());
    }

    #[test]
    fn more_than_fits_is_refused_when_decoded() {
        let value = "v".repeat(MAX_METADATA_BYTES - 1);
        assert!(from_pairs(&[("k", &value)]).is_ok());
        assert!(from_pairs(&[("k", &value), ("l", "")]).is_err());
    }
}
