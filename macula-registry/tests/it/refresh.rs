//! When records are refreshed, and what stays the same in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use macula_dht::MemoryDht;
use macula_registry::{AdvertiseOptions, RegistryConfig};
use tokio::time::Instant;

use crate::node::{Node, TestClock, address, metadata, pass, ttl};
use crate::scripted::{Script, ScriptedDht};

#[tokio::test(start_paused = true)]
async fn record_is_refreshed_on_schedule_with_the_same_metadata_and_a_fresh_seq() {
    let dht = ScriptedDht::new(Script::default());
    let port = Arc::new(AtomicU8::new(1));
    let current = Arc::clone(&port);
    let addresses = move || address(current.load(Ordering::Relaxed));
    let config = RegistryConfig::default();
    let node = Node::at(1, dht.clone(), TestClock::new(), config, addresses);
    let options = AdvertiseOptions {
        metadata: metadata("zone", "a"),
        ..AdvertiseOptions::default()
    };
    let _kept = node.advertise_with("app.echo", options).await;
    port.store(2, Ordering::Relaxed);
    pass(3600).await;
    let announces = dht.announces();
    assert!(announces.len() >= 15);
    for pair in announces.windows(2) {
        let [(earlier, old), (later, new)] = pair else {
            unreachable!()
        };
        let gap = *later - *earlier;
        let range = Duration::from_secs(216)..=Duration::from_secs(240);
        assert!(range.contains(&gap), "{gap:?}");
        assert!(new.seq() > old.seq());
        assert!(new.issued_at() > old.issued_at());
        assert_eq!(new.metadata().value("zone"), Some("a"));
        assert_eq!(new.ttl(), Duration::from_secs(300));
        assert_eq!(*new.addresses(), address(2));
    }
}

#[tokio::test(start_paused = true)]
async fn ttl_that_is_asked_for_is_in_the_record_and_sets_when_it_is_refreshed() {
    for (ttl_secs, interval_secs) in [(15, 10), (60, 10), (70, 10), (120, 60), (3600, 3540)] {
        let dht = ScriptedDht::new(Script::default());
        let node = Node::new(1, dht.clone());
        let _kept = node.advertise_with("app.echo", ttl(ttl_secs)).await;
        pass(20 * interval_secs).await;
        let announces = dht.announces();
        let asked = Duration::from_secs(ttl_secs);
        assert!(announces.iter().all(|(_, record)| record.ttl() == asked));
        let interval = Duration::from_secs(interval_secs);
        for pair in announces.windows(2) {
            let gap = pair[1].0 - pair[0].0;
            let range = interval * 9 / 10..=interval;
            assert!(range.contains(&gap), "{ttl_secs}: {gap:?}");
        }
        assert!(announces.len() > 20, "{ttl_secs}: {}", announces.len());
    }
}

#[tokio::test(start_paused = true)]
async fn record_of_the_shortest_ttl_never_lapses() {
    let clock = TestClock::new();
    let dht = MemoryDht::new(clock.wall_clock());
    let provider = Node::with(1, dht.clone(), clock.clone(), RegistryConfig::default());
    let _kept = provider.advertise_with("app.echo", ttl(15)).await;
    for _ in 0..300 {
        pass(1).await;
        assert_eq!(dht.stats().records, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_started_together_refresh_at_different_times() {
    const NODES: u8 = 20;
    let dht = ScriptedDht::new(Script::default());
    let started_at = Instant::now();
    let nodes: Vec<_> = (1..=NODES).map(|i| Node::new(i, dht.clone())).collect();
    for node in &nodes {
        node.advertise("app.echo").await.detach();
    }
    assert_eq!(started_at.elapsed(), Duration::ZERO);
    for _ in 0..10 {
        let before = dht.announces().len();
        pass(240).await;
        let mut per_second = BTreeMap::new();
        for (at, _) in &dht.announces()[before..] {
            *per_second.entry((*at - started_at).as_secs()).or_insert(0) += 1;
        }
        let most = per_second.values().max().unwrap();
        assert!(*most <= 5, "{most} of {NODES} in a second");
    }
}
