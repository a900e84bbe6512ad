//! What is served from the cache, and what changes it.

use std::hint;
use std::num::NonZeroUsize;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use macula_core::{Delivery, Extensions, ProviderRecord, Realm, RecordDraft, SecretKey, Timestamp};
use macula_dht::{DhtError, MemoryDht};
use macula_registry::{RegistryConfig, ResolveError, ResolveOptions, Source};

use crate::node::{Node, TestClock, address, metadata, name, nodes_of, pass};
use crate::scripted::{Answer, Script, ScriptedDht};

/// A record of `app.echo` by the node of that index.
pub(crate) fn record(index: u8) -> ProviderRecord {
    numbered_record(index, 1)
}

/// The same, the first or a later one.
pub(crate) fn numbered_record(index: u8, seq: u64) -> ProviderRecord {
    let draft = RecordDraft {
        realm: Realm::default(),
        service: name("app.echo"),
        addresses: address(index),
        metadata: metadata("index", &index.to_string()),
        delivery: Delivery::default(),
        seq,
        issued_at: Timestamp::from_unix_millis(1_800_000_000_000),
        ttl: Duration::from_secs(300),
        extensions: Extensions::default(),
    };
    ProviderRecord::sign(&SecretKey::from_bytes(&[index; 32]), draft).unwrap()
}

pub(crate) fn found(lives_secs: &[(u8, u64)]) -> Answer {
    let life = |(index, secs): &(u8, u64)| (record(*index), Duration::from_secs(*secs));
    Answer::Found(lives_secs.iter().map(life).collect())
}

pub(crate) fn network(network: Answer) -> Script {
    Script {
        network,
        ..Script::default()
    }
}

pub(crate) fn cache_ttl(secs: u64) -> ResolveOptions {
    ResolveOptions {
        cache_ttl: Some(Duration::from_secs(secs)),
        ..ResolveOptions::default()
    }
}

pub(crate) fn caller(script: Script) -> (Arc<ScriptedDht>, Node) {
    let dht = ScriptedDht::new(script);
    (dht.clone(), Node::new(9, dht))
}

