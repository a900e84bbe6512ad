//! The discovery cache and the providers in it: repaired, refreshed, restarted, pinned.

use std::sync::Arc;
use std::time::Duration;

use macula_core::Delivery;
use macula_dht::Scope;
use macula_rpc::{
    Access, AttemptOutcome, CallError, CallOptions, Executed, ProviderSelector, Selection,
    ServerConfig, Service, ServiceOptions, Source,
};
use macula_transport::{EndpointConfig, PeerEvent};

use crate::mesh::{Counter, Mesh, answers, hangs, name, within};

const SERVICE: &str = "app.f";

#[tokio::test(start_paused = true)]
async fn a_warm_call_asks_no_dht() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _ad = provider.serve(SERVICE, answers(1)).await;
    let call = || caller.call_with(SERVICE, &(), CallOptions::default());
    let cold = call().await.unwrap();
    assert_eq!(cold.source, Source::Dht);
    let lookups = caller.registry.stats().cache.lookups;
    for _ in 0..10 {
        let warm = call().await.unwrap();
        assert_eq!(warm.source, Source::Fresh);
        assert_eq!(warm.provider, provider.id);
        assert_eq!(warm.attempts.len(), 1);
    }
    assert_eq!(caller.registry.stats().cache.lookups, lookups);
    assert_eq!(caller.endpoint.stats().dials, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_provider_leaves_the_cache_at_once() {
    let mesh = Mesh::new();
    let (dead, good, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _dead = dead.serve(SERVICE, answers(1)).await;
    let _good = good.serve(SERVICE, answers(2)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    mesh.network.kill(dead.id);
    mesh.network.refuse(dead.id);
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(2));
    assert_eq!(caller.cached(SERVICE), [good.id]);
    let failovers = caller.caller.stats().failovers;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(2));
    assert_eq!(caller.caller.stats().failovers, failovers);
}

#[tokio::test(start_paused = true)]
async fn a_dead_provider_does_not_come_back_with_the_refresh() {
    let mesh = Mesh::new();
    let (dead, caller) = (mesh.node(1), mesh.node(100));
    let _dead = dead.serve(SERVICE, answers(1)).await;
    mesh.network.refuse(dead.id);
    let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    assert_eq!(error.attempts().len(), 1, "{error}");
    assert_eq!(caller.caller.stats().refreshes, 1);
    assert!(caller.cached(SERVICE).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_provider_restarted_at_a_new_address_answers_the_next_call() {
    let mesh = Mesh::new();
    let caller = mesh.node(100);
    let before = mesh.node(1);
    let _before = before.serve(SERVICE, answers(1)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    let mut events = caller.endpoint.events();
    mesh.network.kill(before.id);
    while within(events.recv()).await != Ok(PeerEvent::Disconnected(before.id)) {}
    let after = mesh.node(1);
    assert_eq!(before.id, after.id);
    assert_ne!(before.endpoint.addresses(), after.endpoint.addresses());
    let _after = after.serve(SERVICE, answers(2)).await;
    let options = CallOptions::default();
    let reply = caller.call_with(SERVICE, &(), options).await.unwrap();
    assert_eq!(reply.codec.decode::<u32>(&reply.body), Ok(2));
    assert_eq!(reply.provider, after.id);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_goodbye_leaves_the_cache_before_anybody_calls_it() {
    let mesh = Mesh::new();
    let (leaving, good, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _leaving = leaving.serve(SERVICE, answers(1)).await;
    let _good = good.serve(SERVICE, answers(2)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    leaving.endpoint.shutdown().await;
    within(async {
        while caller.cached(SERVICE).contains(&leaving.id) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let options = CallOptions::default();
    let reply = caller.call_with(SERVICE, &(), options).await.unwrap();
    assert_eq!((reply.provider, reply.attempts.len()), (good.id, 1));
    assert_eq!(caller.cached(SERVICE), [good.id]);
}

#[tokio::test(start_paused = true)]
async fn nobody_calls_a_provider_that_was_taken_for_dead_while_it_answered_nobody() {
    let mesh = Mesh::new();
    let (silent, good, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _silent = silent.serve(SERVICE, answers(1)).await;
    let _good = good.serve(SERVICE, answers(2)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    mesh.cut(&caller, &silent);
    // One call finds out, by its own patience and before anybody takes the node for dead.
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(2));
    assert!(caller.endpoint.is_connected(&silent.id));
    tokio::time::sleep(EndpointConfig::default().liveness_bound()).await;
    assert!(!caller.endpoint.is_connected(&silent.id));
    let options = CallOptions::default();
    let reply = caller.call_with(SERVICE, &(), options).await.unwrap();
    assert_eq!((reply.provider, reply.attempts.len()), (good.id, 1));
    assert_eq!(caller.cached(SERVICE), [good.id]);
}

#[tokio::test(start_paused = true)]
async fn one_refresh_inside_the_call_finds_a_provider_that_has_joined() {
    let mesh = Mesh::new();
    let (dead, joined, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _dead = dead.serve(SERVICE, answers(1)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    let _joined = joined.serve(SERVICE, answers(2)).await;
    assert_eq!(caller.cached(SERVICE), [dead.id], "the cache is behind");
    mesh.network.kill(dead.id);
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(2));
    assert_eq!(caller.caller.stats().refreshes, 1);
    assert_eq!(caller.cached(SERVICE), [joined.id]);
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_sees_what_the_cache_does_not() {
    let mesh = Mesh::new();
    let (second, first, caller) = (mesh.node(2), mesh.node(1), mesh.node(100));
    let _second = second.serve(SERVICE, answers(2)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(2));
    let _first = first.serve(SERVICE, answers(1)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(2));
    let options = CallOptions {
        force_refresh: true,
        ..CallOptions::default()
    };
    let reply = caller.call_with(SERVICE, &(), options).await.unwrap();
    assert_eq!(reply.provider, first.id);
    assert_eq!(reply.source, Source::Dht);
}

#[tokio::test(start_paused = true)]
async fn call_says_how_old_an_answer_may_be() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _ad = provider.serve(SERVICE, answers(1)).await;
    let source = async |cache_ttl: Option<u64>| {
        let options = CallOptions {
            cache_ttl: cache_ttl.map(Duration::from_secs),
            ..CallOptions::default()
        };
        let reply = caller.call_with(SERVICE, &(), options).await.unwrap();
        reply.source
    };
    let lookups = || caller.registry.stats().cache.lookups;
    assert_eq!(source(Some(0)).await, Source::Dht);
    assert_eq!(source(None).await, Source::Dht, "it filled nothing");
    assert_eq!(lookups(), 2);
    assert_eq!(source(Some(0)).await, Source::Dht, "nor does it read");
    assert_eq!(lookups(), 3);
    assert_eq!(source(None).await, Source::Fresh);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(source(Some(60)).await, Source::Fresh);
    assert_eq!(source(Some(5)).await, Source::Stale);
    assert_eq!(lookups(), 4, "which refreshes it");
}

#[tokio::test(start_paused = true)]
async fn a_call_past_the_cache_looks_again_without_filling_it() {
    let mesh = Mesh::new();
    let (dead, caller) = (mesh.node(1), mesh.node(100));
    let _dead = dead.serve(SERVICE, answers(1)).await;
    mesh.network.kill(dead.id);
    mesh.network.refuse(dead.id);
    let options = CallOptions {
        cache_ttl: Some(Duration::ZERO),
        ..CallOptions::default()
    };
    let error = caller.call_with(SERVICE, &(), options).await.unwrap_err();
    assert_eq!(error.attempts().len(), 1, "{error}");
    assert_eq!(caller.registry.stats().cache.entries, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pinned_call_goes_to_its_provider_and_to_no_other() {
    let mesh = Mesh::new();
    let (first, second, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _first = first.serve(SERVICE, answers(1)).await;
    let _second = second.serve(SERVICE, answers(2)).await;
    let pinned = || CallOptions {
        provider: Some(second.id),
        ..CallOptions::default()
    };
    let reply = caller.call_with(SERVICE, &(), pinned()).await.unwrap();
    assert_eq!(reply.provider, second.id);
    mesh.network.kill(second.id);
    mesh.network.refuse(second.id);
    let error = caller.call_with(SERVICE, &(), pinned()).await.unwrap_err();
    assert!(
        error.attempts().iter().all(|a| a.provider == second.id),
        "{error}"
    );
    assert_eq!(first.server.stats().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pinned_call_passes_by_the_service_of_its_own_node() {
    let mesh = Mesh::new();
    let (own, other) = (mesh.node(1), mesh.node(2));
    let _own = own.serve(SERVICE, answers(1)).await;
    let _other = other.serve(SERVICE, answers(2)).await;
    for (pinned, source) in [(&other, Source::Dht), (&own, Source::Local)] {
        let options = CallOptions {
            provider: Some(pinned.id),
            ..CallOptions::default()
        };
        let reply = own.call_with(SERVICE, &(), options).await.unwrap();
        assert_eq!((reply.provider, reply.source), (pinned.id, source));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_pinned_to_its_own_node_ends_where_that_turns_it_away() {
    let mesh = Mesh::new();
    let (own, other) = (mesh.node(1), mesh.node(2));
    let denying = ServiceOptions {
        access: Access::only([]),
        ..ServiceOptions::default()
    };
    let service = Service::with_options(answers(1), denying);
    let _own = own.serve_as(SERVICE, service, Delivery::AtLeastOnce).await;
    let _other = other.serve(SERVICE, answers(2)).await;
    let pinned = || CallOptions {
        provider: Some(own.id),
        ..CallOptions::default()
    };
    let error = own.call_with(SERVICE, &(), pinned()).await.unwrap_err();
    assert!(matches!(error, CallError::Denied { .. }), "{error}");
    assert_eq!(error.attempts().len(), 1, "{error}");

    mesh.dht.set_reachable(false);
    own.server.unadvertise(&name(SERVICE)).await.unwrap();
    mesh.dht.set_reachable(true);
    let error = own.call_with(SERVICE, &(), pinned()).await.unwrap_err();
    assert_eq!(error, CallError::ServiceNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_its_own_that_outlived_the_service_is_not_dialled() {
    let mesh = Mesh::new();
    let (own, other) = (mesh.node(1), mesh.node(2));
    let _own = own.serve(SERVICE, answers(1)).await;
    let _other = other.serve(SERVICE, answers(2)).await;
    mesh.dht.set_reachable(false);
    own.server.unadvertise(&name(SERVICE)).await.unwrap();
    mesh.dht.set_reachable(true);
    let options = CallOptions::default();
    let reply = own.call_with(SERVICE, &(), options).await.unwrap();
    assert_eq!(reply.provider, other.id);
    assert_eq!(reply.attempts.len(), 1);
    assert_eq!(own.cached(SERVICE), [own.id, other.id], "it was found");
}

#[tokio::test(start_paused = true)]
async fn a_pinned_provider_needs_no_record_while_it_is_connected() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _listed = provider.serve("app.listed", answers(1)).await;
    assert_eq!(caller.call::<u32>("app.listed", &()).await, Ok(1));
    let unlisted = macula_registry::AdvertiseOptions {
        listed: false,
        ..macula_registry::AdvertiseOptions::default()
    };
    let service = macula_rpc::Service::new(answers(2));
    let _unlisted = provider
        .registry
        .advertise(name("app.unlisted"), service, unlisted)
        .await
        .unwrap();
    let options = CallOptions {
        provider: Some(provider.id),
        ..CallOptions::default()
    };
    let reply = caller
        .call_with("app.unlisted", &(), options)
        .await
        .unwrap();
    assert_eq!(reply.codec.decode::<u32>(&reply.body), Ok(2));
    let error = caller.call::<u32>("app.unlisted", &()).await.unwrap_err();
    assert_eq!(error, CallError::ServiceNotFound);
}

/// Always returns the same.
struct Stubborn(Option<usize>);

impl ProviderSelector for Stubborn {
    fn select(&self, _: &Selection<'_>) -> Option<usize> {
        self.0
    }
}

#[tokio::test(start_paused = true)]
async fn a_selector_out_of_range_or_silent_is_an_error() {
    let mesh = Mesh::new();
    let provider = mesh.node(1);
    let _ad = provider.serve(SERVICE, answers(1)).await;
    for (seed, chosen) in [(100, Some(1)), (101, Some(usize::MAX)), (102, None)] {
        let selector = Arc::new(Stubborn(chosen));
        let caller = mesh.node_with(seed, selector, ServerConfig::default());
        let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
        let expected = CallError::Selector {
            chosen,
            candidates: 1,
            attempts: Vec::new(),
        };
        assert_eq!(error, expected);
        assert_eq!(error.executed(), Executed::No);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_dht_the_error_says_so() {
    let mesh = Mesh::new();
    let caller = mesh.node(100);
    mesh.dht.set_reachable(false);
    let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    assert!(matches!(error, CallError::Discovery(_)), "{error}");
    assert_eq!(error.executed(), Executed::No);
}

#[tokio::test(start_paused = true)]
async fn without_a_dht_connected_peers_are_still_called() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _one = provider.serve(SERVICE, answers(1)).await;
    let _two = provider.serve("app.g", answers(2)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    mesh.dht.set_reachable(false);
    let cached = caller.call_with(SERVICE, &(), CallOptions::default()).await;
    assert_eq!(cached.unwrap().source, Source::Fresh);
    caller.registry.clear_cache();
    for service in [SERVICE, "app.g"] {
        let pinned = CallOptions {
            provider: Some(provider.id),
            ..CallOptions::default()
        };
        let reply = caller.call_with(service, &(), pinned).await.unwrap();
        assert_eq!(
            (reply.provider, reply.source),
            (provider.id, Source::Direct)
        );
        let error = caller.call::<u32>(service, &()).await.unwrap_err();
        assert!(matches!(error, CallError::Discovery(_)), "{error}");
    }
    mesh.dht.set_reachable(true);
    assert_eq!(caller.call::<u32>("app.g", &()).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn peers_name_the_provider_when_the_network_cannot_be_asked() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _one = provider.serve(SERVICE, answers(1)).await;
    let _two = provider.serve("app.g", answers(2)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    mesh.dht.set_scope_reachable(Scope::Network, false);
    let options = CallOptions::default();
    let reply = caller.call_with("app.g", &(), options).await.unwrap();
    assert_eq!(
        (reply.provider, reply.source),
        (provider.id, Source::Direct)
    );
    assert_eq!(caller.registry.stats().cache.direct_answers, 1);
}

#[tokio::test(start_paused = true)]
async fn every_provider_overloaded_is_said_as_such() {
    let mesh = Mesh::new();
    let config = ServerConfig {
        max_running: std::num::NonZeroUsize::MIN,
        ..ServerConfig::default()
    };
    let provider = mesh.node_with(1, Arc::new(macula_rpc::First), config);
    let caller = mesh.node(100);
    let (begun, ended) = Default::default();
    let _hog = provider
        .serve("app.hog", crate::mesh::hangs(&begun, &ended))
        .await;
    let _ad = provider.serve(SERVICE, answers(1)).await;
    let hog = caller.call::<u32>("app.hog", &());
    let overloaded = async {
        begun.reaches(1).await;
        caller.call::<u32>(SERVICE, &()).await
    };
    let error = tokio::select! {
        biased;
        outcome = overloaded => outcome.unwrap_err(),
        outcome = hog => panic!("ended: {outcome:?}"),
    };
    assert!(matches!(error, CallError::Overloaded { .. }), "{error}");
    assert_eq!(error.attempts()[0].outcome, AttemptOutcome::Overloaded);
    assert_eq!(caller.cached(SERVICE), [provider.id], "it is alive");
}

#[tokio::test(start_paused = true)]
async fn a_slow_provider_that_is_connected_stays_in_the_cache() {
    let mesh = Mesh::new();
    let (slow, caller) = (mesh.node(1), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let _slow = slow.serve(SERVICE, hangs(&begun, &ended)).await;
    let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    assert_eq!(caller.cached(SERVICE), [slow.id]);
}
