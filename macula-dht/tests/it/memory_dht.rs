//! What `MemoryDht` promises beyond the contract: bounds, replay protection, failure injection.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use macula_core::{
    Addresses, CLOCK_SKEW, Delivery, Extensions, Key, MIN_TTL, Metadata, ProviderRecord, Realm,
    RecordDraft, SecretKey, ServiceName, WallClock,
};
use macula_dht::contract;
use macula_dht::{
    Dht, DhtError, FindOptions, FindOutcome, Found, MemoryDht, MemoryDhtConfig, Scope,
};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn key_at_its_cap_refuses_newcomers_and_serves_those_it_has() {
    let bed = Bed::with(MemoryDhtConfig {
        max_providers_per_key: 2,
        ..MemoryDhtConfig::default()
    });
    bed.announce(1, "a.service", 1).await.unwrap();
    bed.announce(2, "a.service", 1).await.unwrap();
    assert_eq!(
        bed.announce(3, "a.service", 1).await,
        Err(DhtError::Rejected)
    );
    assert_eq!(bed.dht.stats().full, 1);
    bed.announce(1, "a.service", 2).await.unwrap();
    bed.announce(3, "another.service", 1).await.unwrap();
    assert_eq!(bed.found("a.service").await, 2);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_expired_records_fill_no_place() {
    let bed = Bed::with(MemoryDhtConfig {
        max_records: 10_000,
        ..MemoryDhtConfig::default()
    });
    let records = (0..10_000).map(|i| bed.record(1, &format!("junk.n{i}"), 1));
    bed.dht.announce(records.collect()).await.unwrap();
    let late = bed.announce(2, "a.service", 1).await;
    assert_eq!(late, Err(DhtError::Rejected));
    tokio::time::sleep(TTL).await;
    bed.announce(2, "a.service", 2).await.unwrap();
    assert_eq!(bed.found("a.service").await, 1);
    let stats = bed.dht.stats();
    assert_eq!((stats.records, stats.remembered), (1, 10_000));
}

#[tokio::test(start_paused = true)]
async fn replay_of_an_expired_record_brings_nothing_back() {
    let bed = Bed::new();
    let record = bed.record(1, "a.service", 1);
    bed.dht.announce(vec![record.clone()]).await.unwrap();
    for wait in [TTL, CLOCK_SKEW / 2, CLOCK_SKEW / 2] {
        tokio::time::sleep(wait).await;
        let replay = bed.dht.announce(vec![record.clone()]).await;
        assert_eq!(replay, Err(DhtError::Rejected));
        assert_eq!(bed.found("a.service").await, 0);
    }
    assert_eq!(bed.dht.stats().remembered, 0, "forgotten in the end");
}

#[tokio::test(start_paused = true)]
async fn record_out_of_its_time_is_refused() {
    let bed = Bed::new();
    let stale = bed.record(1, "a.service", 1);
    tokio::time::sleep(TTL + CLOCK_SKEW).await;
    assert_eq!(bed.dht.announce(vec![stale]).await, Err(DhtError::Rejected));
    assert_eq!(bed.dht.stats().refused, 1);
    assert_eq!(bed.found("a.service").await, 0);
}

#[tokio::test(start_paused = true)]
async fn memory_of_the_dead_is_bounded() {
    let bed = Bed::with(MemoryDhtConfig {
        max_remembered: 3,
        ..MemoryDhtConfig::default()
    });
    for i in 0..5 {
        bed.announce(1, &format!("a.n{i}"), 1).await.unwrap();
    }
    tokio::time::sleep(TTL).await;
    let stats = bed.dht.stats();
    assert_eq!((stats.remembered, stats.forgotten_early), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn out_of_reach_every_operation_says_so() {
    let bed = Bed::new();
    bed.announce(1, "a.service", 1).await.unwrap();
    bed.dht.set_reachable(false);
    let unreachable = Some(DhtError::Unreachable);
    assert_eq!(bed.announce(1, "a.service", 2).await.err(), unreachable);
    assert_eq!(bed.dht.withdraw(vec![]).await.err(), unreachable);
    assert_eq!(
        bed.find("a.service", Scope::Connected).await.err(),
        unreachable
    );
    bed.dht.set_scope_reachable(Scope::Connected, true);
    let direct = bed.find("a.service", Scope::Connected).await.unwrap();
    assert_eq!(direct.providers.len(), 1);
    assert_eq!(
        bed.find("a.service", Scope::Network).await.err(),
        unreachable
    );
    bed.dht.set_reachable(true);
    assert_eq!(bed.found("a.service").await, 1);
}

#[tokio::test(start_paused = true)]
async fn closed_it_answers_nothing() {
    let bed = Bed::new();
    bed.dht.close();
    let closed = Some(DhtError::Closed);
    assert_eq!(bed.announce(1, "a.service", 1).await.err(), closed);
    assert_eq!(bed.dht.withdraw(vec![]).await.err(), closed);
    assert_eq!(bed.find("a.service", Scope::Network).await.err(), closed);
}

#[tokio::test(start_paused = true)]
async fn every_operation_is_counted() {
    let bed = Bed::new();
    bed.announce(1, "a.service", 1).await.unwrap();
    bed.found("a.service").await;
    bed.dht.set_reachable(false);
    let _unreachable = bed.find("a.service", Scope::Network).await;
    let _unreachable = bed.dht.withdraw(vec![]).await;
    let stats = bed.dht.stats();
    assert_eq!((stats.announces, stats.finds, stats.withdraws), (1, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn find_slower_than_its_timeout_is_inconclusive_and_in_time() {
    let bed = Bed::new();
    bed.announce(1, "a.service", 1).await.unwrap();
    bed.dht.set_latency(FIND_TIMEOUT * 3);
    let started = Instant::now();
    let found = bed.find("a.service", Scope::Network).await.unwrap();
    assert_eq!(started.elapsed(), FIND_TIMEOUT);
    assert_eq!(found.outcome, FindOutcome::Inconclusive);
    assert!(found.providers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn providers_come_with_the_freshest_life_first() {
    let bed = Bed::new();
    for seed in [3, 1, 2] {
        bed.announce(seed, "a.service", 1).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let found = bed.find("a.service", Scope::Network).await.unwrap();
    let lives: Vec<_> = found.providers.iter().map(|found| found.life).collect();
    let passed = [1, 2, 3].map(Duration::from_secs);
    assert_eq!(lives, passed.map(|passed| TTL - passed));
}

#[tokio::test(start_paused = true)]
async fn node_is_located_while_it_provides_something() {
    let bed = Bed::new();
    let node_id = SecretKey::from_bytes(&[1; 32]).node_id();
    let locate = || bed.dht.locate(node_id, FIND_TIMEOUT);
    assert_eq!(locate().await, Ok(None));
    let record = bed.record(1, "a.service", 1);
    let contact = record.contact();
    bed.dht.announce(vec![record]).await.unwrap();
    assert_eq!(locate().await, Ok(Some(contact)));
    bed.dht.set_latency(FIND_TIMEOUT * 3);
    let started = Instant::now();
    assert_eq!(locate().await, Ok(None));
    assert_eq!(started.elapsed(), FIND_TIMEOUT);
    bed.dht.set_latency(Duration::ZERO);
    tokio::time::sleep(TTL).await;
    assert_eq!(locate().await, Ok(None));
    assert_eq!(bed.dht.stats().locates, 4);
}

/// A DHT on a paused clock, and records for it.
struct Bed {
    dht: Arc<MemoryDht>,
    clock: WallClock,
}

impl Bed {
    fn new() -> Self {
        Self::with(MemoryDhtConfig::default())
    }

    fn with(config: MemoryDhtConfig) -> Self {
        let clock = contract::wall_clock();
        let dht = MemoryDht::with_config(clock.clone(), config);
        Self { dht, clock }
    }

    fn record(&self, seed: u8, service: &str, seq: u64) -> ProviderRecord {
        let draft = RecordDraft {
            realm: Realm::default(),
            service: service.parse().unwrap(),
            addresses: Addresses::from_iter(["127.0.0.1:4433".parse().unwrap()]),
            metadata: Metadata::new(),
            delivery: Delivery::AtLeastOnce,
            seq,
            issued_at: (self.clock)(),
            ttl: TTL,
            extensions: Extensions::default(),
        };
        ProviderRecord::sign(&SecretKey::from_bytes(&[seed; 32]), draft).unwrap()
    }

    async fn announce(&self, seed: u8, service: &str, seq: u64) -> Result<(), DhtError> {
        let record = self.record(seed, service, seq);
        self.dht.announce(vec![record]).await.map(|_| ())
    }

    async fn find(&self, service: &str, scope: Scope) -> Result<Found, DhtError> {
        let name: ServiceName = service.parse().unwrap();
        let options = FindOptions {
            want: NonZeroUsize::MIN,
            timeout: FIND_TIMEOUT,
            scope,
            trace: false,
        };
        let key = Key::of_service(&Realm::default(), &name);
        self.dht.find(key, options).await
    }

    async fn found(&self, service: &str) -> usize {
        let found = self.find(service, Scope::Network).await.unwrap();
        found.providers.len()
    }
}

const TTL: Duration = MIN_TTL;
const FIND_TIMEOUT: Duration = Duration::from_secs(1);
