//! Bytes with a signature over them, kept and relayed exactly as their signer made them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::BoundedBytes;
use crate::{NodeId, SecretKey};

/// The longest payload that can be signed, in bytes.
pub const MAX_SIGNED_BYTES: usize = 4096;

/// A signed payload on the wire, not yet verified.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signed {
    payload: BoundedBytes<MAX_SIGNED_BYTES>,
    signature: Signature,
}

impl Signed {
    /// Signs a payload; `context` separates the kinds of payload from each other.
    pub(crate) fn sign(
        secret_key: &SecretKey,
        context: &str,
        payload: BoundedBytes<MAX_SIGNED_BYTES>,
    ) -> Self {
        let digest = blake3::derive_key(context, payload.bytes());
        let signature = Signature::from_bytes(&secret_key.sign(&digest));
        Self { payload, signature }
    }

    /// The payload, whoever signed it.
    pub(crate) fn payload(&self) -> &[u8] {
        self.payload.bytes()
    }

    /// The digest that the signature covers.
    pub(crate) fn digest(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, self.payload.bytes())
    }

    /// Whether `signer` signed a payload with this digest.
    pub(crate) fn is_signed_by(&self, signer: &NodeId, digest: &[u8; 32]) -> bool {
        signer.verifies(digest, &self.signature.to_bytes())
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes)", self.payload.bytes().len())
    }
}

/// An Ed25519 signature in the two halves that serde has array support for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Signature([[u8; 32]; 2]);

impl Signature {
    fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut halves = [[0; 32]; 2];
        halves.as_flattened_mut().copy_from_slice(bytes);
        Self(halves)
    }

    fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.as_flattened());
        bytes
    }
}
