//! A stale answer: served at once, while a newer one is looked for.

use std::num::NonZeroUsize;
use std::time::Duration;

use macula_dht::Scope;
use macula_registry::{RegistryConfig, ResolveError, ResolveOptions, Source};
use tokio::time::Instant;

use crate::cache::{caller, found, network, record};
use crate::node::{Node, in_time, name, nodes_of, pass, settle};
use crate::scripted::{Answer, Script, ScriptedDht};

#[tokio::test(start_paused = true)]
async fn stale_hit_waits_for_nothing_and_starts_one_refresh() {
    let (dht, node) = caller(network(found(&[(1, 1000)])));
    node.resolve("app.echo").await.unwrap();
    pass(61).await;
    dht.set(Script {
        latency: Duration::from_secs(1),
        ..network(found(&[(2, 1000)]))
    });
    let started_at = Instant::now();
    for _ in 0..100 {
        let stale = node.resolve("app.echo").await.unwrap();
        assert_eq!(
            (stale.source(), nodes_of(&stale)),
            (Source::Stale, vec![record(1).provider()])
        );
        assert!(node.cached("app.echo").is_some());
        settle().await;
    }
    assert_eq!(started_at.elapsed(), Duration::ZERO);
    assert_eq!(dht.finds().len(), 2);
    pass(1).await;
    let fresh = node.resolve("app.echo").await.unwrap();
    assert_eq!(
        (fresh.source(), nodes_of(&fresh)),
        (Source::Fresh, vec![record(2).provider()])
    );
    assert_eq!(node.registry.stats().cache.stale_hits, 200);
}

#[tokio::test(start_paused = true)]
async fn refresh_that_hangs_makes_nobody_wait() {
    let (dht, node) = caller(network(found(&[(1, 1000)])));
    node.resolve("app.echo").await.unwrap();
    dht.set(Script {
        latency: Duration::from_secs(86_400),
        ..network(found(&[(2, 1000)]))
    });
    pass(60).await;
    for _ in 0..240 {
        let asked_at = Instant::now();
        let stale = node.resolve("app.echo").await.unwrap();
        assert_eq!(asked_at.elapsed(), Duration::ZERO);
        assert_eq!(
            (stale.source(), nodes_of(&stale)),
            (Source::Stale, vec![record(1).provider()])
        );
        pass(1).await;
    }
    let stats = node.registry.stats().cache;
    // Each is given up, counts as failed, and the next comes later.
    assert!((6..=9).contains(&stats.failed_lookups), "{stats:?}");
    assert_eq!(stats.stale_hits, 240);
    assert!(node.cached("app.echo").is_none());
}

#[tokio::test(start_paused = true)]
async fn stale_answer_is_served_while_no_lookup_may_start() {
    let config = RegistryConfig {
        max_lookups: NonZeroUsize::MIN,
        ..RegistryConfig::default()
    };
    let dht = ScriptedDht::new(network(found(&[(1, 1000)])));
    let node = Node::with_config(9, dht.clone(), config);
    node.resolve("app.echo").await.unwrap();
    pass(60).await;
    dht.set(Script {
        latency: Duration::from_millis(500),
        ..network(Answer::Absent)
    });
    let registry = node.registry.clone();
    let slow = tokio::spawn(async move {
        let options = ResolveOptions::default();
        registry.resolve(&name("app.slow"), &options).await
    });
    settle().await;
    for _ in 0..100 {
        let stale = node.resolve("app.echo").await.unwrap();
        assert_eq!(stale.source(), Source::Stale);
    }
    assert_eq!(node.registry.stats().cache.refused_lookups, 1);
    assert_eq!(in_time(slow).await.unwrap(), Err(ResolveError::NotFound));
    // The refresh that was refused is due again a second later.
    dht.set(network(found(&[(2, 1000)])));
    pass(1).await;
    assert!(node.cached("app.echo").is_some());
    settle().await;
    let fresh = node.cached("app.echo").unwrap();
    assert_eq!(
        (fresh.source(), nodes_of(&fresh)),
        (Source::Fresh, vec![record(2).provider()])
    );
}

/// How often the network is asked while somebody calls without a pause.
async fn searches_during(dht: &ScriptedDht, node: &Node, secs: u32) -> usize {
    let searches = || {
        let finds = dht.finds();
        let networks = finds.iter().filter(|find| find.scope == Scope::Network);
        networks.count()
    };
    let before = searches();
    for _ in 0..secs * 10 {
        let stale = node.cached("app.echo").unwrap();
        assert_eq!(stale.source(), Source::Stale);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    searches() - before
}

#[tokio::test(start_paused = true)]
async fn failing_refresh_keeps_the_stale_answer_to_its_end_and_backs_off() {
    let (dht, node) = caller(network(found(&[(1, 1000)])));
    node.resolve("app.echo").await.unwrap();
    pass(60).await;
    dht.set(network(Answer::Inconclusive));
    // After nothing, and 1, 2, 4, 8, 16 and 32 seconds; then a minute at a time.
    assert_eq!(searches_during(&dht, &node, 63).await, 6);
    assert_eq!(searches_during(&dht, &node, 60).await, 1);
    assert_eq!(searches_during(&dht, &node, 116).await, 2);
    pass(1).await;
    assert!(node.cached("app.echo").is_none());
}

#[tokio::test(start_paused = true)]
async fn refresh_that_panics_keeps_the_stale_answer_and_backs_off() {
    let (dht, node) = caller(network(found(&[(1, 1000)])));
    node.resolve("app.echo").await.unwrap();
    pass(60).await;
    dht.set(Script {
        panics: true,
        ..Script::default()
    });
    // As after any other failure.
    assert_eq!(searches_during(&dht, &node, 63).await, 6);
    assert_eq!(searches_during(&dht, &node, 60).await, 1);
    assert_eq!(searches_during(&dht, &node, 116).await, 2);
    let stats = node.registry.stats().cache;
    assert_eq!((stats.lookups, stats.failed_lookups), (1 + 9, 9));
    pass(1).await;
    assert!(node.cached("app.echo").is_none());
}

#[tokio::test(start_paused = true)]
async fn successful_refresh_ends_the_back_off() {
    let (dht, node) = caller(network(found(&[(1, 1000)])));
    node.resolve("app.echo").await.unwrap();
    pass(60).await;
    dht.set(network(Answer::Inconclusive));
    searches_during(&dht, &node, 100).await;
    dht.set(network(found(&[(1, 1000)])));
    assert!(node.resolve_anew("app.echo").await.is_ok());
    pass(60).await;
    dht.set(network(Answer::Inconclusive));
    assert_eq!(searches_during(&dht, &node, 10).await, 4);
}

#[tokio::test(start_paused = true)]
async fn refresh_that_proves_absence_ends_the_stale_answer() {
    let (dht, node) = caller(network(found(&[(1, 1000)])));
    node.resolve("app.echo").await.unwrap();
    pass(60).await;
    dht.set(network(Answer::Absent));
    assert!(node.cached("app.echo").is_some());
    settle().await;
    assert!(node.cached("app.echo").is_none());
    assert_eq!(node.resolve("app.echo").await, Err(ResolveError::NotFound));
}
