//! Only the provider makes claims in its name.

use macula_core::{
    Delivery, Extensions, MAX_EXTENSION_BYTES, MAX_EXTENSIONS, MAX_TTL, MIN_TTL, Metadata,
    ProviderRecord, RecordError, Signed, Withdrawal, codec,
};
use proptest::prelude::*;

use crate::generate::{
    any_record_draft, record, record_draft, secret_key, withdrawal, withdrawal_draft,
};
use crate::wire::{
    LIMIT_BYTES, RECORD_CONTEXT, WITHDRAWAL_CONTEXT, WireRecord, WireSigned, WireWithdrawal, encode,
};

/// What a node makes of a record whose provider has signed this payload.
fn receive(payload: Vec<u8>) -> Result<ProviderRecord, RecordError> {
    let signed = WireSigned::sign(&secret_key(1), RECORD_CONTEXT, payload);
    ProviderRecord::verify(signed.received())
}

fn wire_record() -> WireRecord {
    WireRecord::of(&secret_key(1), &record_draft())
}

fn refuse(change: impl FnOnce(&mut WireRecord)) -> RecordError {
    let mut wire = wire_record();
    change(&mut wire);
    receive(wire.encode()).unwrap_err()
}

/// Whether any single changed byte makes a node refuse the claim.
fn every_changed_byte_is_refused<T>(
    bytes: &[u8],
    verify: impl Fn(Signed) -> Result<T, RecordError>,
) {
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= mask;
            let accepted = codec::decode(&bytes, LIMIT_BYTES)
                .ok()
                .and_then(|signed| verify(signed).ok());
            assert!(accepted.is_none(), "byte {at} xor {mask}");
        }
    }
}

#[test]
fn the_wire_form_is_as_written_down() {
    assert_eq!(
        WireSigned::of(record(record_draft()).signed()),
        WireSigned::sign(&secret_key(1), RECORD_CONTEXT, wire_record().encode())
    );
    let wire = WireWithdrawal::of(&secret_key(1), &withdrawal_draft());
    assert_eq!(
        WireSigned::of(withdrawal(withdrawal_draft()).signed()),
        WireSigned::sign(&secret_key(1), WITHDRAWAL_CONTEXT, wire.encode())
    );
}

#[test]
fn a_record_with_any_byte_changed_is_refused() {
    let bytes = encode(record(record_draft()).signed());
    every_changed_byte_is_refused(&bytes, ProviderRecord::verify);
}

#[test]
fn a_withdrawal_with_any_byte_changed_is_refused() {
    let bytes = encode(withdrawal(withdrawal_draft()).signed());
    every_changed_byte_is_refused(&bytes, Withdrawal::verify);
}

#[test]
fn nobody_signs_for_another() {
    let by_stranger = WireSigned::sign(&secret_key(2), RECORD_CONTEXT, wire_record().encode());
    assert_eq!(
        ProviderRecord::verify(by_stranger.received()),
        Err(RecordError::BadSignature)
    );
    let wire = WireWithdrawal::of(&secret_key(1), &withdrawal_draft());
    let by_stranger = WireSigned::sign(&secret_key(2), WITHDRAWAL_CONTEXT, wire.encode());
    assert_eq!(
        Withdrawal::verify(by_stranger.received()),
        Err(RecordError::BadSignature)
    );
}

#[test]
fn a_signature_for_one_kind_of_claim_is_none_for_the_other() {
    let under = |context, payload| WireSigned::sign(&secret_key(1), context, payload).received();
    assert_eq!(
        ProviderRecord::verify(under(WITHDRAWAL_CONTEXT, wire_record().encode())),
        Err(RecordError::BadSignature)
    );
    let wire = WireWithdrawal::of(&secret_key(1), &withdrawal_draft());
    assert_eq!(
        Withdrawal::verify(under(RECORD_CONTEXT, wire.encode())),
        Err(RecordError::BadSignature)
    );
}

#[test]
fn a_malleated_signature_is_refused() {
    // The order of Ed25519's group (RFC 8032 §5.1), least significant byte first: adding it to the
    // second half of a signature gives the same point.
    let mut order = [0; 32];
    order[..16].copy_from_slice(&0x14de_f9de_a2f7_9cd6_5812_631a_5cf5_d3ed_u128.to_le_bytes());
    order[31] = 0x10;
    let mut signed = WireSigned::of(record(record_draft()).signed());
    let mut carry = 0;
    for (byte, add) in signed.signature[1].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert_eq!(
        ProviderRecord::verify(signed.received()),
        Err(RecordError::BadSignature)
    );
}

#[test]
fn a_key_that_any_signature_fits_is_refused() {
    let mut identity_point = [0; 32];
    identity_point[0] = 1;
    let mut wire = wire_record();
    wire.provider = identity_point;
    let signed = WireSigned {
        payload: wire.encode(),
        signature: [identity_point, [0; 32]],
    };
    assert_eq!(
        ProviderRecord::verify(signed.received()),
        Err(RecordError::BadSignature)
    );
}

#[test]
fn bytes_that_are_no_key_sign_nothing() {
    let mut wire = wire_record();
    wire.provider = [0xff; 32];
    let signed = WireSigned::sign(&secret_key(1), RECORD_CONTEXT, wire.encode());
    assert_eq!(
        ProviderRecord::verify(signed.received()),
        Err(RecordError::BadSignature)
    );
}

