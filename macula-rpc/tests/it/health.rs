//! Providers that fail again and again, and outages of all of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use macula_registry::AdvertiseOptions;
use macula_rpc::{
    AttemptOutcome, Call, CallError, CallOptions, Codec, Executed, ProviderSelector, Selection,
    ServerConfig, Service, Source,
};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::mesh::{Counter, Mesh, Node, answers, at_most_once, fails, hangs, name, within};

const SERVICE: &str = "app.f";

/// Serves with a handler that never ends and room for one call, which is taken.
async fn overloaded(mesh: &Mesh, seed: u8, caller: &Node) -> (Node, impl Drop + use<>) {
    let node = mesh.node(seed);
    let (begun, ended) = (Counter::default(), Counter::default());
    let service = node.serve_limited(SERVICE, hangs(&begun, &ended), 1).await;
    let options = CallOptions {
        provider: Some(node.id),
        timeout: Duration::from_secs(24 * 60 * 60),
        // Others of this service may have been looked for a moment ago.
        force_refresh: true,
        ..CallOptions::default()
    };
    let held = caller.caller.clone();
    let holding = tokio::spawn(async move { held.call(call(options)).await });
    begun.reaches(1).await;
    (node, Held(holding.abort_handle(), service))
}

fn call(options: CallOptions) -> Call {
    let body = Codec::Postcard.encode(&()).unwrap();
    Call {
        options,
        ..Call::new(name(SERVICE), Codec::Postcard, body)
    }
}

