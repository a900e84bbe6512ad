//! Closing says why, and gives everything back.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_transport::{
    CloseCode, Connection, ConnectionError, DialError, QuicConfig, QuicTransport, StreamError,
    Transport,
};

use super::restart::{Dialler, Lonely};
use super::{client, connect, contact, loopback, secret, server, server_at, within};

#[tokio::test]
async fn both_ends_see_why_a_connection_was_closed() {
    let (a, b) = (client(1).await, server(2).await);
    for code in [CloseCode::Done, CloseCode::WrongRealm, CloseCode::Other(77)] {
        let (dialled, accepted) = connect(&a, &b).await;
        accepted.close(code);
        // The first reason is the one that counts.
        accepted.close(CloseCode::Malformed);
        let near = within(accepted.closed()).await;
        let far = within(dialled.closed()).await;
        assert_eq!(near, ConnectionError::Closed(code));
        assert_eq!(far, ConnectionError::ClosedByPeer(code));
        assert_eq!(within(dialled.accept()).await.err(), Some(far));
        assert_eq!(within(dialled.open()).await.err(), Some(far));
        assert_eq!(within(accepted.accept()).await.err(), Some(near));
    }
}

#[tokio::test]
async fn dropping_a_connection_and_its_streams_tells_the_peer() {
    let (a, b) = (client(1).await, server(2).await);
    let (dialled, accepted) = connect(&a, &b).await;
    drop(dialled);
    let end = within(accepted.closed()).await;
    assert_eq!(end, ConnectionError::ClosedByPeer(CloseCode::Done));
}

#[tokio::test]
async fn a_stream_outlives_the_handle_of_its_connection() {
    let (a, b) = (client(1).await, server(2).await);
    let (dialled, accepted) = connect(&a, &b).await;
    let mut near = within(dialled.open()).await.unwrap();
    drop(dialled);
    within(near.send.send(Bytes::from_static(b"still here")))
        .await
        .unwrap();
    near.send.finish().unwrap();
    let mut far = within(accepted.accept()).await.unwrap();
    let chunk = within(far.receive.receive()).await.unwrap().unwrap();
    assert_eq!(&chunk[..], b"still here");
}

#[tokio::test]
async fn closing_the_transport_reaches_every_connection_and_stream() {
    let (a, b) = (client(1).await, server(2).await);
    let (dialled, accepted) = connect(&a, &b).await;
    let mut near = within(dialled.open()).await.unwrap();
    within(near.send.send(Bytes::from_static(b"x")))
        .await
        .unwrap();
    let mut far = within(accepted.accept()).await.unwrap();
    within(b.close(CloseCode::ShuttingDown)).await;
    let end = ConnectionError::ClosedByPeer(CloseCode::ShuttingDown);
    assert_eq!(within(dialled.closed()).await, end);
    let failure = within(near.receive.receive()).await;
    assert_eq!(failure, Err(StreamError::Connection(end)));
    let failure = within(far.receive.receive()).await;
    let end = ConnectionError::Closed(CloseCode::ShuttingDown);
    assert_eq!(failure, Err(StreamError::Connection(end)));
}

#[tokio::test]
async fn a_closed_transport_neither_dials_nor_accepts() {
    let (a, b) = (client(1).await, server(2).await);
    let waiting = tokio::spawn({
        let b = Arc::clone(&b);
        async move { b.accept().await.is_none() }
    });
    within(b.close(CloseCode::ShuttingDown)).await;
    assert!(within(waiting).await.unwrap());
    assert!(within(b.accept()).await.is_none());
    let outcome = within(b.dial(&contact(&a))).await.map(|_| ());
    assert_eq!(outcome, Err(DialError::Closed));
    // Idempotent.
    within(b.close(CloseCode::Done)).await;
}

