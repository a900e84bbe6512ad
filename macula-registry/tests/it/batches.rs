//! One batch of many services: each fares as its own record did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use macula_core::{Addresses, Key, ProviderRecord, Realm};
use macula_dht::{DhtError, MemoryDht, Scope};
use macula_registry::{
    AdvertiseError, AdvertiseOptions, Advertisement, AdvertisementState, RegistryConfig,
    ResolveError, Resolved, Source,
};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::node::{
    Node, TestClock, address, in_time, name, nodes_of, pass, pass_until, settle, ttl,
};
use crate::scripted::{Answer, Script, ScriptedDht};

const SERVICES: usize = 40;

fn key(service: &str) -> Key {
    Key::of_service(&Realm::default(), &name(service))
}

/// Advertises a few services at once, which makes one batch of them in the end.
async fn advertise_all(node: &Node) -> Vec<Advertisement> {
    let mut advertisements = Vec::new();
    for index in 0..SERVICES {
        let service = format!("app.service_{index}");
        advertisements.push(node.advertise(&service).await);
    }
    // They grow together within a few refreshes.
    pass(1200).await;
    advertisements
}

fn degraded(advertisements: &[Advertisement]) -> Vec<usize> {
    let states = advertisements.iter().map(Advertisement::state).enumerate();
    let degraded = states.filter(|(_, state)| matches!(state, AdvertisementState::Degraded { .. }));
    degraded.map(|(index, _)| index).collect()
}

#[tokio::test(start_paused = true)]
async fn services_of_a_node_are_refreshed_in_one_sorted_batch() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let _kept = advertise_all(&node).await;
    let before = dht.batches().len();
    pass(240).await;
    let batches = dht.batches();
    let (_, records) = batches[before];
    assert_eq!(records, SERVICES);
    let announces = dht.announces();
    let (_, last): (Vec<_>, Vec<_>) = announces[announces.len() - SERVICES..]
        .iter()
        .cloned()
        .unzip();
    assert!(last.is_sorted_by_key(ProviderRecord::key));
}

#[tokio::test(start_paused = true)]
async fn one_record_that_nobody_takes_degrades_its_service_alone() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let advertisements = advertise_all(&node).await;
    dht.set(Script {
        nobody_holds: Some(key("app.service_7")),
        ..Script::default()
    });
    for _ in 0..10 {
        pass(60).await;
    }
    assert_eq!(degraded(&advertisements), [7]);
    assert_eq!(node.registry.stats().publish.degraded, 1);
    dht.set(Script::default());
    pass(40).await;
    assert_eq!(degraded(&advertisements), []);
    assert_eq!(node.registry.stats().publish.degraded, 0);
}

#[tokio::test(start_paused = true)]
async fn one_record_that_makes_the_dht_panic_keeps_no_neighbour_from_being_refreshed() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let advertisements = advertise_all(&node).await;
    dht.set(Script {
        panics_on_announce_of: Some(key("app.service_7")),
        ..Script::default()
    });
    pass(300).await;
    for _ in 0..20 {
        pass(60).await;
        assert_eq!(degraded(&advertisements), [7]);
    }
    dht.set(Script::default());
    pass(40).await;
    assert_eq!(degraded(&advertisements), []);
}

#[tokio::test(start_paused = true)]
async fn one_batch_that_hangs_delays_only_itself() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let advertisements = advertise_all(&node).await;
    dht.set(Script {
        hangs_on_announce: true,
        ..Script::default()
    });
    let before = dht.batches().len();
    pass_until(|| dht.batches().len() > before).await;
    let hung_at = Instant::now();
    assert_eq!(dht.batches()[before].1, SERVICES);
    dht.set(Script::default());
    let other = node.advertise("app.other").await;
    let is_published = matches!(other.state(), AdvertisementState::Published { .. });
    assert!(is_published && hung_at.elapsed() < Duration::from_secs(1));
    assert_eq!(degraded(&advertisements), []);
    pass_until(|| !degraded(&advertisements).is_empty()).await;
    let timeout = RegistryConfig::default().publish_timeout;
    assert!(hung_at.elapsed() <= timeout + Duration::from_millis(20));
    assert!(degraded(&advertisements).into_iter().eq(0..SERVICES));
    pass(40).await;
    assert_eq!(degraded(&advertisements), []);
}

