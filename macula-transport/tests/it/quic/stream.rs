//! Streams carry bytes, ends and resets, and do not starve each other.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use macula_transport::{
    CloseCode, Connection, QuicConfig, QuicTransport, ReceiveStream, SendStream, StreamError,
};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{client, connect, loopback, secret, server, within};

async fn read_to_end(receive: &mut dyn ReceiveStream) -> Result<Vec<u8>, StreamError> {
    let mut all = Vec::new();
    while let Some(chunk) = within(receive.receive()).await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

async fn send(send: &mut dyn SendStream, bytes: &'static [u8]) {
    within(send.send(Bytes::from_static(bytes))).await.unwrap();
}

async fn echo(from: &dyn Connection, to: &dyn Connection) {
    let mut near = within(from.open()).await.unwrap();
    send(&mut *near.send, b"ping").await;
    near.send.finish().unwrap();
    let mut far = within(to.accept()).await.unwrap();
    assert_eq!(read_to_end(&mut *far.receive).await.unwrap(), b"ping");
    send(&mut *far.send, b"pong").await;
    far.send.finish().unwrap();
    assert_eq!(read_to_end(&mut *near.receive).await.unwrap(), b"pong");
}

#[tokio::test]
async fn both_ends_open_streams() {
    let (a, b) = (client(1).await, server(2).await);
    let (dialled, accepted) = connect(&a, &b).await;
    echo(&*dialled, &*accepted).await;
    echo(&*accepted, &*dialled).await;
}

#[tokio::test]
async fn a_dropped_sender_never_looks_complete() {
    let (a, b) = (client(1).await, server(2).await);
    let (dialled, accepted) = connect(&a, &b).await;
    let mut near = within(dialled.open()).await.unwrap();
    send(&mut *near.send, b"half of").await;
    let mut far = within(accepted.accept()).await.unwrap();
    drop(near.send);
    let outcome = read_to_end(&mut *far.receive).await;
    assert_eq!(outcome, Err(StreamError::Reset(CloseCode::Cancelled)));
    // And it stays so.
    let again = within(far.receive.receive()).await;
    assert_eq!(again, Err(StreamError::Reset(CloseCode::Cancelled)));
}

#[tokio::test]
async fn a_dropped_receiver_stops_the_sender() {
    let (a, b) = (client(1).await, server(2).await);
    let (dialled, accepted) = connect(&a, &b).await;
    let mut near = within(dialled.open()).await.unwrap();
    send(&mut *near.send, b"x").await;
    let far = within(accepted.accept()).await.unwrap();
    drop(far.receive);
    let failure = within(async {
        loop {
            if let Err(failure) = near.send.send(Bytes::from(vec![0; 1 << 16])).await {
                return failure;
            }
        }
    })
    .await;
    assert_eq!(failure, StreamError::Reset(CloseCode::Cancelled));
}

#[tokio::test]
async fn a_finished_stream_takes_nothing_more() {
    let (a, b) = (client(1).await, server(2).await);
    let (dialled, _accepted) = connect(&a, &b).await;
    let mut near = within(dialled.open()).await.unwrap();
    send(&mut *near.send, b"x").await;
    near.send.finish().unwrap();
    let outcome = within(near.send.send(Bytes::from_static(b"y"))).await;
    assert_eq!(outcome, Err(StreamError::Closed));
    near.receive.stop(CloseCode::Cancelled);
    let outcome = within(near.receive.receive()).await;
    assert_eq!(outcome, Err(StreamError::Closed));
}

#[tokio::test]
async fn eight_unread_streams_do_not_starve_the_others() {
    let (a, b) = (client(1).await, server(2).await);
    let (dialled, accepted) = connect(&a, &b).await;
    let mut floods = JoinSet::new();
    let mut unread = Vec::new();
    for _ in 0..8 {
        let mut bulk = within(dialled.open()).await.unwrap();
        send(&mut *bulk.send, b"first").await;
        unread.push(within(accepted.accept()).await.unwrap());
        // Far more than the connection may have in flight.
        floods.spawn(async move {
            let chunk = Bytes::from(vec![0; 64 << 10]);
            while bulk.send.send(chunk.clone()).await.is_ok() {}
        });
    }
    let ended = tokio::time::timeout(Duration::from_millis(500), floods.join_next());
    assert!(ended.await.is_err(), "all are held up");
    for _ in 0..20 {
        echo(&*dialled, &*accepted).await;
    }
    assert!(floods.try_join_next().is_none());
}

#[tokio::test]
async fn hundreds_of_streams_are_open_at_once() {
    let (a, b) = (client(1).await, server(2).await);
    let (dialled, accepted) = connect(&a, &b).await;
    let mut open = Vec::new();
    for _ in 0..500 {
        let mut near = within(dialled.open()).await.unwrap();
        send(&mut *near.send, b"x").await;
        let far = within(accepted.accept()).await.unwrap();
        open.push((near, far));
    }
    echo(&*dialled, &*accepted).await;
    assert_eq!(open.len(), 500);
}

#[tokio::test]
async fn the_round_trip_time_is_measured() {
    let (a, b) = (client(1).await, server(2).await);
    let (dialled, accepted) = connect(&a, &b).await;
    for _ in 0..10 {
        echo(&*dialled, &*accepted).await;
    }
    // Nobody measured anything as long as it is what is assumed at the start.
    let assumed = Duration::from_millis(100);
    assert!(dialled.rtt() < assumed, "{:?}", dialled.rtt());
    assert!(accepted.rtt() < assumed, "{:?}", accepted.rtt());
}

/// What of a stream its peer has not acknowledged.
async fn unacknowledged(send: &mut dyn SendStream) -> usize {
    poll_fn(|cx| Poll::Ready(send.unacknowledged(cx))).await
}

async fn until_acknowledged(send: &mut dyn SendStream) {
    within(async {
        while unacknowledged(send).await > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_peer_has_not_acknowledged_is_told_until_it_has() {
    const WINDOW: usize = 16 * 1024;
    const SENT: usize = 20 * WINDOW;
    let (a, b) = (client(1).await, reluctant(2, WINDOW as u32).await);
    let (dialled, accepted) = connect(&a, &b).await;
    let mut near = within(dialled.open()).await.unwrap();
    assert_eq!(unacknowledged(&mut *near.send).await, 0);
    send(&mut *near.send, &[7; SENT]).await;
    let mut far = within(accepted.accept()).await.unwrap();
    assert!(unacknowledged(&mut *near.send).await >= SENT - WINDOW);
    let mut left = SENT;
    while left > 0 {
        let chunk = within(far.receive.receive()).await.unwrap();
        left -= chunk.unwrap().len();
    }
    until_acknowledged(&mut *near.send).await;

    send(&mut *near.send, &[7; SENT]).await;
    near.send.finish().unwrap();
    assert!(unacknowledged(&mut *near.send).await > 0);
    assert_eq!(read_to_end(&mut *far.receive).await.unwrap().len(), SENT);
    until_acknowledged(&mut *near.send).await;
}

/// A node that listens, and lets peers send no more than this before it is read.
async fn reluctant(seed: u8, window_bytes: u32) -> Arc<QuicTransport> {
    let config = QuicConfig {
        listen: vec![loopback()],
        connection_window_bytes: 2 * window_bytes,
        stream_window_bytes: window_bytes,
        ..QuicConfig::default()
    };
    QuicTransport::bind(&secret(seed), config).await.unwrap()
}
