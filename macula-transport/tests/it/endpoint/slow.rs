//! Peers that begin and do not go on.

use std::time::Duration;

use bytes::Bytes;
use macula_transport::{CloseCode, Connection, EndpointConfig, Stream, StreamError};
use tokio::time::{Instant, sleep};

use super::fixture::{ECHO, Fixture, contact, echoing, eventually, request, soon};
use super::raw::{self, HEADER_LEN};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;

async fn begin(connection: &dyn Connection, bytes: &[u8]) -> Stream {
    let mut stream = soon(connection.open()).await.unwrap();
    let bytes = Bytes::copy_from_slice(bytes);
    soon(stream.send.send(bytes)).await.unwrap();
    stream
}

async fn half_a_frame_and_silence_ends_its_stream_and_nothing_else(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let head = raw::header(1, REQUEST, ECHO.0, 1000);
    let whole = raw::header(1, REQUEST, ECHO.0, 0);
    let mut resting = begin(&*connection, &whole).await;
    let answer = raw::read_exactly(&mut *resting.receive, HEADER_LEN).await;
    assert_eq!(answer[1], REPLY);
    let start = Instant::now();
    let halves = [
        &head[..1],
        &head[..HEADER_LEN - 1],
        &[&head[..], &[7; 999]].concat(),
    ];
    for half in halves {
        let mut stream = begin(&*connection, half).await;
        let end = soon(raw::whole(&mut *stream.receive)).await;
        assert_eq!(end, Err(StreamError::Reset(CloseCode::Malformed)));
    }
    let each = start.elapsed() / 3;
    assert!(
        each >= Duration::from_secs(5) && each < Duration::from_secs(8),
        "{each:?}"
    );
    assert_eq!(b.stats().streams_stalled, 3);
    soon(resting.send.send(whole.into())).await.unwrap();
    let answer = raw::read_exactly(&mut *resting.receive, HEADER_LEN).await;
    assert_eq!(answer[1], REPLY, "between frames a peer may rest");
    assert_eq!(b.stats().inbound_in_flight, 0);
}

async fn a_frame_that_trickles_in_is_not_waited_for(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let head = raw::header(1, REQUEST, ECHO.0, 1000);
    let mut stream = begin(&*connection, &head).await;
    let start = Instant::now();
    while soon(stream.send.send(Bytes::from_static(b"x")))
        .await
        .is_ok()
    {
        sleep(Duration::from_millis(500)).await;
        assert!(start.elapsed() < Duration::from_secs(20), "far from whole");
    }
    assert_eq!(b.stats().streams_stalled, 1);
    assert_eq!(b.stats().requests_handled, 0);
}

async fn frames_that_are_cut_at_odd_places_have_each_their_own_time(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let mut lane = begin(&*connection, &raw::header(1, REQUEST, ECHO.0, 0)[..10]).await;
    for call in 2..20 {
        sleep(Duration::from_secs(1)).await;
        let head = raw::header_of(call - 1, [1, REQUEST, ECHO.0], 0);
        let next = raw::header_of(call, [1, REQUEST, ECHO.0], 0);
        let piece = [&head[10..], &next[..10]].concat();
        soon(lane.send.send(piece.into())).await.unwrap();
        let answer = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
        assert_eq!(answer[1], REPLY);
    }
    assert_eq!(b.stats().streams_stalled, 0);
}

async fn many_streams_begun_and_left_keep_nobody_out(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let other = fixture.server(3).await;
    let head = raw::header(1, REQUEST, ECHO.0, 60_000);
    let mut left = Vec::new();
    for number in 0..90 {
        left.push(begin(&*connection, &head[..1 + number % HEADER_LEN]).await);
    }
    let whole = raw::header(1, REQUEST, ECHO.0, 0);
    let mut lane = begin(&*connection, &whole).await;
    let answer = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
    assert_eq!(answer[1], REPLY);
    let answer = soon(other.request(&contact(&b), request(ECHO, b"x"))).await;
    assert!(answer.is_ok());
    eventually(|| b.stats().streams_stalled == 90).await;
    assert_eq!(b.stats().inbound_in_flight, 0);
}

