//! Handshakes that somebody begins and nobody finishes.

use std::sync::Arc;
use std::time::Duration;

use macula_core::{Contact, DialTarget};
use macula_transport::{
    CloseCode, DialError, QuicConfig, QuicTransport, Transport as _, TransportStats,
};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::{client, contact, loopback, secret, server, within};

/// Passes the first packets of dials on to a server, and nothing back.
async fn one_way(to: &QuicTransport) -> (Arc<UdpSocket>, JoinSet<()>) {
    let front = Arc::new(UdpSocket::bind(loopback()).await.unwrap());
    let back = UdpSocket::bind(loopback()).await.unwrap();
    back.connect(to.local_addresses()[0]).await.unwrap();
    let mut passing = JoinSet::new();
    let from = Arc::clone(&front);
    passing.spawn(async move {
        let mut packet = [0; 2048];
        while let Ok((len, _)) = from.recv_from(&mut packet).await {
            let _ = back.send(&packet[..len]).await;
        }
    });
    (front, passing)
}

#[tokio::test]
async fn half_open_handshakes_keep_nobody_out() {
    let (b, flooder, honest) = (server(1).await, client(2).await, client(3).await);
    let (front, _passing) = one_way(&b).await;
    let target = DialTarget::from(Contact::new(b.node_id(), [front.local_addr().unwrap()]));
    let mut flood = JoinSet::new();
    for _ in 0..200 {
        let (flooder, target) = (Arc::clone(&flooder), target.clone());
        flood.spawn(async move { flooder.dial(&target).await.is_ok() });
    }
    until(&b, |stats| stats.handshakes_retried > 0).await;
    let target = contact(&b);
    let (dialled, accepted) =
        within(async { tokio::join!(honest.dial(&target), b.accept()) }).await;
    assert!(dialled.is_ok() && accepted.is_some());
    let stats = b.stats().unwrap();
    assert_eq!((stats.handshakes_refused, stats.connections), (0, 1));
}

#[tokio::test]
async fn newcomers_are_refused_and_counted_while_too_many_handshakes_are_in_progress() {
    const MOST: usize = 20;
    let config = QuicConfig {
        listen: vec![loopback()],
        handshake_timeout: Duration::from_secs(2),
        max_handshakes: MOST,
        ..QuicConfig::default()
    };
    let b = QuicTransport::bind(&secret(1), config).await.unwrap();
    let (flooder, honest) = (client(2).await, client(3).await);
    let (front, _passing) = one_way(&b).await;
    let target = DialTarget::from(Contact::new(b.node_id(), [front.local_addr().unwrap()]));
    let mut flood = JoinSet::new();
    for _ in 0..2 * MOST {
        let (flooder, target) = (Arc::clone(&flooder), target.clone());
        flood.spawn(async move { flooder.dial(&target).await.is_ok() });
    }
    until(&b, |stats| stats.handshakes_refused > 0).await;
    let refused = within(honest.dial(&contact(&b))).await.map(|_| ());
    assert_eq!(refused, Err(DialError::Refused(CloseCode::Overloaded)));
    assert_eq!(b.stats().unwrap().handshakes_retried, 0);

    // Those in progress come to an end by themselves.
    assert!(within(flood.join_all()).await.iter().all(|is_ok| !is_ok));
    within(async {
        while honest.dial(&contact(&b)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

async fn until(node: &QuicTransport, is_it: impl Fn(TransportStats) -> bool) {
    within(async {
        while !node.stats().is_some_and(&is_it) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
