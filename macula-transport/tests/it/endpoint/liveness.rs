//! Peers that are connected and answer nothing.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    CloseCode, Connection, ConnectionError, Endpoint, EndpointConfig, Executed, PeerEvent, Request,
    RequestFailure, Role, StreamError, Transport,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fixture::{
    Bound, ECHO, Fixture, GATE, contact, echoing, event, eventually, gated, request, settled, soon,
};
use super::raw;

on_every_wire! {
    a_connected_but_silent_peer_is_found_dead_within_the_bound,
    callers_of_little_patience_hide_no_dead_peer,
    a_slow_handler_is_no_silence,
    only_the_silent_connection_is_given_up,
    a_kept_connection_whose_peer_answers_nothing_is_given_up_though_nobody_asks,
    a_peer_that_leaves_long_bodies_unread_is_not_taken_for_dead,
    a_peer_that_works_on_many_long_requests_is_not_taken_for_dead,
    a_peer_that_dies_after_its_goodbye_is_found_dead_too,
}

fn impatient(config: &mut EndpointConfig) {
    config.ping_interval = Duration::from_millis(100);
    config.max_missed_pings = NonZeroU32::MIN.saturating_add(1);
}

fn impatient_bound() -> Duration {
    let mut config = EndpointConfig::default();
    impatient(&mut config);
    config.liveness_bound()
}

/// A peer that has said hello, and answers nothing.
struct Silent {
    contact: Contact,
    connection: Arc<dyn Connection>,
    /// Its last handle closes its connections.
    _transport: Arc<dyn Transport>,
}

async fn silent_peer(fixture: &Fixture, endpoint: &Endpoint) -> Silent {
    let transport = fixture.raw(9).await;
    let mut events = endpoint.events();
    let connection = raw::greeted(&*transport, endpoint).await;
    let node_id = transport.node_id();
    event(
        &mut events,
        |event| matches!(event, PeerEvent::Connected(peer) if peer.node_id == node_id),
    )
    .await;
    Silent {
        contact: Contact::new(node_id, []),
        connection,
        _transport: transport,
    }
}

async fn a_connected_but_silent_peer_is_found_dead_within_the_bound(fixture: Fixture) {
    let endpoint = fixture.server_with(1, impatient).await;
    let silent = silent_peer(&fixture, &endpoint).await;
    let mut events = endpoint.events();
    let started = Instant::now();
    let calls = [0, 1, 2].map(|_| endpoint.request(&silent.contact, request(ECHO, b"hello?")));
    let [first, second, third] = calls;
    let errors = soon(async { tokio::join!(first, second, third) }).await;
    let took = started.elapsed();

    let expected = RequestFailure::Interrupted(StreamError::Connection(ConnectionError::Closed(
        CloseCode::Unresponsive,
    )));
    for error in [errors.0, errors.1, errors.2].map(Result::unwrap_err) {
        assert_eq!(
            (error.failure, error.executed),
            (expected.clone(), Executed::Unknown)
        );
    }
    // Virtual time is exact; real time is granted what a busy machine takes.
    let bound = impatient_bound() + Duration::from_secs(2);
    assert!(took <= bound, "{took:?}");
    assert_eq!(
        soon(silent.connection.closed()).await,
        ConnectionError::ClosedByPeer(CloseCode::Unresponsive)
    );
    assert_eq!(endpoint.stats().unresponsive_closed, 1);
    let lost = PeerEvent::Lost(silent.contact.node_id);
    event(&mut events, |event| *event == lost).await;
}

async fn callers_of_little_patience_hide_no_dead_peer(fixture: Fixture) {
    let endpoint = fixture.server_with(1, impatient).await;
    let silent = silent_peer(&fixture, &endpoint).await;
    soon(async {
        loop {
            let hasty = Request {
                timeout: Duration::from_millis(20),
                ..request(ECHO, b"hello?")
            };
            let error = endpoint.request(&silent.contact, hasty).await.unwrap_err();
            if !matches!(error.failure, RequestFailure::Timeout(_)) {
                return;
            }
        }
    })
    .await;
    assert_eq!(endpoint.stats().unresponsive_closed, 1);
}

async fn a_slow_handler_is_no_silence(fixture: Fixture) {
    let caller = fixture.server_with(1, impatient).await;
    let provider = fixture.server(2).await;
    let gate = gated(&provider);
    let to = contact(&provider);
    let call = caller.request(&to, request(GATE, b"slow"));
    let patience = async {
        gate.holds(1).await;
        // Ten times as long as an unanswered request is left alone.
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.let_through(1);
    };
    let (answer, ()) = soon(async { tokio::join!(call, patience) }).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"slow")));
    assert_eq!(caller.stats().unresponsive_closed, 0);
}

async fn only_the_silent_connection_is_given_up(fixture: Fixture) {
    let endpoint = fixture.server_with(1, impatient).await;
    let healthy = echoing(fixture.server(2).await);
    let mut events = endpoint.events();
    soon(endpoint.connect(&contact(&healthy).into()))
        .await
        .unwrap();
    let silent = silent_peer(&fixture, &endpoint).await;
    soon(endpoint.request(&silent.contact, request(ECHO, b"hello?")))
        .await
        .unwrap_err();
    event(&mut events, |event| {
        *event == PeerEvent::Disconnected(silent.contact.node_id)
    })
    .await;
    let answer = soon(endpoint.request(&contact(&healthy), request(ECHO, b"you?"))).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"you?")));
    assert_eq!(
        endpoint.stats().dials,
        1,
        "its connection was never given up"
    );
}

