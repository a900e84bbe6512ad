//! Peers that go while calls with long bodies are pending.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    CloseCode, Connection, ConnectionError, Endpoint, EndpointConfig, Executed, Request,
    RequestError, RequestFailure, Stream, StreamError,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fixture::{ECHO, Fixture, GATE, contact, gated, request, soon};
use super::raw;

/// Nothing is to fail because a peer is silent.
pub(super) fn patient(config: &mut EndpointConfig) {
    config.ping_interval = Duration::from_secs(3600);
}

fn impatient(config: &mut EndpointConfig) {
    config.ping_interval = Duration::from_millis(100);
    config.max_missed_pings = NonZeroU32::MIN.saturating_add(1);
}

pub(super) type Calls = JoinSet<Result<Bytes, RequestError>>;

pub(super) fn calls(from: &Endpoint, to: &Contact, count: usize, call: &Request) -> Calls {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let (from, to, call) = (from.clone(), to.clone(), call.clone());
        calls.spawn(async move { from.request(&to, call).await });
    }
    calls
}

fn lost(reason: ConnectionError) -> RequestError {
    RequestError {
        failure: RequestFailure::Interrupted(StreamError::Connection(reason)),
        executed: Executed::Unknown,
    }
}

async fn long_requests_that_are_handled_fail_alike_when_their_peer_goes(fixture: Fixture) {
    let (a, b) = (
        fixture.server_with(1, patient).await,
        fixture.server(2).await,
    );
    let gate = gated(&b);
    let mut long = request(GATE, b"");
    long.body = vec![7; 200_000].into();
    let pending = calls(&a, &contact(&b), 20, &long);
    gate.holds(20).await;
    let gone = Instant::now();
    drop(b);
    let expected = lost(ConnectionError::ClosedByPeer(CloseCode::Done));
    for outcome in soon(pending.join_all()).await {
        assert_eq!(outcome, Err(expected.clone()));
    }
    assert!(
        gone.elapsed() <= fixture.round_trip(),
        "{:?}",
        gone.elapsed()
    );
    gate.holds(0).await;
}

/// Long bodies of which a peer has read the beginning, as many as are sent at a time.
pub(super) const HALF_SENT: usize = 8;

/// Takes the streams of long bodies, and reads a little of each.
pub(super) async fn half_read(connection: &dyn Connection) -> Vec<Stream> {
    let (mut reading, mut streams) = (JoinSet::new(), Vec::new());
    soon(async {
        while streams.len() < HALF_SENT {
            tokio::select! {
                // Some may be lanes on which nothing comes.
                accepted = connection.accept() => {
                    let mut stream = accepted.unwrap();
                    reading.spawn(async move {
                        raw::read_some(&mut *stream.receive).await;
                        stream
                    });
                }
                Some(begun) = reading.join_next() => streams.push(begun.unwrap()),
            }
        }
    })
    .await;
    // Those lanes are left as they are, too.
    reading.detach_all();
    streams
}

pub(super) fn very_long() -> Request {
    Request {
        body: vec![7; 8 << 20].into(),
        ..request(ECHO, b"")
    }
}

async fn long_requests_half_sent_fail_alike_when_their_peer_goes(fixture: Fixture) {
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    const WAITING: usize = HALF_SENT / 2;
    let mut pending = calls(&a, &to, HALF_SENT + WAITING, &very_long());
    let connection = raw::welcome(&*raw).await;
    let _unread = half_read(&*connection).await;
    let gone = Instant::now();
    let half_sent = lost(ConnectionError::ClosedByPeer(CloseCode::Overloaded));
    let failing = async {
        let mut lost = 0;
        while let Some(outcome) = soon(pending.join_next()).await {
            let (error, took) = (outcome.unwrap().unwrap_err(), gone.elapsed());
            let mut bound = fixture.round_trip();
            if error == half_sent {
                lost += 1;
            } else {
                assert_eq!(error.executed, Executed::No, "{error:?}");
                // It looks for another connection first.
                bound += EndpointConfig::DEFAULT_DIAL_TIMEOUT;
            }
            assert!(took <= bound, "{took:?}");
        }
        lost
    };
    let ((), lost) = tokio::join!(raw.close(CloseCode::Overloaded), failing);
    assert_eq!(lost, HALF_SENT);
}

async fn long_requests_half_sent_fail_alike_when_their_peer_falls_silent(fixture: Fixture) {
    let a = fixture.server_with(1, impatient).await;
    let raw = fixture.raw(2).await;
    let (to, connection) = raw::dialled(&*raw, &a).await;
    let asked = Instant::now();
    let pending = calls(&a, &to, HALF_SENT, &very_long());
    let _unread = half_read(&*connection).await;
    let expected = lost(ConnectionError::Closed(CloseCode::Unresponsive));
    for outcome in soon(pending.join_all()).await {
        assert_eq!(outcome, Err(expected.clone()));
    }
    let mut config = EndpointConfig::default();
    impatient(&mut config);
    // Virtual time is exact; real time is granted what a busy machine takes.
    let bound = config.liveness_bound() + Duration::from_secs(10);
    assert!(asked.elapsed() <= bound, "{:?}", asked.elapsed());
    assert_eq!(a.stats().unresponsive_closed, 1);
}

on_every_wire!(
    long_requests_that_are_handled_fail_alike_when_their_peer_goes,
    long_requests_half_sent_fail_alike_when_their_peer_goes,
    long_requests_half_sent_fail_alike_when_their_peer_falls_silent,
);
