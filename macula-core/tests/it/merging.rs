//! Claims merge to the same whatever the order, grouping and number of their arrivals.

use macula_core::{Claim, ProviderRecord, RecordDraft, Withdrawal, WithdrawalDraft};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::generate::{NOW, any_record_draft, record, record_draft, withdrawal, withdrawal_draft};
use crate::wire::{RECORD_CONTEXT, WITHDRAWAL_CONTEXT, WireSigned};

fn record_claim(seq: u64) -> Claim {
    record(RecordDraft {
        seq,
        ..record_draft()
    })
    .into()
}

fn withdrawal_claim(seq: u64) -> Claim {
    withdrawal(WithdrawalDraft {
        seq,
        ..withdrawal_draft()
    })
    .into()
}

/// Claims of one provider to one service, close enough in `seq` to collide.
fn any_claim() -> impl Strategy<Value = Claim> {
    let record = any_record_draft(0_u64..3).prop_map(|draft| record(draft).into());
    let withdrawal = (0_u64..3, 0_u64..1000).prop_map(|(seq, millis)| {
        let until = NOW.saturating_add(std::time::Duration::from_millis(millis));
        withdrawal(WithdrawalDraft {
            seq,
            until,
            ..withdrawal_draft()
        })
        .into()
    });
    prop_oneof![2 => record, 1 => withdrawal]
}

/// The order as it is written down, from the bytes on the wire.
fn rank(claim: &Claim) -> (u64, bool, [u8; 32]) {
    let digest = |context, signed| blake3::derive_key(context, &WireSigned::of(signed).payload);
    match claim {
        Claim::Record(record) => {
            let digest = digest(RECORD_CONTEXT, record.signed());
            (record.seq(), false, digest)
        }
        Claim::Withdrawal(withdrawal) => {
            let digest = digest(WITHDRAWAL_CONTEXT, withdrawal.signed());
            (withdrawal.seq(), true, digest)
        }
    }
}

#[test]
fn the_higher_seq_wins_whatever_it_is() {
    for (older, newer) in [
        (record_claim(1), record_claim(2)),
        (record_claim(1), withdrawal_claim(2)),
        (withdrawal_claim(1), withdrawal_claim(2)),
        (withdrawal_claim(1), record_claim(2)),
    ] {
        assert_eq!(older.clone().merge(newer.clone()), newer);
        assert_eq!(newer.clone().merge(older), newer);
    }
}

#[test]
fn at_equal_seq_the_withdrawal_wins() {
    let (record, withdrawal) = (record_claim(5), withdrawal_claim(5));
    assert_eq!(record.clone().merge(withdrawal.clone()), withdrawal);
    assert_eq!(withdrawal.clone().merge(record), withdrawal);
}

#[test]
fn a_later_advertisement_revives() {
    let withdrawn = record_claim(5).merge(withdrawal_claim(5));
    assert_eq!(withdrawn.merge(record_claim(6)), record_claim(6));
}

#[test]
fn claims_know_whose_and_to_what_they_are() {
    let (record, withdrawal) = (record_claim(1), withdrawal_claim(1));
    assert_eq!(record.key(), withdrawal.key());
    assert_eq!(record.provider(), withdrawal.provider());
}

/// Ed25519 signatures of one payload by a signer who does not follow RFC 8032's way to the nonce.
#[test]
fn two_signatures_over_one_payload_are_one_claim() {
    let record = record(record_draft());
    let other = resigned(&record);
    assert_ne!(record.signed(), other.signed());
    assert_eq!(record, other);
    let (a, b) = (Claim::from(record), Claim::from(other));
    assert_eq!(a.clone().merge(b.clone()), b.merge(a));
}

fn resigned(record: &ProviderRecord) -> ProviderRecord {
    use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
    use ed25519_dalek::{Sha512, SigningKey};

    let key = SigningKey::from_bytes(&crate::generate::secret_key(1).to_bytes());
    let mut expanded = ExpandedSecretKey::from(&key.to_bytes());
    expanded.hash_prefix = [0x55; 32];
    let mut signed = WireSigned::of(record.signed());
    let digest = blake3::derive_key(RECORD_CONTEXT, &signed.payload);
    let signature = raw_sign::<Sha512>(&expanded, &digest, &key.verifying_key()).to_bytes();
    signed
        .signature
        .as_flattened_mut()
        .copy_from_slice(&signature);
    ProviderRecord::verify(signed.received()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merging_is_a_semilattice(a in any_claim(), b in any_claim(), c in any_claim()) {
        let (ab, bc) = (a.clone().merge(b.clone()), b.clone().merge(c.clone()));
        prop_assert_eq!(&ab, &b.clone().merge(a.clone()));
        prop_assert_eq!(ab.clone().merge(c.clone()), a.clone().merge(bc));
        prop_assert_eq!(a.clone().merge(a.clone()), a.clone());
        prop_assert_eq!(ab.clone().merge(a), ab);
    }

    #[test]
    fn any_order_of_arrival_ends_with_the_highest(
        (claims, shuffled) in vec(any_claim(), 1..8)
            .prop_flat_map(|claims| (Just(claims.clone()), Just(claims).prop_shuffle())),
    ) {
        let merge = |claims: Vec<Claim>| claims.into_iter().reduce(Claim::merge).unwrap();
        let highest = claims.iter().max_by_key(|claim| rank(claim)).unwrap().clone();
        prop_assert_eq!(merge(claims), highest.clone());
        prop_assert_eq!(merge(shuffled), highest);
    }

    #[test]
    fn precedence_is_the_order_that_is_written_down(a in any_claim(), b in any_claim()) {
        prop_assert_eq!(a.precedence().cmp(&b.precedence()), rank(&a).cmp(&rank(&b)));
    }

    #[test]
    fn a_withdrawal_beats_every_record_up_to_its_seq(
        draft in any_record_draft(0..=100_u64),
        seq in 0..=100_u64,
    ) {
        let tombstone: Withdrawal = withdrawal(WithdrawalDraft { seq, ..withdrawal_draft() });
        let beaten = draft.seq <= seq;
        let merged = Claim::from(record(draft)).merge(tombstone.into());
        prop_assert_eq!(matches!(merged, Claim::Withdrawal(_)), beaten);
    }
}
