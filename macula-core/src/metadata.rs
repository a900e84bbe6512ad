//! What a provider says about itself: a small sorted map of text.

use std::collections::BTreeMap;

use serde::de::Error as _;
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
        let pairs = BTreeMap::<String, String>::deserialize(deserializer)?;
        let metadata = Self(pairs);
        if metadata.0.contains_key("") {
            return Err(D::Error::custom(MetadataError::EmptyKey));
        }
        let len_bytes = metadata.len_bytes();
        if len_bytes > MAX_METADATA_BYTES {
            return Err(D::Error::custom(MetadataError::TooLarge { len_bytes }));
        }
        Ok(metadata)
    }
}
