//! The 256-bit keyspace that nodes and services share, and its XOR metric (Kademlia §2.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::{deserialize_id, from_base32, serialize_id, to_base32};
use crate::{NodeId, ParseIdError, Realm, ServiceName};

/// Number of bits of a [`Key`].
pub const KEY_BITS: usize = 256;

/// A point of the keyspace: where a node lives, or a service's providers are recorded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl Key {
    /// Takes 32 bytes as a point.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The point of a node: `BLAKE3(node id)` under its own context.
    pub fn of_node(node_id: &NodeId) -> Self {
        Self(blake3::derive_key(NODE_CONTEXT, node_id.as_bytes()))
    }

    /// The point of a service: `BLAKE3(realm ‖ 0 ‖ name)` under its own context.
    ///
    /// Neither text can hold a zero byte, so no two pairs share an input.
    pub fn of_service(realm: &Realm, name: &ServiceName) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(SERVICE_CONTEXT);
        hasher.update(realm.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(name.as_str().as_bytes());
        Self(hasher.finalize().into())
    }

    /// The XOR of both points.
    pub fn distance(&self, other: &Key) -> Distance {
        Distance(std::array::from_fn(|i| self.0[i] ^ other.0[i]))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_base32(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", &to_base32(&self.0)[..10])
    }
}

impl FromStr for Key {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        from_base32(text).map(Self)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_id(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_id(deserializer).map(Self)
    }
}

/// How far apart two points are: their XOR, compared as a 256-bit number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Distance([u8; 32]);

impl Distance {
    /// The distance of a point to itself.
    pub const ZERO: Self = Self([0; 32]);

    /// Takes 32 bytes, most significant first, as a distance.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Number of leading zero bits, which is the length of the points' common prefix:
    /// 0 ..= [`KEY_BITS`].
    pub fn leading_zeros(&self) -> usize {
        let whole = self.0.iter().take_while(|byte| **byte == 0).count();
        let partial = self
            .0
            .get(whole)
            .map_or(0, |byte| byte.leading_zeros() as usize);
        whole * 8 + partial
    }

    /// Index of the k-bucket that covers this distance: `i` where 2^i ≤ distance < 2^(i+1);
    /// `None` for the distance to oneself.
    pub fn bucket_index(&self) -> Option<usize> {
        (KEY_BITS - 1).checked_sub(self.leading_zeros())
    }
}

impl std::ops::BitXor for Distance {
    type Output = Self;

    fn bitxor(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] ^ other.0[i]))
    }
}

impl fmt::Debug for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Distance(2^{:?})", self.bucket_index())
    }
}

const NODE_CONTEXT: &str = "macula 2026 keyspace: node";
const SERVICE_CONTEXT: &str = "macula 2026 keyspace: service";
