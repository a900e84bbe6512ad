//! Local services, publishing, degrading.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use macula_core::{Addresses, Delivery, Key, Realm, RecordError};
use macula_dht::{DhtError, MemoryDht};
use macula_registry::{
    AdvertiseError, AdvertiseOptions, AdvertisementState, RegistryConfig, Source,
};

use crate::node::{Node, TestClock, address, in_time, metadata, name, nodes_of, pass, ttl, until};
use crate::scripted::{Script, ScriptedDht};

fn is_published(state: AdvertisementState) -> bool {
    matches!(state, AdvertisementState::Published { .. })
}

#[tokio::test(start_paused = true)]
async fn advertised_handler_is_retrievable_and_listed_until_it_is_unadvertised() {
    let node = Node::new(1, ScriptedDht::new(Script::default()));
    let options = AdvertiseOptions {
        metadata: metadata("version", "1.0"),
        delivery: Delivery::AtMostOnce,
        ..AdvertiseOptions::default()
    };
    let first = node.advertise_with("app.first", options).await;
    let _second = node.advertise("app.second").await;
    let service = node.registry.local(&name("app.first")).unwrap();
    assert_eq!(*service.handler(), "handler");
    assert_eq!(service.metadata().value("version"), Some("1.0"));
    assert_eq!(service.delivery(), Delivery::AtMostOnce);
    let (holders, full) = (8, 0);
    let published = AdvertisementState::Published { holders, full };
    assert_eq!(first.state(), published);
    assert_eq!(
        node.registry.locals(),
        [name("app.first"), name("app.second")]
    );
    assert!(node.registry.local(&name("app.unknown")).is_none());
    for service in ["app.first", "app.second"] {
        assert!(node.unadvertise(service).await);
        assert!(node.registry.local(&name(service)).is_none());
    }
    assert_eq!(node.registry.locals(), []);
}

#[tokio::test(start_paused = true)]
async fn advertising_again_replaces_and_the_count_stays_one() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let first = node.advertise("app.echo").await;
    let generation = node.registry.local(&name("app.echo")).unwrap().generation();
    let options = AdvertiseOptions::default();
    let second = node.registry.advertise(name("app.echo"), "newer", options);
    let second = in_time(second).await.unwrap();
    assert_eq!(first.state(), AdvertisementState::Withdrawn);
    drop(first);
    pass(1000).await;
    let service = node.registry.local(&name("app.echo")).unwrap();
    assert_eq!(*service.handler(), "newer");
    assert!(service.generation() > generation);
    assert_eq!(node.registry.stats().local_services, 1);
    assert!(is_published(second.state()));
    assert!(dht.withdrawals().is_empty());
    let seqs: Vec<u64> = dht.announces().iter().map(|(_, r)| r.seq()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    // The one that was replaced refreshes no more: 1000 s hold four refreshes of one.
    assert!(seqs.len() <= 2 + 4, "{seqs:?}");
}

