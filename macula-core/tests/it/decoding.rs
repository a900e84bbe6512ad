//! Whatever bytes arrive, decoding ends with a value or a typed error, in memory that the bytes
//! justify.

use std::fmt::Debug;

use macula_core::codec::{self, BoundedBytes, BoundedText, BoundedVec};
use macula_core::{
    Addresses, Contact, Delivery, DialTarget, Extensions, Key, Metadata, NodeId, ProviderRecord,
    Realm, ServiceName, Signed, Timestamp, Withdrawal,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::generate::{any_record_draft, record, record_draft, withdrawal, withdrawal_draft};
use crate::wire::{LIMIT_BYTES, encode};

/// What decoding may hold at once for each byte it was given, and besides. The dearest type spends
/// a map entry on three bytes.
const HELD_PER_BYTE: u64 = 48;
const HELD_BESIDES: u64 = 1024;

/// What it may allocate over time: growing lists are copied, and repeated strings freed.
const ALLOCATED_PER_BYTE: u64 = 2 * HELD_PER_BYTE;

/// Decodes within the bounds on memory; what decodes has to survive another round.
fn decode_frugally<T: Serialize + DeserializeOwned + Debug + PartialEq>(bytes: &[u8]) {
    let mut decoded = None;
    let used = allocation_counter::measure(|| {
        decoded = Some(codec::decode::<T>(bytes, LIMIT_BYTES));
    });
    let (len, name) = (bytes.len() as u64, std::any::type_name::<T>());
    assert!(
        used.bytes_max <= HELD_PER_BYTE * len + HELD_BESIDES,
        "{name}: {len} bytes held {}",
        used.bytes_max
    );
    assert!(
        used.bytes_total <= ALLOCATED_PER_BYTE * len + 2 * HELD_BESIDES,
        "{name}: {len} bytes allocated {}",
        used.bytes_total
    );
    if let Some(Ok(value)) = decoded {
        let again = codec::encode(&value, LIMIT_BYTES).unwrap();
        assert!(again.len() <= bytes.len(), "{name} grew");
        assert_eq!(codec::decode::<T>(&again, LIMIT_BYTES), Ok(value));
    }
}

/// Every type that is read from the wire, and the checks behind it.
fn read_as_everything(bytes: &[u8]) {
    decode_frugally::<NodeId>(bytes);
    decode_frugally::<Key>(bytes);
    decode_frugally::<Realm>(bytes);
    decode_frugally::<ServiceName>(bytes);
    decode_frugally::<Addresses>(bytes);
    decode_frugally::<Contact>(bytes);
    decode_frugally::<Metadata>(bytes);
    decode_frugally::<Extensions>(bytes);
    decode_frugally::<Delivery>(bytes);
    decode_frugally::<Timestamp>(bytes);
    decode_frugally::<Signed>(bytes);
    decode_frugally::<BoundedText<16>>(bytes);
    decode_frugally::<BoundedBytes<16>>(bytes);
    decode_frugally::<BoundedVec<Contact, 20>>(bytes);
    decode_frugally::<BoundedVec<(Signed, u64), 32>>(bytes);
    if let Ok(signed) = codec::decode::<Signed>(bytes, LIMIT_BYTES) {
        verify_frugally(&signed);
    }
}

fn verify_frugally(signed: &Signed) {
    let used = allocation_counter::measure(|| {
        let record = ProviderRecord::verify(signed.clone());
        let withdrawal = Withdrawal::verify(signed.clone());
        assert!(record.is_err() || withdrawal.is_err());
    });
    let len = encode(signed).len() as u64;
    assert!(used.bytes_max <= 2 * HELD_PER_BYTE * len + 8 * HELD_BESIDES);
}

/// Encodings of every type, to be damaged.
fn encodings() -> Vec<Vec<u8>> {
    let draft = record_draft();
    let contact = record(draft.clone()).contact();
    let record = record(draft.clone());
    let encoded = |value: Result<Vec<u8>, codec::EncodeError>| value.unwrap();
    vec![
        encoded(codec::encode(&record.provider(), LIMIT_BYTES)),
        encoded(codec::encode(&draft.realm, LIMIT_BYTES)),
        encoded(codec::encode(&draft.addresses, LIMIT_BYTES)),
        encoded(codec::encode(&vec![contact; 3], LIMIT_BYTES)),
        encoded(codec::encode(&draft.metadata, LIMIT_BYTES)),
        encoded(codec::encode(&vec![(1_u16, vec![7_u8; 9]); 4], LIMIT_BYTES)),
        encode(record.signed()),
        encode(withdrawal(withdrawal_draft()).signed()),
    ]
}

#[test]
fn every_truncation_is_survived() {
    for bytes in encodings() {
        for end in 0..=bytes.len() {
            read_as_everything(&bytes[..end]);
        }
    }
}

#[test]
fn every_flipped_bit_is_survived() {
    for bytes in encodings() {
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            read_as_everything(&bytes);
        }
    }
}

#[test]
fn a_truncated_signed_statement_never_decodes() {
    let bytes = encode(record(record_draft()).signed());
    for end in 0..bytes.len() {
        let decoded = codec::decode::<Signed>(&bytes[..end], LIMIT_BYTES);
        assert_eq!(decoded, Err(codec::DecodeError::Truncated));
    }
}

#[test]
fn a_full_map_of_the_shortest_pairs_is_read_frugally() {
    let pairs: Vec<(String, String)> = (0..=255_u8)
        .filter(u8::is_ascii)
        .flat_map(|first| [vec![first], vec![first, first]])
        .map(|key| (String::from_utf8(key).unwrap(), String::new()))
        .collect();
    decode_frugally::<Metadata>(&codec::encode(&pairs, LIMIT_BYTES).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_are_survived(bytes in vec(any::<u8>(), 0..600)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn small_numbers_in_random_order_are_survived(bytes in vec(0_u8..8, 0..600)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn announced_lengths_cost_nothing(
        length in any::<u64>(),
        prefix in vec(any::<u8>(), 0..3),
        rest in vec(any::<u8>(), 0..40),
    ) {
        let length = codec::encode(&length, LIMIT_BYTES).unwrap();
        read_as_everything(&[&length[..], &rest].concat());
        read_as_everything(&[&prefix[..], &length, &rest].concat());
    }

    #[test]
    fn a_length_bomb_anywhere_in_an_encoding_is_survived(
        which in any::<Index>(),
        at in any::<Index>(),
        length in any::<u64>(),
    ) {
        let mut bytes = which.get(&encodings()).clone();
        let at = at.index(bytes.len());
        bytes.splice(at..=at, codec::encode(&length, LIMIT_BYTES).unwrap());
        read_as_everything(&bytes);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,80}") {
        let _ = text.parse::<NodeId>();
        let _ = text.parse::<Key>();
        let _ = text.parse::<DialTarget>();
        let _ = text.parse::<Contact>();
        if let Ok(name) = text.parse::<ServiceName>() {
            prop_assert_eq!(name.as_str(), &text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parts_of_any_record_decode_to_themselves(draft in any_record_draft(any::<u64>())) {
        fn round_trip<T: Serialize + DeserializeOwned + Debug + PartialEq>(value: &T) {
            let bytes = codec::encode(value, LIMIT_BYTES).unwrap();
            assert_eq!(codec::decode::<T>(&bytes, LIMIT_BYTES).as_ref(), Ok(value));
        }
        round_trip(&draft.addresses);
        round_trip(&draft.metadata);
        round_trip(&draft.extensions);
        round_trip(&draft.issued_at);
        round_trip(&record(draft).contact());
    }
}
