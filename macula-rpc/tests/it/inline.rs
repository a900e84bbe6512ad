//! Handlers that run where calls come in.

use std::sync::Arc;
use std::time::Duration;

use macula_core::Delivery;
use macula_rpc::{Call, CallError, Codec, Executed, Handler, Runs, Service, ServiceOptions, typed};
use tokio::time::{Instant, sleep};

use crate::mesh::{Counter, Mesh, Node, answers, hangs, name, within};

const SERVICE: &str = "app.f";

async fn serve_inline(
    provider: &Node,
    service: &str,
    handler: Arc<dyn Handler>,
) -> macula_registry::Advertisement {
    let options = ServiceOptions {
        runs: Runs::Inline,
        ..ServiceOptions::default()
    };
    let handler = Service::with_options(handler, options);
    provider
        .serve_as(service, handler, Delivery::AtLeastOnce)
        .await
}

#[tokio::test(start_paused = true)]
async fn inline_handlers_answer_at_once_or_later() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let _quick = serve_inline(&provider, "app.quick", answers(1)).await;
    let waits = typed(|millis: u64| async move {
        sleep(Duration::from_millis(millis)).await;
        Ok(millis)
    });
    let _waits = serve_inline(&provider, "app.waits", waits).await;
    let (waited, quick) = tokio::join!(
        caller.call::<u64>("app.waits", &200_u64),
        caller.call::<u32>("app.quick", &())
    );
    assert_eq!((waited, quick), (Ok(200), Ok(1)));
    assert_eq!(provider.call::<u32>("app.quick", &()).await, Ok(1), "local");
}

#[tokio::test(start_paused = true)]
async fn a_panic_inline_is_its_callers_error_and_nobody_elses() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let panics = typed(|later: bool| async move {
        if later {
            sleep(Duration::from_millis(10)).await;
        }
        assert!(std::hint::black_box(false), "by request");
        Ok(0_u32)
    });
    let _bad = serve_inline(&provider, "app.bad", panics).await;
    let _good = serve_inline(&provider, SERVICE, answers(1)).await;
    for later in [false, true] {
        let (bad, good) = tokio::join!(
            caller.call::<u32>("app.bad", &later),
            caller.call::<u32>(SERVICE, &())
        );
        assert!(matches!(bad, Err(CallError::HandlerPanicked { .. })));
        assert_eq!(good, Ok(1));
    }
    let stats = provider.server.stats();
    assert_eq!((stats.panicked, stats.running), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_inline_handler_ends_at_the_deadline() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let _ad = serve_inline(&provider, SERVICE, hangs(&begun, &ended)).await;
    let started = Instant::now();
    let error = caller.call::<u32>(SERVICE, &()).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    assert_eq!(error.executed(), Executed::Unknown);
    assert_eq!(started.elapsed().as_secs(), 5);
    ended.reaches(1).await;
    assert_eq!(provider.server.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn an_inline_handler_ends_when_its_service_is_taken_back() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let _ad = serve_inline(&provider, SERVICE, hangs(&begun, &ended)).await;
    let unadvertise = async {
        begun.reaches(1).await;
        provider.server.unadvertise(&name(SERVICE)).await.unwrap();
        assert_eq!((ended.count(), provider.server.stats().running), (1, 0));
    };
    let call = caller.call::<u32>(SERVICE, &());
    let (outcome, ()) = within(async { tokio::join!(call, unadvertise) }).await;
    assert_eq!(outcome.unwrap_err().executed(), Executed::Unknown);
}

#[tokio::test(start_paused = true)]
async fn an_inline_handler_ends_with_its_caller() {
    let mesh = Mesh::new();
    let (provider, caller) = (mesh.node(1), mesh.node(100));
    let (begun, ended) = (Counter::default(), Counter::default());
    let _ad = serve_inline(&provider, SERVICE, hangs(&begun, &ended)).await;
    tokio::select! {
        _ = caller.call::<u32>(SERVICE, &()) => unreachable!("it has no end"),
        () = begun.reaches(1) => {}
    }
    ended.reaches(1).await;
    assert_eq!(provider.server.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn inline_handlers_may_call_each_other_at_their_own_node_as_deeply_as_they_like() {
    let mesh = Mesh::new();
    let (provider, remote) = (mesh.node(1), mesh.node(100));
    let caller = provider.caller.clone();
    let sum = typed(move |n: u32| {
        let caller = caller.clone();
        async move {
            if n == 0 {
                return Ok(0);
            }
            let body = Codec::Postcard.encode(&(n - 1))?;
            let call = Call::new(name("app.sum"), Codec::Postcard, body);
            let reply = caller.call(call).await?;
            let rest: u32 = reply.codec.decode(&reply.body)?;
            Ok(rest + n)
        }
    });
    let _ad = serve_inline(&provider, "app.sum", sum).await;
    assert_eq!(remote.call("app.sum", &400_u32).await, Ok(80_200_u32));
    assert_eq!(provider.call("app.sum", &400_u32).await, Ok(80_200_u32));
}
