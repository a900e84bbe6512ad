//! Providers that fail, and the attempts that follow.

use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use macula_core::{Delivery, NodeId};
use macula_rpc::{
    AttemptOutcome, CallError, CallOptions, Executed, FailureClass, First, HandlerError,
    ServerConfig, Service, typed,
};
use tokio::time::Instant;

use crate::mesh::{Counter, Mesh, Node, answers, at_most_once, counts, fails, hangs, name, within};

const SERVICE: &str = "app.f";

/// Nodes 1 ..= `count` that refuse to be dialled, after they have advertised the service.
async fn refusing(mesh: &Mesh, count: u8) -> Vec<Node> {
    let mut nodes = Vec::new();
    for seed in 1..=count {
        let node = mesh.node(seed);
        // The handle is kept alive by forgetting it: the service stays advertised.
        std::mem::forget(node.serve(SERVICE, answers(u32::from(seed))).await);
        mesh.network.refuse(node.id);
        nodes.push(node);
    }
    nodes
}

fn tried(error: &CallError) -> Vec<NodeId> {
    error.attempts().iter().map(|a| a.provider).collect()
}

#[tokio::test(start_paused = true)]
async fn all_providers_failing_lists_each_attempt_in_order() {
    let mesh = Mesh::new();
    let caller = mesh.node(0);
    for count in [1, 2, 3] {
        let mesh = Mesh::new();
        let nodes = refusing(&mesh, count).await;
        let caller = mesh.node(100);
        let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
        assert!(
            matches!(error, CallError::AllProvidersFailed { .. }),
            "{error}"
        );
        assert_eq!(
            tried(&error),
            nodes.iter().map(|n| n.id).collect::<Vec<_>>()
        );
        assert_eq!(error.executed(), Executed::No);
        let text = error.to_string();
        let shown: Vec<_> = nodes.iter().map(|n| text.find(&n.id.short())).collect();
        assert!(
            shown.is_sorted() && shown.iter().all(Option::is_some),
            "{text}"
        );
    }
    let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    assert_eq!(error, CallError::ServiceNotFound);
    assert_eq!(error.executed(), Executed::No);
}

