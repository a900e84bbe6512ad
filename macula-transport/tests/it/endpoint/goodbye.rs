//! Connections that are taken leave of.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    CloseCode, Connection, ConnectionError, Endpoint, EndpointConfig, PeerEvent, Refusal,
    RequestFailure, Role, Stream,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::fixture::{
    Bound, ECHO, Fixture, GATE, contact, echoing, event, eventually, gated, request, soon,
};
use super::raw::{self, HEADER_LEN};

const REPLY: u8 = 2;
const REFUSAL: u8 = 3;
const GOAWAY: u8 = 10;
const LEAVING: u8 = 8;

fn with_room_for_one(config: &mut EndpointConfig) {
    config.max_connections = std::num::NonZeroUsize::MIN;
}

/// Waits for a goodbye, and its reason.
async fn goodbye(connection: &dyn Connection) -> (Stream, CloseCode) {
    let mut stream = soon(connection.accept()).await.unwrap();
    let frame = raw::read_exactly(&mut *stream.receive, HEADER_LEN).await;
    assert_eq!(frame[1], GOAWAY);
    (stream, CloseCode::from_wire(frame[2].into()))
}

async fn an_idle_connection_is_closed_once_the_peer_has_heard_goodbye(fixture: Fixture) {
    let b = echoing(fixture.server_with(2, with_room_for_one).await);
    let (raw, other) = (fixture.raw(1).await, fixture.server(3).await);
    let connection = raw::greeted(&*raw, &b).await;
    let mut lane = raw::ask(&*connection, ECHO).await;
    let answer = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
    assert_eq!(answer[1], REPLY);
    eventually(|| b.stats().inbound_in_flight == 0).await;
    soon(other.connect(&contact(&b).into())).await.unwrap();

    let (mut farewell, code) = goodbye(&*connection).await;
    assert_eq!(code, CloseCode::Idle);
    let late = raw::header_of(2, [1, 1, ECHO.0], 0);
    soon(lane.send.send(late.into())).await.unwrap();
    let refusal = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
    assert_eq!(refusal[1..3], [REFUSAL, LEAVING]);

    farewell.send.finish().unwrap();
    let ended = soon(connection.closed()).await;
    assert_eq!(ended, ConnectionError::ClosedByPeer(CloseCode::Idle));
    assert_eq!(b.stats().evictions, 1);
}

async fn whoever_does_not_answer_a_goodbye_is_not_waited_for(fixture: Fixture) {
    let b = echoing(fixture.server_with(2, with_room_for_one).await);
    let (raw, other) = (fixture.raw(1).await, fixture.server(3).await);
    let connection = raw::greeted(&*raw, &b).await;
    eventually(|| b.stats().connections == 1).await;
    soon(other.connect(&contact(&b).into())).await.unwrap();
    let _unanswered = goodbye(&*connection).await;
    let ended = soon(connection.closed()).await;
    assert_eq!(ended, ConnectionError::ClosedByPeer(CloseCode::Idle));
}

async fn after_a_goodbye_requests_take_another_connection(fixture: Fixture) {
    let (a, raw) = (fixture.client(1).await, fixture.raw(2).await);
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    let (heard_it, has_heard) = tokio::sync::oneshot::channel();
    let peer = async {
        let first = raw::welcome(&*raw).await;
        let mut lane = first.accept().await.unwrap();
        raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
        lane.send
            .send(raw::header_of(0, [1, REPLY, 0], 0).into())
            .await
            .unwrap();
        let mut farewell = first.open().await.unwrap();
        let goaway = raw::header_of(0, [1, GOAWAY, 6], 0);
        farewell.send.send(goaway.into()).await.unwrap();
        farewell.send.finish().unwrap();
        let heard = raw::whole(&mut *farewell.receive).await;
        assert_eq!(heard, Ok(Bytes::new()), "nothing was waited for");
        heard_it.send(()).unwrap();
        let second = raw::welcome(&*raw).await;
        let mut lane = second.accept().await.unwrap();
        raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
        let reply = [raw::header_of(0, [1, REPLY, 0], 6), b"second".to_vec()];
        lane.send.send(reply.concat().into()).await.unwrap();
        let _ = lane.receive.receive().await;
        (first, second)
    };
    let asking = async {
        let first = a.request(&to, request(ECHO, b"")).await;
        assert_eq!(first, Ok(Bytes::new()));
        has_heard.await.unwrap();
        let second = a.request(&to, request(ECHO, b"")).await;
        assert_eq!(second, Ok(Bytes::from_static(b"second")));
        a.shutdown().await;
    };
    soon(async { tokio::join!(peer, asking) }).await;
    assert_eq!(a.stats().dials, 2);
}

