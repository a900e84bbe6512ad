//! One lookup per name, and what it leaves behind.

use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use macula_core::NodeId;
use macula_dht::{DhtError, MemoryDht};
use macula_registry::{MAX_WANTED, RegistryConfig, ResolveError, ResolveOptions, Source};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::cache::{found, numbered_record, record};
use crate::node::{Node, TestClock, in_time, name, nodes_of, pass, settle};
use crate::scripted::{Answer, Script, ScriptedDht};

fn slow(network: Answer) -> Script {
    Script {
        latency: Duration::from_secs(1),
        network,
        ..Script::default()
    }
}

fn patient() -> ResolveOptions {
    ResolveOptions {
        timeout: Duration::from_secs(10),
        ..ResolveOptions::default()
    }
}

async fn hundred_at_once(
    node: &Node,
    options: ResolveOptions,
) -> Vec<Result<Source, ResolveError>> {
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let registry = node.registry.clone();
        let options = options.clone();
        callers.spawn(async move {
            let resolved = registry.resolve(&name("app.echo"), &options).await;
            resolved.map(|resolved| resolved.source())
        });
    }
    in_time(callers.join_all()).await
}

#[tokio::test(start_paused = true)]
async fn who_looks_for_particular_providers_may_want_more_of_them() {
    let records: Vec<_> = (1..=40).map(|seed| (seed, 300)).collect();
    let dht = ScriptedDht::new(slow(found(&records)));
    let node = Node::new(99, dht.clone());
    let count = async |want: Option<usize>| {
        let options = ResolveOptions {
            force_refresh: true,
            want: want.and_then(NonZeroUsize::new),
            ..patient()
        };
        let resolved = node.registry.resolve(&name("app.echo"), &options).await;
        resolved.unwrap().providers().len()
    };
    assert_eq!(count(None).await, RegistryConfig::default().want.get());
    assert_eq!(count(Some(30)).await, 30);
    assert_eq!(count(Some(usize::MAX)).await, 40);
    let wanted: Vec<_> = dht.finds().iter().map(|find| find.want).collect();
    assert_eq!(wanted[2], MAX_WANTED);
}

#[tokio::test(start_paused = true)]
async fn hundred_misses_share_one_lookup_and_its_answer() {
    let dht = ScriptedDht::new(slow(found(&[(1, 300)])));
    let node = Node::new(9, dht.clone());
    let answers = hundred_at_once(&node, ResolveOptions::default()).await;
    assert_eq!(answers, vec![Ok(Source::Dht); 100]);
    assert_eq!(dht.finds().len(), 1);
    let stats = node.registry.stats().cache;
    assert_eq!((stats.misses, stats.coalesced, stats.lookups), (100, 99, 1));
}

