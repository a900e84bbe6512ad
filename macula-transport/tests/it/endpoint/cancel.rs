//! Requests that are given up, as the peer sees it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    CloseCode, Connection, Endpoint, EndpointConfig, InboundRequest, Refusal, RequestHandler,
    Stream, StreamError,
};
use tokio::task::JoinSet;

use super::fixture::{ECHO, Echo, Fixture, GATE, eventually, request, settled, soon};
use super::raw::{self, Frame, HEADER_LEN};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const CANCEL: u8 = 7;

/// A peer by hand is silent for longer than endpoints put up with.
fn patient(config: &mut EndpointConfig) {
    config.ping_interval = Duration::from_secs(3600);
}

async fn a_request_given_up_is_cancelled_once(fixture: Fixture) {
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    let peer = async {
        let connection = raw::welcome(&*raw).await;
        let mut lane = soon(connection.accept()).await.unwrap();
        let asked = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
        assert_eq!(asked[1], REQUEST);
        (connection, lane, raw::call_of(&asked))
    };
    let call = a.request(&to, request(ECHO, b""));
    let (connection, mut lane, given_up) = tokio::select! {
        _ = call => unreachable!("nobody answers"),
        heard = peer => heard,
    };
    let cancel = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
    assert_eq!((cancel[1], raw::call_of(&cancel)), (CANCEL, given_up));
    let answering = async {
        let next = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
        assert_eq!(next[1], REQUEST, "one cancel and no more");
        let reply = raw::header_of(raw::call_of(&next), [1, REPLY, 0], 0);
        soon(lane.send.send(reply.into())).await.unwrap();
    };
    let (next, ()) =
        soon(async { tokio::join!(a.request(&to, request(ECHO, b"")), answering) }).await;
    assert_eq!(next, Ok(Bytes::new()));
    drop(connection);
}

async fn a_long_request_given_up_half_way_is_broken_off(fixture: Fixture) {
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    let mut long = request(ECHO, b"");
    long.body = vec![7; EndpointConfig::DEFAULT_MAX_MESSAGE_BYTES.get()].into();
    let peer = async {
        let connection = raw::welcome(&*raw).await;
        let mut stream = soon(connection.accept()).await.unwrap();
        raw::read_some(&mut *stream.receive).await;
        (connection, stream)
    };
    let (_connection, mut stream) = tokio::select! {
        _ = a.request(&to, long.clone()) => unreachable!("nobody answers"),
        heard = peer => heard,
    };
    let mut received_bytes = 0;
    let end = soon(async {
        loop {
            match stream.receive.receive().await {
                Ok(chunk) => received_bytes += chunk.unwrap().len(),
                Err(end) => return end,
            }
        }
    })
    .await;
    assert_eq!(end, StreamError::Reset(CloseCode::Cancelled));
    assert!(received_bytes < long.body.len() / 2, "{received_bytes}");
}

async fn what_is_given_up_while_its_lane_is_held_back_is_never_sent(fixture: Fixture) {
    const CALLS: usize = 400;
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let (to, connection) = raw::dialled(&*raw, &a).await;
    let calls = flood(&a, &to, CALLS);
    settled(|| a.stats().requests_sent).await;
    drop(calls);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let reading = tokio::spawn(read_lanes(connection, Arc::clone(&seen)));
    let last = soon(a.request(&to, request(ECHO, b"last"))).await;
    assert_eq!(last, Ok(Bytes::from_static(b"last")));
    let of = |kind| {
        let seen = seen.lock().unwrap();
        let of = seen.iter().filter(|(found, _)| *found == kind);
        let mut calls: Vec<_> = of.map(|(_, call)| *call).collect();
        calls.sort_unstable();
        calls
    };
    let sent = || usize::try_from(a.stats().requests_sent).unwrap();
    eventually(|| of(REQUEST).len() == sent() && of(CANCEL).len() + 1 == sent()).await;
    assert!(sent() < CALLS, "they were held back");
    let mut cancelled = of(CANCEL);
    cancelled.dedup();
    assert_eq!(cancelled.len() + 1, sent(), "each once");
    assert!(cancelled.iter().all(|call| of(REQUEST).contains(call)));
    reading.abort();
}

fn flood(from: &Endpoint, to: &Contact, count: usize) -> JoinSet<()> {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let (from, to) = (from.clone(), to.clone());
        calls.spawn(async move {
            let _ = from.request(&to, request(ECHO, &[0; 60_000])).await;
        });
    }
    calls
}

/// Reads all frames of all lanes, and answers only the shortest.
async fn read_lanes(connection: Arc<dyn Connection>, seen: Arc<Mutex<Vec<(u8, u64)>>>) {
    let mut lanes = JoinSet::new();
    while let Ok(lane) = connection.accept().await {
        lanes.spawn(read_lane(lane, Arc::clone(&seen)));
    }
}

async fn read_lane(mut lane: Stream, seen: Arc<Mutex<Vec<(u8, u64)>>>) {
    let mut frames = raw::Frames::default();
    while let Ok(Some(chunk)) = lane.receive.receive().await {
        frames.extend(&chunk);
        while let Some(Frame { head, body }) = frames.next() {
            let call = raw::call_of(&head);
            seen.lock().unwrap().push((head[1], call));
            if body == "last" {
                let reply = [raw::header_of(call, [1, REPLY, 0], 4), body.to_vec()];
                lane.send.send(reply.concat().into()).await.unwrap();
            }
        }
    }
}

/// Counts the handlers that begin.
#[derive(Default)]
struct Begun(AtomicUsize);

#[async_trait]
impl RequestHandler for Begun {
    async fn handle(&self, request: InboundRequest) -> Result<Bytes, Refusal> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(request.body)
    }
}

async fn what_is_cancelled_in_the_same_breath_does_not_begin(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let begun = Arc::new(Begun::default());
    b.register(GATE, Arc::clone(&begun) as Arc<_>).unwrap();
    b.register_inline(ECHO, Arc::new(Echo)).unwrap();
    let connection = raw::greeted(&*raw, &b).await;
    let mut lane = soon(connection.open()).await.unwrap();
    // One handler is handed over in another way than several.
    for (cancelled, echo) in [(0..1, 100), (1..20, 101)] {
        let count = b.stats().requests_cancelled + (cancelled.end - cancelled.start);
        let given_up = cancelled.flat_map(|call| {
            let ask = raw::header_of(call, [1, REQUEST, GATE.0], 0);
            [ask, raw::header_of(call, [1, CANCEL, 0], 0)].concat()
        });
        let last = raw::header_of(echo, [1, REQUEST, ECHO.0], 0);
        let breath: Vec<u8> = given_up.chain(last).collect();
        soon(lane.send.send(breath.into())).await.unwrap();
        let answer = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
        assert_eq!((answer[1], raw::call_of(&answer)), (REPLY, echo));
        eventually(|| b.stats().requests_cancelled == count).await;
    }
    eventually(|| b.stats().inbound_in_flight == 0).await;
    assert_eq!(begun.0.load(Ordering::SeqCst), 0);
}

on_every_wire!(
    what_is_cancelled_in_the_same_breath_does_not_begin,
    a_request_given_up_is_cancelled_once,
    a_long_request_given_up_half_way_is_broken_off,
    what_is_given_up_while_its_lane_is_held_back_is_never_sent,
);