#[test]
fn a_provider_cannot_sign_beyond_the_bounds() {
    let ttl = |ttl_millis| refuse(|wire| wire.ttl_millis = ttl_millis);
    let (min, max) = (MIN_TTL.as_millis() as u64, MAX_TTL.as_millis() as u64);
    for ttl_millis in [0, min - 1, max + 1, u64::MAX] {
        assert_eq!(ttl(ttl_millis), RecordError::TtlOutOfRange);
    }
    for addr in ["0.0.0.0:1", "10.0.0.1:0", "[::]:1", "224.0.0.1:1"] {
        let addresses = vec![addr.parse().unwrap()];
        let refused = refuse(|wire| wire.addresses = addresses);
        assert_eq!(refused, RecordError::UndialableAddress);
    }
}

#[test]
fn a_provider_cannot_sign_what_is_no_record() {
    let malformed: [fn(&mut WireRecord); 7] = [
        |wire| wire.realm = "a..b".to_owned(),
        |wire| wire.realm.clear(),
        |wire| wire.delivery = 2,
        |wire| wire.metadata = vec![("k".to_owned(), "v".repeat(1024))],
        |wire| wire.metadata = vec![(String::new(), String::new())],
        |wire| wire.extensions = vec![(0, Vec::new()); MAX_EXTENSIONS + 1],
        |wire| wire.extensions = vec![(0, vec![0; MAX_EXTENSION_BYTES + 1])],
    ];
    for change in malformed {
        assert_eq!(refuse(change), RecordError::Malformed);
    }
    assert_eq!(receive(Vec::new()), Err(RecordError::Malformed));
    let mut trailing = wire_record().encode();
    trailing.push(0);
    assert_eq!(receive(trailing), Err(RecordError::Malformed));
}

#[test]
fn one_record_has_one_encoding() {
    let reordered = refuse(|wire| wire.metadata.reverse());
    let repeated_key = refuse(|wire| wire.metadata.push(wire.metadata[1].clone()));
    let repeated_address = refuse(|wire| wire.addresses.push(wire.addresses[0]));
    let mapped_address = refuse(|wire| {
        wire.addresses = vec!["[::ffff:10.0.0.7]:9443".parse().unwrap()];
    });
    for refused in [reordered, repeated_key, repeated_address, mapped_address] {
        assert_eq!(refused, RecordError::Malformed);
    }
    // The length of the realm in two bytes instead of one.
    let mut padded = wire_record().encode();
    padded.splice(..1, [padded[0] | 0x80, 0]);
    assert_eq!(receive(padded), Err(RecordError::Malformed));
}

#[test]
fn a_draft_beyond_the_bounds_is_not_signed() {
    let sign = |draft| ProviderRecord::sign(&secret_key(1), draft);
    for ttl in [MIN_TTL / 2, MAX_TTL * 2] {
        let draft = macula_core::RecordDraft {
            ttl,
            ..record_draft()
        };
        assert_eq!(sign(draft), Err(RecordError::TtlOutOfRange));
    }
    let mut draft = record_draft();
    draft.addresses = crate::generate::addresses(&["0.0.0.0:9443"]);
    assert_eq!(sign(draft), Err(RecordError::UndialableAddress));
}

#[test]
fn a_draft_too_large_to_be_signed_is_refused() {
    let mut draft = record_draft();
    draft.realm = "r".repeat(255).parse().unwrap();
    draft.metadata = Metadata::new();
    for i in 0..256 {
        draft.metadata.insert(format!("{i:04}"), "").unwrap();
    }
    for tag in 0..MAX_EXTENSIONS as u16 {
        let value = vec![0; MAX_EXTENSION_BYTES].into();
        draft.extensions.push(tag, value).unwrap();
    }
    let fits = ProviderRecord::sign(&secret_key(1), draft.clone()).map(|_| ());
    assert_eq!(fits, Ok(()));
    draft.metadata = Metadata::new();
    for i in 0..512_u16 {
        let key = String::from_utf8(vec![1 + (i >> 7) as u8, (i & 0x7f) as u8]).unwrap();
        draft.metadata.insert(key, "").unwrap();
    }
    let refused = ProviderRecord::sign(&secret_key(1), draft).map(|_| ());
    assert_eq!(refused, Err(RecordError::Malformed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_verifies_and_says_the_same(draft in any_record_draft(any::<u64>())) {
        let signed = record(draft.clone());
        let received = codec::decode(&encode(signed.signed()), LIMIT_BYTES).unwrap();
        let verified = ProviderRecord::verify(received).unwrap();
        prop_assert_eq!(&verified, &signed);
        prop_assert_eq!(verified.provider(), secret_key(1).node_id());
        prop_assert_eq!(verified.realm(), &draft.realm);
        prop_assert_eq!(verified.addresses(), &draft.addresses);
        prop_assert_eq!(verified.metadata(), &draft.metadata);
        prop_assert_eq!(verified.delivery(), draft.delivery);
        prop_assert_eq!(verified.delivery() == Delivery::AtMostOnce, draft.delivery as u8 == 1);
        prop_assert_eq!(verified.seq(), draft.seq);
        prop_assert_eq!(verified.issued_at(), draft.issued_at);
        prop_assert_eq!(verified.ttl(), draft.ttl);
        prop_assert_eq!(verified.extensions(), &draft.extensions);
        prop_assert_eq!(verified.extensions() == &Extensions::default(), draft.extensions.is_empty());
    }
}
