//! What the counters add up to.

use std::num::NonZeroUsize;
use std::time::Duration;

use macula_dht::{DhtError, MemoryDht};
use macula_registry::{RegistryConfig, RegistryStats, ResolveOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cache::found;
use crate::node::{Node, TestClock, name, pass, settle};
use crate::scripted::{Answer, Script, ScriptedDht};

/// Provided by another node, by this one, and by nobody.
const NAMES: [&str; 8] = [
    "app.a", "app.b", "app.c", "app.d", "app.here", "app.too", "no.one", "no.body",
];

fn resolves(stats: &RegistryStats) -> u64 {
    let cache = &stats.cache;
    stats.local_answers + cache.hits + cache.stale_hits + cache.negative_hits + cache.misses
}

/// Does something at random; answers how many resolves it was.
async fn act(node: &Node, provider: &Node, rng: &mut StdRng) -> u64 {
    let service = NAMES[rng.random_range(0..NAMES.len())];
    let options = ResolveOptions {
        skip_local: rng.random_ratio(1, 4),
        force_refresh: rng.random_ratio(1, 8),
        cache_ttl: rng
            .random_ratio(1, 4)
            .then(|| Duration::from_secs(rng.random_range(0..60))),
        ..ResolveOptions::default()
    };
    match rng.random_range(0..20) {
        0 => node.registry.clear_cache(),
        1 => drop(node.registry.prune_expired()),
        2 => node
            .registry
            .remove_provider(&name(service), &provider.node_id),
        3 => pass(rng.random_range(0..100)).await,
        4..7 => {
            let known = node.registry.resolve_now(&name(service), &options);
            return u64::from(known.is_some());
        }
        _ => {
            let _ = node.resolve_with(service, options).await;
            return 1;
        }
    }
    0
}

#[tokio::test(start_paused = true)]
async fn every_resolve_and_every_lookup_is_counted_once() {
    for seed in 0..10 {
        let mut rng = StdRng::seed_from_u64(seed);
        let clock = TestClock::new();
        let dht = MemoryDht::new(clock.wall_clock());
        let config = RegistryConfig {
            cache_capacity: NonZeroUsize::new(20).unwrap(),
            ..RegistryConfig::default()
        };
        let provider = Node::with(1, dht.clone(), clock.clone(), config.clone());
        let node = Node::with(2, dht, clock, config);
        for service in &NAMES[..4] {
            provider.advertise(service).await.detach();
        }
        for service in &NAMES[4..6] {
            node.advertise(service).await.detach();
        }
        let mut made = 0;
        for _ in 0..1000 {
            made += act(&node, &provider, &mut rng).await;
        }
        settle().await;
        let stats = node.registry.stats();
        assert_eq!(resolves(&stats), made, "seed {seed}: {stats:?}");
        let cache = stats.cache;
        let ended = cache.dht_answers + cache.direct_answers + cache.absent_answers;
        assert_eq!(ended + cache.failed_lookups, cache.lookups, "{cache:?}");
        let counted = [
            stats.local_answers,
            cache.hits,
            cache.stale_hits,
            cache.negative_hits,
            cache.misses,
            cache.dht_answers,
            cache.absent_answers,
            cache.repaired,
        ];
        assert!(counted.iter().all(|count| *count > 0), "{stats:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn counters_show_where_answers_came_from() {
    let script = |network, connected| Script {
        network,
        connected,
        ..Script::default()
    };
    let providers = || found(&[(1, 600)]);
    let fails = || Answer::Fails(DhtError::Unreachable);
    let dht = ScriptedDht::new(script(providers(), Answer::Absent));
    let node = Node::new(9, dht.clone());
    node.resolve_anew("app.echo").await.unwrap();
    node.registry.clear_cache();
    dht.set(script(fails(), providers()));
    node.resolve_anew("app.echo").await.unwrap();
    dht.set(script(fails(), fails()));
    assert!(node.resolve_anew("app.echo").await.is_err());
    dht.set(script(Answer::Absent, fails()));
    assert!(node.resolve_anew("app.echo").await.is_err());
    let stats = node.registry.stats().cache;
    let answers = (
        stats.dht_answers,
        stats.direct_answers,
        stats.failed_lookups,
        stats.absent_answers,
    );
    assert_eq!((answers, stats.lookups), ((1, 1, 1, 1), 4));
}
