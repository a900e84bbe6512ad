//! Services that not everybody may call.

use std::num::NonZeroUsize;

use macula_core::{Delivery, Metadata, NodeId};
use macula_rpc::{Access, CallError, CallOptions, Executed, Service, ServiceOptions};

use crate::mesh::{Counter, Mesh, Node, answers, counts, hangs};

const SERVICE: &str = "app.f";

async fn serve(
    provider: &Node,
    counter: &Counter,
    access: Access,
) -> macula_registry::Advertisement {
    let options = ServiceOptions {
        access,
        ..ServiceOptions::default()
    };
    let service = Service::with_options(counts(counter, 1), options);
    provider
        .serve_as(SERVICE, service, Delivery::AtLeastOnce)
        .await
}

fn assert_denied(outcome: Result<u32, CallError>, by: NodeId) {
    let error = outcome.unwrap_err();
    assert_eq!(error.executed(), Executed::No);
    let CallError::Denied { attempts } = error else {
        panic!("{error}");
    };
    assert_eq!(attempts[0].provider, by);
}

#[tokio::test(start_paused = true)]
async fn only_the_nodes_that_are_named_may_call() {
    let mesh = Mesh::new();
    let (provider, friend, other) = (mesh.node(1), mesh.node(100), mesh.node(101));
    let calls = Counter::default();
    let _ad = serve(&provider, &calls, Access::only([friend.id])).await;
    assert_eq!(friend.call::<u32>(SERVICE, &()).await, Ok(1));
    assert_denied(other.call(SERVICE, &()).await, provider.id);
    assert_denied(provider.call(SERVICE, &()).await, provider.id);
    assert_eq!(calls.count(), 1);
    assert_eq!(provider.server.stats().denied, 2);
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_ones_own_says_who_may_call() {
    let mesh = Mesh::new();
    let (provider, friend, other) = (mesh.node(1), mesh.node(100), mesh.node(101));
    let friend_id = friend.id;
    let rule = Access::when(move |context| context.caller == friend_id);
    let _ad = serve(&provider, &Counter::default(), rule).await;
    assert_eq!(friend.call::<u32>(SERVICE, &()).await, Ok(1));
    assert_denied(other.call(SERVICE, &()).await, provider.id);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_panics_admits_nobody_and_harms_nobody_else() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let rule = Access::when(|_| panic!("by request"));
    let _bad = serve(&provider, &Counter::default(), rule).await;
    let _good = provider.serve("app.g", answers(2)).await;
    assert_denied(caller.call(SERVICE, &()).await, provider.id);
    assert_eq!(caller.call::<u32>("app.g", &()).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn who_is_denied_at_one_provider_is_served_by_another() {
    let mesh = Mesh::new();
    let (strict, open, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _strict = serve(&strict, &Counter::default(), Access::only([])).await;
    let _open = open.serve(SERVICE, answers(2)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn who_denies_a_caller_again_and_again_is_left_alone() {
    let mesh = Mesh::new();
    let (strict, open, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _strict = serve(&strict, &Counter::default(), Access::only([])).await;
    let _open = open.serve(SERVICE, answers(2)).await;
    for _ in 0..50 {
        assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(2));
    }
    assert_eq!(strict.server.stats().denied, 5, "its breaker opens");
}

#[tokio::test(start_paused = true)]
async fn who_is_denied_at_its_own_node_is_served_by_another() {
    let mesh = Mesh::new();
    let (own, open) = (mesh.node(1), mesh.node(2));
    let _own = serve(&own, &Counter::default(), Access::only([])).await;
    assert_denied(own.call(SERVICE, &()).await, own.id);
    let _open = open.serve(SERVICE, answers(2)).await;
    own.registry.clear_cache();
    let reply = own
        .call_with(SERVICE, &(), macula_rpc::CallOptions::default())
        .await
        .unwrap();
    let tried: Vec<_> = reply.attempts.iter().map(|a| a.provider).collect();
    assert_eq!(tried, [own.id, open.id]);
}

#[tokio::test(start_paused = true)]
async fn who_is_denied_takes_no_place_and_does_not_learn_that_there_is_none() {
    let mesh = Mesh::new();
    let (provider, friend, other) = (mesh.node(1), mesh.node(100), mesh.node(101));
    let (begun, ended) = (Counter::default(), Counter::default());
    let options = ServiceOptions {
        max_running: NonZeroUsize::MIN,
        access: Access::only([friend.id]),
        ..ServiceOptions::default()
    };
    let service = Service::with_options(hangs(&begun, &ended), options);
    let _ad = provider
        .serve_as(SERVICE, service, Delivery::AtLeastOnce)
        .await;
    assert_denied(other.call(SERVICE, &()).await, provider.id);
    let denied_meanwhile = async {
        begun.reaches(1).await;
        other.call::<u32>(SERVICE, &()).await
    };
    tokio::select! {
        biased;
        outcome = denied_meanwhile => assert_denied(outcome, provider.id),
        outcome = friend.call::<u32>(SERVICE, &()) => panic!("ended: {outcome:?}"),
    }
    assert_eq!(begun.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rule_reads_what_the_caller_says_besides_the_arguments() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let rule = Access::when(|context| context.headers.value("token") == Some("open sesame"));
    let _ad = serve(&provider, &Counter::default(), rule).await;
    for (token, is_admitted) in [("open sesame", true), ("open barley", false)] {
        let mut headers = Metadata::new();
        headers.insert("token", token).unwrap();
        let options = CallOptions {
            headers,
            ..CallOptions::default()
        };
        for from in [&caller, &provider] {
            let outcome = from.call_with(SERVICE, &(), options.clone()).await;
            let is_denied = matches!(outcome, Err(CallError::Denied { .. }));
            assert_eq!((outcome.is_ok(), is_denied), (is_admitted, !is_admitted));
        }
    }
}
