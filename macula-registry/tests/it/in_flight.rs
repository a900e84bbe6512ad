//! A service that is withdrawn, or advertised anew, while a refresh of it is on its way.

use std::sync::Arc;
use std::time::Duration;

use macula_dht::MemoryDht;
use macula_registry::{AdvertiseOptions, Advertisement, RegistryConfig};

use crate::node::{Node, TestClock, metadata, pass, pass_until, ttl};
use crate::scripted::{Script, ScriptedDht};

/// Longer than everything takes that happens while the refresh is on its way.
const LATENCY: Duration = Duration::from_millis(700);

/// A provider whose refresh has left it and arrives only after everything that is done next.
struct Refreshing {
    dht: Arc<MemoryDht>,
    clock: TestClock,
    provider: Node,
    advertisement: Advertisement,
}

fn versioned(version: &str) -> AdvertiseOptions {
    AdvertiseOptions {
        metadata: metadata("version", version),
        ..ttl(15)
    }
}

async fn refreshing() -> Refreshing {
    let clock = TestClock::new();
    let dht = MemoryDht::new(clock.wall_clock());
    let provider = Node::with(1, dht.clone(), clock.clone(), RegistryConfig::default());
    let advertisement = provider.advertise_with("app.echo", versioned("old")).await;
    dht.set_latency(LATENCY);
    pass_until(|| dht.stats().announces == 2).await;
    // The refresh has left before, and is as slow as ever.
    dht.set_latency(Duration::ZERO);
    assert_eq!(provider.registry.stats().publish.refreshed, 0);
    Refreshing {
        dht,
        clock,
        provider,
        advertisement,
    }
}

#[tokio::test(start_paused = true)]
async fn withdrawal_beats_a_refresh_that_arrives_after_it() {
    let Refreshing {
        dht,
        provider,
        advertisement,
        ..
    } = refreshing().await;
    assert!(provider.unadvertise("app.echo").await);
    let stats = dht.stats();
    assert_eq!((stats.records, stats.refused), (0, 0));
    pass(5).await;
    let stats = dht.stats();
    assert_eq!((stats.records, stats.refused), (0, 1));
    drop(advertisement);
}

#[tokio::test(start_paused = true)]
async fn refresh_in_flight_cannot_outlive_the_withdrawal() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let _kept = node.advertise("app.echo").await;
    dht.set(Script {
        latency: LATENCY,
        ..Script::default()
    });
    pass_until(|| dht.announces().len() == 2).await;
    assert_eq!(node.registry.stats().publish.refreshed, 0);
    assert!(node.unadvertise("app.echo").await);
    let withdrawals = dht.withdrawals();
    let [(_, withdrawal)] = withdrawals.as_slice() else {
        panic!("one withdrawal");
    };
    let announces = dht.announces();
    assert!(
        announces
            .iter()
            .all(|(_, r)| r.seq() <= withdrawal[0].seq())
    );
    pass(1000).await;
    assert_eq!(dht.announces().len(), announces.len());
    assert_eq!(node.registry.stats().publish.refreshed, 0);
}

#[tokio::test(start_paused = true)]
async fn service_advertised_again_while_its_refresh_is_in_flight_stays_found() {
    for is_withdrawn_first in [true, false] {
        let Refreshing {
            dht,
            clock,
            provider,
            advertisement,
        } = refreshing().await;
        if is_withdrawn_first {
            assert!(provider.unadvertise("app.echo").await);
        }
        let again = provider.advertise_with("app.echo", versioned("new")).await;
        drop(advertisement);
        assert_eq!(dht.stats().refused, 0);
        pass(5).await;
        let stats = dht.stats();
        assert_eq!((stats.records, stats.refused), (1, 1));
        let caller = Node::with(2, dht, clock, RegistryConfig::default());
        let resolved = caller.resolve_anew("app.echo").await.unwrap();
        let versions = resolved.providers().iter();
        let versions: Vec<_> = versions.map(|p| p.metadata().value("version")).collect();
        assert_eq!(versions, [Some("new")]);
        drop(again);
    }
}