async fn a_node_that_shuts_down_says_so_and_is_not_dialled_again(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    let mut at_a = a.events();
    soon(a.request(&contact(&b), request(ECHO, b"")))
        .await
        .unwrap();
    soon(b.drain()).await;
    let error = soon(a.request(&contact(&b), request(ECHO, b"")))
        .await
        .unwrap_err();
    assert_eq!(
        error.failure,
        RequestFailure::Refused(Refusal::ShuttingDown)
    );
    assert_eq!(a.stats().dials, 1);
    soon(b.shutdown()).await;
    let gone = PeerEvent::Departed(b.node_id());
    event(&mut at_a, |event| *event == gone).await;
}

async fn a_reply_to_a_silent_peer_is_waited_for_and_arrives(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let gate = gated(&b);
    let pending = {
        let (a, to) = (a.clone(), contact(&b));
        tokio::spawn(async move { a.request(&to, request(GATE, &[7; 200_000])).await })
    };
    gate.holds(1).await;
    let letting = async {
        // For longer than peers are waited for that have nothing to wait for.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        gate.let_through(1);
    };
    soon(async { tokio::join!(b.shutdown(), letting) }).await;
    assert!(
        soon(pending)
            .await
            .unwrap()
            .is_ok_and(|body| body.len() == 200_000)
    );
}

async fn requests_outlive_the_idle_end_of_their_connection(fixture: Fixture) {
    let brief = |config: &mut EndpointConfig| {
        config.idle_timeout = Duration::from_millis(30);
    };
    let a = fixture.server_with(1, brief).await;
    let b = echoing(fixture.server_with(2, brief).await);
    soon(a.request(&contact(&b), request(ECHO, b"")))
        .await
        .unwrap();
    for pause_ms in 20..40 {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let answer = soon(a.request(&contact(&b), request(ECHO, b"again"))).await;
        assert_eq!(answer, Ok(Bytes::from_static(b"again")));
    }
    assert!(a.stats().idle_closed + b.stats().idle_closed > 0);
}

async fn an_idle_timeout_below_the_round_trip_fails_no_request(fixture: Fixture) {
    let none = |config: &mut EndpointConfig| config.idle_timeout = Duration::from_micros(1);
    let hasty = fixture.server_with(1, none).await;
    let usual = echoing(fixture.server(2).await);
    let hasty_too = echoing(fixture.server_with(3, none).await);
    for (from, to) in [(&hasty, &usual), (&usual, &hasty_too), (&hasty, &hasty_too)] {
        for _ in 0..20 {
            let answer = soon(from.request(&contact(to), request(ECHO, b"still"))).await;
            assert_eq!(answer, Ok(Bytes::from_static(b"still")));
        }
    }
    assert!(hasty.stats().idle_closed > 0 && hasty_too.stats().idle_closed > 0);
    assert_eq!(usual.stats().idle_closed, 0);
}

async fn who_has_dialled_and_not_asked_yet_is_waited_for(fixture: Fixture) {
    const IDLE: Duration = Duration::from_millis(10);
    let brief = |config: &mut EndpointConfig| config.idle_timeout = IDLE;
    let b = echoing(fixture.server_with(2, brief).await);
    let raw = fixture.raw(1).await;
    let connected = Instant::now();
    let connection = raw::greeted(&*raw, &b).await;
    sleep(IDLE * 10).await;
    let mut lane = raw::ask(&*connection, ECHO).await;
    raw::read_exactly(&mut *lane.receive, raw::HEADER_LEN).await;
    // Used once, it is like any other.
    let (_farewell, code) = goodbye(&*connection).await;
    assert_eq!(code, CloseCode::Idle);
    assert!(connected.elapsed() < EndpointConfig::DEFAULT_DIAL_TIMEOUT);

    let connected = Instant::now();
    let connection = raw::greeted(&*raw, &b).await;
    let (_farewell, code) = goodbye(&*connection).await;
    assert_eq!(code, CloseCode::Idle);
    let kept = connected.elapsed();
    assert!(kept >= EndpointConfig::DEFAULT_DIAL_TIMEOUT, "{kept:?}");
}

