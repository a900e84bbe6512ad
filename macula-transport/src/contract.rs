//! What every [`Transport`] has to do, as a suite that anyone's implementation can run.
//!
//! It fails by panicking, like any test. Nothing in it depends on how long things take, but a step
//! that makes no progress for [`PATIENCE`] counts as failed.
//!
//! Beside it [`impairment`]: a bad network for those that work over UDP.

#![expect(clippy::expect_used, reason = "a test suite fails by panicking")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use macula_core::{Contact, DialTarget, NodeId};
use tokio::time::timeout;

use crate::{CloseCode, Connection, ConnectionError, DialError, Transport};

pub mod impairment;
mod streams;

/// How long a step may take. Longer than any handshake or idle limit.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Two transports of different identities, both listening at addresses that the other can dial.
pub type Pair = (Arc<dyn Transport>, Arc<dyn Transport>);

/// Runs the whole suite. `make` is called once for each claim.
///
/// # Panics
/// When a claim does not hold.
pub async fn run<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Pair>,
{
    identities_are_proved_at_both_ends(make().await).await;
    another_identity_than_dialled_is_refused(make().await).await;
    a_dial_without_addresses_fails(make().await).await;
    a_dial_to_nobody_fails_in_time(make().await).await;
    a_close_code_reaches_the_peer(make().await).await;
    closing_the_transport_ends_everything(make().await).await;
    both_sides_dial_at_the_same_time(make().await).await;
    streams::run(&make).await;
}

async fn identities_are_proved_at_both_ends((a, b): Pair) {
    let (near, far) = connect(&*a, &*b).await;
    assert_eq!(near.peer(), b.node_id(), "dialler's view of the listener");
    assert_eq!(far.peer(), a.node_id(), "listener's view of the dialler");
    assert!(b.local_addresses().contains(&near.remote_address()));
}

async fn another_identity_than_dialled_is_refused((a, b): Pair) {
    let stranger = NodeId::from_bytes([7; NodeId::LEN_BYTES]);
    let target = DialTarget::from(Contact::new(stranger, b.local_addresses()));
    match soon(a.dial(&target)).await {
        Err(DialError::WrongIdentity { expected, .. }) => assert_eq!(expected, stranger),
        Err(other) => unreachable!("refused for another reason: {other:?}"),
        Ok(_) => unreachable!("somebody else was accepted"),
    }
}

async fn a_dial_without_addresses_fails((a, b): Pair) {
    let target = DialTarget::from(Contact::new(b.node_id(), []));
    let outcome = soon(a.dial(&target)).await;
    assert_eq!(outcome.err(), Some(DialError::NoAddress));
}

async fn a_dial_to_nobody_fails_in_time((a, b): Pair) {
    let target = target_of(&*b);
    soon(b.close(CloseCode::Done)).await;
    drop(b);
    assert!(soon(a.dial(&target)).await.is_err());
}

async fn a_close_code_reaches_the_peer((a, b): Pair) {
    let (near, far) = connect(&*a, &*b).await;
    near.close(CloseCode::WrongRealm);
    let here = soon(near.closed()).await;
    assert_eq!(here, ConnectionError::Closed(CloseCode::WrongRealm));
    let there = soon(far.closed()).await;
    assert_eq!(there, ConnectionError::ClosedByPeer(CloseCode::WrongRealm));
    assert!(soon(far.open()).await.is_err() || soon(far.accept()).await.is_err());
}

async fn closing_the_transport_ends_everything((a, b): Pair) {
    let (near, _far) = connect(&*a, &*b).await;
    let accepting = {
        let b = Arc::clone(&b);
        tokio::spawn(async move { b.accept().await.is_none() })
    };
    soon(b.close(CloseCode::ShuttingDown)).await;
    assert!(
        soon(accepting).await.expect("the accepting task ends"),
        "accept ends with None"
    );
    assert!(soon(b.accept()).await.is_none(), "and stays ended");
    let error = soon(near.closed()).await;
    assert_eq!(
        error,
        ConnectionError::ClosedByPeer(CloseCode::ShuttingDown)
    );
    let outcome = soon(b.dial(&target_of(&*a))).await;
    assert_eq!(outcome.err(), Some(DialError::Closed));
}

async fn both_sides_dial_at_the_same_time((a, b): Pair) {
    let (to_b, to_a) = (target_of(&*b), target_of(&*a));
    let (from_a, from_b, at_a, at_b) =
        soon(async { tokio::join!(a.dial(&to_b), b.dial(&to_a), a.accept(), b.accept()) }).await;
    assert_eq!(from_a.expect("a reaches b").peer(), b.node_id());
    assert_eq!(from_b.expect("b reaches a").peer(), a.node_id());
    assert_eq!(at_a.expect("a accepts").peer(), b.node_id());
    assert_eq!(at_b.expect("b accepts").peer(), a.node_id());
}

/// A connection from `a` to `b`, as both see it.
async fn connect(
    a: &dyn Transport,
    b: &dyn Transport,
) -> (Arc<dyn Connection>, Arc<dyn Connection>) {
    let target = target_of(b);
    let (near, far) = soon(async { tokio::join!(a.dial(&target), b.accept()) }).await;
    (
        near.expect("the dial succeeds"),
        far.expect("the connection is accepted"),
    )
}

fn target_of(transport: &dyn Transport) -> DialTarget {
    Contact::new(transport.node_id(), transport.local_addresses()).into()
}

/// Waits for something that has to happen.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .expect("the transport makes progress")
}
