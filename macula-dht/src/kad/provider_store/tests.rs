//! The store against a naive one: a list of everything it was ever told.

use std::sync::LazyLock;
use std::time::Duration;

use macula_core::{
    Addresses, Delivery, Extensions, MIN_TTL, Metadata, ProviderRecord, Realm, RecordDraft,
    SecretKey, Timestamp, Withdrawal, WithdrawalDraft,
};
use proptest::prelude::*;
use rand::SeedableRng as _;

use super::*;

const PROVIDERS: u8 = 4;
const KEYS: u8 = 3;
const SEQS: u64 = 3;
const PEERS: u8 = 3;

#[derive(Debug, Clone)]
enum Operation {
    /// Put one of the [`CLAIMS`], brought by a peer, with so many seconds to live.
    Put(usize, u8, u64),
    /// Let so many seconds pass.
    Pass(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..CLAIMS.len(), 0..PEERS, 1..20_u64)
            .prop_map(|(claim, peer, life)| Operation::Put(claim, peer, life)),
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

fn peer(index: u8) -> NodeId {
    NodeId::from_bytes([200 + index; 32])
}

fn records(store: &mut ProviderStore, now: Instant, key: &Key) -> Vec<LiveRecord> {
    let mut rng = StdRng::seed_from_u64(1);
    store.sample_records((now, &mut rng), key, usize::MAX)
}

fn live(claim: &Claim, secs: u64) -> LiveClaim {
    LiveClaim {
        claim: claim.clone(),
        life: Duration::from_secs(secs),
    }
}

/// The last word of each provider to each key, whether its life is over or not.
struct NaiveStore {
    config: StoreConfig,
    taken: Vec<HeldClaim>,
}

impl NaiveStore {
    fn last_word(&self, claim: &Claim) -> Option<&HeldClaim> {
        let same = |held: &&HeldClaim| is_same(&held.claim, claim);
        self.taken.iter().find(same)
    }

    /// How many of the live claims of others fulfil a condition.
    fn count(&self, now: Instant, condition: impl Fn(&HeldClaim) -> bool) -> usize {
        let local = secret_key(0).node_id();
        self.taken
            .iter()
            .filter(|held| held.expires_at > now && held.claim.provider() != local)
            .filter(|held| condition(held))
            .count()
    }

    /// A withdrawal whose time is over is forgotten, a record is remembered for longer than these
    /// tests run. Withdrawals have no cap of their own here.
    fn put(&mut self, now: Instant, from: NodeId, live: &LiveClaim) -> StoreOutcome {
        let claim = live.claim.clone();
        self.taken
            .retain(|held| held.is_record() || held.expires_at > now);
        if let Some(last) = self.last_word(&claim) {
            if last.claim == claim && last.expires_at > now {
                return StoreOutcome::Stored;
            }
            if last.claim.precedence() >= claim.precedence() {
                return StoreOutcome::Outdated;
            }
        }
        if self.is_full(now, from, &claim) {
            return StoreOutcome::Full;
        }
        self.taken.retain(|held| !is_same(&held.claim, &claim));
        let expires_at = now + live.life;
        self.taken.push(HeldClaim {
            claim,
            expires_at,
            from,
        });
        StoreOutcome::Stored
    }

    fn is_full(&self, now: Instant, from: NodeId, claim: &Claim) -> bool {
        let (key, provider) = (claim.key(), claim.provider());
        if provider == secret_key(0).node_id() {
            return false;
        }
        let held = self.last_word(claim).filter(|held| held.expires_at > now);
        let under_key = self.count(now, |held| held.claim.key() == key);
        let of_provider = self.count(now, |held| held.claim.provider() == provider);
        let no_place =
            under_key >= self.config.max_per_key || of_provider >= self.config.max_per_provider;
        if held.is_none() && no_place {
            return true;
        }
        let replaced = held.filter(|held| held.is_record());
        let in_all = self.count(now, HeldClaim::is_record);
        let of_peer = self.count(now, |held| held.is_record() && held.from == from);
        let brought_again = replaced.is_some_and(|held| held.from == from);
        matches!(claim, Claim::Record(_))
            && (replaced.is_none() && in_all >= self.config.max_records
                || !brought_again && of_peer >= self.config.max_per_peer)
    }

