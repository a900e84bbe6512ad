//! Services that leave, are replaced, or go on while their node drains.

use std::sync::Arc;
use std::time::Duration;

use macula_core::{Delivery, DialTarget};
use macula_registry::Advertisement;
use macula_rpc::{
    CallError, CallOptions, Executed, Handler, Reply, Runs, Service, ServiceOptions, typed,
};
use tokio::time::{Instant, sleep, timeout};

use crate::mesh::{Counter, Mesh, Node, answers, at_most_once, counts, hangs, name, within};

const SERVICE: &str = "app.f";

/// How long a service that is left may take to end: `ServerConfig::retire_timeout`, and a bit.
const RETIRED: Duration = Duration::from_millis(1100);

fn options(runs: Runs) -> ServiceOptions {
    ServiceOptions {
        runs,
        ..ServiceOptions::default()
    }
}

/// A service with one call that does not end by itself.
struct Hanging {
    ad: Advertisement,
    service: Service,
    ended: Counter,
    call: tokio::task::JoinHandle<Result<Reply, CallError>>,
}

impl Hanging {
    async fn at(provider: &Node, caller: &Node, runs: Runs) -> Self {
        let (begun, ended) = (Counter::default(), Counter::default());
        let service = Service::with_options(hangs(&begun, &ended), options(runs));
        let delivery = Delivery::AtMostOnce;
        let ad = provider.serve_as(SERVICE, service.clone(), delivery).await;
        let caller = caller.caller.clone();
        let call = tokio::spawn(async move {
            let codec = macula_rpc::Codec::Postcard;
            let body = codec.encode(&()).unwrap();
            let mut call = macula_rpc::Call::new(name(SERVICE), codec, body);
            call.options.timeout = Duration::from_secs(60);
            caller.call(call).await
        });
        begun.reaches(1).await;
        Self {
            ad,
            service,
            ended,
            call,
        }
    }

    fn is_over(&self) -> bool {
        (self.ended.count(), self.service.running()) == (1, 0)
    }
}

async fn assert_stopped(call: tokio::task::JoinHandle<Result<Reply, CallError>>) {
    let error = within(call).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Cancelled { .. }), "{error}");
    assert_eq!(error.executed(), Executed::Unknown);
}