async fn who_takes_no_answers_keeps_nothing_from_others(fixture: Fixture) {
    let small = |config: &mut EndpointConfig| {
        config.max_inbound_requests = 60.try_into().unwrap();
    };
    let raw = fixture.raw(1).await;
    let b = echoing(fixture.server_with(2, small).await);
    let connection = raw::greeted(&*raw, &b).await;
    let mut deaf = Vec::new();
    for _ in 0..60 {
        let mut stream = soon(connection.open()).await.unwrap();
        let ask = [raw::header(1, REQUEST, ECHO.0, 60_000), vec![7; 60_000]].concat();
        // Whoever is held back is as deaf.
        let _ = tokio::time::timeout(Duration::from_millis(10), stream.send.send(ask.into())).await;
        deaf.push(stream);
    }
    let other = fixture.server(3).await;
    soon(async {
        while other
            .request(&contact(&b), request(ECHO, b"x"))
            .await
            .is_err()
        {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

async fn who_takes_no_pongs_keeps_nothing_from_others(fixture: Fixture) {
    let raw = fixture.raw(1).await;
    let few = |config: &mut EndpointConfig| {
        config.max_inbound_requests = 60.try_into().unwrap();
    };
    let b = echoing(fixture.server_with(2, few).await);
    let connection = raw::greeted(&*raw, &b).await;
    let mut deaf = soon(connection.open()).await.unwrap();
    let deafening = async {
        for call in 0..u64::MAX {
            let mut frames = raw::header_of(2 * call, [1, REQUEST, ECHO.0], 0);
            for _ in 0..200 {
                frames.extend(raw::header_of(1, [1, REQUEST, 0], 0));
            }
            if deaf.send.send(frames.into()).await.is_err() {
                break;
            }
        }
    };
    soon(deafening).await;
    assert_eq!(b.stats().streams_stalled, 1);
    assert_eq!(b.stats().inbound_in_flight, 0);
}

async fn a_frame_begun_before_a_backlog_is_not_waited_for_after_it(fixture: Fixture) {
    const LONG: u32 = 60_000;
    const ASKS: u64 = 80;
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let mut stream = soon(connection.open()).await.unwrap();
    for call in 1..=ASKS {
        let head = raw::header_of(call, [1, REQUEST, ECHO.0], LONG);
        let ask = [head, vec![7; LONG as usize]].concat();
        soon(stream.send.send(ask.into())).await.unwrap();
    }
    let half = [raw::header(1, REQUEST, ECHO.0, 1000), vec![7; 999]].concat();
    soon(stream.send.send(half.into())).await.unwrap();
    let end = soon(raw::whole(&mut *stream.receive)).await;
    assert_eq!(end, Err(StreamError::Reset(CloseCode::Malformed)));
    assert_eq!(b.stats().streams_stalled, 1);
}

async fn a_connection_is_not_idle_while_a_request_comes_in(fixture: Fixture) {
    let one = |config: &mut EndpointConfig| {
        config.max_connections = 1.try_into().unwrap();
    };
    let (raw, b) = (
        fixture.raw(1).await,
        echoing(fixture.server_with(2, one).await),
    );
    let connection = raw::greeted(&*raw, &b).await;
    let other = fixture.server(3).await;
    let pieces = 15;
    let head = raw::header(1, REQUEST, ECHO.0, pieces * 4096);
    let mut stream = begin(&*connection, &head).await;
    let (to, asked) = (contact(&b), request(ECHO, b"x"));
    let newcomer = tokio::spawn(async move { other.request(&to, asked).await });
    for _ in 0..pieces {
        soon(stream.send.send(vec![7; 4096].into())).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    let answer = raw::read_exactly(&mut *stream.receive, HEADER_LEN + 15 * 4096).await;
    assert_eq!(answer[1], REPLY);
    newcomer.abort();
}

in_virtual_time!(
    who_takes_no_pongs_keeps_nothing_from_others,
    a_frame_begun_before_a_backlog_is_not_waited_for_after_it,
    a_connection_is_not_idle_while_a_request_comes_in,
    half_a_frame_and_silence_ends_its_stream_and_nothing_else,
    a_frame_that_trickles_in_is_not_waited_for,
    frames_that_are_cut_at_odd_places_have_each_their_own_time,
    many_streams_begun_and_left_keep_nobody_out,
    who_takes_no_answers_keeps_nothing_from_others,
);