#[tokio::test(start_paused = true)]
async fn cached_providers_come_back_in_order_with_their_metadata() {
    let (dht, node) = caller(network(found(&[(3, 300), (1, 200), (2, 250)])));
    assert!(node.cached("app.echo").is_none());
    let cold = node.resolve("app.echo").await.unwrap();
    assert_eq!(cold.source(), Source::Dht);
    let warm = node.cached("app.echo").unwrap();
    assert_eq!(warm.source(), Source::Fresh);
    assert_eq!(warm.providers(), cold.providers());
    let indexes: Vec<_> = warm
        .providers()
        .iter()
        .map(|p| p.metadata().value("index").unwrap())
        .collect();
    assert_eq!(indexes, ["3", "1", "2"]);
    assert_eq!(node.resolve("app.echo").await.unwrap(), warm);
    assert_eq!(dht.finds().len(), 1);
    let stats = node.registry.stats().cache;
    assert_eq!((stats.hits, stats.misses, stats.entries), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn hit_awaits_nothing_and_copies_no_provider() {
    let (_, node) = caller(network(found(&[(1, 300)])));
    node.resolve("app.echo").await.unwrap();
    let (service, options) = (name("app.echo"), ResolveOptions::default());
    let cached = node.cached("app.echo").unwrap();
    let resolving = node.registry.resolve(&service, &options);
    let mut resolving = std::pin::pin!(resolving);
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(resolved)) = resolving.as_mut().poll(&mut context) else {
        panic!("ready at once");
    };
    assert!(ptr::eq(cached.providers(), resolved.providers()));
}

#[tokio::test(start_paused = true)]
async fn hits_and_local_lookups_allocate_nothing() {
    let one = allocation_counter::measure(|| drop(hint::black_box(Box::new(1))));
    assert_eq!(one.count_total, 1, "allocations are counted");
    let (dht, node) = caller(network(found(&[(1, 1000), (2, 1000)])));
    let _kept = node.advertise("app.local").await;
    let [echo, local, absent] = ["app.echo", "app.local", "app.absent"].map(name);
    let options = ResolveOptions::default();
    let allocations = |name, count| {
        let counted = allocation_counter::measure(|| {
            for _ in 0..count {
                assert!(node.registry.resolve_now(name, &options).is_some());
                assert!(node.registry.local(&local).is_some());
            }
        });
        counted.count_total
    };
    node.resolve("app.echo").await.unwrap();
    // The first on a thread sets it up, and the first stale one starts the refresh.
    allocations(&echo, 1);
    assert_eq!(allocations(&echo, 1000), 0);
    assert_eq!(allocations(&local, 1000), 0);
    dht.set(network(Answer::Absent));
    assert!(node.resolve("app.absent").await.is_err());
    assert_eq!(allocations(&absent, 1000), 0);
    pass(60).await;
    assert_eq!(node.cached("app.echo").unwrap().source(), Source::Stale);
    assert_eq!(allocations(&echo, 1000), 0);
    let stats = node.registry.stats();
    assert_eq!((stats.cache.hits, stats.cache.stale_hits), (1001, 1001));
    let others = (stats.local_answers, stats.cache.negative_hits);
    assert_eq!(others, (1000, 1000));
}

#[tokio::test(start_paused = true)]
async fn name_that_is_provided_is_looked_up_once_a_minute_whatever_the_rate_of_calls() {
    let (dht, node) = caller(network(found(&[(1, 290), (2, 70), (3, 10)])));
    let started_at = tokio::time::Instant::now();
    for _ in 0..100_000 {
        assert!(node.resolve("app.echo").await.is_ok());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let minutes = started_at.elapsed().as_secs() / 60;
    assert_eq!((minutes, dht.finds().len()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn forced_refresh_replaces_the_entry_only_with_a_new_answer() {
    let (dht, node) = caller(network(found(&[(1, 1000)])));
    node.resolve("app.echo").await.unwrap();
    dht.set(network(Answer::Fails(DhtError::Unreachable)));
    let failed = node.resolve_anew("app.echo").await;
    assert!(failed.is_err());
    let kept = node.cached("app.echo").unwrap();
    assert_eq!(
        (kept.source(), nodes_of(&kept)),
        (Source::Fresh, vec![record(1).provider()])
    );
    dht.set(network(found(&[(2, 1000)])));
    assert_eq!(
        node.resolve_anew("app.echo").await.unwrap().source(),
        Source::Dht
    );
    let new = node.cached("app.echo").unwrap();
    assert_eq!(nodes_of(&new), [record(2).provider()]);
}

#[tokio::test(start_paused = true)]
async fn forced_refresh_takes_absence_for_a_new_answer_and_peers_for_none() {
    let (dht, node) = caller(network(found(&[(1, 1000), (2, 1000)])));
    node.resolve("app.echo").await.unwrap();
    dht.set(Script {
        network: Answer::Inconclusive,
        connected: found(&[(1, 1000)]),
        ..Script::default()
    });
    let partial = node.resolve_anew("app.echo").await.unwrap();
    assert_eq!(
        (partial.source(), partial.providers().len()),
        (Source::Direct, 1)
    );
    assert_eq!(node.cached("app.echo").unwrap().providers().len(), 2);
    dht.set(network(Answer::Absent));
    let absent = node.resolve_anew("app.echo").await;
    assert_eq!(absent, Err(ResolveError::NotFound));
    assert!(node.cached("app.echo").is_none());
}

#[tokio::test(start_paused = true)]
async fn dead_provider_leaves_the_entry_at_once() {
    let (dht, node) = caller(network(found(&[(1, 1000), (2, 1000)])));
    node.resolve("app.echo").await.unwrap();
    node.registry
        .remove_provider(&name("app.echo"), &record(1).provider());
    let left = node.resolve("app.echo").await.unwrap();
    assert_eq!(
        (left.source(), nodes_of(&left)),
        (Source::Fresh, vec![record(2).provider()])
    );
    node.registry
        .remove_provider(&name("app.echo"), &record(2).provider());
    assert!(node.cached("app.echo").is_none());
    assert_eq!(
        node.resolve("app.echo").await.unwrap().source(),
        Source::Dht
    );
    assert_eq!(dht.finds().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn pruning_counts_the_expired_and_clearing_empties_and_local_services_stay() {
    let (_, node) = caller(network(found(&[(1, 10)])));
    let _kept = node.advertise("app.local").await;
    node.resolve("app.echo").await.unwrap();
    assert_eq!(node.registry.prune_expired(), 0);
    pass(10).await;
    assert_eq!(node.registry.prune_expired(), 1);
    node.resolve("app.echo").await.unwrap();
    node.registry.clear_cache();
    assert_eq!(node.registry.stats().cache.entries, 0);
    assert_eq!(node.registry.locals(), [name("app.local")]);
}

#[tokio::test(start_paused = true)]
async fn pruning_two_expired_names_removes_two() {
    let clock = TestClock::new();
    let dht = MemoryDht::new(clock.wall_clock());
    let config = RegistryConfig {
        cache_stale: Duration::ZERO,
        ..RegistryConfig::default()
    };
    let provider = Node::with(1, dht.clone(), clock.clone(), config.clone());
    let caller = Node::with(2, dht, clock, config);
    for service in ["app.a", "app.b", "app.c"] {
        provider.advertise(service).await.detach();
    }
    for (service, secs) in [("app.a", 5), ("app.b", 5), ("app.c", 50)] {
        caller.resolve_with(service, cache_ttl(secs)).await.unwrap();
    }
    pass(6).await;
    assert_eq!(caller.registry.prune_expired(), 2);
    assert_eq!(caller.registry.stats().cache.entries, 1);
    assert_eq!(provider.registry.locals().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn cache_does_not_grow_with_the_number_of_names() {
    let config = RegistryConfig {
        cache_capacity: NonZeroUsize::new(1000).unwrap(),
        cache_negative: Duration::from_secs(3600),
        ..RegistryConfig::default()
    };
    let dht = ScriptedDht::new(Script::default());
    let node = Node::with_config(9, dht, config);
    for index in 0..20_000 {
        let _ = node.resolve(&format!("app.service_{index}")).await;
    }
    let stats = node.registry.stats().cache;
    assert!(stats.entries <= 1000, "{stats:?}");
    assert!(stats.evicted >= 19_000, "{stats:?}");
}
