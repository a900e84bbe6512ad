//! The 256-bit keyspace that nodes and services share, and its XOR metric (Kademlia §2.1).

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use blake3::Hasher;
use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
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
        let mut hasher = Hasher::new_from_context_key(&NODE_CONTEXT_KEY);
        Self(hasher.update(node_id.as_bytes()).finalize().into())
    }

    /// The point of a service: `BLAKE3(realm ‖ 0 ‖ name)` under its own context.
    ///
    /// Neither text can hold a zero byte, so no two pairs share an input.
    pub fn of_service(realm: &Realm, name: &ServiceName) -> Self {
        let mut hasher = Hasher::new_from_context_key(&SERVICE_CONTEXT_KEY);
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
        match self.bucket_index() {
            Some(index) => write!(f, "Distance(2^{index})"),
            None => f.write_str("Distance(0)"),
        }
    }
}

/// Half of the work of hashing so little is that of hashing the context, so it is done once.
static NODE_CONTEXT_KEY: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("macula 2026 keyspace: node"));
static SERVICE_CONTEXT_KEY: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("macula 2026 keyspace: service"));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Key> {
        any::<[u8; 32]>().prop_map(Key::from_bytes)
    }

    /// The distance with bit `i` as its highest, and everything below it set or not.
    fn distance_of_bit(i: usize, fill: u8) -> Distance {
        let mut bytes = [0; 32];
        let at = 31 - i / 8;
        bytes[at] = (1 << (i % 8)) | (fill & ((1 << (i % 8)) - 1));
        bytes[at + 1..].fill(fill);
        Distance::from_bytes(bytes)
    }

    #[test]
    fn leading_zeros_agree_with_the_bucket_for_every_bit() {
        for i in 0..KEY_BITS {
            for fill in [0x00, 0xff] {
                let distance = distance_of_bit(i, fill);
                assert_eq!(distance.bucket_index(), Some(i));
                assert_eq!(distance.leading_zeros(), KEY_BITS - 1 - i);
            }
        }
        assert_eq!(Distance::ZERO.leading_zeros(), KEY_BITS);
        assert_eq!(Distance::ZERO.bucket_index(), None);
    }

    #[test]
    fn a_bucket_holds_exactly_the_distances_of_its_power_of_two() {
        for i in 1..KEY_BITS {
            assert!(distance_of_bit(i - 1, 0xff) < distance_of_bit(i, 0x00));
            assert!(distance_of_bit(i, 0x00) <= distance_of_bit(i, 0xff));
        }
    }

    #[test]
    fn nodes_and_services_live_under_their_own_contexts() {
        let node = NodeId::from_bytes([1; 32]);
        let expected = blake3::derive_key("macula 2026 keyspace: node", node.as_bytes());
        assert_eq!(Key::of_node(&node).as_bytes(), &expected);

        let (realm, name) = ("com.app".parse().unwrap(), "get.user".parse().unwrap());
        let expected = blake3::derive_key("macula 2026 keyspace: service", b"com.app\0get.user");
        assert_eq!(Key::of_service(&realm, &name).as_bytes(), &expected);
    }

    #[test]
    fn realm_and_name_cannot_be_shifted_into_each_other() {
        let key = |realm: &str, name: &str| {
            Key::of_service(&realm.parse().unwrap(), &name.parse().unwrap())
        };
        assert_ne!(key("a.b", "c"), key("a", "b.c"));
        assert_ne!(key("a", "bc"), key("ab", "c"));
        assert_ne!(key("a", "b"), key("b", "a"));
        assert_ne!(key("a", "b"), key("a", "B"));
    }

    #[test]
    fn distances_print_their_power_of_two() {
        assert_eq!(format!("{:?}", distance_of_bit(9, 0)), "Distance(2^9)");
        assert_eq!(format!("{:?}", Distance::ZERO), "Distance(0)");
    }

    proptest! {
        #[test]
        fn distance_is_a_xor_metric(a in key(), b in key(), c in key()) {
            prop_assert_eq!(a.distance(&a), Distance::ZERO);
            prop_assert_eq!(a.distance(&b), b.distance(&a));
            prop_assert_eq!(a.distance(&c), a.distance(&b) ^ b.distance(&c));
            prop_assert_eq!(a == b, a.distance(&b) == Distance::ZERO);
        }

        #[test]
        fn leading_zeros_count_the_bits(bytes in any::<[u8; 32]>(), zeros in 0..KEY_BITS) {
            let mut bytes = bytes;
            bytes[..zeros / 8].fill(0);
            bytes[zeros / 8] &= 0xff >> (zeros % 8);
            let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1));
            let counted = bits.take_while(|bit| *bit == 0).count();
            prop_assert_eq!(Distance::from_bytes(bytes).leading_zeros(), counted);
        }

        #[test]
        fn key_text_round_trips_in_any_case(key in key()) {
            prop_assert_eq!(key.to_string().parse(), Ok(key));
            prop_assert_eq!(key.to_string().to_uppercase().parse(), Ok(key));
            prop_assert_eq!(key.to_string(), key.to_string().to_lowercase());
        }
    }
}
