//! The store against a naive one: a list of everything it was ever told.

use std::sync::LazyLock;
use std::time::Duration;

use macula_core::{
    Addresses, Delivery, Extensions, MIN_TTL, Metadata, ProviderRecord, Realm, RecordDraft,
    SecretKey, Timestamp, Withdrawal, WithdrawalDraft,
};
use proptest::prelude::*;

use super::*;

const PROVIDERS: u8 = 4;
const KEYS: u8 = 3;
const SEQS: u64 = 3;

#[derive(Debug, Clone)]
enum Operation {
    /// Put one of the [`CLAIMS`] with so many seconds to live.
    Put(usize, u64),
    /// Let so many seconds pass.
    Pass(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..CLAIMS.len(), 1..20_u64).prop_map(|(claim, life)| Operation::Put(claim, life)),
        1 => (0..15_u64).prop_map(Operation::Pass),
    ]
}

/// Every claim there is: of each provider, to each key, with each seq, of both kinds.
static CLAIMS: LazyLock<Vec<Claim>> = LazyLock::new(|| {
    let mut claims = Vec::new();
    for provider in 0..PROVIDERS {
        for key in 0..KEYS {
            for seq in 1..=SEQS {
                claims.push(record(provider, &format!("a.n{key}"), seq).into());
                claims.push(withdrawal(provider, &format!("a.n{key}"), seq).into());
            }
        }
    }
    claims
});

fn secret_key(provider: u8) -> SecretKey {
    SecretKey::from_bytes(&[provider + 1; 32])
}

fn record(provider: u8, service: &str, seq: u64) -> ProviderRecord {
    let draft = RecordDraft {
        realm: Realm::default(),
        service: service.parse().unwrap(),
        addresses: Addresses::default(),
        metadata: Metadata::new(),
        delivery: Delivery::AtLeastOnce,
        seq,
        issued_at: Timestamp::default(),
        ttl: MIN_TTL,
        extensions: Extensions::default(),
    };
    ProviderRecord::sign(&secret_key(provider), draft).unwrap()
}

fn withdrawal(provider: u8, service: &str, seq: u64) -> Withdrawal {
    let draft = WithdrawalDraft {
        realm: Realm::default(),
        service: service.parse().unwrap(),
        seq,
        until: Timestamp::default(),
    };
    Withdrawal::sign(&secret_key(provider), draft).unwrap()
}

fn live(claim: &Claim, secs: u64) -> LiveClaim {
    LiveClaim {
        claim: claim.clone(),
        life: Duration::from_secs(secs),
    }
}

/// Everything that was taken, and when its life is over; nothing is ever removed.
#[derive(Default)]
struct NaiveStore {
    taken: Vec<(Claim, Instant)>,
}

impl NaiveStore {
    fn last_word(&self, key: &Key, provider: &NodeId) -> Option<&(Claim, Instant)> {
        self.taken
            .iter()
            .filter(|(claim, _)| claim.key() == *key && claim.provider() == *provider)
            .max_by_key(|(claim, _)| claim.precedence())
    }

    /// What an unbounded store answers. A withdrawal whose time is over is forgotten, a record is
    /// remembered for longer than these tests run.
    fn put(&mut self, now: Instant, live: &LiveClaim) -> StoreOutcome {
        let (key, provider) = (live.claim.key(), live.claim.provider());
        self.taken
            .retain(|(claim, expires_at)| matches!(claim, Claim::Record(_)) || *expires_at > now);
        if let Some((last, expires_at)) = self.last_word(&key, &provider) {
            let is_over = *expires_at <= now;
            if *last == live.claim && !is_over {
                return StoreOutcome::Stored;
            }
            if last.precedence() >= live.claim.precedence() {
                return StoreOutcome::Outdated;
            }
        }
        // What a newer claim has replaced is not remembered beside it.
        self.taken
            .retain(|(claim, _)| claim.key() != key || claim.provider() != provider);
        self.taken.push((live.claim.clone(), now + live.life));
        StoreOutcome::Stored
    }

    fn records(&self, now: Instant, key: &Key) -> Vec<(ProviderRecord, Duration)> {
        let of_key = self.taken.iter().filter(|(claim, _)| claim.key() == *key);
        let mut records: Vec<_> = of_key
            .filter_map(|(claim, expires_at)| match claim {
                Claim::Record(record) if *expires_at > now => {
                    Some((record.clone(), *expires_at - now))
                }
                _ => None,
            })
            .collect();
        records.sort_by_key(|(record, _)| record.provider());
        records
    }
}

fn config(max_records: usize, max_per_key: usize) -> StoreConfig {
    StoreConfig {
        max_records,
        max_per_key,
        max_per_provider: 100,
        max_tombstones: 4,
        max_expired: 100,
    }
}

