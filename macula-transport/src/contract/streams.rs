//! The claims about streams.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::{Pair, connect, soon};
use crate::{
    CloseCode, Connection, ConnectionError, ReceiveStream, SendStream, Stream, StreamError,
};

pub(super) async fn run<F, Fut>(make: &F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Pair>,
{
    bytes_arrive_in_order_both_ways(make().await).await;
    an_end_and_a_reset_are_told_apart(make().await).await;
    dropping_a_sender_resets(make().await).await;
    stopping_a_receiver_reaches_the_sender(make().await).await;
    more_streams_than_the_limit_all_finish(make().await).await;
    an_unread_stream_holds_its_sender_and_nobody_else(make().await).await;
    resetting_a_stream_that_is_held_back_harms_no_other(make().await).await;
    bytes_that_nobody_has_accepted_are_kept_and_bounded(make().await).await;
    streams_that_nobody_has_accepted_are_kept_and_bounded(make().await).await;
    streams_fail_with_their_connection(make().await).await;
}

async fn bytes_arrive_in_order_both_ways((a, b): Pair) {
    let (near, far) = connect(&*a, &*b).await;
    let sent = pattern(300_000);
    let echo = async {
        let mut stream = far.accept().await.expect("a stream comes");
        while let Some(chunk) = stream.receive.receive().await.expect("bytes come") {
            stream.send.send(chunk).await.expect("bytes go back");
        }
        stream.send.finish().expect("the end goes back");
        stream
    };
    let mut stream = soon(near.open()).await.expect("a stream opens");
    let talk = async {
        let Stream { send, receive } = &mut stream;
        let speak = async {
            for piece in sent.chunks(7_001) {
                let piece = Bytes::copy_from_slice(piece);
                send.send(piece).await.expect("bytes go");
            }
            send.finish().expect("the end goes");
        };
        let ((), back) = tokio::join!(speak, read_all(&mut **receive));
        back
    };
    let (back, _stream) = soon(async { tokio::join!(talk, echo) }).await;
    assert_eq!(back.as_deref(), Ok(&sent[..]), "what came back");
}

async fn an_end_and_a_reset_are_told_apart((a, b): Pair) {
    let (near, far) = connect(&*a, &*b).await;
    let (mut ours, mut theirs) = stream(&*near, &*far, b"x").await;
    ours.send.finish().expect("finishing works");
    assert_eq!(soon(theirs.receive.receive()).await, Ok(None));

    let (mut ours, mut theirs) = stream(&*near, &*far, b"x").await;
    ours.send.reset(CloseCode::Overloaded);
    let end = soon(read_all(&mut *theirs.receive)).await;
    assert_eq!(end, Err(StreamError::Reset(CloseCode::Overloaded)));
}

async fn dropping_a_sender_resets((a, b): Pair) {
    let (near, far) = connect(&*a, &*b).await;
    let (ours, mut theirs) = stream(&*near, &*far, b"x").await;
    drop(ours);
    let end = soon(read_all(&mut *theirs.receive)).await;
    assert!(matches!(end, Err(StreamError::Reset(_))), "{end:?}");
    let other = soon(near.open()).await;
    assert!(other.is_ok(), "the connection lives on");
}

async fn stopping_a_receiver_reaches_the_sender((a, b): Pair) {
    let (near, far) = connect(&*a, &*b).await;
    let (mut ours, mut theirs) = stream(&*near, &*far, b"x").await;
    theirs.receive.stop(CloseCode::Overloaded);
    let error = soon(send_until_error(&mut *ours.send)).await;
    assert_eq!(error, StreamError::Reset(CloseCode::Overloaded));

    let (mut ours, theirs) = stream(&*near, &*far, b"x").await;
    drop(theirs.receive);
    let error = soon(send_until_error(&mut *ours.send)).await;
    assert!(matches!(error, StreamError::Reset(_)), "{error:?}");
}

async fn more_streams_than_the_limit_all_finish((a, b): Pair) {
    const STREAMS: usize = 300;
    let (near, far) = connect(&*a, &*b).await;
    let serving = tokio::spawn(async move {
        for _ in 0..STREAMS {
            let mut stream = far.accept().await.expect("a stream comes");
            tokio::spawn(async move {
                let body = read_all(&mut *stream.receive).await.expect("whole");
                stream.send.send(body).await.expect("the echo goes");
                stream.send.finish().expect("the end goes");
                // The peer closes its half after ours has arrived.
                let _ = stream.receive.receive().await;
            });
        }
        far
    });
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..STREAMS {
        let near = Arc::clone(&near);
        calls.spawn(async move {
            let mut stream = near.open().await.expect("a stream opens");
            let body = Bytes::from(number.to_string());
            stream.send.send(body.clone()).await.expect("bytes go");
            stream.send.finish().expect("the end goes");
            let back = read_all(&mut *stream.receive).await.expect("an echo");
            assert_eq!(back, body);
        });
    }
    let mut finished = 0;
    while let Some(call) = soon(calls.join_next()).await {
        call.expect("the echo is right");
        finished += 1;
    }
    assert_eq!(finished, STREAMS);
    let _far = soon(serving).await.expect("the server survives");
}

async fn an_unread_stream_holds_its_sender_and_nobody_else((a, b): Pair) {
    let (near, far) = connect(&*a, &*b).await;
    let (mut bulk, mut unread) = stream(&*near, &*far, b"x").await;
    fill(&mut *bulk.send).await;

    let (_ours, mut theirs) = stream(&*near, &*far, b"small").await;
    theirs.receive.stop(CloseCode::Done);
    unread.receive.stop(CloseCode::Done);
}

async fn bytes_that_nobody_has_accepted_are_kept_and_bounded((a, b): Pair) {
    const PIECES: usize = 512;
    let (near, far) = connect(&*a, &*b).await;
    let piece = Bytes::from(pattern(8 * 1024));
    let (expected, sent) = (piece.clone(), Arc::new(AtomicUsize::new(0)));
    let progress = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let mut ours = near.open().await.expect("a stream opens");
        for _ in 0..PIECES {
            ours.send.send(piece.clone()).await.expect("bytes go");
            progress.fetch_add(1, Ordering::Relaxed);
        }
        ours.send.finish().expect("the end goes");
        // The peer ends its half when it has everything.
        let _ = ours.receive.receive().await;
        near
    });
    rests(&sent).await;
    assert!(sent.load(Ordering::Relaxed) < PIECES, "its sender is held");
    let mut theirs = soon(far.accept()).await.expect("a stream comes");
    let received = soon(read_all(&mut *theirs.receive))
        .await
        .expect("all of it");
    assert_eq!(received.len(), PIECES * expected.len());
    assert!(
        received
            .chunks(expected.len())
            .all(|piece| piece == expected)
    );
    theirs.send.finish().expect("the end goes back");
    let _near = soon(sending).await.expect("the sender survives");
}

