//! What happens follows from the seed.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Links, Network, simulate};
use crate::endpoint::fixture::{ECHO, Fixture, contact, echoing, request, soon};

/// Two nodes that call each other on links that lose and reorder, and are cut off meanwhile.
async fn calls_both_ways(network: Network) {
    let fixture = Fixture::simulated(network.clone());
    let a = echoing(fixture.server(1).await);
    let b = echoing(fixture.server(2).await);
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        for (from, to) in [(&a, &b), (&b, &a)] {
            let (from, to) = (from.clone(), contact(to));
            calls.spawn(async move { from.request(&to, request(ECHO, b"echo")).await });
        }
    }
    sleep(Duration::from_millis(150)).await;
    network.cut(1, 2);
    sleep(Duration::from_millis(150)).await;
    network.heal(1, 2);
    for answer in soon(calls.join_all()).await {
        assert_eq!(answer, Ok(Bytes::from_static(b"echo")));
    }
}

#[test]
fn equal_seeds_give_equal_traces() {
    for seed in 1..=5 {
        let [first, second] = [(); 2].map(|()| simulate(seed, Links::BAD, calls_both_ways));
        assert!(first.len() > 50, "packets had to travel");
        assert_eq!(first.parts_from(&second), None, "with seed {seed}");
    }
}

#[test]
fn different_seeds_give_different_traces() {
    let [first, second] = [1, 2].map(|seed| simulate(seed, Links::BAD, calls_both_ways));
    assert!(first.parts_from(&second).is_some());
}
