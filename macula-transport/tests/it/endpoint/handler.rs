//! Where handlers run, and what becomes of those that wait, panic or block.

use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    Endpoint, EndpointConfig, Executed, InboundRequest, MAX_REQUEST_TIMEOUT, ProtocolId, Refusal,
    Request, RequestFailure, RequestHandler,
};
use tokio::task::JoinSet;

use super::fixture::{
    ECHO, Echo, Fixture, GATE, Gate, contact, echoing, eventually, known, request, soon,
};

const OTHER: ProtocolId = ProtocolId(102);

struct Panics;

#[async_trait]
impl RequestHandler for Panics {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        panic!("as the test wants it")
    }
}

async fn an_inline_panic_fails_its_own_request_only(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    b.register_inline(GATE, Arc::new(Panics)).unwrap();
    b.register_inline(OTHER, Arc::new(Echo)).unwrap();
    let to = contact(&b);
    let asked = [GATE, OTHER, ECHO, GATE].map(|protocol| a.request(&to, request(protocol, b"x")));
    let [first, second, third, last] = asked;
    let answers = soon(async { tokio::join!(first, second, third, last) }).await;
    for error in [answers.0, answers.3].map(Result::unwrap_err) {
        assert!(matches!(error.failure, RequestFailure::Interrupted(_)));
        assert_eq!(error.executed, Executed::Unknown);
    }
    let x = Ok(Bytes::from_static(b"x"));
    assert_eq!((&answers.1, &answers.2), (&x, &x));
    eventually(|| b.stats().inbound_in_flight == 0).await;
    assert_eq!((a.stats().dials, b.stats().connections), (1, 1));
}

async fn an_inline_handler_that_waits_holds_up_nobody(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    let gate = Gate::new();
    b.register_inline(GATE, Arc::clone(&gate) as Arc<_>)
        .unwrap();
    let mut held = JoinSet::new();
    for _ in 0..10 {
        let (a, to) = (a.clone(), contact(&b));
        held.spawn(async move { a.request(&to, request(GATE, b"held")).await });
    }
    gate.holds(10).await;
    let meanwhile = soon(a.request(&known(&b), request(ECHO, b"x"))).await;
    assert!(meanwhile.is_ok());
    gate.let_through(10);
    let answers = soon(held.join_all()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

async fn an_inline_handler_that_waits_is_ended_with_its_caller(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let gate = Gate::new();
    b.register_inline(GATE, Arc::clone(&gate) as Arc<_>)
        .unwrap();
    let to = contact(&b);
    tokio::select! {
        _ = a.request(&to, request(GATE, b"")) => unreachable!("the gate is shut"),
        () = gate.holds(1) => {}
    }
    gate.holds(0).await;
    let mut short = request(GATE, b"");
    short.timeout = Duration::from_millis(200);
    assert!(soon(a.request(&to, short)).await.is_err());
    gate.holds(0).await;
    eventually(|| b.stats().inbound_in_flight == 0).await;
}

async fn a_protocol_at_its_limit_leaves_room_for_others(fixture: Fixture) {
    let b = fixture
        .server_with(2, |config| {
            config.max_inbound_requests_per_protocol = 3.try_into().unwrap();
        })
        .await;
    let (a, c, b) = (fixture.server(1).await, fixture.server(3).await, echoing(b));
    let gate = Gate::new();
    b.register(GATE, Arc::clone(&gate) as Arc<_>).unwrap();
    let mut held = JoinSet::new();
    for from in [&a, &c, &a] {
        let (from, to) = (from.clone(), contact(&b));
        held.spawn(async move { from.request(&to, request(GATE, b"")).await });
    }
    gate.holds(3).await;
    let more = soon(c.request(&known(&b), request(GATE, b"")))
        .await
        .unwrap_err();
    let overloaded = RequestFailure::Refused(Refusal::Overloaded);
    assert_eq!((more.failure, more.executed), (overloaded, Executed::No));
    assert!(
        soon(c.request(&known(&b), request(ECHO, b"")))
            .await
            .is_ok()
    );
    gate.let_through(4);
    assert!(soon(held.join_all()).await.iter().all(Result::is_ok));
    assert!(
        soon(a.request(&known(&b), request(GATE, b"")))
            .await
            .is_ok()
    );
}

/// Answers with the seconds that it has.
struct Seconds;

#[async_trait]
impl RequestHandler for Seconds {
    async fn handle(&self, request: InboundRequest) -> Result<Bytes, Refusal> {
        let seconds = request.remaining.as_secs();
        Ok(Bytes::copy_from_slice(&seconds.to_be_bytes()))
    }
}

async fn no_peer_is_waited_for_longer_than_the_longest_request(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    b.register_inline(GATE, Arc::new(Seconds)).unwrap();
    b.register(OTHER, Arc::new(Seconds)).unwrap();
    for protocol in [GATE, OTHER] {
        let mut patient = request(protocol, b"");
        patient.timeout = MAX_REQUEST_TIMEOUT * 2;
        let seconds = soon(a.request(&contact(&b), patient)).await.unwrap();
        let seconds = u64::from_be_bytes(seconds.as_ref().try_into().unwrap());
        let longest = MAX_REQUEST_TIMEOUT.as_secs();
        assert!((longest - 60..=longest).contains(&seconds), "{seconds}");
    }
}

on_every_wire!(
    an_inline_panic_fails_its_own_request_only,
    an_inline_handler_that_waits_holds_up_nobody,
    an_inline_handler_that_waits_is_ended_with_its_caller,
    a_protocol_at_its_limit_leaves_room_for_others,
    no_peer_is_waited_for_longer_than_the_longest_request,
);

/// Notes the threads that it runs on.
#[derive(Default)]
struct Threads(Mutex<Vec<ThreadId>>);

#[async_trait]
impl RequestHandler for Threads {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        self.0.lock().unwrap().push(thread::current().id());
        Ok(Bytes::new())
    }
}

async fn inline_handlers_run_with_the_endpoint_and_others_where_they_were_registered(
    fixture: Fixture,
) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let (inline, own) = (Arc::new(Threads::default()), Arc::new(Threads::default()));
    b.register_inline(OTHER, Arc::clone(&inline) as Arc<_>)
        .unwrap();
    b.register(GATE, Arc::clone(&own) as Arc<_>).unwrap();
    for protocol in [OTHER, GATE] {
        soon(a.request(&contact(&b), request(protocol, b"")))
            .await
            .unwrap();
    }
    let endpoint = b.runtime().spawn(async { thread::current().id() });
    let endpoint = endpoint.await.unwrap();
    assert_eq!(*inline.0.lock().unwrap(), [endpoint]);
    assert_eq!(*own.0.lock().unwrap(), [thread::current().id()]);
}