async fn streams_that_nobody_has_accepted_are_kept_and_bounded((a, b): Pair) {
    const STREAMS: usize = 3000;
    let (near, far) = connect(&*a, &*b).await;
    let opened = Arc::new(AtomicUsize::new(0));
    let progress = Arc::clone(&opened);
    let opening = tokio::spawn(async move {
        for number in 0..STREAMS {
            let mut ours = near.open().await.expect("a stream opens");
            let body = Bytes::from(number.to_string());
            ours.send.send(body).await.expect("bytes go");
            ours.send.finish().expect("the end goes");
            progress.fetch_add(1, Ordering::Relaxed);
            // Open until the peer has ended its half, too.
            tokio::spawn(async move { ours.receive.receive().await });
        }
        near
    });
    rests(&opened).await;
    assert!(opened.load(Ordering::Relaxed) < STREAMS, "nobody accepts");
    let mut bodies = Vec::new();
    for _ in 0..STREAMS {
        let mut theirs = soon(far.accept()).await.expect("a stream comes");
        bodies.push(soon(read_all(&mut *theirs.receive)).await.expect("whole"));
        theirs.send.finish().expect("the end goes back");
    }
    let mut expected: Vec<_> = (0..STREAMS).map(|it| Bytes::from(it.to_string())).collect();
    bodies.sort_unstable();
    expected.sort_unstable();
    assert_eq!(bodies, expected, "each once");
    let _near = soon(opening).await.expect("the opener survives");
}

