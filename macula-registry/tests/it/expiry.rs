//! For how long an answer is fresh, stale, and known at all.

use std::time::Duration;

use macula_dht::{DhtError, MemoryDht};
use macula_registry::{RegistryConfig, ResolveError, Source};

use crate::cache::{cache_ttl, caller, found, network, record};
use crate::node::{Node, TestClock, nodes_of, pass, settle, ttl};
use crate::scripted::{Answer, ScriptedDht};

#[tokio::test(start_paused = true)]
async fn default_answer_is_fresh_for_a_minute_then_stale_then_gone() {
    let (dht, node) = caller(network(found(&[(1, 1000)])));
    node.resolve("app.echo").await.unwrap();
    pass(59).await;
    assert_eq!(
        node.resolve("app.echo").await.unwrap().source(),
        Source::Fresh
    );
    dht.set(network(Answer::Fails(DhtError::Closed)));
    pass(1).await;
    assert_eq!(
        node.resolve("app.echo").await.unwrap().source(),
        Source::Stale
    );
    pass(239).await;
    assert_eq!(
        node.resolve("app.echo").await.unwrap().source(),
        Source::Stale
    );
    pass(1).await;
    let gone = node.resolve("app.echo").await;
    assert_eq!(gone, Err(ResolveError::Dht(DhtError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn config_says_for_how_long_answers_are_fresh_stale_and_absent() {
    let config = RegistryConfig {
        cache_fresh: Duration::from_secs(5),
        cache_stale: Duration::from_secs(10),
        cache_negative: Duration::from_secs(3),
        ..RegistryConfig::default()
    };
    let dht = ScriptedDht::new(network(found(&[(1, 1000)])));
    let node = Node::with_config(9, dht.clone(), config);
    node.resolve("app.echo").await.unwrap();
    dht.set(network(Answer::Inconclusive));
    let source_after = async |secs| {
        pass(secs).await;
        node.cached("app.echo").map(|cached| cached.source())
    };
    assert_eq!(source_after(4).await, Some(Source::Fresh));
    assert_eq!(source_after(1).await, Some(Source::Stale));
    assert_eq!(source_after(9).await, Some(Source::Stale));
    assert_eq!(source_after(1).await, None);
    dht.set(network(Answer::Absent));
    for (secs, finds) in [(0, 1), (2, 1), (1, 2)] {
        pass(secs).await;
        assert!(node.resolve("app.absent").await.is_err());
        assert_eq!(node.registry.stats().cache.absent_answers, finds);
    }
}

#[tokio::test(start_paused = true)]
async fn config_that_caches_nothing_never_hits() {
    let config = RegistryConfig {
        cache_fresh: Duration::ZERO,
        ..RegistryConfig::default()
    };
    let dht = ScriptedDht::new(network(found(&[(1, 1000)])));
    let node = Node::with_config(9, dht, config);
    for _ in 0..3 {
        assert_eq!(
            node.resolve("app.echo").await.unwrap().source(),
            Source::Dht
        );
    }
}

#[tokio::test(start_paused = true)]
async fn ttl_of_zero_never_hits_and_other_ttls_override_the_default() {
    let (dht, node) = caller(network(found(&[(1, 1000)])));
    for finds in 1..=3 {
        let answer = node.resolve_with("app.echo", cache_ttl(0)).await.unwrap();
        assert_eq!((answer.source(), dht.finds().len()), (Source::Dht, finds));
        assert!(node.cached("app.echo").is_none());
    }
    node.resolve_with("app.echo", cache_ttl(120)).await.unwrap();
    pass(100).await;
    assert_eq!(
        node.resolve("app.echo").await.unwrap().source(),
        Source::Fresh
    );
    let pickier = node.resolve_with("app.echo", cache_ttl(100)).await.unwrap();
    assert_eq!(pickier.source(), Source::Stale);
    settle().await;
    let refreshed = node.resolve_with("app.echo", cache_ttl(100)).await.unwrap();
    assert_eq!(refreshed.source(), Source::Fresh);
    let bypassing = node.resolve_with("app.echo", cache_ttl(0)).await.unwrap();
    assert_eq!(bypassing.source(), Source::Dht);
}

#[tokio::test(start_paused = true)]
async fn no_provider_is_served_beyond_its_record() {
    let (dht, node) = caller(network(found(&[(1, 100), (2, 10), (3, 20)])));
    node.resolve("app.echo").await.unwrap();
    dht.set(network(Answer::Fails(DhtError::Closed)));
    let ids = |indexes: &[u8]| {
        indexes
            .iter()
            .map(|i| record(*i).provider())
            .collect::<Vec<_>>()
    };
    pass(9).await;
    let all = node.cached("app.echo").unwrap();
    assert_eq!(
        (all.source(), nodes_of(&all)),
        (Source::Fresh, ids(&[1, 2, 3]))
    );
    pass(1).await;
    let two = node.cached("app.echo").unwrap();
    assert_eq!(
        (two.source(), nodes_of(&two)),
        (Source::Fresh, ids(&[1, 3]))
    );
    pass(49).await;
    let one = node.cached("app.echo").unwrap();
    assert_eq!((one.source(), nodes_of(&one)), (Source::Fresh, ids(&[1])));
    assert_eq!(dht.finds().len(), 1);
    pass(1).await;
    let stale = node.cached("app.echo").unwrap();
    assert_eq!(
        (stale.source(), nodes_of(&stale)),
        (Source::Stale, ids(&[1]))
    );
    pass(40).await;
    assert!(node.cached("app.echo").is_none());
}

#[tokio::test(start_paused = true)]
async fn crashed_providers_record_is_served_from_the_cache_to_its_end_and_no_longer() {
    let clock = TestClock::new();
    let dht = MemoryDht::new(clock.wall_clock());
    let config = RegistryConfig::default;
    let provider = Node::with(1, dht.clone(), clock.clone(), config());
    let caller = Node::with(2, dht.clone(), clock, config());
    let _never_withdrawn = provider.advertise_with("app.echo", ttl(15)).await;
    provider.registry.close();
    pass(8).await;
    let found = caller.resolve("app.echo").await.unwrap();
    assert_eq!(found.source(), Source::Dht);
    pass(6).await;
    let cached = caller.cached("app.echo").unwrap();
    assert_eq!(cached.source(), Source::Fresh);
    assert_eq!(nodes_of(&cached), [provider.node_id]);
    // Seven of the sixty seconds for which an answer is fresh.
    pass(1).await;
    assert!(caller.cached("app.echo").is_none());
    let gone = caller.resolve("app.echo").await;
    assert_eq!(gone, Err(ResolveError::NotFound));
    let stats = dht.stats();
    assert_eq!((stats.announces, stats.withdraws), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn absence_is_remembered_for_a_second() {
    let (dht, node) = caller(network(Answer::Absent));
    for _ in 0..10 {
        assert_eq!(node.resolve("app.echo").await, Err(ResolveError::NotFound));
    }
    assert_eq!(dht.finds().len(), 1);
    assert_eq!(node.registry.stats().cache.negative_hits, 9);
    dht.set(network(found(&[(1, 1000)])));
    pass(1).await;
    assert!(node.resolve("app.echo").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn jumps_of_the_wall_clock_age_nothing() {
    let (dht, node) = caller(network(found(&[(1, 1000)])));
    node.resolve("app.echo").await.unwrap();
    dht.set(network(Answer::Absent));
    let absent = Err(ResolveError::NotFound);
    assert_eq!(node.resolve("app.absent").await, absent);
    let day = 86_400_000;
    let source_after = async |jump, secs| {
        node.clock.jump(jump);
        pass(secs).await;
        node.cached("app.echo").map(|cached| cached.source())
    };
    dht.set(network(Answer::Inconclusive));
    assert_eq!(source_after(10 * day, 0).await, Some(Source::Fresh));
    assert_eq!(node.resolve("app.absent").await, absent);
    assert_eq!(source_after(-20 * day, 1).await, Some(Source::Fresh));
    let asked_again = node.resolve("app.absent").await;
    assert_eq!(asked_again, Err(ResolveError::Inconclusive));
    assert_eq!(source_after(0, 58).await, Some(Source::Fresh));
    assert_eq!(source_after(0, 1).await, Some(Source::Stale));
    assert_eq!(source_after(30 * day, 0).await, Some(Source::Stale));
    assert_eq!(source_after(-30 * day, 239).await, Some(Source::Stale));
    assert_eq!(source_after(0, 1).await, None);
}
