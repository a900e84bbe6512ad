use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use macula_core::{Metadata, Realm, SecretKey};
use tokio::time::advance;

use super::*;
use crate::server::admission::{Found, Ledger};
use crate::{CallId, Handler, TraceContext};

const PATIENCE: Duration = Duration::from_secs(1);

/// Counts its calls before it has made a future, and panics there if it is to.
#[derive(Default)]
struct Eager {
    begun: AtomicUsize,
    panics: bool,
}

impl Eager {
    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

impl Handler for Eager {
    fn call<'a>(
        self: Arc<Self>,
        call: InboundCall,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, HandlerFailure>> + Send + 'a>>
    where
        Self: 'a,
    {
        self.begun.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "by request");
        let is_within = crate::scope::trace() == Some(call.context.trace);
        assert!(is_within, "what it calls here belongs to its own call");
        Box::pin(async move { Ok(call.body) })
    }
}

/// A call of it that has time for so long.
fn work(service: &Service, time: Duration) -> Work {
    let now = Instant::now();
    let ledger = Arc::new(Ledger::new(NonZeroUsize::MIN));
    let found = Found::System("app.f".parse().unwrap(), service.clone());
    let admission = Admission::take(found, &ledger, now).map_err(|(_, status)| status);
    let call_id = CallId::from_u128(1);
    let cause = TraceContext::of_call(call_id);
    let context = CallContext {
        caller: SecretKey::from_bytes(&[1; SecretKey::LEN_BYTES]).node_id(),
        realm: Realm::default(),
        deadline: now + time,
        call_id,
        attempt: 1,
        headers: Metadata::default(),
        cause,
        trace: cause.child(1),
    };
    let call = InboundCall {
        context,
        codec: Codec::Raw,
        body: Bytes::from_static(b"x"),
    };
    Work::new(admission.unwrap(), call, 0, 100)
}

#[tokio::test(start_paused = true)]
async fn a_handler_begins_with_the_first_poll_within_its_own_call() {
    let handler = Arc::new(Eager::default());
    let work = work(&Service::new(handler.clone()), PATIENCE);
    assert_eq!(handler.begun(), 0);
    let reply = work.await;
    assert_eq!((reply.status, handler.begun()), (Status::Ok, 1));
    assert_eq!(&reply.body[..], b"x");
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_there_is_a_future_is_one_of_its_call() {
    let handler = Arc::new(Eager {
        panics: true,
        ..Eager::default()
    });
    let service = Service::new(handler.clone());
    assert_eq!(work(&service, PATIENCE).await.status, Status::Panicked);
    let reply = work(&service, PATIENCE).poll_once();
    assert_eq!(reply.map(|reply| reply.status), Some(Status::Panicked));
    assert_eq!((service.running(), handler.begun()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_polled_late_for_the_first_time_does_not_begin() {
    let handler = Arc::new(Eager::default());
    let work = work(&Service::new(handler.clone()), PATIENCE);
    advance(PATIENCE).await;
    assert_eq!(work.await.status, Status::DeadlineExceeded);
    assert_eq!(handler.begun(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_once_its_service_is_not_waited_for() {
    let handler = Arc::new(Eager::default());
    let service = Service::new(handler.clone());
    let work = work(&service, PATIENCE * 10);
    assert!(!service.retire(PATIENCE).await);
    assert_eq!(work.await.status, Status::Aborted);
    assert_eq!((service.running(), handler.begun()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_is_not_polled_again_once_its_service_is_not_waited_for() {
    let polled = Arc::new(AtomicUsize::new(0));
    let counter = polled.clone();
    let service = Service::new(crate::raw(move |body| {
        let polled = counter.clone();
        async move {
            polled.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            polled.fetch_add(1, Ordering::SeqCst);
            Ok(body)
        }
    }));
    let mut work = work(&service, PATIENCE * 10);
    assert!(work.poll_once().is_none());
    assert!(!service.retire(PATIENCE).await);
    assert_eq!(work.await.status, Status::Aborted);
    assert_eq!(polled.load(Ordering::SeqCst), 1);
}