struct Held(
    tokio::task::AbortHandle,
    #[expect(dead_code, reason = "kept")] macula_registry::Advertisement,
);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_again_and_again_is_left_alone() {
    let mesh = Mesh::new();
    let (good, caller) = (mesh.node(2), mesh.node(100));
    let _good = good.serve(SERVICE, answers(2)).await;
    let (bad, _held) = overloaded(&mesh, 1, &caller).await;
    let mut tried_bad = 0;
    for _ in 0..50 {
        let reply = caller
            .call_with(SERVICE, &(), CallOptions::default())
            .await
            .unwrap();
        assert_eq!(reply.provider, good.id);
        tried_bad += usize::from(reply.attempts[0].provider == bad.id);
    }
    assert_eq!(tried_bad, 5, "its breaker opens after five");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_find_out_once_whether_a_provider_is_well_again() {
    let mesh = Mesh::new();
    let (good, caller) = (mesh.node(2), mesh.node(100));
    let _good = good.serve(SERVICE, answers(2)).await;
    let (bad, _held) = overloaded(&mesh, 1, &caller).await;
    for _ in 0..5 {
        caller.call::<u32>(SERVICE, &()).await.unwrap();
    }
    let asked = bad.server.stats().calls;
    // The first pause and the second, which is twice as long.
    for pause in [1, 2] {
        let before = bad.server.stats().calls;
        sleep(Duration::from_millis(pause * 1000 - 50)).await;
        caller.call::<u32>(SERVICE, &()).await.unwrap();
        assert_eq!(
            bad.server.stats().calls,
            before,
            "not before the pause ends"
        );
        sleep(Duration::from_millis(100)).await;
        let calls = (0..100).map(|_| {
            let caller = caller.caller.clone();
            async move { caller.call(call(CallOptions::default())).await }
        });
        let replies = within(calls.collect::<JoinSet<_>>().join_all()).await;
        assert!(replies.iter().all(Result::is_ok));
        assert_eq!(bad.server.stats().calls, before + 1, "one of a hundred");
    }
    assert_eq!(bad.server.stats().calls, asked + 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_run_once_is_the_probe_only_where_nobody_else_would_be() {
    let mesh = Mesh::new();
    let (good, caller) = (mesh.node(2), mesh.node(100));
    let _good = good.serve(SERVICE, answers(2)).await;
    let (bad, _held) = overloaded(&mesh, 1, &caller).await;
    for _ in 0..5 {
        caller.call::<u32>(SERVICE, &()).await.unwrap();
    }
    let asked = bad.server.stats().calls;
    let once = async || {
        let reply = caller.call_with(SERVICE, &(), at_most_once()).await;
        assert_eq!(reply.unwrap().provider, good.id);
    };
    // Its breaker would have it looked at by now.
    for _ in 0..9 {
        sleep(Duration::from_secs(1)).await;
        once().await;
    }
    assert_eq!(bad.server.stats().calls, asked, "others may do so");
    sleep(Duration::from_secs(10)).await;
    once().await;
    assert_eq!(bad.server.stats().calls, asked + 1, "but nobody did");
    mesh.kill(&good, &caller).await;
    let error = caller.call_with(SERVICE, &(), at_most_once()).await;
    let error = error.unwrap_err();
    let asked: Vec<_> = error.attempts().iter().map(|it| it.provider).collect();
    assert_eq!(asked, [good.id, bad.id], "there is nobody else");
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_service_itself_are_no_ill_health() {
    let mesh = Mesh::new();
    let (failing, other, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _failing = failing.serve(SERVICE, fails("no luck")).await;
    let _other = other.serve(SERVICE, answers(2)).await;
    for _ in 0..50 {
        let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
        let attempts: Vec<_> = error.attempts().iter().map(|a| a.provider).collect();
        assert_eq!(attempts, [failing.id], "{error}");
        assert!(!error.attempts()[0].forced);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pinned_provider_is_called_whatever_its_breaker_says_and_the_attempt_tells() {
    let mesh = Mesh::new();
    let (good, caller) = (mesh.node(2), mesh.node(100));
    let _good = good.serve(SERVICE, answers(2)).await;
    let (bad, _held) = overloaded(&mesh, 1, &caller).await;
    let pinned = CallOptions {
        provider: Some(bad.id),
        ..CallOptions::default()
    };
    for made in 0..10 {
        let error = caller.call_with(SERVICE, &(), pinned.clone()).await;
        let error = error.unwrap_err();
        let [attempt] = error.attempts() else {
            panic!("{error}");
        };
        assert_eq!((attempt.provider, attempt.forced), (bad.id, made >= 5));
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_one_is_tried_all_the_same_and_the_error_says_so() {
    let mesh = Mesh::new();
    let caller = mesh.node(100);
    let (bad, _held) = overloaded(&mesh, 1, &caller).await;
    for call in 0..20 {
        let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
        let CallError::Overloaded { attempts } = &error else {
            panic!("{error}");
        };
        assert_eq!(attempts[0].provider, bad.id);
        assert_eq!(attempts[0].outcome, AttemptOutcome::Overloaded);
        assert_eq!(attempts[0].forced, call >= 5, "call {call}");
        assert_eq!(error.executed(), Executed::No);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_amplified() {
    const CALLS: u64 = 2_000;
    let mesh = Mesh::new();
    let caller = mesh.node(100);
    let mut all = Vec::new();
    for seed in 1..=3 {
        all.push(overloaded(&mesh, seed, &caller).await);
    }
    let before = caller.caller.stats();
    let mut out_of_budget = 0;
    for _ in 0..CALLS {
        match caller.call::<u32>(SERVICE, &()).await.unwrap_err() {
            CallError::RetryBudgetExhausted { attempts } => {
                assert!(!attempts.is_empty(), "the first attempt is always made");
                out_of_budget += 1;
            }
            CallError::Overloaded { attempts } => assert!(attempts.len() <= 3),
            other => panic!("{other}"),
        }
    }
    let stats = caller.caller.stats();
    let attempts = stats.attempts - before.attempts;
    let seconds = CALLS * 6 / 1000 + 1;
    let most = CALLS * 12 / 10 + 100 + 10 * seconds;
    assert!(attempts <= most, "{attempts} attempts, at most {most}");
    assert!(out_of_budget > CALLS / 2, "{out_of_budget}");
    assert_eq!(stats.out_of_budget, out_of_budget);
}

/// Chooses the first, and remembers how quick each choice was thought to be.
#[derive(Default)]
struct Remembers(Mutex<Vec<Option<Duration>>>);

impl ProviderSelector for Remembers {
    fn select(&self, selection: &Selection<'_>) -> Option<usize> {
        let latency = selection.candidates.first()?.health.latency;
        self.0.lock().unwrap().push(latency);
        Some(0)
    }
}

#[tokio::test(start_paused = true)]
async fn the_dial_of_a_node_that_was_located_is_not_its_latency() {
    let mesh = Mesh::new();
    let seen = Arc::new(Remembers::default());
    let caller = mesh.node_with(100, seen.clone(), ServerConfig::default());
    let provider = mesh.node(1);
    let _known = provider.serve("app.other", answers(1)).await;
    let unlisted = AdvertiseOptions {
        listed: false,
        ..AdvertiseOptions::default()
    };
    let service = Service::new(answers(1));
    let advertised = provider
        .registry
        .advertise(name(SERVICE), service, unlisted);
    let _unlisted = advertised.await.unwrap();
    let pinned = CallOptions {
        provider: Some(provider.id),
        ..CallOptions::default()
    };
    let located = caller.call_with(SERVICE, &(), pinned).await.unwrap();
    assert_eq!(located.source, Source::Dht);
    assert_eq!(caller.endpoint.stats().dials, 1);

    provider.server.unadvertise(&name(SERVICE)).await.unwrap();
    let _listed = provider.serve(SERVICE, answers(1)).await;
    sleep(Duration::from_secs(2)).await;
    for _ in 0..2 {
        caller.call::<u32>(SERVICE, &()).await.unwrap();
    }
    let seen = seen.0.lock().unwrap().clone();
    assert_eq!(seen[0], None, "the first answer came after a dial");
    assert!(seen[1].is_some());
}