async fn both_sides_may_take_leave_at_once_and_no_call_is_lost(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let (at_a, at_b) = (gated(&a), gated(&b));
    soon(a.connect(&contact(&b).into())).await.unwrap();
    let mut calls = JoinSet::new();
    for number in 0..40 {
        let long: &'static [u8] = &[7; 100_000];
        let body = if number % 8 < 2 { long } else { b"short" };
        let (from, to) = match number % 2 {
            0 => (a.clone(), contact(&b)),
            _ => (b.clone(), contact(&a)),
        };
        calls.spawn(async move { from.request(&to, request(GATE, body)).await == Ok(body.into()) });
    }
    at_a.holds(20).await;
    at_b.holds(20).await;
    let letting = async {
        // By then both have said goodbye, or do so while the handlers end.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        at_a.let_through(20);
        at_b.let_through(20);
    };
    soon(async { tokio::join!(a.drain(), b.drain(), letting) }).await;
    let answers = soon(calls.join_all()).await;
    assert_eq!(answers.iter().filter(|right| **right).count(), 40);
    soon(async { tokio::join!(a.shutdown(), b.shutdown()) }).await;
    assert_eq!(a.stats().requests_handled + b.stats().requests_handled, 40);
}

async fn who_is_dialled_during_a_drain_hears_goodbye(fixture: Fixture) {
    let (a, raw) = (fixture.server(1).await, fixture.raw(2).await);
    soon(a.drain()).await;
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    let target = to.into();
    let dialling = a.connect(&target);
    let (dialled, connection) = soon(async { tokio::join!(dialling, raw::welcome(&*raw)) }).await;
    dialled.unwrap();
    let (_farewell, code) = goodbye(&*connection).await;
    assert_eq!(code, CloseCode::ShuttingDown);
}

async fn nobody_keeps_a_connection_that_takes_no_requests(fixture: Fixture) {
    let brief = |config: &mut EndpointConfig| {
        config.role = Role::Client;
        config.idle_timeout = Duration::from_secs(5);
        config.keep_alive = Duration::from_secs(1);
    };
    let a = fixture.node(1, Bound::Nowhere, brief).await;
    let b = fixture.server(2).await;
    soon(a.connect(&contact(&b).into())).await.unwrap();
    soon(b.drain()).await;
    eventually(|| a.stats().idle_closed == 1).await;
}

/// Lets so many peers connect, which answer no goodbye.
async fn crowd(fixture: &Fixture, size: u8, b: &Endpoint) -> Vec<Arc<dyn Connection>> {
    let mut connections = Vec::new();
    for seed in 100..100 + size {
        let raw = fixture.raw(seed).await;
        connections.push(raw::greeted(&*raw, b).await);
        // Its last handle would close its connections.
        std::mem::forget(raw);
    }
    connections
}

async fn all_that_grow_idle_together_hear_goodbye(fixture: Fixture) {
    let brief = |config: &mut EndpointConfig| config.idle_timeout = Duration::from_secs(5);
    let b = fixture.server_with(2, brief).await;
    for connection in crowd(&fixture, 100, &b).await {
        let (_farewell, code) = goodbye(&*connection).await;
        assert_eq!(code, CloseCode::Idle);
    }
    assert_eq!((b.stats().idle_closed, b.stats().closed_abruptly), (100, 0));
}

async fn at_the_limit_of_goodbyes_connections_are_closed_at_once_and_counted(fixture: Fixture) {
    let b = fixture.server_with(2, with_room_for_one).await;
    // The second makes room while the first, which does not answer, is still taken leave of.
    let connections = crowd(&fixture, 3, &b).await;
    let ended = soon(connections[1].closed()).await;
    assert_eq!(ended, ConnectionError::ClosedByPeer(CloseCode::Idle));
    assert_eq!((b.stats().evictions, b.stats().closed_abruptly), (2, 1));
}

on_every_wire!(
    an_idle_connection_is_closed_once_the_peer_has_heard_goodbye,
    whoever_does_not_answer_a_goodbye_is_not_waited_for,
    after_a_goodbye_requests_take_another_connection,
    a_node_that_shuts_down_says_so_and_is_not_dialled_again,
    a_reply_to_a_silent_peer_is_waited_for_and_arrives,
    requests_outlive_the_idle_end_of_their_connection,
    an_idle_timeout_below_the_round_trip_fails_no_request,
    both_sides_may_take_leave_at_once_and_no_call_is_lost,
    who_is_dialled_during_a_drain_hears_goodbye,
);

in_virtual_time!(
    who_has_dialled_and_not_asked_yet_is_waited_for,
    nobody_keeps_a_connection_that_takes_no_requests,
    all_that_grow_idle_together_hear_goodbye,
    at_the_limit_of_goodbyes_connections_are_closed_at_once_and_counted,
);