async fn a_kept_connection_whose_peer_answers_nothing_is_given_up_though_nobody_asks(
    fixture: Fixture,
) {
    const EVERY: Duration = Duration::from_millis(300);
    let keeping = |config: &mut EndpointConfig| {
        impatient(config);
        config.role = Role::Client;
        config.keep_alive = EVERY;
    };
    let a = fixture.node(1, Bound::Nowhere, keeping).await;
    let healthy = fixture.server(2).await;
    soon(a.connect(&contact(&healthy).into())).await.unwrap();
    let raw = fixture.raw(3).await;
    let mut events = a.events();
    // Its transport goes on acknowledging everything.
    let (silent, connection) = raw::dialled(&*raw, &a).await;
    let connected = Instant::now();
    let lost = PeerEvent::Lost(silent.node_id);
    event(&mut events, |event| *event == lost).await;
    let bound = EVERY + impatient_bound() + fixture.round_trip();
    assert!(connected.elapsed() <= bound, "{:?}", connected.elapsed());
    let reason = soon(connection.closed()).await;
    let unresponsive = ConnectionError::ClosedByPeer(CloseCode::Unresponsive);
    assert_eq!(reason, unresponsive);

    // The one beside it is kept: its peer answers, and goes on doing so.
    let answered = a.stats().frames_received;
    eventually(|| a.stats().frames_received >= answered + 3).await;
    assert_eq!(a.peers().len(), 1);
    assert!(a.is_connected(&healthy.node_id()));
    assert_eq!((a.stats().unresponsive_closed, a.stats().dials), (1, 2));
}

/// Answers what comes on shared lanes, and leaves the rest of long bodies unread.
async fn answer_short_ones(connection: Arc<dyn Connection>) {
    let mut streams = JoinSet::new();
    while let Ok(mut stream) = connection.accept().await {
        streams.spawn(async move {
            let mut frames = raw::Frames::default();
            while let Ok(Some(chunk)) = stream.receive.receive().await {
                frames.extend(&chunk);
                if frames.begin_long() {
                    // Held, and not read any further.
                    return std::future::pending().await;
                }
                while let Some(frame) = frames.next() {
                    let reply = raw::header_of(raw::call_of(&frame.head), [1, 2, 0], 0);
                    stream.send.send(reply.into()).await.unwrap();
                }
            }
        });
    }
}

async fn a_peer_that_leaves_long_bodies_unread_is_not_taken_for_dead(fixture: Fixture) {
    let a = fixture.server_with(1, impatient).await;
    let raw = fixture.raw(2).await;
    let (to, connection) = raw::dialled(&*raw, &a).await;
    let answering = tokio::spawn(answer_short_ones(connection));
    let body = Bytes::from(vec![7; 8 << 20]);
    let mut uploads = JoinSet::new();
    for _ in 0..12 {
        let (a, to, body) = (a.clone(), to.clone(), body.clone());
        let upload = Request {
            body,
            ..request(ECHO, b"")
        };
        uploads.spawn(async move { a.request(&to, upload).await });
    }
    let held_back = Instant::now();
    while held_back.elapsed() < impatient_bound() * 5 {
        let answer = soon(a.request(&to, request(ECHO, b"short"))).await;
        assert_eq!(answer, Ok(Bytes::new()));
        // Nothing else is said for long enough to be judged.
        tokio::time::sleep(impatient_bound() * 2).await;
    }
    assert!(uploads.try_join_next().is_none(), "all are held back");
    assert_eq!((a.stats().unresponsive_closed, a.stats().dials), (0, 1));
    answering.abort();
}

async fn a_peer_that_works_on_many_long_requests_is_not_taken_for_dead(fixture: Fixture) {
    let fixture = fixture.with_a_hundred_streams();
    let a = fixture.server_with(1, impatient).await;
    let b = echoing(fixture.server(2).await);
    let gate = gated(&b);
    let mut calls = JoinSet::new();
    for _ in 0..120 {
        let (a, to) = (a.clone(), contact(&b));
        calls.spawn(async move { a.request(&to, request(GATE, &[7; 70_000])).await });
    }
    // As many as there are streams for, if not fewer.
    settled(|| b.stats().inbound_in_flight).await;
    tokio::time::sleep(impatient_bound() * 3).await;
    let answer = soon(a.request(&contact(&b), request(ECHO, b"short"))).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"short")));
    gate.let_through(120);
    let answers = soon(calls.join_all()).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(a.stats().unresponsive_closed, 0);
}

async fn a_peer_that_dies_after_its_goodbye_is_found_dead_too(fixture: Fixture) {
    let endpoint = fixture.server_with(1, impatient).await;
    let silent = silent_peer(&fixture, &endpoint).await;
    let dying = async {
        let mut lane = soon(silent.connection.accept()).await.unwrap();
        raw::read_exactly(&mut *lane.receive, raw::HEADER_LEN).await;
        let mut farewell = soon(silent.connection.open()).await.unwrap();
        let goaway = raw::header_of(0, [1, GOAWAY, SHUTTING_DOWN], 0);
        soon(farewell.send.send(goaway.into())).await.unwrap();
        farewell.send.finish().unwrap();
        let reason = soon(silent.connection.closed()).await;
        drop((lane, farewell));
        reason
    };
    let call = endpoint.request(&silent.contact, request(ECHO, b""));
    let (answer, reason) = soon(async { tokio::join!(call, dying) }).await;
    let closed = ConnectionError::Closed(CloseCode::Unresponsive);
    assert_eq!(
        answer.unwrap_err().failure,
        RequestFailure::Interrupted(StreamError::Connection(closed))
    );
    assert_eq!(
        reason,
        ConnectionError::ClosedByPeer(CloseCode::Unresponsive)
    );
}

const GOAWAY: u8 = 10;
const SHUTTING_DOWN: u8 = 1;
