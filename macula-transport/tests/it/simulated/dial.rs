//! Addresses at which nobody answers.

use std::time::Duration;

use macula_core::{Contact, NodeId};
use macula_transport::{DialError, Endpoint, EndpointConfig};
use tokio::time::{Instant, sleep};

use super::{Links, Network, on_some_seeds};
use crate::endpoint::fixture::{Fixture, contact, soon};

const LIMIT: Duration = EndpointConfig::DEFAULT_DIAL_TIMEOUT;

fn nowhere(network: &Network) -> Contact {
    Contact::new(NodeId::from_bytes([9; 32]), [network.black_hole()])
}

/// Dials in vain, and says for how long the next dial is put off.
async fn fail(from: &Endpoint, to: &Contact) -> Duration {
    let start = Instant::now();
    let failed = soon(from.connect(&to.clone().into())).await;
    assert_eq!(failed, Err(DialError::Timeout(LIMIT)));
    let late = start.elapsed() - LIMIT;
    assert!(late < Duration::from_millis(10), "{late:?} late");
    match from.connect(&to.clone().into()).await {
        Err(DialError::BackingOff(wait)) => wait,
        other => panic!("{other:?}"),
    }
}

async fn back_off_grows_and_jitters(network: Network) {
    let fixture = Fixture::simulated(network.clone());
    let (one, other) = (fixture.server(1).await, fixture.server(2).await);
    let to = nowhere(&network);
    let mut waits = [Duration::ZERO; 3];
    for wait in &mut waits {
        let there = tokio::join!(fail(&one, &to), fail(&other, &to));
        assert_ne!(there.0, there.1, "who failed together dials together");
        sleep(there.0.max(there.1)).await;
        *wait = there.0;
    }
    assert!(waits.is_sorted() && waits[2] >= waits[0] * 2, "{waits:?}");
}

#[test]
fn a_black_hole_fails_at_the_deadline_and_is_left_alone_for_longer_and_longer() {
    on_some_seeds(Links::GOOD, back_off_grows_and_jitters);
}

async fn a_peer_that_is_back_ends_the_back_off(network: Network) {
    let fixture = Fixture::simulated(network.clone());
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    network.cut(1, 2);
    let wait = fail(&a, &contact(&b)).await;
    network.heal(1, 2);
    let start = Instant::now();
    soon(b.connect(&contact(&a).into())).await.unwrap();
    soon(a.connect(&contact(&b).into())).await.unwrap();
    assert!(start.elapsed() < wait, "it was not waited for");
    assert_eq!(a.stats().dials, 1);
}

#[test]
fn a_peer_that_dials_ends_the_back_off() {
    on_some_seeds(Links::GOOD, a_peer_that_is_back_ends_the_back_off);
}
