//! Ed25519 keys in the encodings that TLS carries (RFC 8410).

use macula_core::{NodeId, SecretKey};

/// `SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING` of 32 bytes.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// `SEQUENCE { INTEGER 0, SEQUENCE { OID 1.3.101.112 }, OCTET STRING { OCTET STRING` of 32 bytes.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The node id as a SubjectPublicKeyInfo, which stands where a certificate would (RFC 7250).
pub(super) fn encode(node_id: &NodeId) -> Vec<u8> {
    [&SPKI_PREFIX[..], node_id.as_bytes()].concat()
}

/// The node id of a SubjectPublicKeyInfo; `None` unless it is an Ed25519 key in its only encoding.
pub(in crate::quic) fn decode(spki: &[u8]) -> Option<NodeId> {
    NodeId::try_from(spki.strip_prefix(&SPKI_PREFIX)?).ok()
}

/// The secret key as a PrivateKeyInfo.
pub(super) fn encode_secret(secret_key: &SecretKey) -> Vec<u8> {
    [&PKCS8_PREFIX[..], &secret_key.to_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_node_id_survives_the_encoding(bytes: [u8; 32]) {
            let node_id = NodeId::from_bytes(bytes);
            prop_assert_eq!(decode(&encode(&node_id)), Some(node_id));
        }

        #[test]
        fn arbitrary_bytes_are_a_key_only_if_they_are_the_encoding_of_one(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            if let Some(node_id) = decode(&bytes) {
                prop_assert_eq!(encode(&node_id), bytes);
            }
        }
    }

    #[test]
    fn a_key_with_something_behind_it_is_refused() {
        let mut spki = encode(&NodeId::from_bytes([7; 32]));
        spki.push(0);
        assert_eq!(decode(&spki), None);
    }

    #[test]
    fn a_key_of_another_algorithm_is_refused() {
        let mut spki = encode(&NodeId::from_bytes([7; 32]));
        // 1.3.101.113 is Ed448.
        spki[8] = 0x71;
        assert_eq!(decode(&spki), None);
    }
}