    fn records(&self, now: Instant, key: &Key) -> Vec<(ProviderRecord, Duration)> {
        let of_key = self.taken.iter().filter(|held| held.claim.key() == *key);
        let mut records: Vec<_> = of_key
            .filter_map(|held| match &held.claim {
                Claim::Record(record) if held.expires_at > now => {
                    Some((record.clone(), held.expires_at - now))
                }
                _ => None,
            })
            .collect();
        records.sort_by_key(|(record, _)| record.provider());
        records
    }
}

fn is_same(one: &Claim, other: &Claim) -> bool {
    (one.key(), one.provider()) == (other.key(), other.provider())
}

fn config(max_records: usize, max_per_key: usize) -> StoreConfig {
    StoreConfig {
        max_records,
        max_per_key,
        max_per_provider: 100,
        max_per_peer: max_records,
        max_tombstones: 4,
        max_expired: 100,
    }
}

/// Caps of which each is reached before the others in some run, and none at all.
fn caps() -> impl Strategy<Value = StoreConfig> {
    let cap = || prop_oneof![1..5_usize, Just(100)];
    (cap(), cap(), cap(), cap()).prop_map(|(in_all, of_key, of_provider, of_peer)| StoreConfig {
        max_per_provider: of_provider,
        max_per_peer: of_peer,
        max_tombstones: 100,
        ..config(in_all, of_key)
    })
}

proptest! {
    #[test]
    fn store_answers_what_a_naive_one_does(
        config in caps(),
        operations in prop::collection::vec(operation(), 0..150),
    ) {
        let mut now = tokio::time::Instant::now().into_std();
        let mut store = ProviderStore::new(secret_key(0).node_id(), config);
        let mut naive = NaiveStore { config, taken: Vec::new() };
        for operation in operations {
            match operation {
                Operation::Put(claim, from, secs) => {
                    let live = live(&CLAIMS[claim], secs);
                    let expected = naive.put(now, peer(from), &live);
                    prop_assert_eq!(store.put(now, peer(from), live), expected);
                }
                Operation::Pass(secs) => now += Duration::from_secs(secs),
            }
            for claim in CLAIMS.iter().step_by(2 * SEQS as usize) {
                let held = records(&mut store, now, &claim.key()).into_iter();
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
                Operation::Put(claim, from, secs) => {
                    let claim = &CLAIMS[claim];
                    let outcome = store.put(now, peer(from), live(claim, secs));
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
        assert_eq!(
            store.put(now, peer(0), live(&claim, 15)),
            StoreOutcome::Stored
        );
    }
    let newcomer = record(2, "a.service", 1).into();
    assert_eq!(
        store.put(now, peer(0), live(&newcomer, 15)),
        StoreOutcome::Full
    );
    let later = now + Duration::from_secs(15);
    assert_eq!(
        store.put(later, peer(0), live(&newcomer, 15)),
        StoreOutcome::Stored
    );
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
    assert_eq!(
        store.put(now, peer(0), live(&first, 10)),
        StoreOutcome::Stored
    );
    let second: Claim = record(2, "a.second", 1).into();
    store.put(now, peer(0), live(&second, 15));
    let withdrawn = withdrawal(2, "a.second", 1).into();
    assert_eq!(
        store.put(now, peer(0), live(&withdrawn, 15)),
        StoreOutcome::Stored
    );
    assert_eq!(records(&mut store, now, &second.key()), []);
    assert_eq!(
        store.put(now, peer(0), live(&second, 15)),
        StoreOutcome::Outdated
    );
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
        .map(|service| store.put(now, peer(0), live(&record(1, service, 1).into(), 15)))
        .collect();
    let stored = StoreOutcome::Stored;
    assert_eq!(outcomes, [stored, stored, StoreOutcome::Full]);
    let other = record(2, "a.third", 1).into();
    assert_eq!(store.put(now, peer(0), live(&other, 15)), stored);
}

#[test]
fn peer_at_its_cap_is_refused_whoever_it_speaks_for_and_others_are_not() {
    let now = tokio::time::Instant::now().into_std();
    let limits = StoreConfig {
        max_per_peer: 2,
        ..config(10, 10)
    };
    let mut store = ProviderStore::new(secret_key(0).node_id(), limits);
    let record = |provider, seq| live(&record(provider, "a.service", seq).into(), 15);
    let outcomes = [1, 2, 3].map(|provider| store.put(now, peer(0), record(provider, 1)));
    let stored = StoreOutcome::Stored;
    assert_eq!(outcomes, [stored, stored, StoreOutcome::Full]);
    assert_eq!(store.put(now, peer(1), record(3, 1)), stored);
    assert_eq!(store.put(now, peer(0), record(1, 2)), stored, "a refresh");
    let later = now + Duration::from_secs(15);
    assert_eq!(store.put(later, peer(0), record(3, 2)), stored);
    store.check_invariants();
}

#[test]
fn withdrawals_of_one_peer_give_way_to_those_of_others() {
    let now = tokio::time::Instant::now().into_std();
    let mut store = ProviderStore::new(secret_key(0).node_id(), config(10, 10));
    let withdrawn = |service: u8| {
        live(
            &withdrawal(1, &format!("a.n{service}"), 1).into(),
            service.into(),
        )
    };
    let stored = StoreOutcome::Stored;
    for service in 1..=4 {
        assert_eq!(store.put(now, peer(0), withdrawn(service)), stored);
    }
    let full = StoreOutcome::Full;
    assert_eq!(store.put(now, peer(0), withdrawn(5)), full);
    assert_eq!(store.put(now, peer(1), withdrawn(5)), stored);
    assert_eq!(store.put(now, peer(1), withdrawn(6)), stored);
    assert_eq!(store.put(now, peer(1), withdrawn(7)), full, "as many each");
    let forgotten = withdrawn(1).claim.key();
    assert_eq!(store.live(now, &forgotten).count(), 0);
    assert_eq!((store.tombstones(), store.tombstones_forgotten()), (4, 2));
    store.check_invariants();
}

#[test]
fn sample_is_fair_and_as_large_as_it_may_be() {
    let now = tokio::time::Instant::now().into_std();
    let mut store = ProviderStore::new(secret_key(0).node_id(), config(100, 100));
    for provider in 1..=20 {
        let claim = record(provider, "a.service", 1).into();
        store.put(now, peer(provider), live(&claim, 15));
    }
    let key = record(1, "a.service", 1).key();
    let mut rng = StdRng::seed_from_u64(1);
    let mut times: BTreeMap<NodeId, u32> = BTreeMap::new();
    for _ in 0..2_000 {
        let sample = store.sample_records((now, &mut rng), &key, 5);
        assert_eq!(sample.len(), 5);
        for live in sample {
            *times.entry(live.record.provider()).or_default() += 1;
        }
    }
    assert_eq!(times.len(), 20);
    // 500 expected, with a standard deviation of 19.
    assert!(times.values().all(|times| (400..600).contains(times)));
}
