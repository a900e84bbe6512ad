//! Thousands of services on one node: refreshed in batches, evenly, in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use macula_core::Key;
use macula_dht::message::MAX_CLAIMS;
use tokio::time::Instant;

use crate::node::{Node, name, pass, ttl};
use crate::scripted::{Script, ScriptedDht};

const SERVICES: usize = 10_000;

/// A node that begins to advertise so many services in the same second.
fn crowded_node(services: usize) -> (Node, Arc<ScriptedDht>) {
    let dht = ScriptedDht::new(Script {
        latency: Duration::from_millis(10),
        ..Script::default()
    });
    let node = Node::new(1, dht.clone());
    for index in 0..services {
        let registry = node.registry.clone();
        let service = name(&format!("app.service_{index}"));
        tokio::spawn(async move {
            let advertised = registry.advertise(service, "handler", ttl(300)).await;
            advertised.unwrap().detach();
        });
    }
    (node, dht)
}

fn per_second(batches: &[(Instant, usize)], from: Instant, secs: usize) -> Vec<usize> {
    let mut counts = vec![0; secs];
    for (at, records) in batches {
        if let Some(second) = at.checked_duration_since(from)
            && let Some(count) = counts.get_mut(second.as_secs() as usize)
        {
            *count += records;
        }
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_services_refresh_again_and_again_without_a_burst_and_none_lapses() {
    let (node, dht) = crowded_node(SERVICES);
    let started_at = Instant::now();
    pass(3).await;
    let stats = node.registry.stats().publish;
    assert_eq!(stats.published, SERVICES as u64);
    pass(1200).await;

    let batches = dht.batches();
    let refreshes: Vec<_> = batches
        .iter()
        .filter(|(at, _)| *at > started_at + Duration::from_secs(3))
        .copied()
        .collect();
    let seconds = per_second(&refreshes, started_at, 1200);
    let mean = seconds.iter().sum::<usize>() / seconds.len();
    let most = seconds.iter().max().unwrap();
    assert!((SERVICES / 240..=SERVICES / 200).contains(&mean), "{mean}");
    assert!(*most <= 6 * mean, "{most} in a second, {mean} on average");
    let members = refreshes.iter().map(|(_, records)| records).sum::<usize>();
    let size = members / refreshes.len();
    assert!(size >= 32, "{size} records per batch");

    let mut last: BTreeMap<Key, (Instant, u64)> = BTreeMap::new();
    for (at, record) in dht.announces() {
        let before = last.insert(record.key(), (at, record.seq()));
        if let Some((earlier, seq)) = before {
            assert!(at - earlier <= Duration::from_secs(240) + LATE);
            assert!(record.seq() > seq);
        }
    }
    assert_eq!(last.len(), SERVICES);
    assert!(
        last.values()
            .all(|(at, _)| at.elapsed() <= Duration::from_secs(241))
    );
    assert_eq!(node.registry.stats().publish.degraded, 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_service_does_not_wait_behind_thousands_of_refreshes() {
    let services = 2000;
    let (node, dht) = crowded_node(services);
    pass(60).await;
    // Refreshes pile up: what is under way hangs for as long as it may.
    dht.set(Script {
        latency: Duration::from_secs(9),
        ..Script::default()
    });
    pass(600).await;
    assert_eq!(node.registry.locals().len(), services);
    let started_at = Instant::now();
    let _kept = node.advertise("app.new").await;
    assert!(started_at.elapsed() <= Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn thousands_of_dropped_handles_are_withdrawn_in_batches() {
    let dht = ScriptedDht::new(Script {
        latency: Duration::from_millis(10),
        ..Script::default()
    });
    let node = Node::new(1, dht.clone());
    let mut kept = Vec::new();
    for index in 0..1000 {
        let service = format!("app.service_{index}");
        kept.push(node.advertise(&service).await);
    }
    drop(kept);
    pass(2).await;
    let sizes: Vec<_> = dht.withdrawals().iter().map(|(_, w)| w.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 1000);
    assert!(sizes.len() <= 1000 / 64 + 1, "{sizes:?}");
    let stats = node.registry.stats().publish;
    assert_eq!((stats.withdrawn, stats.withdrawing), (1000, 0));
    for (_, batch) in dht.withdrawals() {
        assert!(batch.is_sorted_by_key(macula_core::Withdrawal::key));
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_dht_is_back_after_an_outage_the_refreshes_spread_again() {
    let services = 2000;
    let (node, dht) = crowded_node(services);
    pass(300).await;
    dht.set(Script {
        announce: Some(macula_dht::DhtError::Unreachable),
        ..Script::default()
    });
    pass(300).await;
    assert_eq!(node.registry.stats().publish.degraded, services);
    dht.set(Script::default());
    let back_at = Instant::now();
    pass(60).await;
    assert_eq!(node.registry.stats().publish.degraded, 0);
    pass(600).await;
    let seconds = per_second(&dht.batches(), back_at, 660);
    let (recovery, later) = seconds.split_at(60);
    let most = recovery.iter().max().unwrap();
    assert!(*most <= services / 8, "{most} in a second of recovery");
    let most = later.iter().max().unwrap();
    assert!(*most <= 3 * MAX_CLAIMS, "{most} in a second");
}

/// What a batch may wait for its turn.
const LATE: Duration = Duration::from_millis(100);