#[tokio::test]
async fn closing_gives_a_dial_up() {
    let black_hole = UdpSocket::bind(loopback()).unwrap();
    let a = client(1).await;
    let target = super::first_use(black_hole.local_addr().unwrap());
    let dial = a.dial(&target);
    let (outcome, ()) = within(async { tokio::join!(dial, a.close(CloseCode::Done)) }).await;
    assert_eq!(outcome.map(|_| ()), Err(DialError::Closed));
}

#[tokio::test]
async fn the_port_can_be_bound_again_after_closing_an_idle_transport() {
    let b = server(2).await;
    let address = b.local_addresses()[0];
    within(b.close(CloseCode::ShuttingDown)).await;
    UdpSocket::bind(address).expect("the port is free");
}

#[tokio::test]
async fn the_port_can_be_bound_again_after_closing_with_connections() {
    let (a, b) = (client(1).await, server(2).await);
    let address = b.local_addresses()[0];
    let held = connect(&a, &b).await;
    within(b.close(CloseCode::ShuttingDown)).await;
    let again = server_at(3, address).await;
    let (dialled, _accepted) = connect(&a, &again).await;
    assert_eq!(dialled.peer(), again.node_id());
    drop(held);
}

#[tokio::test]
async fn dropping_the_last_handle_frees_the_port() {
    let (a, b) = (client(1).await, server(2).await);
    let address = b.local_addresses()[0];
    let (dialled, _accepted) = connect(&a, &b).await;
    drop(b);
    let end = within(dialled.closed()).await;
    assert_eq!(end, ConnectionError::ClosedByPeer(CloseCode::ShuttingDown));
    let config = QuicConfig {
        listen: vec![address],
        ..QuicConfig::default()
    };
    within(async {
        while QuicTransport::bind(&secret(3), config.clone())
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_nobody_takes_is_closed_as_overloaded() {
    let config = QuicConfig {
        listen: vec![loopback()],
        accept_backlog: 1,
        ..QuicConfig::default()
    };
    let b = QuicTransport::bind(&secret(2), config).await.unwrap();
    let a = client(1).await;
    let first = within(a.dial(&contact(&b))).await.unwrap();
    let second = within(a.dial(&contact(&b))).await.unwrap();
    let overloaded = ConnectionError::ClosedByPeer(CloseCode::Overloaded);
    assert_eq!(within(second.closed()).await, overloaded);
    assert_eq!(b.stats().unwrap().overflowed, 1);
    let accepted = within(b.accept()).await.unwrap();
    accepted.close(CloseCode::Done);
    let done = ConnectionError::ClosedByPeer(CloseCode::Done);
    assert_eq!(within(first.closed()).await, done);
}

/// A node that keeps its connections alive, and gives them up soon when they are not.
async fn impatient(seed: u8) -> Arc<QuicTransport> {
    let config = QuicConfig {
        listen: vec![loopback()],
        idle_timeout: Duration::from_millis(400),
        keep_alive: Duration::from_millis(100),
        ..QuicConfig::default()
    };
    QuicTransport::bind(&secret(seed), config).await.unwrap()
}

/// Holds as long as the peer lives, and is given up once it does not.
async fn assert_lives_until(kill: impl FnOnce(), connection: &dyn Connection) {
    let patience = Duration::from_millis(1200);
    let ended = tokio::time::timeout(patience, connection.closed()).await;
    assert!(ended.is_err(), "{ended:?}");
    kill();
    assert_eq!(within(connection.closed()).await, ConnectionError::TimedOut);
}

#[tokio::test]
async fn a_silent_peer_is_given_up_after_the_idle_timeout() {
    let (a, b) = (impatient(1).await, Lonely::start(2).await);
    let dialled = within(a.dial(&b.contact)).await.unwrap();
    assert_lives_until(|| b.kill(), &*dialled).await;
}

#[tokio::test]
async fn a_silent_dialler_is_given_up_after_the_idle_timeout() {
    let b = impatient(2).await;
    let a = Dialler::start(1, contact(&b));
    let accepted = within(b.accept()).await.unwrap();
    assert_lives_until(|| a.kill(), &*accepted).await;
}
