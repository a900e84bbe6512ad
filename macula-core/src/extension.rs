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
        let mut entries = std::mem::take(&mut self.0).into_vec();
        let fits = entries.len() < MAX_EXTENSIONS;
        if fits {
            entries.push(Entry { tag, value });
        }
        self.0 = BoundedVec::truncating(entries);
        if fits {
            Ok(())
        } else {
            Err(ExtensionError::Full)
        }
    }
}