proptest! {
    #[test]
    fn store_answers_what_a_naive_one_does(
        operations in prop::collection::vec(operation(), 0..150),
    ) {
        let mut now = tokio::time::Instant::now().into_std();
        let unbounded = StoreConfig { max_tombstones: 100, ..config(100, 100) };
        let mut store = ProviderStore::new(secret_key(0).node_id(), unbounded);
        let mut naive = NaiveStore::default();
        for operation in operations {
            match operation {
                Operation::Put(claim, secs) => {
                    let live = live(&CLAIMS[claim], secs);
                    prop_assert_eq!(store.put(now, live.clone()), naive.put(now, &live));
                }
                Operation::Pass(secs) => now += Duration::from_secs(secs),
            }
            for claim in CLAIMS.iter().step_by(2 * SEQS as usize) {
                let held = store.records(now, &claim.key()).into_iter();
                let held: Vec<_> = held.map(|live| (live.record, live.life)).collect();
                prop_assert_eq!(held, naive.records(now, &claim.key()));
            }
            store.check_invariants();
        }
    }

    #[test]
    fn caps_hold_for_others_and_never_for_ourselves(
        operations in prop::collection::vec(operation(), 0..150),
    ) {
        let mut now = tokio::time::Instant::now().into_std();
        let local = secret_key(0).node_id();
        let mut store = ProviderStore::new(local, config(3, 2));
        for operation in operations {
            match operation {
                Operation::Put(claim, secs) => {
                    let claim = &CLAIMS[claim];
                    let outcome = store.put(now, live(claim, secs));
                    let is_full = outcome == StoreOutcome::Full;
                    prop_assert!(!is_full || claim.provider() != local, "own claim refused");
                    let at_a_cap = store.foreign.records == 3
                        || store.foreign.tombstones == 4
                        || store.foreign_under(&claim.key()) == 2;
                    prop_assert!(!is_full || at_a_cap, "full without a reason");
                }
                Operation::Pass(secs) => now += Duration::from_secs(secs),
            }
            store.check_invariants();
        }
    }
}

#[test]
fn ten_thousand_expired_records_count_towards_no_cap() {
    let now = tokio::time::Instant::now().into_std();
    let mut store = ProviderStore::new(secret_key(0).node_id(), config(10_000, 1));
    for key in 0..10_000 {
        let claim = record(1, &format!("junk.n{key}"), 1).into();
        let config = StoreConfig {
            max_per_provider: usize::MAX,
            ..store.config
        };
        store.config = config;
        assert_eq!(store.put(now, live(&claim, 15)), StoreOutcome::Stored);
    }
    let newcomer = record(2, "a.service", 1).into();
    assert_eq!(store.put(now, live(&newcomer, 15)), StoreOutcome::Full);
    let later = now + Duration::from_secs(15);
    assert_eq!(store.put(later, live(&newcomer, 15)), StoreOutcome::Stored);
    assert_eq!(store.foreign_records(), 1);
    store.check_invariants();
}

#[test]
fn withdrawal_removes_its_record_even_when_tombstones_are_at_their_cap() {
    let now = tokio::time::Instant::now().into_std();
    let limits = StoreConfig {
        max_tombstones: 1,
        ..config(10, 10)
    };
    let mut store = ProviderStore::new(secret_key(0).node_id(), limits);
    let first = withdrawal(1, "a.first", 1).into();
    assert_eq!(store.put(now, live(&first, 10)), StoreOutcome::Stored);
    let second: Claim = record(2, "a.second", 1).into();
    store.put(now, live(&second, 15));
    let withdrawn = withdrawal(2, "a.second", 1).into();
    assert_eq!(store.put(now, live(&withdrawn, 15)), StoreOutcome::Stored);
    assert_eq!(store.records(now, &second.key()), []);
    assert_eq!(store.put(now, live(&second, 15)), StoreOutcome::Outdated);
    store.check_invariants();
}

#[test]
fn provider_at_its_cap_is_refused_and_others_are_not() {
    let now = tokio::time::Instant::now().into_std();
    let limits = StoreConfig {
        max_per_provider: 2,
        ..config(10, 10)
    };
    let mut store = ProviderStore::new(secret_key(0).node_id(), limits);
    let outcomes: Vec<_> = ["a.first", "a.second", "a.third"]
        .iter()
        .map(|service| store.put(now, live(&record(1, service, 1).into(), 15)))
        .collect();
    let stored = StoreOutcome::Stored;
    assert_eq!(outcomes, [stored, stored, StoreOutcome::Full]);
    let other = record(2, "a.third", 1).into();
    assert_eq!(store.put(now, live(&other, 15)), stored);
}