#[tokio::test(start_paused = true)]
async fn ten_providers_are_given_up_after_exactly_three_attempts() {
    let mesh = Mesh::new();
    let nodes = refusing(&mesh, 10).await;
    let caller = mesh.node(100);
    let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    assert!(
        matches!(error, CallError::MaxAttemptsExceeded { .. }),
        "{error}"
    );
    let first_three: Vec<_> = nodes.iter().take(3).map(|n| n.id).collect();
    assert_eq!(tried(&error), first_three);
    assert_eq!(caller.caller.stats().attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_ask_for_more_or_fewer_attempts() {
    for (max, count) in [(1, 1), (2, 2), (5, 4)] {
        let mesh = Mesh::new();
        let _nodes = refusing(&mesh, 4).await;
        let caller = mesh.node(100);
        let options = CallOptions {
            max_attempts: NonZeroU8::new(max),
            ..CallOptions::default()
        };
        let error = caller.call_with(SERVICE, &(), options).await.unwrap_err();
        assert_eq!(error.attempts().len(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_answer_is_left_for_the_next_within_one_deadline() {
    let mesh = Mesh::new();
    let (silent, good, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let _silent = silent.serve(SERVICE, hangs(&begun, &ended)).await;
    let _good = good.serve(SERVICE, answers(2)).await;
    let started = Instant::now();
    let reply = caller
        .call_with(SERVICE, &(), CallOptions::default())
        .await
        .unwrap();
    assert_eq!(reply.provider, good.id);
    assert_eq!(reply.attempts[0].outcome, AttemptOutcome::TimedOut);
    assert_eq!(reply.attempts[1].outcome, AttemptOutcome::Answered);
    assert!(started.elapsed() < Duration::from_secs(3));
    ended.reaches(1).await;
    assert_eq!(begun.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_silent_provider_times_out_at_the_deadline() {
    let mesh = Mesh::new();
    let (silent, caller) = (mesh.node(1), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let _silent = silent.serve(SERVICE, hangs(&begun, &ended)).await;
    let started = Instant::now();
    let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    assert_eq!(error.executed(), Executed::Unknown);
    assert!(started.elapsed() <= Duration::from_millis(5010));
}

#[tokio::test(start_paused = true)]
async fn two_black_holes_before_a_good_provider_leave_it_enough_time() {
    let mesh = Mesh::new();
    let caller = mesh.node(100);
    let mut nodes = Vec::new();
    for seed in 1..=3 {
        let node = mesh.node(seed);
        std::mem::forget(node.serve(SERVICE, answers(u32::from(seed))).await);
        if seed < 3 {
            mesh.cut(&caller, &node);
        }
        nodes.push(node);
    }
    let started = Instant::now();
    let answer: u32 = caller.call(SERVICE, &()).await.unwrap();
    assert_eq!(answer, 3);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_executed_is_tried_elsewhere_even_at_most_once() {
    let mesh = Mesh::new();
    let caller = mesh.node(100);
    let good = mesh.node(200);
    let _good = good.serve(SERVICE, answers(200)).await;

    let refused = mesh.node(1);
    let _refused = refused.serve(SERVICE, answers(1)).await;
    mesh.network.refuse(refused.id);

    let draining = mesh.node(2);
    let _draining = draining.serve(SERVICE, answers(2)).await;
    draining.server.stop_admitting();

    let overloaded = mesh.node(3);
    let (begun, ended) = (Counter::default(), Counter::default());
    let _overloaded = overloaded
        .serve_limited(SERVICE, hangs(&begun, &ended), 1)
        .await;
    let hog = overloaded.caller.clone();
    let hog = tokio::spawn(async move {
        let call = macula_rpc::Call::new(
            name(SERVICE),
            macula_rpc::Codec::Postcard,
            bytes::Bytes::new(),
        );
        let _ = hog.call(call).await;
    });
    begun.reaches(1).await;

    let options = CallOptions {
        max_attempts: NonZeroU8::new(4),
        ..at_most_once()
    };
    let reply = caller.call_with(SERVICE, &(), options).await.unwrap();
    let outcomes: Vec<_> = reply.attempts.iter().map(|a| a.outcome.clone()).collect();
    assert!(matches!(outcomes[0], AttemptOutcome::Unreachable(_)));
    assert_eq!(
        outcomes[1..],
        [
            AttemptOutcome::ShuttingDown,
            AttemptOutcome::Overloaded,
            AttemptOutcome::Answered
        ]
    );
    assert_eq!(reply.provider, good.id);
    hog.abort();
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_before_the_call_is_no_reason_to_stop_even_at_most_once() {
    let mesh = Mesh::new();
    let (lost, good, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _lost = lost.serve(SERVICE, answers(1)).await;
    let _good = good.serve(SERVICE, answers(2)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    mesh.kill(&lost, &caller).await;
    let reply = caller.call_with(SERVICE, &(), at_most_once()).await;
    let reply = reply.unwrap();
    let tried: Vec<_> = reply.attempts.iter().map(|a| a.executed).collect();
    assert_eq!(tried, [Executed::No, Executed::Yes]);
    assert_eq!(reply.provider, good.id);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_run_once_waits_for_its_provider_until_the_deadline() {
    let mesh = Mesh::new();
    let (slow, other, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let (begun, ended, second) = (Counter::default(), Counter::default(), Counter::default());
    let sleeps = typed(|(): ()| async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        Ok(1_u32)
    });
    let _slow = slow.serve(SERVICE, sleeps).await;
    let _other = other.serve(SERVICE, counts(&second, 2)).await;
    let _hangs = slow.serve("app.hangs", hangs(&begun, &ended)).await;
    let _counts = other.serve("app.hangs", counts(&second, 2)).await;
    caller
        .endpoint
        .connect(&slow.contact().into())
        .await
        .unwrap();
    let reply = caller.call_with(SERVICE, &(), at_most_once()).await;
    assert_eq!(reply.unwrap().provider, slow.id);
    let error = caller.call_with("app.hangs", &(), at_most_once()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    assert_eq!(error.executed(), Executed::Unknown);
    assert_eq!((tried(&error), second.count()), (vec![slow.id], 0));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_no_longer_serves_is_left_for_the_next() {
    let mesh = Mesh::new();
    let (gone, good, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _gone = gone.serve(SERVICE, answers(1)).await;
    let _good = good.serve(SERVICE, answers(2)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    assert!(gone.server.unadvertise(&name(SERVICE)).await.unwrap());
    let reply = caller
        .call_with(SERVICE, &(), at_most_once())
        .await
        .unwrap();
    assert_eq!(reply.provider, good.id);
    assert_eq!(reply.attempts[0].outcome, AttemptOutcome::NotServed);
    assert_eq!(reply.attempts[0].executed, Executed::No);
    assert_eq!(caller.cached(SERVICE), [good.id], "the cache is repaired");
}

/// Calls a provider that is killed while its handler runs; another one stands by.
async fn call_lost_after_sending(
    record: Delivery,
    options: CallOptions,
) -> (Result<u32, CallError>, usize) {
    let mesh = Mesh::new();
    let (lost, other, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let (begun, ended, second) = (Counter::default(), Counter::default(), Counter::default());
    let _lost = lost
        .serve_as(SERVICE, Service::new(hangs(&begun, &ended)), record)
        .await;
    let _other = other
        .serve_as(SERVICE, Service::new(counts(&second, 2)), record)
        .await;
    let call = caller.call_with(SERVICE, &(), options);
    let kill = async {
        begun.reaches(1).await;
        mesh.network.kill(lost.id);
    };
    let (reply, ()) = within(async { tokio::join!(call, kill) }).await;
    let result = reply.map(|reply| reply.codec.decode(&reply.body).unwrap());
    (result, second.count())
}

#[tokio::test(start_paused = true)]
async fn a_call_lost_after_sending_goes_to_the_next_provider() {
    let (result, second) =
        call_lost_after_sending(Delivery::AtLeastOnce, CallOptions::default()).await;
    assert_eq!(result, Ok(2));
    assert_eq!(second, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_lost_after_sending_stops_if_call_or_record_say_at_most_once() {
    for (record, options) in [
        (Delivery::AtLeastOnce, at_most_once()),
        (Delivery::AtMostOnce, CallOptions::default()),
    ] {
        let (result, second) = call_lost_after_sending(record, options).await;
        let error = result.unwrap_err();
        assert!(matches!(error, CallError::Connection { .. }), "{error}");
        assert_eq!(error.executed(), Executed::Unknown);
        assert_eq!(error.attempts().len(), 1);
        assert_eq!(second, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_error_comes_back_verbatim_after_one_attempt() {
    let mesh = Mesh::new();
    let (failing, other, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let second = Counter::default();
    let _failing = failing.serve(SERVICE, fails("no such user: ünknown")).await;
    let _other = other.serve(SERVICE, counts(&second, 2)).await;
    let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    let expected = HandlerError::new("no such user: ünknown").with_code(7);
    assert!(matches!(&error, CallError::Handler { error, .. } if *error == expected));
    assert_eq!(tried(&error), [failing.id]);
    assert_eq!(error.to_string(), "service error: no such user: ünknown");
    assert_eq!(error.executed(), Executed::Yes);
    assert_eq!(caller.caller.stats().attempts, 1);
    assert_eq!(second.count(), 0);
    assert_eq!(caller.cached(SERVICE), [failing.id, other.id]);
}

#[tokio::test(start_paused = true)]
async fn whatever_the_last_attempt_comes_to_those_before_it_are_listed() {
    let mesh = Mesh::new();
    let config = ServerConfig {
        max_body_bytes: NonZeroUsize::new(4).unwrap(),
        ..ServerConfig::default()
    };
    let dead = mesh.node(1);
    let (last, caller) = (mesh.node_with(2, Arc::new(First), config), mesh.node(100));
    let panics = typed(|(): ()| async move {
        assert!(std::hint::black_box(false), "by request");
        Ok(0_u32)
    });
    let large = typed(|(): ()| async move { Ok("more than four bytes") });
    let unreadable = typed(|arguments: u64| async move { Ok(arguments) });
    let fails = fails("no luck");
    for (service, handler, said) in [
        ("app.fails", fails, "service error: no luck"),
        ("app.panics", panics, "handler panicked"),
        ("app.unreadable", unreadable, "arguments cannot be decoded"),
        ("app.large", large, "result too large"),
    ] {
        // Kept by forgetting it: the service stays advertised.
        std::mem::forget(dead.serve(service, answers(1)).await);
        std::mem::forget(last.serve(service, handler).await);
        mesh.network.refuse(dead.id);
        let error = caller.call::<u32>(service, &()).await.unwrap_err();
        assert_eq!(tried(&error), [dead.id, last.id], "{error}");
        let text = error.to_string();
        assert!(text.starts_with(said), "{text}");
        let before = format!(", after other attempts: 1. {}", dead.id.short());
        assert!(text.contains(&before), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_calls_and_attempts_come_to_is_counted_by_service() {
    let mesh = Mesh::new();
    let (dead, good, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let _dead = dead.serve(SERVICE, answers(1)).await;
    let _good = good.serve(SERVICE, answers(2)).await;
    let _fails = good.serve("app.fails", fails("no luck")).await;
    mesh.network.refuse(dead.id);
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(2));
    assert!(caller.call::<u32>("app.fails", &()).await.is_err());
    assert!(caller.call::<u32>("app.nobody", &()).await.is_err());
    assert_eq!(good.call::<u32>(SERVICE, &()).await, Ok(2));

    let called = caller.caller.service_stats().services;
    let of = &called[&name(SERVICE)];
    assert_eq!((of.calls, of.attempts, of.retries), (1, 2, 1));
    assert!(of.failures.is_empty());
    assert_eq!(of.attempt_failures[&FailureClass::Unreachable], 1);
    let fails = &called[&name("app.fails")];
    assert_eq!(fails.failures[&FailureClass::Handler], 1);
    assert_eq!((of.latency.count, fails.latency.count), (1, 1));
    let nobody = &called[&name("app.nobody")];
    assert_eq!(nobody.failures[&FailureClass::NotFound], 1);
    assert_eq!((nobody.attempts, nobody.latency.count), (0, 0));
    let own = &good.caller.service_stats().services[&name(SERVICE)];
    assert_eq!((own.calls, own.local, own.attempts), (1, 1, 0));
    let stats = caller.caller.stats();
    assert_eq!((stats.calls, stats.failed, stats.failovers), (3, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_of_an_abandoned_attempt_is_ignored() {
    let mesh = Mesh::new();
    let (late, good, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let slow = typed(|(): ()| async {
        tokio::time::sleep(Duration::from_millis(2600)).await;
        Ok(1_u32)
    });
    let _late = late.serve(SERVICE, slow).await;
    let slower = typed(|(): ()| async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(2_u32)
    });
    let _good = good.serve(SERVICE, slower).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(2));
    let _other = late.serve("app.g", answers(3)).await;
    assert_eq!(caller.call::<u32>("app.g", &()).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_caller_makes_no_further_attempt_and_stops_the_handler() {
    let mesh = Mesh::new();
    let (first, other, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let (begun, ended, second) = (Counter::default(), Counter::default(), Counter::default());
    let _first = first.serve(SERVICE, hangs(&begun, &ended)).await;
    let _other = other.serve(SERVICE, counts(&second, 2)).await;
    let call = caller.call::<u32>(SERVICE, &());
    tokio::select! {
        result = call => panic!("answered: {result:?}"),
        () = begun.reaches(1) => {}
    }
    ended.reaches(1).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(second.count(), 0);
    assert_eq!(first.server.stats().running, 0);
}
