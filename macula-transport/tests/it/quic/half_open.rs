//! Handshakes that somebody begins and nobody finishes.

use std::sync::Arc;
use std::time::Duration;

use macula_core::{Contact, DialTarget};
use macula_transport::{QuicTransport, Transport as _};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::{client, contact, loopback, server, within};

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
    within(async {
        while b.stats().handshakes_retried == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let target = contact(&b);
    let (dialled, accepted) =
        within(async { tokio::join!(honest.dial(&target), b.accept()) }).await;
    assert!(dialled.is_ok() && accepted.is_some());
    assert_eq!(b.stats().handshakes_refused, 0);
    assert_eq!(b.stats().connections, 1);
}