/// Waits until nothing has been counted for as long as counts as held.
async fn rests(count: &AtomicUsize) {
    soon(async {
        let mut before = 0;
        loop {
            tokio::time::sleep(HELD_FOR).await;
            let now = count.load(Ordering::Relaxed);
            if now > 0 && now == before {
                return;
            }
            before = now;
        }
    })
    .await;
}

async fn resetting_a_stream_that_is_held_back_harms_no_other((a, b): Pair) {
    let (near, far) = connect(&*a, &*b).await;
    let (mut bulk, mut unread) = stream(&*near, &*far, b"x").await;
    fill(&mut *bulk.send).await;
    bulk.send.reset(CloseCode::Overloaded);
    let end = soon(read_all(&mut *unread.receive)).await;
    assert_eq!(end, Err(StreamError::Reset(CloseCode::Overloaded)));

    let (_ours, mut theirs) = stream(&*near, &*far, b"small").await;
    theirs.receive.stop(CloseCode::Done);
}

/// Sends until nothing more goes.
async fn fill(send: &mut dyn SendStream) {
    let flood = async {
        for _ in 0..1024 {
            let chunk = Bytes::from_static(&[0; 64 * 1024]);
            send.send(chunk).await.expect("bytes go");
        }
    };
    let held = timeout(HELD_FOR, flood).await.is_err();
    assert!(held, "64 MiB went into a stream that nobody reads");
}

async fn streams_fail_with_their_connection((a, b): Pair) {
    let (near, far) = connect(&*a, &*b).await;
    let (mut ours, mut theirs) = stream(&*near, &*far, b"x").await;
    near.close(CloseCode::Malformed);
    let here = soon(read_all(&mut *ours.receive)).await;
    let there = soon(read_all(&mut *theirs.receive)).await;
    let closed = ConnectionError::Closed(CloseCode::Malformed);
    assert_eq!(here, Err(StreamError::Connection(closed)));
    let by_peer = ConnectionError::ClosedByPeer(CloseCode::Malformed);
    assert_eq!(there, Err(StreamError::Connection(by_peer)));
}

/// A stream from `near` to `far` on which `first` has been sent and received.
async fn stream(
    near: &dyn Connection,
    far: &dyn Connection,
    first: &'static [u8],
) -> (Stream, Stream) {
    let mut ours = soon(near.open()).await.expect("a stream opens");
    let first = Bytes::from_static(first);
    soon(ours.send.send(first.clone())).await.expect("bytes go");
    let mut theirs = soon(far.accept()).await.expect("a stream comes");
    let mut received = BytesMut::new();
    while received.len() < first.len() {
        let chunk = soon(theirs.receive.receive()).await.expect("bytes come");
        received.extend_from_slice(&chunk.expect("no end yet"));
    }
    assert_eq!(received.freeze(), first);
    (ours, theirs)
}

async fn read_all(receive: &mut dyn ReceiveStream) -> Result<Bytes, StreamError> {
    let mut all = BytesMut::new();
    while let Some(chunk) = receive.receive().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

async fn send_until_error(send: &mut dyn SendStream) -> StreamError {
    loop {
        if let Err(error) = send.send(Bytes::from_static(&[0; 1024])).await {
            return error;
        }
        tokio::task::yield_now().await;
    }
}

/// Bytes in which a missing or misplaced piece shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// How long a sender has to be held for to count as held.
const HELD_FOR: Duration = Duration::from_secs(1);
