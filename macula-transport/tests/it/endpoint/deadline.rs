//! How long a request still has, as its frame says it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    Connection, Endpoint, EndpointConfig, InboundRequest, ProtocolId, Refusal, RequestHandler,
};
use tokio::time::{Instant, sleep};

use super::counters::turned_down;
use super::fixture::{ECHO, Fixture, GATE, eventually, request, soon};
use super::raw::{self, HEADER_LEN};

const INLINE: ProtocolId = ProtocolId(102);
const REPLY: u8 = 2;
const REFUSAL: u8 = 3;
const OUT_OF_TIME: u8 = 5;
const DEADLINE_EXCEEDED: u8 = 6;

/// Never answers, and counts how many requests it has begun and how many of them have ended.
#[derive(Default)]
struct Hangs {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Hangs {
    /// Takes the requests of two protocols, one of them inline.
    fn at(endpoint: &Endpoint) -> Arc<Self> {
        let hangs = Arc::new(Self::default());
        endpoint
            .register(GATE, Arc::clone(&hangs) as Arc<_>)
            .unwrap();
        endpoint
            .register_inline(INLINE, Arc::clone(&hangs) as Arc<_>)
            .unwrap();
        hangs
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl RequestHandler for Hangs {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let _ended = Ended(&self.ended);
        std::future::pending().await
    }
}

struct Ended<'a>(&'a AtomicUsize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

async fn a_request_without_time_left_is_refused_and_does_not_begin(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let hangs = Hangs::at(&b);
    let connection = raw::greeted(&*raw, &b).await;
    for protocol in [GATE, INLINE] {
        let late = raw::request_with(protocol, Duration::ZERO);
        let answer = raw::exchange(&*connection, &late).await.unwrap();
        assert_eq!(answer[1..3], [REFUSAL, DEADLINE_EXCEEDED]);
    }
    let stats = b.stats();
    assert_eq!(turned_down(stats), [("expired", 2)]);
    assert_eq!((hangs.begun(), stats.requests_handled), (0, 0));
    assert_eq!(stats.inbound_in_flight, 0);
}

async fn a_handler_ends_with_its_requests_time_though_nobody_cancels_it(fixture: Fixture) {
    const TIME: Duration = Duration::from_millis(200);
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let hangs = Hangs::at(&b);
    let connection = raw::greeted(&*raw, &b).await;
    for (count, protocol) in (1..).zip([GATE, INLINE]) {
        let begun = Instant::now();
        let mut stream = soon(connection.open()).await.unwrap();
        let brief = raw::request_with(protocol, TIME);
        soon(stream.send.send(brief.into())).await.unwrap();
        let answer = raw::read_exactly(&mut *stream.receive, HEADER_LEN).await;
        assert_eq!(answer[1], OUT_OF_TIME);
        let took = begun.elapsed();
        // The clock of a runtime counts whole milliseconds.
        assert!(took + Duration::from_millis(1) >= TIME, "{took:?}");
        eventually(|| hangs.ended() == count).await;
        eventually(|| b.stats().inbound_in_flight == 0).await;
        assert_eq!(hangs.begun(), count);
        assert_eq!(b.stats().requests_cancelled, count as u64);
    }
}

/// Answers the next request on a connection; what time it says is left.
async fn answer_next(connection: &dyn Connection, len: usize) -> Duration {
    let mut stream = soon(connection.accept()).await.unwrap();
    let mut asked = Vec::new();
    while asked.len() < HEADER_LEN + len {
        let chunk = soon(stream.receive.receive()).await.unwrap();
        asked.extend_from_slice(&chunk.expect("more of the request"));
    }
    let reply = raw::header_of(raw::call_of(&asked), [1, REPLY, 0], 0);
    soon(stream.send.send(reply.into())).await.unwrap();
    let _ = stream.send.finish();
    let _ = soon(raw::whole(&mut *stream.receive)).await;
    raw::remaining_of(&asked)
}

/// Asks a peer by hand that lets a dial wait for so long; what time the frame says is left, and at
/// least how much there was.
async fn stated(fixture: Fixture, body: &'static [u8], hello_after: Duration) -> [Duration; 2] {
    let patient = |config: &mut EndpointConfig| config.ping_interval = Duration::from_secs(3600);
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    let mut asked = request(ECHO, body);
    asked.timeout = TIMEOUT;
    let begun = Instant::now();
    let asking = async {
        let answer = a.request(&to, asked).await;
        assert_eq!(answer, Ok(Bytes::new()));
        a.shutdown().await;
    };
    let answering = async {
        sleep(hello_after).await;
        let connection = raw::welcome(&*raw).await;
        let left = answer_next(&*connection, body.len()).await;
        (left, begun.elapsed(), connection)
    };
    let ((), (left, took, _connection)) = soon(async { tokio::join!(asking, answering) }).await;
    [left, TIMEOUT.saturating_sub(took)]
}

const TIMEOUT: Duration = Duration::from_secs(20);

async fn a_request_says_what_is_left_of_its_timeout_and_no_more(fixture: Fixture) {
    let [left, least] = stated(fixture, b"", Duration::ZERO).await;
    assert!(left + ROUNDED >= least && left <= TIMEOUT, "{left:?}");
}

async fn a_long_request_says_what_is_left_of_its_timeout_too(fixture: Fixture) {
    let [left, least] = stated(fixture, &[7; 100_000], Duration::ZERO).await;
    assert!(left + ROUNDED >= least && left <= TIMEOUT, "{left:?}");
}

async fn the_time_that_a_dial_takes_is_not_left_to_its_request(fixture: Fixture) {
    let dial = Duration::from_secs(2);
    let [left, least] = stated(fixture, b"", dial).await;
    // On a busy machine the clocks of simulated hosts are this far apart.
    let apart = Duration::from_millis(300);
    assert!(left + ROUNDED + apart >= least, "{left:?}");
    assert!(left <= TIMEOUT - dial, "{left:?}");
}

/// Frames have whole milliseconds, rounded down.
const ROUNDED: Duration = Duration::from_millis(1);

on_every_wire!(
    a_request_without_time_left_is_refused_and_does_not_begin,
    a_handler_ends_with_its_requests_time_though_nobody_cancels_it,
    a_request_says_what_is_left_of_its_timeout_and_no_more,
    a_long_request_says_what_is_left_of_its_timeout_too,
);

in_virtual_time!(the_time_that_a_dial_takes_is_not_left_to_its_request);
