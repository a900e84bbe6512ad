//! Work that goes on while packets are lost and late.

use std::time::Duration;

use bytes::Bytes;
use macula_core::{Contact, DialTarget};
use macula_transport::{CloseCode, Stream, StreamError, Transport};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Links, Network, on_some_seeds};
use crate::endpoint::fixture::{ECHO, Fixture, GATE, contact, echoing, gated, request, soon};

async fn every_call_is_answered(network: Network) {
    let fixture = Fixture::simulated(network);
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    let mut calls = JoinSet::new();
    for number in 0..500_u32 {
        let (a, to) = (a.clone(), contact(&b));
        let mut call = request(ECHO, b"");
        call.body = Bytes::from(number.to_be_bytes().repeat(1 + number as usize % 100));
        calls.spawn(async move { a.request(&to, call.clone()).await == Ok(call.body) });
        sleep(Duration::from_millis(4)).await;
    }
    let answers = soon(calls.join_all()).await;
    assert_eq!(answers.iter().filter(|right| **right).count(), 500);
    assert_eq!((a.stats().dials, a.stats().unresponsive_closed), (1, 0));
}

#[test]
fn every_call_is_answered_though_packets_are_lost_and_late() {
    on_some_seeds(Links::BAD, every_call_is_answered);
}

async fn no_call_is_lost_where_all_dial_each_other(network: Network) {
    let fixture = Fixture::simulated(network);
    let mut nodes = Vec::new();
    for seed in 1..=4 {
        nodes.push(echoing(fixture.server(seed).await));
    }
    let mut calls = JoinSet::new();
    for from in &nodes {
        for to in nodes.iter().filter(|to| to.node_id() != from.node_id()) {
            let (from, to) = (from.clone(), contact(to));
            calls.spawn(async move { from.request(&to, request(ECHO, b"hi")).await });
        }
    }
    for answer in soon(calls.join_all()).await {
        assert_eq!(answer, Ok(Bytes::from_static(b"hi")));
    }
    let dials = nodes.iter().map(|node| node.stats().dials).max();
    assert!(dials <= Some(3), "{dials:?}");
}

#[test]
fn all_dial_each_other_at_once_and_no_call_is_lost() {
    on_some_seeds(Links::BAD, no_call_is_lost_where_all_dial_each_other);
}

/// Long enough for many round trips.
const LONG: &[u8] = &[7; 150_000];

async fn long_replies_arrive_before_the_end(network: Network) {
    let fixture = Fixture::simulated(network);
    let b = fixture.server(2).await;
    let gate = gated(&b);
    let mut calls = JoinSet::new();
    for seed in [1, 3, 4] {
        let peer = fixture.server(seed).await;
        for _ in 0..4 {
            let (peer, to) = (peer.clone(), contact(&b));
            calls.spawn(async move { peer.request(&to, request(GATE, LONG)).await });
        }
    }
    gate.holds(12).await;
    gate.let_through(12);
    soon(b.shutdown()).await;
    for answer in soon(calls.join_all()).await {
        assert!(answer.is_ok_and(|answer| answer == LONG));
    }
}

#[test]
fn long_replies_arrive_before_a_node_ends_though_packets_are_lost_and_late() {
    on_some_seeds(Links::BAD, long_replies_arrive_before_the_end);
}

const BODY: &[u8] = &[7; 60_000];
const STREAMS: usize = 30;

async fn a_reset_ends_one_stream(network: Network) {
    let (a, b) = (network.server(1).await, network.server(2).await);
    let target = DialTarget::from(Contact::new(b.node_id(), b.local_addresses()));
    let (near, far) = soon(async { tokio::join!(a.dial(&target), b.accept()) }).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    let sending = async {
        for number in 0..STREAMS {
            let stream = near.open().await.unwrap();
            tokio::spawn(send(stream, number % 3 == 0));
        }
    };
    let receiving = async {
        let mut receiving = JoinSet::new();
        for _ in 0..STREAMS {
            receiving.spawn(received(far.accept().await.unwrap()));
        }
        receiving.join_all().await
    };
    let ((), ends) = soon(async { tokio::join!(sending, receiving) }).await;
    let reset = Err(StreamError::Reset(CloseCode::Overloaded));
    assert_eq!(ends.iter().filter(|end| **end == reset).count(), 10);
    let whole = Ok(BODY.len());
    assert_eq!(ends.iter().filter(|end| **end == whole).count(), 20);
}

async fn send(mut stream: Stream, resets: bool) {
    stream.send.send(Bytes::from_static(BODY)).await.unwrap();
    if resets {
        stream.send.reset(CloseCode::Overloaded);
    } else {
        stream.send.finish().unwrap();
    }
    // Dropping the other half would tell the receiver to stop.
    let _ = stream.receive.receive().await;
}

async fn received(mut stream: Stream) -> Result<usize, StreamError> {
    let mut len = 0;
    while let Some(chunk) = stream.receive.receive().await? {
        len += chunk.len();
    }
    Ok(len)
}

#[test]
fn a_stream_that_is_reset_takes_no_other_with_it() {
    on_some_seeds(Links::BAD, a_reset_ends_one_stream);
}