#[tokio::test(start_paused = true)]
async fn ttl_out_of_range_is_refused_and_changes_nothing() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let _kept = node.advertise("app.echo").await;
    for ttl in [ttl(14), ttl(86_401)] {
        let refused = node.registry.advertise(name("app.echo"), "newer", ttl);
        let error = in_time(refused).await.unwrap_err();
        assert_eq!(error, AdvertiseError::Record(RecordError::TtlOutOfRange));
    }
    let service = node.registry.local(&name("app.echo")).unwrap();
    assert_eq!(*service.handler(), "handler");
    assert_eq!(dht.announces().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn failing_dht_degrades_is_retried_with_back_off_and_recovers_by_itself() {
    let dht = ScriptedDht::new(Script {
        announce: Some(DhtError::Unreachable),
        ..Script::default()
    });
    let node = Node::new(1, dht.clone());
    let mut advertisement = node.advertise("app.echo").await;
    let degraded = |failures| AdvertisementState::Degraded {
        cause: DhtError::Unreachable,
        failures,
    };
    assert_eq!(advertisement.state(), degraded(1));
    until(&mut advertisement, |state| state == degraded(9)).await;
    let gaps: Vec<Duration> = dht
        .announces()
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    for (failures, gap) in gaps.iter().enumerate() {
        let whole = Duration::from_secs((1 << failures).min(30));
        let range = whole / 2..=whole + Duration::from_millis(10);
        assert!(range.contains(gap), "{failures} {gap:?}");
    }
    dht.set(Script::default());
    until(&mut advertisement, is_published).await;
    assert_eq!(node.registry.stats().publish.failed, 9);
    assert_eq!(node.registry.stats().publish.published, 1);
}

#[tokio::test(start_paused = true)]
async fn hanging_dht_holds_advertise_up_no_longer_than_ten_seconds() {
    let dht = ScriptedDht::new(Script {
        hangs_on_announce: true,
        ..Script::default()
    });
    let node = Node::new(1, dht);
    let started_at = tokio::time::Instant::now();
    let mut advertisement = node.advertise("app.echo").await;
    let longest = Duration::from_secs(10);
    assert!(started_at.elapsed() <= longest + Duration::from_millis(10));
    assert_eq!(advertisement.state(), AdvertisementState::Publishing);
    let degraded = |state| matches!(state, AdvertisementState::Degraded { .. });
    until(&mut advertisement, degraded).await;
    assert!(node.registry.local(&name("app.echo")).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_as_long_as_a_walk_and_placing_after_it_is_no_failure() {
    let dht = ScriptedDht::new(Script {
        latency: Duration::from_secs(20),
        ..Script::default()
    });
    let node = Node::new(1, dht.clone());
    let mut advertisement = node.advertise("app.echo").await;
    until(&mut advertisement, is_published).await;
    assert_eq!(dht.announces().len(), 1);
    assert_eq!(node.registry.stats().publish.failed, 0);
}

#[tokio::test(start_paused = true)]
async fn record_that_nobody_holds_is_not_published() {
    let dht = ScriptedDht::new(Script {
        holders: Some(0),
        ..Script::default()
    });
    let node = Node::new(1, dht);
    let advertisement = node.advertise("app.echo").await;
    assert!(matches!(
        advertisement.state(),
        AdvertisementState::Degraded { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn record_that_full_nodes_refused_is_published_and_the_state_tells_of_them() {
    let script = Script {
        holders: Some(1),
        full: 7,
        ..Script::default()
    };
    let dht = ScriptedDht::new(script);
    let node = Node::new(1, dht.clone());
    let mut advertisement = node.advertise("app.echo").await;
    let (holders, full) = (1, 7);
    let published = AdvertisementState::Published { holders, full };
    assert_eq!(advertisement.changed().await, published);
    dht.set(Script::default());
    let (holders, full) = (8, 0);
    let published = AdvertisementState::Published { holders, full };
    assert_eq!(in_time(advertisement.changed()).await, published);
}

#[tokio::test(start_paused = true)]
async fn record_that_only_full_nodes_were_offered_is_degraded_as_rejected() {
    let script = Script {
        holders: Some(0),
        full: 8,
        ..Script::default()
    };
    let node = Node::new(1, ScriptedDht::new(script));
    let advertisement = node.advertise("app.echo").await;
    let cause = DhtError::Rejected;
    let degraded = AdvertisementState::Degraded { cause, failures: 1 };
    assert_eq!(advertisement.state(), degraded);
}

#[tokio::test(start_paused = true)]
async fn live_local_service_never_expires() {
    let dht = ScriptedDht::new(Script {
        announce: Some(DhtError::Unreachable),
        ..Script::default()
    });
    let node = Node::new(1, dht);
    let _kept = node.advertise_with("app.echo", ttl(15)).await;
    pass(3 * 86_400).await;
    node.registry.prune_expired();
    node.registry.clear_cache();
    assert!(node.registry.local(&name("app.echo")).is_some());
}

#[tokio::test(start_paused = true)]
async fn local_service_survives_news_that_its_own_node_left() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let advertisement = node.advertise("app.echo").await;
    node.registry
        .remove_provider(&name("app.echo"), &node.node_id);
    node.registry.forget_provider(&node.node_id);
    assert_eq!(node.registry.locals(), [name("app.echo")]);
    let resolved = node.resolve("app.echo").await.unwrap();
    assert_eq!(resolved.source(), Source::Local);
    pass(240).await;
    assert!(is_published(advertisement.state()));
    assert_eq!(dht.announces().len(), 2);
    assert!(dht.withdrawals().is_empty());
}

#[tokio::test(start_paused = true)]
async fn node_without_an_address_is_refused_loudly_unless_unlisted() {
    let dht = ScriptedDht::new(Script::default());
    let config = RegistryConfig::default();
    let clock = TestClock::new();
    let node = Node::at(1, dht.clone(), clock, config, Addresses::default);
    let refused = node
        .registry
        .advertise(name("app.echo"), "handler", AdvertiseOptions::default());
    let error = in_time(refused).await.unwrap_err();
    assert_eq!(error, AdvertiseError::NoReachableAddress);
    assert!(node.registry.locals().is_empty());
    let unlisted = AdvertiseOptions {
        listed: false,
        ..AdvertiseOptions::default()
    };
    let advertisement = node.advertise_with("app.echo", unlisted).await;
    pass(1000).await;
    assert_eq!(advertisement.state(), AdvertisementState::Unlisted);
    assert!(node.registry.local(&name("app.echo")).is_some());
    assert!(in_time(advertisement.withdraw()).await.unwrap());
    assert!(node.registry.local(&name("app.echo")).is_none());
    assert!(dht.announces().is_empty() && dht.withdrawals().is_empty());
}

#[tokio::test(start_paused = true)]
async fn addresses_lost_later_degrade_until_they_are_back() {
    let dht = ScriptedDht::new(Script::default());
    let reachable = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&reachable);
    let addresses = move || match flag.load(Ordering::Relaxed) {
        true => address(1),
        false => Addresses::default(),
    };
    let config = RegistryConfig::default();
    let node = Node::at(1, dht.clone(), TestClock::new(), config, addresses);
    let mut advertisement = node.advertise("app.echo").await;
    reachable.store(false, Ordering::Relaxed);
    let lost = |state| {
        let cause = DhtError::NoAddress;
        matches!(state, AdvertisementState::Degraded { cause: c, .. } if c == cause)
    };
    until(&mut advertisement, lost).await;
    reachable.store(true, Ordering::Relaxed);
    until(&mut advertisement, is_published).await;
    assert!(
        dht.announces()
            .iter()
            .all(|(_, r)| !r.addresses().is_empty())
    );
}

#[tokio::test(start_paused = true)]
async fn panic_while_publishing_loses_only_that_advertisement() {
    let dht = ScriptedDht::new(Script {
        panics_on_announce_of: Some(Key::of_service(&Realm::default(), &name("app.bad"))),
        ..Script::default()
    });
    let node = Node::new(1, dht.clone());
    let _good = node.advertise("app.good").await;
    let _bad = node.advertise("app.bad").await;
    pass(1000).await;
    let good = dht.announces();
    let good = good
        .iter()
        .filter(|(_, r)| r.key() == Key::of_service(&Realm::default(), &name("app.good")));
    assert!(good.count() >= 5);
    assert!(node.registry.local(&name("app.bad")).is_some());
}

#[tokio::test(start_paused = true)]
async fn services_are_bounded_and_system_names_are_never_listed() {
    let config = RegistryConfig {
        max_services: NonZeroUsize::new(2).unwrap(),
        ..RegistryConfig::default()
    };
    let node = Node::with_config(1, ScriptedDht::new(Script::default()), config);
    let _kept = [node.advertise("app.a").await, node.advertise("app.b").await];
    let advertise = |text: &str| {
        let options = AdvertiseOptions::default();
        in_time(node.registry.advertise(name(text), "handler", options))
    };
    let error = advertise("app.c").await.unwrap_err();
    assert_eq!(error, AdvertiseError::TooManyServices);
    let error = advertise("_sys.ping").await.unwrap_err();
    assert_eq!(error, AdvertiseError::ReservedName);
    // Replacing one needs no room.
    let replaced = advertise("app.b").await;
    assert!(replaced.is_ok());
}

#[tokio::test(start_paused = true)]
async fn two_providers_of_a_name_are_both_found() {
    let clock = TestClock::new();
    let dht = MemoryDht::new(clock.wall_clock());
    let config = RegistryConfig::default;
    let first = Node::with(1, dht.clone(), clock.clone(), config());
    let second = Node::with(2, dht.clone(), clock.clone(), config());
    let caller = Node::with(3, dht, clock, config());
    let _kept = [
        first.advertise("app.echo").await,
        second.advertise("app.echo").await,
    ];
    let mut found = nodes_of(&caller.resolve("app.echo").await.unwrap());
    let mut expected = [first.node_id, second.node_id];
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}
