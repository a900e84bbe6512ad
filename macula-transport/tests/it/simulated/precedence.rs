//! Small requests beside long bodies that move.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    Endpoint, EndpointConfig, InboundRequest, ProtocolId, Refusal, Request, RequestHandler,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::line::Line;
use super::{Links, Network, on_some_seeds};
use crate::endpoint::fixture::{ECHO, Fixture, echoing, known, request, soon};

async fn small_requests_wait_little_beside_uploads(network: Network) {
    let (a, b, to_b) = on_a_line(&network).await;
    let to_a = known(&a);
    let sinks = [&a, &b].map(sink);
    let mut uploads = JoinSet::new();
    for _ in 0..UPLOADS {
        uploads.spawn(again_and_again(a.clone(), to_b.clone(), upload()));
        uploads.spawn(again_and_again(b.clone(), to_a.clone(), upload()));
    }
    sleep(UNTIL_STEADY).await;
    let before = sinks.each_ref().map(|sink| sink.bytes());
    let began = Instant::now();
    let longest = longest_of_small_requests(&a, &to_b).await;
    let took = began.elapsed();
    // Otherwise it says nothing.
    for (sink, before) in sinks.iter().zip(before) {
        assert!(LINE.takes(sink.bytes() - before) > took / 2);
    }
    assert!(longest < bound(), "{longest:?}, above {:?}", bound());
    assert_eq!((a.stats().dials, b.stats().dials), (1, 0));
}

#[test]
fn small_requests_wait_little_beside_uploads_both_ways() {
    on_some_seeds(LINKS, small_requests_wait_little_beside_uploads);
}

async fn small_requests_wait_little_beside_replies(network: Network) {
    let (a, b, to_b) = on_a_line(&network).await;
    b.register(LIBRARY, Arc::new(Library)).unwrap();
    let mut downloads = JoinSet::new();
    for _ in 0..DOWNLOADS {
        downloads.spawn(again_and_again(a.clone(), to_b.clone(), download()));
    }
    sleep(UNTIL_STEADY).await;
    let longest = longest_of_small_requests(&a, &to_b).await;
    assert!(longest < bound(), "{longest:?}, above {:?}", bound());
}

#[test]
fn small_requests_wait_little_beside_long_replies() {
    on_some_seeds(LINKS, small_requests_wait_little_beside_replies);
}

/// Two nodes that are connected over a line, and how the first reaches the second.
async fn on_a_line(network: &Network) -> (Endpoint, Endpoint, Contact) {
    let fixture = Fixture::simulated(network.clone());
    let a = echoing(fixture.server(1).await);
    let b = echoing(fixture.server(2).await);
    let line = network.line(3, b.addresses()[0], LINE).await;
    let to_b = Contact::new(b.node_id(), [line]);
    a.request(&to_b, request(ECHO, b"hello")).await.unwrap();
    (a, b, to_b)
}

/// What a small request may take, however many and long the bodies beside it are.
fn bound() -> Duration {
    // What the congestion control keeps on the line each way: twice what goes through in a round
    // trip as it measures it, with the other way's queue in it, and a quarter more while it tries
    // for more.
    let queued = 4 * ROUND_TRIP;
    // Every body that is under way may have a datagram go first.
    let turns = LINE.takes((MAX_AT_A_TIME + 1) * DATAGRAM_BYTES);
    ROUND_TRIP + 2 * queued + 2 * turns
}

async fn longest_of_small_requests(from: &Endpoint, to: &Contact) -> Duration {
    let mut waits = JoinSet::new();
    for _ in 0..REQUESTS {
        let (from, to) = (from.clone(), to.clone());
        waits.spawn(async move {
            let asked = Instant::now();
            from.request(&to, request(ECHO, b"small")).await.unwrap();
            asked.elapsed()
        });
        sleep(EVERY).await;
    }
    let waits = soon(waits.join_all()).await;
    waits.into_iter().max().unwrap()
}

async fn again_and_again(from: Endpoint, to: Contact, asked: Request) {
    loop {
        from.request(&to, asked.clone()).await.unwrap();
    }
}

fn upload() -> Request {
    Request {
        timeout: Duration::from_secs(60),
        body: Bytes::from(vec![7; UPLOAD_BYTES]),
        ..request(SINK, b"")
    }
}

fn download() -> Request {
    Request {
        timeout: Duration::from_secs(60),
        ..request(LIBRARY, b"")
    }
}

/// Answers with what just does not go on a lane.
struct Library;

#[async_trait]
impl RequestHandler for Library {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        Ok(Bytes::from(vec![
            7;
            EndpointConfig::DEFAULT_MAX_LANE_BODY_BYTES
                + 1
        ]))
    }
}

/// Takes bodies, and answers with nothing.
#[derive(Default)]
struct Sink(AtomicUsize);

impl Sink {
    fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl RequestHandler for Sink {
    async fn handle(&self, request: InboundRequest) -> Result<Bytes, Refusal> {
        self.0.fetch_add(request.body.len(), Ordering::Relaxed);
        Ok(Bytes::new())
    }
}

fn sink(endpoint: &Endpoint) -> Arc<Sink> {
    let sink = Arc::new(Sink::default());
    endpoint
        .register(SINK, Arc::clone(&sink) as Arc<_>)
        .unwrap();
    sink
}

const SINK: ProtocolId = ProtocolId(102);
const LIBRARY: ProtocolId = ProtocolId(103);

/// From either node to the line, each way.
const LINKS: Links = Links {
    latency: (Duration::from_millis(5), Duration::from_millis(5)),
    loss: 0.0,
};

/// Over both links, there and back; turmoil goes on in steps of a millisecond.
const ROUND_TRIP: Duration = Duration::from_millis(24);

const LINE: Line = Line {
    bytes_per_second: 2 << 20,
    longest_wait: Duration::from_millis(500),
};

const DATAGRAM_BYTES: usize = 1500;

/// More than travel at a time, each way.
const UPLOADS: usize = 24;

/// As many long requests travel at a time.
const MAX_AT_A_TIME: usize = 8;

const UPLOAD_BYTES: usize = 300 << 10;

/// More than travel at a time.
const DOWNLOADS: usize = 200;

/// Until the congestion control has found out what the line carries.
const UNTIL_STEADY: Duration = Duration::from_secs(3);

const REQUESTS: usize = 400;

const EVERY: Duration = Duration::from_millis(10);
