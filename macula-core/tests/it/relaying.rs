//! A node that knows less than the signer still verifies and passes on every byte.

use bytes::Bytes;
use macula_core::{ProviderRecord, Withdrawal, codec};

use crate::generate::{record, record_draft, secret_key, withdrawal_draft};
use crate::wire::{LIMIT_BYTES, WITHDRAWAL_CONTEXT, WireSigned, WireWithdrawal, encode};

/// A tag that no version has given a meaning.
const UNKNOWN: u16 = 0xfffe;

fn relay_record(bytes: &[u8]) -> Vec<u8> {
    let signed = codec::decode(bytes, LIMIT_BYTES).unwrap();
    encode(ProviderRecord::verify(signed).unwrap().signed())
}

fn relay_withdrawal(bytes: &[u8]) -> Vec<u8> {
    let signed = codec::decode(bytes, LIMIT_BYTES).unwrap();
    encode(Withdrawal::verify(signed).unwrap().signed())
}

#[test]
fn a_record_with_unknown_extensions_is_read_and_relayed_verbatim() {
    let mut draft = record_draft();
    let value = Bytes::from_static(b"of a later version");
    draft.extensions.push(UNKNOWN, value.clone()).unwrap();
    let by_newer = encode(record(draft).signed());

    let by_older = relay_record(&relay_record(&by_newer));
    assert_eq!(by_older, by_newer);

    let signed = codec::decode(&by_older, LIMIT_BYTES).unwrap();
    let read = ProviderRecord::verify(signed).unwrap();
    assert_eq!(read.metadata(), &record_draft().metadata);
    assert_eq!(read.extensions().value(UNKNOWN), Some(&value));
}

#[test]
fn a_withdrawal_with_unknown_extensions_is_read_and_relayed_verbatim() {
    let mut wire = WireWithdrawal::of(&secret_key(1), &withdrawal_draft());
    wire.extensions = vec![(UNKNOWN, b"of a later version".to_vec())];
    let signed = WireSigned::sign(&secret_key(1), WITHDRAWAL_CONTEXT, wire.encode()).received();
    let read = Withdrawal::verify(signed.clone()).unwrap();
    assert_eq!(read.seq(), withdrawal_draft().seq);
    assert_eq!(relay_withdrawal(&encode(&signed)), encode(&signed));
}