#[tokio::test(start_paused = true)]
async fn after_withdraw_no_handler_of_the_service_runs() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    for runs in [Runs::Spawned, Runs::Inline] {
        for from in [&caller, &provider] {
            let hanging = Hanging::at(&provider, from, runs).await;
            let Hanging {
                ad,
                service,
                ended,
                call,
            } = hanging;
            assert_eq!(within(ad.withdraw()).await, Ok(true));
            assert_eq!((ended.count(), service.running()), (1, 0));
            assert_stopped(call).await;
            caller.registry.clear_cache();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_advertisement_ends_its_handlers_in_the_background() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let Hanging {
        ad,
        service,
        ended,
        call,
    } = Hanging::at(&provider, &caller, Runs::Spawned).await;
    drop(ad);
    assert_eq!(service.running(), 1, "it may still end by itself");
    let reached = timeout(RETIRED, ended.reaches(1)).await;
    assert!(reached.is_ok(), "or else it is stopped");
    assert_stopped(call).await;
    assert_eq!(provider.server.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_handler_ends_while_its_successor_answers() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let hanging = Hanging::at(&provider, &caller, Runs::Spawned).await;
    let _successor = provider.serve(SERVICE, answers(2)).await;
    for from in [&caller, &provider] {
        assert_eq!(from.call::<u32>(SERVICE, &()).await, Ok(2));
    }
    let reached = timeout(RETIRED, hanging.ended.reaches(1)).await;
    assert!(reached.is_ok());
    assert!(hanging.is_over());
    assert_stopped(hanging.call).await;
    assert_eq!(within(hanging.ad.withdraw()).await, Ok(false));
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_replaced_all_the_time_answers_every_call() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _first = provider.serve(SERVICE, answers(0)).await;
    let replace = async {
        let mut ads = Vec::new();
        for number in 0..50 {
            ads.push(provider.serve(SERVICE, answers(number)).await);
            sleep(Duration::from_micros(700)).await;
        }
        ads
    };
    let call = async {
        for _ in 0..50 {
            assert!(caller.call::<u32>(SERVICE, &()).await.is_ok());
        }
    };
    let (_ads, ()) = within(async { tokio::join!(replace, call) }).await;
    assert_eq!(provider.server.stats().not_served, 0);
}

/// Counts that it began, then takes its time to answer.
fn takes(begun: &Counter, millis: u64) -> Arc<dyn Handler> {
    let begun = begun.clone();
    typed(move |(): ()| {
        begun.add();
        async move {
            sleep(Duration::from_millis(millis)).await;
            Ok(millis)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_counted_while_the_node_drains() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let begun = Counter::default();
    let _ad = provider.serve(SERVICE, takes(&begun, 1000)).await;
    let call = caller.call::<u64>(SERVICE, &());
    let drain = async {
        begun.reaches(1).await;
        let drained = provider.server.drain();
        let count = async {
            sleep(Duration::from_millis(10)).await;
            provider.server.stats().running
        };
        tokio::join!(drained, count)
    };
    let (answer, drained) = within(async { tokio::join!(call, drain) }).await;
    assert_eq!((answer, drained), (Ok(1000), (true, 1)));
    assert_eq!(provider.server.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_no_handler_longer_than_its_time() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let hanging = Hanging::at(&provider, &caller, Runs::Spawned).await;
    let started = Instant::now();
    assert!(!provider.server.drain().await);
    assert_eq!(started.elapsed(), macula_rpc::DEFAULT_DRAIN_TIMEOUT);
    assert_eq!(provider.server.stats().running, 1);
    hanging.call.abort();
    hanging.ended.reaches(1).await;
    assert!(provider.server.drain().await, "again");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_tells_of_itself_is_no_service_and_outlives_the_drain() {
    const PING: &str = "_sys.ping";
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let pinged = Counter::default();
    let of_system = |counter: &Counter| [(name(PING), Service::new(counts(counter, 7)))];
    assert!(provider.server.serve_system(of_system(&pinged)));
    let other = Counter::default();
    assert!(
        !provider.server.serve_system(of_system(&other)),
        "only once"
    );
    let _ad = provider.serve(SERVICE, answers(1)).await;
    assert_eq!(caller.call::<u32>(SERVICE, &()).await, Ok(1));
    let pinned = CallOptions {
        provider: Some(provider.id),
        ..CallOptions::default()
    };
    let ping = async |from: &Node| {
        let reply = from.call_with(PING, &(), pinned.clone()).await.unwrap();
        reply.codec.decode::<u32>(&reply.body).unwrap()
    };
    assert_eq!((ping(&caller).await, ping(&provider).await), (7, 7));
    assert_eq!(provider.call::<u32>(PING, &()).await, Ok(7));
    assert_eq!(provider.registry.stats().local_services, 1);
    assert_eq!(provider.registry.locals(), [name(SERVICE)]);

    provider.registry.withdraw_all().await;
    assert!(provider.server.drain().await);
    assert_eq!((ping(&caller).await, ping(&provider).await), (7, 7));
    assert_eq!((pinged.count(), other.count()), (5, 0));
    let stats = provider.server.stats();
    assert_eq!((stats.calls, stats.system_calls), (1, 5));
}

#[tokio::test]
async fn a_handler_whose_runtime_ends_is_an_error_to_its_caller_at_once() {
    let mesh = Mesh::new();
    let handlers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let provider = mesh.node_with_handlers_on(handlers.handle().clone(), 1);
    let caller = mesh.node(100);
    let (begun, ended) = (Counter::default(), Counter::default());
    let _hangs = provider.serve(SERVICE, hangs(&begun, &ended)).await;
    let inline = Service::with_options(answers(3), options(Runs::Inline));
    let delivery = Delivery::AtLeastOnce;
    let _inline = provider.serve_as("app.g", inline, delivery).await;
    let started = Instant::now();
    let end = async {
        begun.reaches(2).await;
        handlers.shutdown_background();
    };
    let (remote, local, ()) = tokio::join!(
        caller.call_with(SERVICE, &(), at_most_once()),
        provider.call_with(SERVICE, &(), at_most_once()),
        end
    );
    for outcome in [remote, local] {
        let error = outcome.unwrap_err();
        assert_eq!(error.executed(), Executed::Unknown, "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(2), "at once");
    assert_eq!(provider.server.stats().running, 0);
    assert_eq!(
        caller.call::<u32>("app.g", &()).await,
        Ok(3),
        "others go on"
    );
}

#[tokio::test(start_paused = true)]
async fn an_hour_between_two_wall_clocks_changes_no_deadline() {
    const HOUR: Duration = Duration::from_secs(3600);
    let mesh = Mesh::new();
    let ahead = mesh.ahead_by(HOUR);
    for (at_provider, at_caller, seed) in [(&mesh, &ahead, 1), (&ahead, &mesh, 2)] {
        let (provider, caller) = (at_provider.node(seed), at_caller.node(100 + seed));
        let (begun, ended) = (Counter::default(), Counter::default());
        let _hangs = provider.serve(SERVICE, hangs(&begun, &ended)).await;
        let _answers = provider.serve("app.g", answers(1)).await;
        let contact = macula_core::Contact {
            node_id: provider.id,
            addresses: provider.endpoint.addresses(),
        };
        let target = DialTarget::from(contact);
        caller.endpoint.connect(&target).await.unwrap();
        let pinned = CallOptions {
            provider: Some(provider.id),
            ..CallOptions::default()
        };
        assert!(caller.call_with("app.g", &(), pinned.clone()).await.is_ok());
        let started = Instant::now();
        let error = caller.call_with(SERVICE, &(), pinned).await.unwrap_err();
        assert!(matches!(error, CallError::Timeout { .. }), "{error}");
        assert_eq!(started.elapsed().as_secs(), 5);
        ended.reaches(1).await;
        assert_eq!(started.elapsed().as_secs(), 5);
    }
}