#[tokio::test(start_paused = true)]
async fn without_an_address_all_are_degraded_and_nothing_is_announced() {
    let dht = ScriptedDht::new(Script::default());
    let reachable = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&reachable);
    let addresses = move || match flag.load(Ordering::Relaxed) {
        true => address(1),
        false => Addresses::default(),
    };
    let config = RegistryConfig::default();
    let node = Node::at(1, dht.clone(), TestClock::new(), config, addresses);
    let advertisements = advertise_all(&node).await;
    reachable.store(false, Ordering::Relaxed);
    let before = dht.batches().len();
    pass(300).await;
    assert_eq!(degraded(&advertisements).len(), SERVICES);
    assert_eq!(dht.batches().len(), before);
    reachable.store(true, Ordering::Relaxed);
    pass(40).await;
    assert_eq!(degraded(&advertisements), []);
}

#[tokio::test(start_paused = true)]
async fn a_closed_dht_ends_the_attempts() {
    let dht = ScriptedDht::new(Script {
        announce: Some(DhtError::Closed),
        ..Script::default()
    });
    let node = Node::new(1, dht.clone());
    let advertisement = node.advertise("app.echo").await;
    let cause = DhtError::Closed;
    let closed = AdvertisementState::Degraded { cause, failures: 1 };
    pass(3600).await;
    assert_eq!(advertisement.state(), closed);
    assert_eq!(dht.announces().len(), 1);
    assert!(node.registry.local(&name("app.echo")).is_some());
}

#[tokio::test(start_paused = true)]
async fn thousands_of_services_cost_no_task_each() {
    let node = Node::new(1, ScriptedDht::new(Script::default()));
    let before = Handle::current().metrics().num_alive_tasks();
    for index in 0..2000 {
        let service = name(&format!("app.service_{index}"));
        let advertised = node.registry.advertise(service, "handler", ttl(300));
        in_time(advertised).await.unwrap().detach();
    }
    settle().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn without_a_dht_publishing_and_asking_say_so_and_everything_else_works() {
    let clock = TestClock::new();
    let other = MemoryDht::new(clock.wall_clock());
    let provider = Node::with(2, other.clone(), clock.clone(), RegistryConfig::default());
    let _provided = provider.advertise("app.remote").await;
    let found = macula_dht::Dht::find(
        &*other,
        key("app.remote"),
        macula_dht::FindOptions {
            want: std::num::NonZeroUsize::MIN,
            timeout: Duration::from_secs(1),
            scope: Scope::Network,
            trace: false,
        },
    );
    let record = found.await.unwrap().providers[0].record.clone();

    let gone = Script {
        announce: Some(DhtError::Unreachable),
        withdraw: Some(DhtError::Unreachable),
        network: Answer::Fails(DhtError::Unreachable),
        connected: Answer::Fails(DhtError::Unreachable),
        ..Script::default()
    };
    let dht = ScriptedDht::new(gone.clone());
    let node = Node::with(1, dht.clone(), clock, RegistryConfig::default());
    let advertisement = node.advertise("app.local").await;
    let cause = DhtError::Unreachable;
    let degraded = AdvertisementState::Degraded { cause, failures: 1 };
    assert_eq!(advertisement.state(), degraded);
    let local = node.resolve("app.local").await.unwrap();
    assert!(matches!(local, Resolved::Local(_)));
    let unknown = node.resolve("app.remote").await;
    assert_eq!(unknown, Err(ResolveError::Dht(DhtError::Unreachable)));

    // A connected peer knows it, though the network cannot be asked.
    dht.set(Script {
        connected: Answer::Found(vec![(record, Duration::from_secs(300))]),
        ..gone
    });
    let direct = node.resolve("app.remote").await.unwrap();
    assert_eq!(direct.source(), Source::Direct);
    assert_eq!(nodes_of(&direct), [provider.node_id]);
    assert!(in_time(advertisement.withdraw()).await.unwrap());
    assert!(node.registry.local(&name("app.local")).is_none());
    in_time(node.registry.withdraw_all()).await;
    let late = node
        .registry
        .advertise(name("app.late"), "handler", AdvertiseOptions::default());
    assert_eq!(in_time(late).await.unwrap_err(), AdvertiseError::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_neither_ages_nor_spares_anything() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let _kept = node.advertise("app.echo").await;
    let hour = 3_600_000;
    for jump in [5 * hour, -9 * hour, 100 * hour, -100 * hour] {
        node.clock.jump(jump);
        pass(700).await;
    }
    let announces = dht.announces();
    for pair in announces.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        let range = Duration::from_secs(216)..=Duration::from_secs(240);
        assert!(range.contains(&gap), "{gap:?}");
        assert!(pair[1].1.seq() > pair[0].1.seq());
    }
    assert!(announces.len() >= 2800 / 240);
    assert!(node.registry.local(&name("app.echo")).is_some());
}
