//! What is counted of each service, on the side that calls and on the side that answers.

use std::sync::Arc;
use std::time::Duration;

use macula_rpc::{
    CallOptions, CalledStats, FailureClass, MAX_METERED_SERVICES, ServedStats, typed,
};
use tokio::time::sleep;

use crate::mesh::{Counter, Mesh, Node, answers, fails, hangs, name, within};

const SERVICE: &str = "app.f";

fn called(node: &Node, service: &str) -> CalledStats {
    let mut all = node.caller.service_stats().services;
    all.remove(&name(service)).unwrap_or_default()
}

fn served(node: &Node, service: &str) -> ServedStats {
    let mut all = node.server.service_stats().services;
    all.remove(&name(service)).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn both_sides_count_what_they_see_of_a_call() {
    const TAKES: Duration = Duration::from_millis(100);
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let slow = typed(|(): ()| async {
        sleep(TAKES).await;
        Ok(1_u32)
    });
    let _ad = provider.serve(SERVICE, slow).await;
    for _ in 0..3 {
        caller.call::<u32>(SERVICE, &()).await.unwrap();
    }
    let (called, served) = (called(&caller, SERVICE), served(&provider, SERVICE));
    assert_eq!((called.calls, called.running, called.local), (3, 0, 0));
    assert_eq!((called.attempts, called.retries), (3, 0));
    assert!(called.failures.is_empty() && called.attempt_failures.is_empty());
    assert_eq!((served.calls, served.running), (3, 0));
    assert!(served.failures.is_empty());
    let takes = TAKES.as_nanos() as u64;
    assert_eq!(
        (served.duration.count, served.duration.sum_nanos),
        (3, 3 * takes)
    );
    assert_eq!(served.duration.p99_nanos, takes);
    assert_eq!(called.latency.count, 3);
    assert!(
        called.latency.p50_nanos > takes,
        "there is a way between them"
    );
    assert!(caller.server.service_stats().services.is_empty());
    assert!(provider.caller.service_stats().services.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_of_this_node_itself_counts_on_both_sides() {
    let mesh = Mesh::new();
    let node = mesh.node(1);
    let _ad = node.serve(SERVICE, answers(1)).await;
    node.call::<u32>(SERVICE, &()).await.unwrap();
    let called = called(&node, SERVICE);
    assert_eq!((called.calls, called.local, called.attempts), (1, 1, 0));
    assert_eq!(called.latency.count, 1);
    assert_eq!(served(&node, SERVICE).calls, 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_another_made_up_for_shows_as_such() {
    let mesh = Mesh::new();
    let (one, two, caller) = (mesh.node(1), mesh.node(2), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let _slow = one.serve(SERVICE, hangs(&begun, &ended)).await;
    let _good = two.serve(SERVICE, answers(2)).await;
    caller.call::<u32>(SERVICE, &()).await.unwrap();
    let called = called(&caller, SERVICE);
    assert_eq!((called.calls, called.attempts, called.retries), (1, 2, 1));
    assert!(called.failures.is_empty());
    assert_eq!(called.attempt_failures, [(FailureClass::Timeout, 1)].into());
    within(ended.reaches(1)).await;
    let slow = served(&one, SERVICE);
    assert_eq!((slow.calls, slow.running, slow.duration.count), (1, 0, 0));
    let stopped: u64 = slow.failures.values().sum();
    assert_eq!(stopped, 1, "{:?}", slow.failures);
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_by_their_class_on_both_sides() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let broken = typed(|(): ()| async move {
        assert!(std::hint::black_box(false), "by request");
        Ok(0_u32)
    });
    let _broken = provider.serve("app.broken", broken).await;
    let _failing = provider.serve("app.fails", fails("no luck")).await;
    let _strict = provider
        .serve("app.strict", typed(|text: String| async move { Ok(text) }))
        .await;
    for (service, class) in [
        ("app.broken", FailureClass::Panicked),
        ("app.fails", FailureClass::Handler),
        ("app.strict", FailureClass::Unreadable),
    ] {
        let error = caller.call::<u32>(service, &()).await.unwrap_err();
        assert_eq!(error.class(), class);
        let (called, served) = (called(&caller, service), served(&provider, service));
        assert_eq!(called.failures, [(class, 1)].into(), "{service}");
        assert_eq!(served.failures, [(class, 1)].into(), "{service}");
        let answered = u64::from(class == FailureClass::Handler);
        assert_eq!(called.latency.count, answered, "{service}");
        assert_eq!(served.duration.count, answered, "{service}");
    }
    caller.call::<u32>("app.nowhere", &()).await.unwrap_err();
    let nowhere = called(&caller, "app.nowhere");
    assert_eq!(nowhere.failures, [(FailureClass::NotFound, 1)].into());
    assert_eq!((nowhere.attempts, nowhere.latency.count), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn overload_and_calls_under_way_are_counted_as_they_happen() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let _ad = provider
        .serve_limited(SERVICE, hangs(&begun, &ended), 1)
        .await;
    let caller = Arc::new(caller);
    let calling = caller.clone();
    let first = tokio::spawn(async move { calling.call::<u32>(SERVICE, &()).await });
    within(begun.reaches(1)).await;
    caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    let (of_caller, of_provider) = (called(&caller, SERVICE), served(&provider, SERVICE));
    assert_eq!((of_caller.calls, of_caller.running), (2, 1));
    assert_eq!(of_caller.failures, [(FailureClass::Overloaded, 1)].into());
    assert_eq!((of_provider.calls, of_provider.running), (2, 1));
    assert_eq!(of_provider.failures, [(FailureClass::Overloaded, 1)].into());

    first.abort();
    within(ended.reaches(1)).await;
    let of_caller = called(&caller, SERVICE);
    assert_eq!(of_caller.running, 0);
    assert_eq!(of_caller.failures.get(&FailureClass::GivenUp), Some(&1));
    let of_provider = served(&provider, SERVICE);
    assert_eq!(of_provider.failures.get(&FailureClass::Stopped), Some(&1));
    assert_eq!(of_provider.running, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_of_services_adds_up_to_what_is_counted_of_all() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _good = provider.serve("app.good", answers(1)).await;
    let _failing = provider.serve("app.fails", fails("no luck")).await;
    for service in ["app.good", "app.fails", "app.good", "app.nowhere"] {
        let _outcome = caller.call::<u32>(service, &()).await;
    }
    let (all, total) = (caller.caller.stats(), caller.caller.service_stats().total());
    assert_eq!((all.calls, all.attempts), (total.calls, total.attempts));
    assert_eq!(all.failed, total.failures.values().sum::<u64>());
    let (all, total) = (
        provider.server.stats(),
        provider.server.service_stats().total(),
    );
    assert_eq!((all.calls, all.succeeded), (3, 2));
    assert_eq!((total.calls, total.duration.count), (3, 3));
    assert_eq!(total.failures, [(FailureClass::Handler, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_provides_fill_no_memory() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let names = MAX_METERED_SERVICES + 500;
    for number in 0..names {
        let service = format!("app.nowhere{number}");
        let options = CallOptions::default();
        caller.call_with(&service, &(), options).await.unwrap_err();
    }
    let services = caller.caller.service_stats();
    assert!(services.services.len() <= MAX_METERED_SERVICES);
    assert!(services.other.calls > 0);
    assert_eq!(services.total().calls, names as u64);
    // What a peer asks for and is not there is no service of this node.
    assert!(provider.server.service_stats().services.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_reads_the_same_in_every_version() {
    let mesh = Mesh::new();
    let node = mesh.node(1);
    let _ad = node.serve(SERVICE, fails("no luck")).await;
    node.call::<u32>(SERVICE, &()).await.unwrap_err();
    let called = serde_json::to_value(node.caller.service_stats()).unwrap();
    let service = &called["services"][SERVICE];
    for field in ["calls", "running", "local", "attempts", "retries"] {
        assert!(service[field].is_u64(), "{field}: {service}");
    }
    assert_eq!(service["failures"]["handler"], 1);
    assert!(service["attempt_failures"].is_object());
    let latency = &service["latency"];
    for field in [
        "count",
        "sum_nanos",
        "max_nanos",
        "p50_nanos",
        "p90_nanos",
        "p99_nanos",
    ] {
        assert!(latency[field].is_u64(), "{field}: {latency}");
    }
    assert_eq!(latency["buckets"][0]["count"], 1);
    assert!(latency["buckets"][0]["at_most_nanos"].is_u64());
    assert!(called["other"].is_object());
    let served = serde_json::to_value(node.server.service_stats()).unwrap();
    let service = &served["services"][SERVICE];
    assert_eq!(
        (&service["calls"], &service["running"]),
        (&1.into(), &0.into())
    );
    assert_eq!(service["failures"]["handler"], 1);
    assert_eq!(service["duration"]["count"], 1);
}
