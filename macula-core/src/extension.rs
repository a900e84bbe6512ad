//! The extension block: room in every message for what later versions add.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{BoundedBytes, BoundedVec};

/// The most entries of one block.
pub const MAX_EXTENSIONS: usize = 8;

/// The longest value of one entry, in bytes.
pub const MAX_EXTENSION_BYTES: usize = 256;

/// A bounded list of tagged values. A reader skips the tags it does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Extensions(BoundedVec<Entry, MAX_EXTENSIONS>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Entry {
    tag: u16,
    value: BoundedBytes<MAX_EXTENSION_BYTES>,
}

/// Why an entry does not fit into a block, which is left as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtensionError {
    /// The block has [`MAX_EXTENSIONS`] entries.
    #[error("extension block is full")]
    Full,
    /// The value is longer than [`MAX_EXTENSION_BYTES`].
    #[error("extension value has {0} bytes, more than {MAX_EXTENSION_BYTES}")]
    TooLong(usize),
}

impl Extensions {
    /// The value of the first entry with this tag.
    pub fn value(&self, tag: u16) -> Option<&Bytes> {
        self.0
            .iter()
            .find(|entry| entry.tag == tag)
            .map(|entry| entry.value.bytes())
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// [`ExtensionError`] when the value or the block would be too large.
    pub fn push(&mut self, tag: u16, value: Bytes) -> Result<(), ExtensionError> {
        let value =
            BoundedBytes::try_from(value).map_err(|value| ExtensionError::TooLong(value.len()))?;
        self.0
            .try_push(Entry { tag, value })
            .map_err(|_| ExtensionError::Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(len_bytes: usize) -> Bytes {
        vec![7; len_bytes].into()
    }

    #[test]
    fn an_unknown_tag_is_kept_and_does_not_hide_the_known_one() {
        let mut extensions = Extensions::default();
        assert!(extensions.is_empty());
        extensions.push(9999, value(3)).unwrap();
        extensions.push(1, value(2)).unwrap();
        let bytes = postcard::to_stdvec(&extensions).unwrap();
        let decoded: Extensions = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(decoded.value(1), Some(&value(2)));
        assert_eq!(decoded.value(2), None);
        assert_eq!(postcard::to_stdvec(&decoded).unwrap(), bytes);
    }

    #[test]
    fn the_first_entry_with_a_tag_counts() {
        let mut extensions = Extensions::default();
        extensions.push(1, value(1)).unwrap();
        extensions.push(1, value(2)).unwrap();
        assert_eq!(extensions.value(1), Some(&value(1)));
    }

    #[test]
    fn a_refused_entry_leaves_the_block_as_it_was() {
        let mut extensions = Extensions::default();
        let too_long = MAX_EXTENSION_BYTES + 1;
        assert_eq!(
            extensions.push(0, value(too_long)),
            Err(ExtensionError::TooLong(too_long))
        );
        for tag in 0..MAX_EXTENSIONS as u16 {
            extensions.push(tag, value(MAX_EXTENSION_BYTES)).unwrap();
        }
        let full = extensions.clone();
        assert_eq!(extensions.push(99, value(0)), Err(ExtensionError::Full));
        assert_eq!(extensions, full);
    }

    #[test]
    fn more_entries_or_bytes_than_allowed_do_not_decode() {
        let decode = |entries: &[(u16, Vec<u8>)]| {
            postcard::from_bytes::<Extensions>(&postcard::to_stdvec(entries).unwrap())
        };
        let entry = |len_bytes| (1, vec![0; len_bytes]);
        assert!(decode(&vec![entry(0); MAX_EXTENSIONS]).is_ok());
        assert!(decode(&vec![entry(0); MAX_EXTENSIONS + 1]).is_err());
        assert!(decode(&[entry(MAX_EXTENSION_BYTES)]).is_ok());
        assert!(decode(&[entry(MAX_EXTENSION_BYTES + 1)]).is_err());
    }
}
