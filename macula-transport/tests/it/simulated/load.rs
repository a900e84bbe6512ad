//! Work that goes on while packets are lost and late.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Links, Network, on_some_seeds};
use crate::endpoint::fixture::{ECHO, Fixture, contact, echoing, request, soon};

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
