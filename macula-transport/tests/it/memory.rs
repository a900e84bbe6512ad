//! Faults of the memory network, on command.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::{Contact, DialTarget, SecretKey};
use macula_transport::{
    Connection, ConnectionError, DialError, MemoryNetwork, MemoryTransport, Transport,
};
use tokio::time::{Instant, timeout};

mod contract;

fn node(network: &Arc<MemoryNetwork>, seed: u8) -> Arc<MemoryTransport> {
    network.transport(&SecretKey::from_bytes(&[seed; 32]))
}

fn target(node: &MemoryTransport) -> DialTarget {
    Contact::new(node.node_id(), node.local_addresses()).into()
}

async fn connect(
    a: &MemoryTransport,
    b: &MemoryTransport,
) -> (Arc<dyn Connection>, Arc<dyn Connection>) {
    let target = target(b);
    let (near, far) = tokio::join!(a.dial(&target), b.accept());
    (near.unwrap(), far.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_partition_holds_bytes_up_until_it_heals() {
    let network = MemoryNetwork::new(1);
    let (a, b) = (node(&network, 1), node(&network, 2));
    let (near, far) = connect(&a, &b).await;
    let mut ours = near.open().await.unwrap();
    network.partition(&[a.node_id()], &[b.node_id()]);
    ours.send.send(Bytes::from_static(b"late")).await.unwrap();
    let early = timeout(Duration::from_secs(10), far.accept()).await;
    assert!(early.is_err(), "nothing gets through");
    network.heal();
    let mut theirs = far.accept().await.unwrap();
    let chunk = theirs.receive.receive().await.unwrap();
    assert_eq!(chunk.as_deref(), Some(&b"late"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_long_partition_ends_connections_at_both_ends() {
    let network = MemoryNetwork::new(1);
    let (a, b) = (node(&network, 1), node(&network, 2));
    let (near, far) = connect(&a, &b).await;
    network.partition(&[a.node_id()], &[b.node_id()]);
    let (here, there) = tokio::join!(near.closed(), far.closed());
    assert_eq!(
        (here, there),
        (ConnectionError::TimedOut, ConnectionError::TimedOut)
    );
    let dialled = a.dial(&target(&b)).await;
    assert!(matches!(dialled.err(), Some(DialError::Timeout(_))));
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_is_lost_to_its_peers_and_its_address_is_dead() {
    let network = MemoryNetwork::new(1);
    let (a, b) = (node(&network, 1), node(&network, 2));
    let (near, _far) = connect(&a, &b).await;
    network.kill(b.node_id());
    assert_eq!(near.closed().await, ConnectionError::Lost);
    assert!(b.accept().await.is_none());
    assert!(a.dial(&target(&b)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refused_node_fails_dials_at_once_until_admitted() {
    let network = MemoryNetwork::new(1);
    let (a, b) = (node(&network, 1), node(&network, 2));
    network.refuse(b.node_id());
    let dialled = a.dial(&target(&b)).await;
    assert_eq!(dialled.err(), Some(DialError::Unreachable));
    network.admit(b.node_id());
    assert!(a.dial(&target(&b)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn equal_seeds_give_equal_latencies() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let network = MemoryNetwork::new(42);
        network.set_latency(Duration::from_millis(1)..=Duration::from_millis(90));
        let (a, b) = (node(&network, 1), node(&network, 2));
        let start = Instant::now();
        for _ in 0..10 {
            connect(&a, &b).await;
        }
        runs.push(start.elapsed());
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0] > Duration::from_millis(20));
}
