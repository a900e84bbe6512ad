//! What a peer sends before anybody is ready for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use macula_core::{Contact, DialTarget};
use macula_transport::{Connection, Endpoint, EndpointConfig, Stream};

use super::fixture::{Bound, ECHO, Fixture, echoing, settled, soon};
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

on_every_wire!(
    requests_right_behind_the_hello_are_answered,
    what_comes_before_an_endpoint_starts_is_kept_and_bounded,
);
