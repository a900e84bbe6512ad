//! Thousands of services while the DHT refuses everything, or cannot stand some of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use macula_core::{Addresses, Key, ProviderRecord, Realm, Withdrawal};
use macula_dht::{AnnounceReport, Announced, Dht, DhtError, FindOptions, Found, WithdrawReport};
use macula_registry::{AdvertisementState, RegistryConfig};
use tokio::time::Instant;

use crate::node::{Node, TestClock, address, in_time, name, pass, ttl};
use crate::scripted::{Script, ScriptedDht};

/// What a DHT of a bad day does.
#[derive(Default)]
struct State {
    refuses: bool,
    poison: BTreeSet<Key>,
    batches: usize,
    held: BTreeMap<Key, Instant>,
    lapsed: BTreeSet<Key>,
}

/// A DHT that takes its time, refuses everything for a while and panics at some records.
#[derive(Default)]
struct SickDht(Mutex<State>);

impl SickDht {
    fn has_poison(&self, records: &[ProviderRecord]) -> bool {
        let poison = &self.0.lock().unwrap().poison;
        records.iter().any(|record| poison.contains(&record.key()))
    }
}

#[async_trait]
impl Dht for SickDht {
    async fn announce(&self, records: Vec<ProviderRecord>) -> Result<AnnounceReport, DhtError> {
        tokio::time::sleep(LATENCY).await;
        assert!(!self.has_poison(&records), "as the test says");
        let mut state = self.0.lock().unwrap();
        state.batches += 1;
        if state.refuses {
            return Err(DhtError::Rejected);
        }
        let now = Instant::now();
        for record in &records {
            let before = state.held.insert(record.key(), now + record.ttl());
            if before.is_some_and(|expires_at| expires_at < now) {
                state.lapsed.insert(record.key());
            }
        }
        let announced = |record: &ProviderRecord| Announced {
            key: record.key(),
            holders: 8,
            full: 0,
        };
        let records = records.iter().map(announced).collect();
        Ok(AnnounceReport { records })
    }

    async fn withdraw(&self, _withdrawals: Vec<Withdrawal>) -> Result<WithdrawReport, DhtError> {
        Err(DhtError::Unreachable)
    }

    async fn find(&self, _key: Key, _options: FindOptions) -> Result<Found, DhtError> {
        Err(DhtError::Unreachable)
    }
}

const LATENCY: Duration = Duration::from_millis(500);

fn service(index: usize) -> String {
    format!("app.service_{index}")
}

fn node_of(dht: &Arc<SickDht>, services: usize) -> Node {
    let node = Node::new(1, dht.clone());
    for index in 0..services {
        let registry = node.registry.clone();
        let service = name(&service(index));
        tokio::spawn(async move {
            let advertised = registry.advertise(service, "handler", ttl(300)).await;
            advertised.unwrap().detach();
        });
    }
    node
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_services_all_refused_are_published_in_batches_within_a_minute_of_the_end() {
    let dht = Arc::new(SickDht::default());
    dht.0.lock().unwrap().refuses = true;
    let node = node_of(&dht, 10_000);
    pass(600).await;
    assert_eq!(node.registry.stats().publish.degraded, 10_000);
    let before = {
        let mut state = dht.0.lock().unwrap();
        state.refuses = false;
        state.batches
    };
    pass(60).await;
    let stats = node.registry.stats().publish;
    assert_eq!((stats.degraded, stats.published), (0, 10_000));
    let batches = dht.0.lock().unwrap().batches - before;
    assert!(batches < 2 * 10_000 / 64, "{batches}");
}

#[tokio::test(start_paused = true)]
async fn no_healthy_record_lapses_beside_sixty_four_that_the_dht_cannot_stand() {
    let dht = Arc::new(SickDht::default());
    let node = node_of(&dht, 10_000);
    pass(400).await;
    let poison = (0..64).map(|index| name(&service(151 * index)));
    let poison: BTreeSet<_> = poison
        .map(|name| Key::of_service(&Realm::default(), &name))
        .collect();
    dht.0.lock().unwrap().poison = poison.clone();
    pass(900).await;
    let state = dht.0.lock().unwrap();
    assert!(state.lapsed.is_empty(), "{}", state.lapsed.len());
    let lives = state.held.iter().filter(|(_, end)| **end >= Instant::now());
    assert_eq!(lives.count(), 10_000 - 64);
    drop(state);
    assert_eq!(node.registry.stats().publish.degraded, 64);
}

#[tokio::test(start_paused = true)]
async fn without_an_address_nothing_is_signed_so_there_is_nothing_to_withdraw() {
    let dht = ScriptedDht::new(Script::default());
    let is_first = AtomicBool::new(true);
    let addresses = move || match is_first.swap(false, Ordering::Relaxed) {
        true => address(1),
        false => Addresses::default(),
    };
    let config = RegistryConfig::default();
    let node = Node::at(1, dht.clone(), TestClock::new(), config, addresses);
    let advertisement = node.advertise("app.echo").await;
    pass(60).await;
    let is_offline = |state| matches!(state, AdvertisementState::Degraded { cause, .. } if cause == DhtError::NoAddress);
    assert!(is_offline(advertisement.state()));
    assert!(in_time(advertisement.withdraw()).await.unwrap());
    pass(10).await;
    assert!(dht.announces().is_empty());
    assert!(dht.withdrawals().is_empty());
}
