//! Values to test with, one helper for each kind.

use std::net::SocketAddr;
use std::time::Duration;

use macula_core::{
    Addresses, Delivery, Extensions, MAX_TTL, MIN_TTL, Metadata, ProviderRecord, RecordDraft,
    SecretKey, Timestamp, Withdrawal, WithdrawalDraft,
};
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);

pub(crate) fn secret_key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; SecretKey::LEN_BYTES])
}

/// A record with something in every field.
pub(crate) fn record_draft() -> RecordDraft {
    let mut metadata = Metadata::new();
    metadata.insert("region", "eu").unwrap();
    metadata.insert("version", "1.0").unwrap();
    RecordDraft {
        realm: "com.myapp".parse().unwrap(),
        service: "myapp.get_user".parse().unwrap(),
        addresses: addresses(&["10.0.0.7:9443", "[2001:db8::7]:9443"]),
        metadata,
        delivery: Delivery::AtMostOnce,
        seq: NOW.unix_millis(),
        issued_at: NOW,
        ttl: Duration::from_secs(300),
        extensions: Extensions::default(),
    }
}

pub(crate) fn withdrawal_draft() -> WithdrawalDraft {
    WithdrawalDraft {
        realm: "com.myapp".parse().unwrap(),
        service: "myapp.get_user".parse().unwrap(),
        seq: NOW.unix_millis(),
        until: NOW.saturating_add(Duration::from_secs(300)),
    }
}

pub(crate) fn record(draft: RecordDraft) -> ProviderRecord {
    ProviderRecord::sign(&secret_key(1), draft).unwrap()
}

pub(crate) fn withdrawal(draft: WithdrawalDraft) -> Withdrawal {
    Withdrawal::sign(&secret_key(1), draft).unwrap()
}

pub(crate) fn addresses(texts: &[&str]) -> Addresses {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn any_addresses() -> impl Strategy<Value = Addresses> {
    let dialable = any::<SocketAddr>().prop_filter("dialable", |addr| {
        [*addr].into_iter().collect::<Addresses>().are_dialable()
    });
    vec(dialable, 0..10).prop_map(|addrs| addrs.into_iter().collect())
}

pub(crate) fn any_metadata() -> impl Strategy<Value = Metadata> {
    vec(("[a-z]{1,8}", "\\PC{0,16}"), 0..8).prop_map(|pairs| {
        let mut metadata = Metadata::new();
        for (key, value) in pairs {
            metadata.insert(key, value).unwrap();
        }
        metadata
    })
}

pub(crate) fn any_extensions() -> impl Strategy<Value = Extensions> {
    vec((any::<u16>(), vec(any::<u8>(), 0..32)), 0..8).prop_map(|entries| {
        let mut extensions = Extensions::default();
        for (tag, value) in entries {
            extensions.push(tag, value.into()).unwrap();
        }
        extensions
    })
}

pub(crate) fn any_delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![Just(Delivery::AtLeastOnce), Just(Delivery::AtMostOnce)]
}

/// Records of one provider to one service, `seq` drawn from `seq`.
pub(crate) fn any_record_draft(
    seq: impl Strategy<Value = u64>,
) -> impl Strategy<Value = RecordDraft> {
    let ttl_millis = MIN_TTL.as_millis() as u64..=MAX_TTL.as_millis() as u64;
    (
        any_addresses(),
        any_metadata(),
        any_extensions(),
        any_delivery(),
        seq,
        any::<u64>(),
        ttl_millis,
    )
        .prop_map(
            |(addresses, metadata, extensions, delivery, seq, issued_at, ttl_millis)| RecordDraft {
                addresses,
                metadata,
                extensions,
                delivery,
                seq,
                issued_at: Timestamp::from_unix_millis(issued_at),
                ttl: Duration::from_millis(ttl_millis),
                ..record_draft()
            },
        )
}