/// Blocks its thread until it is let go.
struct Blocks {
    entered: mpsc::SyncSender<()>,
    let_go: Mutex<mpsc::Receiver<()>>,
}

#[async_trait]
impl RequestHandler for Blocks {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        self.entered.send(()).unwrap();
        let _ = self.let_go.lock().unwrap().recv();
        Ok(Bytes::new())
    }
}

async fn a_handler_that_blocks_stalls_neither_pings_nor_other_requests(fixture: Fixture) {
    let a = fixture
        .server_with(1, |config| config.ping_interval = Duration::from_millis(50))
        .await;
    let b = fixture.server(2).await;
    let (entered, has_entered) = mpsc::sync_channel(1);
    let (let_go, receiver) = mpsc::sync_channel(1);
    let receiver = Mutex::new(receiver);
    let blocks = Blocks {
        entered,
        let_go: receiver,
    };
    b.register(GATE, Arc::new(blocks)).unwrap();
    b.register_inline(ECHO, Arc::new(Echo)).unwrap();
    let blocked = {
        let (a, to) = (a.clone(), contact(&b));
        tokio::spawn(async move { a.request(&to, request(GATE, b"")).await })
    };
    tokio::task::block_in_place(|| has_entered.recv()).unwrap();
    for _ in 0..50 {
        let answer = soon(a.request(&known(&b), request(ECHO, b"x"))).await;
        assert!(answer.is_ok(), "{answer:?}");
    }
    // Nothing else is asked now: what comes in are answers to pings, more of them than may be missed.
    let answered = a.stats().frames_received;
    let pings = u64::from(EndpointConfig::DEFAULT_MAX_MISSED_PINGS.get()) + 1;
    eventually(|| a.stats().frames_received >= answered + pings).await;
    assert_eq!(a.stats().unresponsive_closed, 0);
    let_go.send(()).unwrap();
    assert!(soon(blocked).await.unwrap().is_ok());
}

/// Blocks its thread at some requests until it is let go.
struct BlocksAt {
    body: &'static [u8],
    let_go: Mutex<mpsc::Receiver<()>>,
}

#[async_trait]
impl RequestHandler for BlocksAt {
    async fn handle(&self, request: InboundRequest) -> Result<Bytes, Refusal> {
        if request.body == self.body {
            let _ = self.let_go.lock().unwrap().recv();
        }
        Ok(request.body)
    }
}

/// Asks several things at once, from the thread of the endpoint: they leave it, and arrive, together.
async fn asked_together(a: Endpoint, to: Contact, requests: Vec<Request>) -> JoinSet<Bytes> {
    let runtime = a.runtime().clone();
    let asking = runtime.spawn(async move {
        let mut asked = JoinSet::new();
        for request in requests {
            let (a, to) = (a.clone(), to.clone());
            asked.spawn(async move { a.request(&to, request).await.unwrap() });
        }
        asked
    });
    asking.await.unwrap()
}

async fn a_handler_that_blocks_holds_up_none_that_came_in_with_it(fixture: Fixture) {
    const TOGETHER: u8 = 16;
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    soon(a.request(&contact(&b), request(ECHO, b"connected")))
        .await
        .unwrap();
    for blocking in [0, TOGETHER / 2, TOGETHER - 1] {
        let (body, protocol) = (b"blocks", ProtocolId(200 + blocking));
        let (let_go, receiver) = mpsc::sync_channel(1);
        let receiver = Mutex::new(receiver);
        let handler = BlocksAt {
            body,
            let_go: receiver,
        };
        b.register(protocol, Arc::new(handler)).unwrap();
        let body_of = |place| {
            if place == blocking {
                &body[..]
            } else {
                b"free"
            }
        };
        let requests = (0..TOGETHER).map(|place| request(protocol, body_of(place)));
        let mut asked = asked_together(a.clone(), known(&b), requests.collect()).await;
        for _ in 1..TOGETHER {
            let answer = soon(asked.join_next()).await.unwrap().unwrap();
            assert_eq!(answer, &b"free"[..]);
        }
        let_go.send(()).unwrap();
        let last = soon(asked.join_next()).await.unwrap().unwrap();
        assert_eq!(last, &body[..]);
    }
}

on_a_thread_of_its_own!(
    // Handlers that do not run inline have one thread to run on.
    #[tokio::test]
    inline_handlers_run_with_the_endpoint_and_others_where_they_were_registered,
    // One thread is blocked.
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    a_handler_that_blocks_stalls_neither_pings_nor_other_requests,
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    a_handler_that_blocks_holds_up_none_that_came_in_with_it,
);
