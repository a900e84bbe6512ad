//! Who a node is: an Ed25519 key pair whose public half is the node's only name.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, Encoding};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

mod file;
mod sequence_file;

pub use file::{IdentityError, IdentityFile};
pub use sequence_file::SequenceFile;

/// The secret half of an identity: an Ed25519 signing key (RFC 8032).
///
/// Its memory is wiped on drop and it is never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Length of the encoded key, in bytes.
    pub const LEN_BYTES: usize = 32;

    /// Draws a new key from the operating system's entropy.
    ///
    /// # Errors
    /// [`IdentityError::Entropy`] when the operating system gives none.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new([0; Self::LEN_BYTES]);
        getrandom::fill(&mut *seed).map_err(|_| IdentityError::Entropy)?;
        Ok(Self::from_bytes(&seed))
    }

    /// Restores a key from its 32 bytes; every value is a valid key.
    pub fn from_bytes(bytes: &[u8; Self::LEN_BYTES]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The 32 secret bytes (the RFC 8032 seed). The copy is the caller's to wipe.
    pub fn to_bytes(&self) -> [u8; Self::LEN_BYTES] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs a digest.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        self.0.sign(digest).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.node_id())
    }
}

/// A node's public key, which is its only name: 32 bytes, shown as lower-case base32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// Length of a node id, in bytes.
    pub const LEN_BYTES: usize = 32;

    /// Takes 32 bytes as a node id; whether they are a usable key shows when it has to sign.
    pub const fn from_bytes(bytes: [u8; Self::LEN_BYTES]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN_BYTES] {
        &self.0
    }

    /// Whether this node signed the digest (strict verification: no malleable signatures, no
    /// small-order keys).
    pub(crate) fn verifies(&self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(digest, &signature).is_ok())
    }

    /// The first ten characters: enough to tell nodes apart in a log line.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(10);
        text
    }
}

/// Why bytes or text are not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// Not 32 bytes, or not their 52 characters.
    #[error("an id has 32 bytes or 52 base32 characters, not {found}")]
    Length {
        /// The length that was found, in bytes or characters.
        found: usize,
    },
    /// A character outside the base32 alphabet (RFC 4648), or unused trailing bits set.
    #[error("not base32")]
    NotBase32,
}

impl TryFrom<&[u8]> for NodeId {
    type Error = ParseIdError;

    fn try_from(bytes: &[u8]) -> Result<Self, ParseIdError> {
        let found = bytes.len();
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| ParseIdError::Length { found })
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_base32(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.short())
    }
}

impl FromStr for NodeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        from_base32(text).map(Self)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_id(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_id(deserializer).map(Self)
    }
}

/// Text where humans read, bytes on the wire.
pub(crate) fn serialize_id<S: Serializer>(id: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_str(&to_base32(id))
    } else {
        id.serialize(serializer)
    }
}

pub(crate) fn deserialize_id<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<[u8; 32], D::Error> {
    if deserializer.is_human_readable() {
        from_base32(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    } else {
        <[u8; 32]>::deserialize(deserializer)
    }
}

pub(crate) fn to_base32(id: &[u8; 32]) -> String {
    let mut text = BASE32.encode(id);
    text.make_ascii_lowercase();
    text
}

pub(crate) fn from_base32(text: &str) -> Result<[u8; 32], ParseIdError> {
    let found = text.chars().count();
    if found != BASE32.encode_len(32) {
        return Err(ParseIdError::Length { found });
    }
    let bytes = BASE32
        .decode(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| ParseIdError::NotBase32)?;
    bytes.try_into().map_err(|_| ParseIdError::NotBase32)
}

const BASE32: Encoding = BASE32_NOPAD;

#[cfg(test)]
mod tests;
