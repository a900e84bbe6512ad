//! What a peer sends before anybody is ready for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use macula_core::{Contact, DialTarget};
use macula_transport::{Connection, Endpoint, EndpointConfig, Stream};
use tokio::task::JoinSet;

use super::fixture::{
    Bound, ECHO, Echo, Fixture, GATE, contact, echoing, eventually, gated, request, settled, soon,
};
use super::raw::{self, HEADER_LEN};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// What every endpoint answers by itself.
const PING: u8 = 0;

/// Says hello and does not wait for the answer.
async fn say_hello(connection: &dyn Connection) -> Stream {
    let mut stream = soon(connection.open()).await.unwrap();
    let hello = Bytes::from(raw::hello(1, "open"));
    soon(stream.send.send(hello)).await.unwrap();
    stream.send.finish().unwrap();
    stream
}

async fn requests_right_behind_the_hello_are_answered(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::dial(&*raw, &b).await;
    let hello = say_hello(&*connection).await;
    let mut lanes = Vec::new();
    for lane in 0..5 {
        let mut stream = soon(connection.open()).await.unwrap();
        let asks = (0..20).flat_map(|call| {
            let head = raw::header_of(lane * 20 + call, [1, REQUEST, ECHO.0], 4);
            [head, b"echo".to_vec()].concat()
        });
        soon(stream.send.send(asks.collect())).await.unwrap();
        lanes.push(stream);
    }
    for mut stream in lanes {
        let len = 20 * (HEADER_LEN + 4);
        let answers = raw::read_exactly(&mut *stream.receive, len).await;
        for answer in answers.chunks(HEADER_LEN + 4) {
            assert_eq!((answer[1], &answer[HEADER_LEN..]), (REPLY, &b"echo"[..]));
        }
    }
    assert_eq!(b.stats().requests_handled, 100);
    drop(hello);
}

async fn what_comes_before_an_endpoint_starts_is_kept_and_bounded(fixture: Fixture) {
    const ASKS: usize = 8000;
    let runtime = fixture.runtime(2).await;
    let transport = fixture.transport(&runtime, 2, Bound::Specific).await;
    let raw = fixture.raw(1).await;
    let there = Contact::new(transport.node_id(), transport.local_addresses());
    let connection = soon(raw.dial(&DialTarget::from(there))).await.unwrap();
    let _hello = say_hello(&*connection).await;
    let Stream {
        mut send,
        mut receive,
    } = soon(connection.open()).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let progress = Arc::clone(&asked);
    let asking = tokio::spawn(async move {
        for call in 0..ASKS {
            let head = raw::header_of(call as u64, [1, REQUEST, PING], 1000);
            let ask = [head, vec![7; 1000]].concat();
            send.send(ask.into()).await.unwrap();
            progress.fetch_add(1, Ordering::Relaxed);
        }
        send
    });
    settled(|| asked.load(Ordering::Relaxed)).await;
    assert!(asked.load(Ordering::Relaxed) < ASKS, "it is held back");
    let _b = Endpoint::start(runtime, transport, EndpointConfig::default()).unwrap();
    let answers = raw::read_exactly(&mut *receive, ASKS * HEADER_LEN).await;
    let _send = soon(asking).await.unwrap();
    let answered = answers.chunks(HEADER_LEN).map(raw::call_of);
    assert!(answered.eq(0..ASKS as u64), "each once, in their order");
}

async fn who_comes_before_the_handlers_is_answered_by_them(fixture: Fixture) {
    let runtime = fixture.runtime(2).await;
    let transport = fixture.transport(&runtime, 2, Bound::Specific).await;
    let there = Contact::new(transport.node_id(), transport.local_addresses());
    let callers = [fixture.server(1).await, fixture.server(3).await];
    let mut calls = JoinSet::new();
    for number in 0..40 {
        let (from, to) = (callers[number % 2].clone(), there.clone());
        let protocol = if number % 4 < 2 { ECHO } else { GATE };
        calls.spawn(async move { from.request(&to, request(protocol, b"early")).await });
    }
    eventually(|| callers.iter().all(|from| from.stats().dials_running == 1)).await;
    let config = EndpointConfig::default();
    let b = Endpoint::prepare(runtime, transport, config).unwrap();
    b.register_inline(ECHO, Arc::new(Echo)).unwrap();
    // Tasks of the endpoint would have had their turn by now.
    b.runtime().spawn(async {}).await.unwrap();
    let gate = gated(&b);
    gate.let_through(20);
    assert_eq!((b.stats().accepted, b.stats().hellos_awaited), (0, 0));
    b.begin_accepting();
    b.begin_accepting();
    for answer in soon(calls.join_all()).await {
        assert_eq!(answer, Ok(Bytes::from_static(b"early")));
    }
    let stats = b.stats();
    assert_eq!((stats.accepted, stats.requests_unknown_protocol), (2, 0));
}

async fn who_is_prepared_and_lets_nobody_in_can_ask_and_end(fixture: Fixture) {
    let runtime = fixture.runtime(2).await;
    let transport = fixture.transport(&runtime, 2, Bound::Specific).await;
    let (sockets, b) = (Arc::downgrade(&transport), echoing(fixture.server(1).await));
    let config = EndpointConfig::default();
    let a = Endpoint::prepare(runtime, transport, config).unwrap();
    let answer = soon(a.request(&contact(&b), request(ECHO, b"out"))).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"out")));
    soon(a.shutdown()).await;
    a.begin_accepting();
    drop(a);
    eventually(|| sockets.strong_count() == 0).await;
}

on_every_wire!(
    who_comes_before_the_handlers_is_answered_by_them,
    who_is_prepared_and_lets_nobody_in_can_ask_and_end,
    requests_right_behind_the_hello_are_answered,
    what_comes_before_an_endpoint_starts_is_kept_and_bounded,
);
