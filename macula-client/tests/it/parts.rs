//! Transport, DHT and selector of the user's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use macula_client::dht::MemoryDht;
use macula_client::registry::{RegistryConfig, RegistryConfigError};
use macula_client::rpc::{CallError, ProviderSelector, Selection};
use macula_client::testnet::Testnet;
use macula_client::transport::MemoryNetwork;
use macula_client::{
    Client, ConnectError, Executor, IdentityError, IdentityFile, SecretKey, Source, system_clock,
};
use tokio::time::sleep;

use crate::memory::InMemory;

#[tokio::test]
async fn nodes_over_a_memory_network_find_and_call_each_other() {
    let network = MemoryNetwork::new(7);
    let node = |bootstrap: Option<&Client>| {
        let secret_key = SecretKey::generate().unwrap();
        let transport = network.transport(&secret_key);
        Client::builder()
            .executor(Executor::Current)
            .secret_key(secret_key)
            .transport(transport)
            .bootstrap(bootstrap.map(Client::contact))
            .connect()
    };
    let first = node(None).await.unwrap();
    let second = node(Some(&first)).await.unwrap();
    let third = node(Some(&first)).await.unwrap();
    let _ad = second
        .advertise("demo.add", |(a, b): (u8, u8)| async move { Ok(a + b) })
        .await;
    let sum: u8 = third.call("demo.add", &(40_u8, 2_u8)).await.unwrap();
    assert_eq!(sum, 42);
    for node in [third, second, first] {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_transport_of_another_identity_than_the_records_is_refused() {
    let network = MemoryNetwork::new(7);
    let transport = network.transport(&SecretKey::generate().unwrap());
    let mismatched = Client::builder()
        .transport(transport)
        .secret_key(SecretKey::generate().unwrap())
        .connect()
        .await;
    assert!(matches!(mismatched, Err(ConnectError::OtherIdentity)));
}

#[tokio::test]
async fn a_dht_of_ones_own_needs_no_bootstrap() {
    let dht = MemoryDht::new(system_clock());
    let node = || {
        Client::builder()
            .listen("127.0.0.1:0".parse().unwrap())
            .dht(dht.clone())
            .connect()
    };
    let (provider, caller) = (node().await.unwrap(), node().await.unwrap());
    let _ad = provider
        .advertise("demo.one", |()| async move { Ok(1_u8) })
        .await
        .unwrap();
    assert_eq!(caller.call::<_, _, u8>("demo.one", &()).await.unwrap(), 1);
    assert!(caller.stats().dht.is_none());
    caller.shutdown().await;
    provider.shutdown().await;
}

/// Always chooses the last candidate, and counts how often it is asked.
#[derive(Default)]
struct Last(AtomicUsize);

impl ProviderSelector for Last {
    fn select(&self, selection: &Selection<'_>) -> Option<usize> {
        self.0.fetch_add(1, Ordering::Relaxed);
        selection.candidates.len().checked_sub(1)
    }
}

/// Chooses somebody who is not there.
struct Astray;

impl ProviderSelector for Astray {
    fn select(&self, selection: &Selection<'_>) -> Option<usize> {
        Some(selection.candidates.len())
    }
}

#[tokio::test]
async fn a_selector_of_ones_own_chooses_and_a_wrong_choice_is_an_error() {
    let net = Testnet::start(2).await.unwrap();
    let _ad = net
        .node(0)
        .advertise("demo.one", |()| async move { Ok(1_u8) })
        .await
        .unwrap();

    let last = Arc::new(Last::default());
    let caller = net
        .builder()
        .selector(last.clone())
        .connect()
        .await
        .unwrap();
    for _ in 0..3 {
        let _: u8 = caller.call("demo.one", &()).await.unwrap();
    }
    assert_eq!(last.0.load(Ordering::Relaxed), 3);

    let astray = net
        .builder()
        .selector(Arc::new(Astray))
        .connect()
        .await
        .unwrap();
    let error = astray.call::<_, _, u8>("demo.one", &()).await.unwrap_err();
    assert!(matches!(
        error,
        CallError::Selector {
            chosen: Some(1),
            candidates: 1,
            ..
        }
    ));
    caller.shutdown().await;
    astray.shutdown().await;
    net.shutdown().await;
}

#[tokio::test]
async fn a_service_is_found_again_after_a_restart_with_the_clock_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let dht = MemoryDht::new(system_clock());
    let node = |identity: Option<IdentityFile>, behind: Duration| {
        let builder = Client::builder()
            .listen("127.0.0.1:0".parse().unwrap())
            .clock(Arc::new(move || system_clock()().saturating_sub(behind)))
            .dht(dht.clone());
        match identity {
            Some(file) => builder.identity(file).connect(),
            None => builder.connect(),
        }
    };
    let caller = node(None, Duration::ZERO).await.unwrap();
    for behind in [0, 60, 120].map(Duration::from_secs) {
        let identity = IdentityFile::open_or_create(&path).unwrap();
        let provider = node(Some(identity), behind).await.unwrap();
        let ad = provider
            .advertise("demo.add", |(a, b): (u8, u8)| async move { Ok(a + b) })
            .await
            .unwrap();
        // Past the cache.
        let found = caller.trace("demo.add").await.unwrap();
        assert_eq!(found.providers.len(), 1, "{behind:?} behind");
        ad.withdraw().await.unwrap();
        provider.shutdown().await;
    }
}

#[tokio::test]
async fn a_memory_of_sequence_numbers_that_holds_junk_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("identity.seq"), "junk").unwrap();
    let identity = IdentityFile::open_or_create(dir.path().join("identity")).unwrap();
    let refused = Client::builder().identity(identity).connect().await;
    let error = refused.err().unwrap();
    assert!(matches!(
        error,
        ConnectError::Identity(IdentityError::NoSequence { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn settings_of_the_registry_take_effect_in_calls() {
    const MINUTE: Duration = Duration::from_secs(60);
    let nodes = InMemory::new();
    let provider = nodes.builder().connect().await.unwrap();
    let _ad = provider
        .advertise("demo.one", |()| async move { Ok(1_u8) })
        .ttl(24 * 60 * MINUTE)
        .await
        .unwrap();
    let default = RegistryConfig::default().cache_fresh;
    for (cache_fresh, then) in [
        (Duration::ZERO, [Source::Dht; 3]),
        (default, [Source::Fresh, Source::Stale, Source::Dht]),
        (60 * MINUTE, [Source::Fresh, Source::Fresh, Source::Stale]),
    ] {
        let config = RegistryConfig {
            cache_fresh,
            ..RegistryConfig::default()
        };
        let builder = nodes.builder();
        let caller = match cache_fresh == default {
            true => builder.connect().await.unwrap(),
            false => builder.registry_config(config).connect().await.unwrap(),
        };
        let source = async |cache_ttl: Option<Duration>| {
            let mut call = caller.call::<_, _, u8>("demo.one", &());
            if let Some(ttl) = cache_ttl {
                call = call.cache_ttl(ttl);
            }
            call.detailed().await.unwrap().source
        };
        assert_eq!(source(None).await, Source::Dht, "{cache_fresh:?}");
        sleep(MINUTE - Duration::from_secs(1)).await;
        let after_a_minute_less = source(None).await;
        let lookups = caller.stats().registry.cache.lookups;
        assert_eq!(source(Some(Duration::ZERO)).await, Source::Dht);
        assert_eq!(caller.stats().registry.cache.lookups, lookups + 1);
        sleep(Duration::from_secs(2)).await;
        let after_a_minute = source(None).await;
        sleep(59 * MINUTE).await;
        let after_an_hour = source(None).await;
        assert_eq!(
            [after_a_minute_less, after_a_minute, after_an_hour],
            then,
            "{cache_fresh:?}"
        );
    }
}

#[tokio::test]
async fn settings_the_registry_refuses_end_connect() {
    let config = RegistryConfig {
        lookup_timeout: Duration::ZERO,
        ..RegistryConfig::default()
    };
    let nodes = InMemory::new();
    let refused = nodes.builder().registry_config(config).connect().await;
    let field = "lookup_timeout";
    assert!(matches!(
        refused.err().unwrap(),
        ConnectError::Registry(RegistryConfigError::ZeroTimeout { field: at_fault })
            if at_fault == field
    ));
}

#[tokio::test(start_paused = true)]
async fn advertisement_counts_five_minutes_unless_told_otherwise() {
    let nodes = InMemory::new();
    let provider = nodes.builder().connect().await.unwrap();
    let answer = |()| async move { Ok(1_u8) };
    let _five = provider.advertise("demo.five", answer).await.unwrap();
    let two = provider.advertise("demo.two", answer);
    let _two = two.ttl(Duration::from_secs(120)).await.unwrap();
    let caller = nodes.builder().connect().await.unwrap();
    for (name, secs) in [("demo.five", 300), ("demo.two", 120)] {
        let found = caller.trace(name).await.unwrap();
        let [claim] = &found.providers[..] else {
            panic!("{found:?}");
        };
        assert_eq!(claim.record.ttl(), Duration::from_secs(secs));
        assert_eq!(claim.life, Duration::from_secs(secs));
    }
}