#[tokio::test(start_paused = true)]
async fn hundred_misses_share_the_error_too() {
    let error = DhtError::Overloaded;
    let dht = ScriptedDht::new(slow(Answer::Fails(error)));
    let node = Node::new(9, dht.clone());
    let expected = vec![Err(ResolveError::Dht(error)); 100];
    let answers = hundred_at_once(&node, ResolveOptions::default()).await;
    assert_eq!(answers, expected);
    assert_eq!(dht.finds().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hundred_forced_refreshes_share_one_lookup() {
    let dht = ScriptedDht::new(slow(found(&[(1, 300)])));
    let node = Node::new(9, dht.clone());
    node.resolve("app.echo").await.unwrap();
    let forced = ResolveOptions {
        force_refresh: true,
        ..ResolveOptions::default()
    };
    let answers = hundred_at_once(&node, forced).await;
    assert_eq!(answers, vec![Ok(Source::Dht); 100]);
    assert_eq!(dht.finds().len(), 2);
    let stats = node.registry.stats().cache;
    assert_eq!((stats.hits, stats.coalesced, stats.lookups), (0, 99, 2));
}

/// What a lookup finds is there before it stops being under way, so that whoever missed the one
/// comes upon the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misses_on_many_threads_are_one_lookup() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 200;
    let clock = TestClock::new();
    // It answers without a pause, so that lookups end while others miss.
    let dht = MemoryDht::new(clock.wall_clock());
    let config = RegistryConfig {
        cache_negative: Duration::from_secs(3600),
        ..RegistryConfig::default()
    };
    let node = Node::with(9, dht.clone(), clock, config);
    let (barrier, runtime) = (Barrier::new(THREADS), Handle::current());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let (service, options) = (name(&format!("app.name_{round}")), patient());
                    barrier.wait();
                    let answer = runtime.block_on(node.registry.resolve(&service, &options));
                    assert_eq!(answer, Err(ResolveError::NotFound));
                }
            });
        }
    });
    assert_eq!(dht.stats().finds, ROUNDS);
    let stats = node.registry.stats().cache;
    assert_eq!(stats.misses + stats.negative_hits, THREADS as u64 * ROUNDS);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_cancels_the_lookup_for_nobody() {
    let dht = ScriptedDht::new(slow(found(&[(1, 300)])));
    let node = Node::new(9, dht.clone());
    let impatient = ResolveOptions {
        timeout: Duration::from_millis(100),
        ..ResolveOptions::default()
    };
    let left = node.resolve_with("app.echo", impatient).await;
    assert_eq!(left, Err(ResolveError::TimedOut));
    let joined = node.resolve("app.echo").await.unwrap();
    assert_eq!(joined.source(), Source::Dht);
    assert_eq!(dht.finds().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn lookup_fills_the_cache_when_everybody_has_left() {
    let dht = ScriptedDht::new(slow(found(&[(1, 300)])));
    let node = Node::new(9, dht.clone());
    let leaving = node.resolve("app.echo");
    let left = tokio::time::timeout(Duration::from_millis(1), leaving).await;
    assert!(left.is_err());
    pass(2).await;
    assert!(node.cached("app.echo").is_some());
}

#[tokio::test(start_paused = true)]
async fn lookup_that_panics_fails_those_who_wait_and_nobody_else() {
    let panics = Script {
        panics: true,
        ..slow(Answer::Absent)
    };
    let dht = ScriptedDht::new(panics);
    let node = Node::new(9, dht.clone());
    let lost = Err(ResolveError::Dht(DhtError::Closed));
    let answers = hundred_at_once(&node, ResolveOptions::default()).await;
    assert_eq!(answers, vec![lost; 100]);
    let stats = node.registry.stats().cache;
    assert_eq!((stats.lookups, stats.failed_lookups), (1, 1));
    dht.set(slow(found(&[(1, 300)])));
    assert!(node.resolve("app.echo").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn lookups_under_way_are_bounded() {
    let config = RegistryConfig {
        max_lookups: NonZeroUsize::new(2).unwrap(),
        ..RegistryConfig::default()
    };
    let dht = ScriptedDht::new(slow(Answer::Absent));
    let node = Node::with_config(9, dht, config);
    let mut callers = JoinSet::new();
    for service in ["app.a", "app.b"] {
        let registry = node.registry.clone();
        callers.spawn(async move {
            let options = ResolveOptions::default();
            registry.resolve(&name(service), &options).await
        });
    }
    settle().await;
    let refused = node.resolve("app.c").await;
    assert_eq!(refused, Err(ResolveError::Dht(DhtError::Overloaded)));
    assert_eq!(node.registry.stats().cache.refused_lookups, 1);
    in_time(callers.join_all()).await;
    assert_eq!(node.resolve("app.c").await, Err(ResolveError::NotFound));
}

#[tokio::test(start_paused = true)]
async fn dht_that_never_answers_is_given_up() {
    let dht = ScriptedDht::new(Script {
        latency: Duration::from_secs(86_400),
        ..Script::default()
    });
    let node = Node::new(9, dht.clone());
    let started_at = tokio::time::Instant::now();
    let resolved = node.resolve_with("app.echo", patient()).await;
    assert!(resolved.is_err());
    assert!(started_at.elapsed() <= Duration::from_secs(10));
    pass(1).await;
    dht.set(slow(found(&[(1, 300)])));
    assert!(node.resolve("app.echo").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn record_of_another_service_is_no_answer() {
    let dht = ScriptedDht::new(Script {
        network: found(&[(1, 300)]),
        ..Script::default()
    });
    let node = Node::new(9, dht);
    let resolved = node.resolve("app.other").await;
    assert_eq!(resolved, Err(ResolveError::Inconclusive));
}

/// What a lookup answers and the cache has then, when something happens while it is under way.
async fn looked_up_while(
    dht: &ScriptedDht,
    node: &Node,
    answer: Answer,
    happens: impl FnOnce(),
) -> (Vec<NodeId>, Vec<NodeId>) {
    dht.set(slow(answer));
    let meanwhile = async {
        settle().await;
        happens();
    };
    let (resolved, ()) = tokio::join!(node.resolve_anew("app.echo"), meanwhile);
    let cached = node.cached("app.echo");
    let cached = cached.as_ref().map(nodes_of).unwrap_or_default();
    (nodes_of(&resolved.unwrap()), cached)
}

#[tokio::test(start_paused = true)]
async fn lookup_under_way_does_not_bring_a_removed_provider_back() {
    let dht = ScriptedDht::new(slow(found(&[(1, 300), (2, 300)])));
    let node = Node::new(9, dht.clone());
    let (dead, left) = (record(1).provider(), record(2).provider());
    let both = || found(&[(1, 300), (2, 300)]);
    let remove = || node.registry.remove_provider(&name("app.echo"), &dead);
    let forget = || node.registry.forget_provider(&dead);

    node.resolve("app.echo").await.unwrap();
    let removed = looked_up_while(&dht, &node, both(), remove).await;
    assert_eq!(removed, (vec![left], vec![left]));
    // One that begins later believes the network again: the provider may be back.
    node.resolve_anew("app.echo").await.unwrap();
    assert_eq!(node.cached("app.echo").unwrap().providers().len(), 2);
    let forgotten = looked_up_while(&dht, &node, both(), forget).await;
    assert_eq!(forgotten, (vec![left], vec![left]));
    assert_eq!(node.registry.stats().cache.repaired, 2);
}

#[tokio::test(start_paused = true)]
async fn newer_record_of_a_removed_provider_counts() {
    let dht = ScriptedDht::new(slow(found(&[(1, 300)])));
    let node = Node::new(9, dht.clone());
    let dead = record(1).provider();
    node.resolve("app.echo").await.unwrap();
    let newer = Answer::Found(vec![(numbered_record(1, 2), Duration::from_secs(300))]);
    let remove = || node.registry.remove_provider(&name("app.echo"), &dead);
    let answered = looked_up_while(&dht, &node, newer, remove).await;
    assert_eq!(answered, (vec![dead], vec![dead]));
}

#[tokio::test(start_paused = true)]
async fn removed_provider_is_the_last_resort_of_those_who_wait_and_not_cached() {
    let dht = ScriptedDht::new(slow(found(&[(1, 300)])));
    let node = Node::new(9, dht.clone());
    let dead = record(1).provider();
    node.resolve("app.echo").await.unwrap();
    let remove = || node.registry.remove_provider(&name("app.echo"), &dead);
    let answered = looked_up_while(&dht, &node, found(&[(1, 300)]), remove).await;
    assert_eq!(answered, (vec![dead], vec![]));
}

#[tokio::test(start_paused = true)]
async fn lookup_under_way_fills_a_cache_that_was_cleared_meanwhile() {
    let dht = ScriptedDht::new(slow(found(&[(1, 300)])));
    let node = Node::new(9, dht.clone());
    node.resolve("app.echo").await.unwrap();
    let clear = || {
        node.registry.clear_cache();
        assert!(node.cached("app.echo").is_none());
    };
    let newer = record(2).provider();
    let answered = looked_up_while(&dht, &node, found(&[(2, 300)]), clear).await;
    assert_eq!(answered, (vec![newer], vec![newer]));
    assert_eq!(node.registry.stats().cache.entries, 1);
}
