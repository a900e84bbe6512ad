//! Handlers that panic, hang, flood, or are taken back.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::Delivery;
use macula_rpc::{
    CallError, CallOptions, Codec, Executed, Handler, HandlerError, HandlerFailure, InboundCall,
    Runs, Service, ServiceOptions, typed,
};
use macula_transport::{ProtocolId, Refusal, Request, RequestFailure};
use tokio::time::Instant;

use crate::mesh::{Counter, Mesh, Node, answers, counts, hangs, name, within};

const SERVICE: &str = "app.f";

fn panics() -> Arc<dyn Handler> {
    typed(|(): ()| async move {
        assert!(std::hint::black_box(false), "by request");
        Ok(0_u32)
    })
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_to_its_caller_and_nothing_else() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _bad = provider.serve("app.bad", panics()).await;
    let _good = provider.serve("app.good", answers(1)).await;
    let started = Instant::now();
    for _ in 0..3 {
        let bad = caller.call::<u32>("app.bad", &());
        let good = caller.call::<u32>("app.good", &());
        let (bad, good) = tokio::join!(bad, good);
        assert!(matches!(bad, Err(CallError::HandlerPanicked { .. })));
        assert_eq!(good, Ok(1));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "at once");
    assert_eq!(provider.server.stats().panicked, 3);
    assert_eq!(provider.server.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_service_is_answered_at_once() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _ad = provider.serve(SERVICE, answers(1)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    provider.server.unadvertise(&name(SERVICE)).await.unwrap();
    let started = Instant::now();
    let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    assert_eq!(error.executed(), Executed::No);
    assert!(
        matches!(error, CallError::AllProvidersFailed { .. }),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(1));
    let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    assert_eq!(error, CallError::ServiceNotFound);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_call_are_refused() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _ad = provider.serve(SERVICE, answers(1)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    let request = Request {
        protocol: ProtocolId::RPC,
        timeout: Duration::from_secs(1),
        body: Bytes::from_static(b"garbage"),
    };
    let contact = macula_core::Contact::new(provider.id, []);
    let error = within(caller.endpoint.request(&contact, request))
        .await
        .unwrap_err();
    assert_eq!(error.failure, RequestFailure::Refused(Refusal::Malformed));
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_stopped_at_the_deadline_even_if_its_caller_has_vanished() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let _ad = provider.serve(SERVICE, hangs(&begun, &ended)).await;
    let started = Instant::now();
    let vanish = async {
        begun.reaches(1).await;
        mesh.cut(&caller, &provider);
        ended.reaches(1).await;
    };
    let call = caller.call::<u32>(SERVICE, &());
    let (outcome, ()) = within(async { tokio::join!(call, vanish) }).await;
    // The caller does not wait for the deadline: it finds out that nobody answers any more.
    let error = outcome.unwrap_err();
    assert!(
        matches!(error, CallError::AllProvidersFailed { .. }),
        "{error}"
    );
    assert_eq!(error.executed(), Executed::Unknown);
    assert!(started.elapsed() < Duration::from_secs(6));
    assert_eq!(provider.server.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_local_handler_is_stopped_at_the_deadline_too() {
    let mesh = Mesh::new();
    let node = mesh.node(1);
    let (begun, ended) = (Counter::default(), Counter::default());
    let _ad = node.serve(SERVICE, hangs(&begun, &ended)).await;
    let started = Instant::now();
    let error = node.call::<u32>(SERVICE, &()).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    assert_eq!(error.executed(), Executed::Unknown);
    assert_eq!(started.elapsed().as_secs(), 5);
    ended.reaches(1).await;
    assert_eq!(begun.count(), 1);
}

/// By its argument: a result, an error, a panic, or no end. Counts the ends.
fn four_ways(ended: &Counter) -> Arc<dyn Handler> {
    let ended = ended.clone();
    typed(move |way: u8| {
        let ended = ended.on_drop();
        async move {
            let _ended = ended;
            match way {
                0 => Ok(0_u32),
                1 => Err(HandlerError::new("one")),
                2 => panic!("two"),
                _ => std::future::pending().await,
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn permits_return_on_success_error_panic_timeout_and_cancel() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let ended = Counter::default();
    for runs in [Runs::Spawned, Runs::Inline] {
        let options = ServiceOptions {
            max_running: NonZeroUsize::MIN,
            runs,
            ..ServiceOptions::default()
        };
        let service = Service::with_options(four_ways(&ended), options);
        let delivery = Delivery::AtLeastOnce;
        let _ad = provider.serve_as(SERVICE, service, delivery).await;
        for node in [&caller, &provider] {
            for _ in 0..3 {
                end_in_every_way(node, &ended).await;
            }
        }
    }
    let stats = provider.server.stats();
    let ends = [stats.succeeded, stats.failed, stats.panicked, stats.stopped];
    assert_eq!(
        (stats.running, stats.calls, ends),
        (0, 60, [12, 12, 12, 24])
    );
}

/// Each call finds the one place that the one before has given back.
async fn end_in_every_way(node: &Node, ended: &Counter) {
    assert_eq!(node.call::<u32>(SERVICE, &0_u8).await, Ok(0));
    let error = node.call::<u32>(SERVICE, &1_u8).await;
    assert!(matches!(error, Err(CallError::Handler { .. })), "{error:?}");
    let error = node.call::<u32>(SERVICE, &2_u8).await;
    assert_eq!(error.unwrap_err().executed(), Executed::Yes);
    let short = CallOptions {
        timeout: Duration::from_millis(100),
        ..CallOptions::default()
    };
    let ends = ended.count();
    let error = node.call_with(SERVICE, &3_u8, short).await;
    assert!(matches!(error, Err(CallError::Timeout { .. })), "{error:?}");
    ended.reaches(ends + 1).await;
    let leaves = tokio::time::timeout(Duration::from_millis(100), node.call::<u32>(SERVICE, &3_u8));
    assert!(leaves.await.is_err());
    ended.reaches(ends + 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_service_is_overloaded_at_once_and_its_neighbour_is_not() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let _full = provider
        .serve_limited(SERVICE, hangs(&begun, &ended), 2)
        .await;
    let _neighbour = provider.serve("app.g", answers(2)).await;
    let hogs = async {
        let one = caller.call::<u32>(SERVICE, &());
        let two = caller.call::<u32>(SERVICE, &());
        tokio::join!(one, two)
    };
    let checks = async {
        begun.reaches(2).await;
        for node in [&caller, &provider] {
            let started = Instant::now();
            let error = node.call::<u32>(SERVICE, &()).await.unwrap_err();
            assert!(matches!(error, CallError::Overloaded { .. }), "{error}");
            assert_eq!(error.executed(), Executed::No);
            assert!(started.elapsed() < Duration::from_millis(100));
            assert_eq!(node.call::<u32>("app.g", &()).await, Ok(2));
        }
    };
    tokio::select! {
        biased;
        () = checks => {}
        ended = hogs => panic!("ended: {ended:?}"),
    }
    ended.reaches(2).await;
}

#[tokio::test(start_paused = true)]
async fn after_unadvertise_no_handler_of_the_service_runs() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let service = Service::new(hangs(&begun, &ended));
    let _ad = provider
        .serve_as(SERVICE, service.clone(), Delivery::AtMostOnce)
        .await;
    let call = caller.call::<u32>(SERVICE, &());
    let take_back = async {
        begun.reaches(1).await;
        let was_there = provider.server.unadvertise(&name(SERVICE)).await;
        assert_eq!(was_there, Ok(true));
        assert_eq!((ended.count(), service.running()), (1, 0));
    };
    let (error, ()) = within(async { tokio::join!(call, take_back) }).await;
    let error = error.unwrap_err();
    assert!(matches!(error, CallError::Cancelled { .. }), "{error}");
    assert_eq!(error.executed(), Executed::Unknown);
    assert_eq!(provider.server.unadvertise(&name(SERVICE)).await, Ok(false));
}

/// Counts that it began, then takes its time to answer.
fn takes(begun: &Counter, millis: u64, number: u32) -> Arc<dyn Handler> {
    let begun = begun.clone();
    typed(move |(): ()| {
        begun.add();
        async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(number)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn unadvertise_lets_a_short_handler_end() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let begun = Counter::default();
    let _ad = provider.serve(SERVICE, takes(&begun, 300, 3)).await;
    let call = caller.call::<u32>(SERVICE, &());
    let take_back = async {
        begun.reaches(1).await;
        provider.server.unadvertise(&name(SERVICE)).await.unwrap();
    };
    let (answer, ()) = within(async { tokio::join!(call, take_back) }).await;
    assert_eq!(answer, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn drain_refuses_new_calls_waits_for_running_ones_and_twice_is_harmless() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let (begun, fast) = (Counter::default(), Counter::default());
    let _slow = provider.serve(SERVICE, takes(&begun, 1000, 4)).await;
    let _fast = provider.serve("app.g", counts(&fast, 5)).await;
    assert_eq!(caller.call::<u32>("app.g", &()).await, Ok(5));
    let call = caller.call::<u32>(SERVICE, &());
    let drain = async {
        begun.reaches(1).await;
        let drained = provider.server.drain();
        let refused = caller.call::<u32>("app.g", &());
        let (drained, refused) = tokio::join!(drained, refused);
        assert!(drained);
        assert_eq!(refused.unwrap_err().executed(), Executed::No);
        assert!(provider.server.drain().await, "twice");
    };
    let (answer, ()) = within(async { tokio::join!(call, drain) }).await;
    assert_eq!(answer, Ok(4), "what ran came to its end");
    assert_eq!(fast.count(), 1);
    let error = provider.call::<u32>("app.g", &()).await.unwrap_err();
    assert!(matches!(error, CallError::ShuttingDown { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_second_server_on_one_endpoint_is_an_error() {
    let mesh = Mesh::new();
    let node = mesh.node(1);
    let second = macula_rpc::Server::start(
        &node.endpoint,
        node.registry.clone(),
        tokio::runtime::Handle::current(),
        macula_rpc::ServerConfig::default(),
    );
    assert!(matches!(
        second.err(),
        Some(macula_rpc::ServerError::AlreadyServing(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_is_carried_out_nowhere() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let begun = Counter::default();
    let _ad = provider.serve(SERVICE, counts(&begun, 1)).await;
    let options = CallOptions {
        timeout: Duration::ZERO,
        ..CallOptions::default()
    };
    let body = Codec::Postcard.encode(&()).unwrap();
    let call = caller.send(SERVICE, Codec::Postcard, body, options);
    assert!(call.await.is_err());
    assert_eq!(begun.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_nobody_holds_refuses_calls() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _ad = provider.serve(SERVICE, answers(1)).await;
    let Node {
        server,
        caller: own,
        ..
    } = provider;
    drop((server, own));
    let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    assert!(
        matches!(error, CallError::AllProvidersFailed { .. }),
        "{error}"
    );
    assert_eq!(error.executed(), Executed::No);
}

/// Panics before it has made a future.
struct PanicsAtOnce;

impl Handler for PanicsAtOnce {
    fn call<'a>(
        self: Arc<Self>,
        _: InboundCall,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, HandlerFailure>> + Send + 'a>>
    where
        Self: 'a,
    {
        panic!("by request")
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_there_is_a_future_is_its_callers_error() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    for runs in [Runs::Spawned, Runs::Inline] {
        let options = ServiceOptions {
            runs,
            ..ServiceOptions::default()
        };
        let service = Service::with_options(Arc::new(PanicsAtOnce), options);
        let delivery = Delivery::AtLeastOnce;
        let _ad = provider.serve_as(SERVICE, service, delivery).await;
        for from in [&caller, &provider] {
            let bad = from.call::<u32>(SERVICE, &()).await;
            assert!(
                matches!(bad, Err(CallError::HandlerPanicked { .. })),
                "{bad:?}"
            );
        }
    }
    let stats = provider.server.stats();
    assert_eq!((stats.panicked, stats.running), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_service_of_a_node_that_drains_says_that_it_shuts_down() {
    let mesh = Mesh::new();
    let provider = mesh.node(1);
    let (begun, ended) = (Counter::default(), Counter::default());
    let _ad = provider
        .serve_limited(SERVICE, hangs(&begun, &ended), 1)
        .await;
    let check = async {
        begun.reaches(1).await;
        provider.server.stop_admitting();
        let error = provider.call::<u32>(SERVICE, &()).await.unwrap_err();
        assert!(matches!(error, CallError::ShuttingDown { .. }), "{error}");
    };
    tokio::select! {
        biased;
        () = check => {}
        ended = provider.call::<u32>(SERVICE, &()) => panic!("ended: {ended:?}"),
    }
}
