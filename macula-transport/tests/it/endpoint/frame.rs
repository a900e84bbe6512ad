//! Frames that no endpoint would send.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    CloseCode, EndpointConfig, Executed, ProtocolId, RequestFailure, StreamError,
};

use super::fixture::{
    ECHO, Echo, Fixture, GATE, contact, echoing, eventually, gated, request, soon,
};
use super::raw::{self, HEADER_LEN};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const REFUSAL: u8 = 3;
const CANCEL: u8 = 7;
const ITEM: u8 = 8;
const MALFORMED: u8 = 4;
const TOO_LARGE: u8 = 7;

async fn what_is_no_frame_breaks_its_stream_and_nothing_else(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let c = fixture.server(3).await;
    let connection = raw::greeted(&*raw, &b).await;
    let good = [raw::header(1, REQUEST, ECHO.0, 2), b"hi".to_vec()].concat();
    let bad = [
        b"this is not a frame at all".to_vec(),
        raw::header(9, REQUEST, ECHO.0, 0),
        raw::header(1, 77, ECHO.0, 0),
        raw::header(1, ITEM, ECHO.0, 0),
        good[..good.len() - 1].to_vec(),
        good[..7].to_vec(),
    ];
    for bytes in &bad {
        let mut stream = soon(connection.open()).await.unwrap();
        soon(stream.send.send(bytes.clone().into())).await.unwrap();
        let _ = stream.send.finish();
        let broken = soon(raw::whole(&mut *stream.receive)).await;
        let reset = StreamError::Reset(CloseCode::Malformed);
        assert_eq!(broken, Err(reset), "{bytes:?}");
    }
    assert_eq!(b.stats().streams_malformed, bad.len() as u64);
    let answer = raw::exchange(&*connection, &good).await.unwrap();
    assert_eq!(answer[1], REPLY);
    assert_eq!(answer[HEADER_LEN..], b"hi"[..]);
    let elsewhere = soon(c.request(&contact(&b), request(ECHO, b"fine"))).await;
    assert_eq!(elsewhere, Ok(Bytes::from_static(b"fine")));
}

async fn an_oversized_request_is_refused_and_the_next_is_answered(fixture: Fixture) {
    let small = |config: &mut macula_transport::EndpointConfig| {
        config.max_message_bytes = 1000.try_into().unwrap();
    };
    let (raw, b) = (
        fixture.raw(1).await,
        echoing(fixture.server_with(2, small).await),
    );
    let connection = raw::greeted(&*raw, &b).await;
    let long = [raw::header_of(1, [1, REQUEST, ECHO.0], 5000), vec![0; 5000]];
    let good = [raw::header_of(2, [1, REQUEST, ECHO.0], 2), b"hi".to_vec()];
    let bytes = [long.concat(), good.concat()].concat();
    let answers = raw::exchange(&*connection, &bytes).await.unwrap();
    assert_eq!(answers[1..3], [REFUSAL, TOO_LARGE]);
    assert_eq!(raw::call_of(&answers), 1);
    let second = &answers[HEADER_LEN..];
    assert_eq!((raw::call_of(second), second[1]), (2, REPLY));
}

async fn a_frame_byte_by_byte_is_understood(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let mut stream = soon(connection.open()).await.unwrap();
    for byte in [raw::header(1, REQUEST, ECHO.0, 5), b"bytes".to_vec()].concat() {
        let byte = Bytes::copy_from_slice(&[byte]);
        soon(stream.send.send(byte)).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = raw::read_exactly(&mut *stream.receive, HEADER_LEN + 5).await;
    assert_eq!(answer[HEADER_LEN..], b"bytes"[..]);
}

async fn many_frames_in_one_chunk_are_all_answered(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let frames: Vec<u8> = (0..500)
        .flat_map(|call| raw::header_of(call, [1, REQUEST, ECHO.0], 0))
        .collect();
    let answers = raw::exchange(&*connection, &frames).await.unwrap();
    let mut answered: Vec<_> = answers.chunks(HEADER_LEN).map(raw::call_of).collect();
    answered.sort_unstable();
    assert_eq!(answered, (0..500).collect::<Vec<_>>());
}

async fn a_second_call_under_the_same_id_is_refused_and_the_first_is_unharmed(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let gate = gated(&b);
    let connection = raw::greeted(&*raw, &b).await;
    let mut first = raw::ask(&*connection, GATE).await;
    gate.holds(1).await;
    let mut second = raw::ask(&*connection, ECHO).await;
    let refusal = raw::read_exactly(&mut *second.receive, HEADER_LEN).await;
    assert_eq!(refusal[1..3], [REFUSAL, MALFORMED]);
    gate.let_through(1);
    let answer = raw::read_exactly(&mut *first.receive, HEADER_LEN).await;
    assert_eq!(answer[1], REPLY);
}

async fn a_cancel_that_overtakes_its_request_leaves_nothing_behind(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let cancel = raw::header(1, CANCEL, 0, 0);
    raw::exchange(&*connection, &cancel).await.unwrap();
    assert_eq!(b.stats().late_frames, 1);
    let request = raw::header(1, REQUEST, ECHO.0, 0);
    let answer = raw::exchange(&*connection, &request).await.unwrap();
    assert_eq!(answer[1], REPLY, "what was not there was not cancelled");
    assert_eq!(b.stats().inbound_in_flight, 0);
}

async fn a_cancel_aborts_its_handler_and_the_lane_goes_on(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let gate = gated(&b);
    let connection = raw::greeted(&*raw, &b).await;
    let mut stream = raw::ask(&*connection, GATE).await;
    gate.holds(1).await;
    let more = [
        raw::header(1, CANCEL, 0, 0),
        raw::header_of(2, [1, REQUEST, ECHO.0], 0),
    ];
    soon(stream.send.send(more.concat().into())).await.unwrap();
    gate.holds(0).await;
    let answer = raw::read_exactly(&mut *stream.receive, HEADER_LEN).await;
    assert_eq!((raw::call_of(&answer), answer[1]), (2, REPLY));
    eventually(|| b.stats().inbound_in_flight == 0).await;
    assert_eq!(b.stats().requests_cancelled, 1);
}

async fn a_garbage_answer_fails_typed(fixture: Fixture) {
    let (a, raw) = (fixture.client(1).await, fixture.raw(2).await);
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    let answers = [
        b"HTTP/1.1 200 OK, and so on".to_vec(),
        raw::header(1, REPLY, 0, 10),
    ];
    let answering = async {
        let connection = raw::welcome(&*raw).await;
        for answer in answers.clone() {
            let mut stream = connection.accept().await.unwrap();
            stream.send.send(answer.into()).await.unwrap();
            stream.send.finish().unwrap();
            // Until the caller has read it and lets go.
            while let Ok(Some(_)) = stream.receive.receive().await {}
        }
        connection
    };
    let asking = async {
        for _ in &answers {
            let error = a.request(&to, request(ECHO, b"")).await.unwrap_err();
            assert_eq!(error.failure, RequestFailure::Malformed);
            assert_eq!(error.executed, Executed::Unknown);
        }
    };
    soon(async { tokio::join!(asking, answering) }).await;
}

async fn an_answer_that_nobody_waits_for_is_counted_and_dropped(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let stray = raw::header(1, REPLY, 0, 0);
    raw::exchange(&*connection, &stray).await.unwrap();
    assert_eq!(b.stats().late_frames, 1);
    assert_eq!(b.stats().connections, 1);
}

async fn what_came_whole_before_a_malformed_frame_ends_with_its_stream(fixture: Fixture) {
    const INLINE: ProtocolId = ProtocolId(102);
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let gate = gated(&b);
    b.register_inline(INLINE, Arc::new(Echo)).unwrap();
    let connection = raw::greeted(&*raw, &b).await;
    let mut elsewhere = raw::ask(&*connection, GATE).await;
    gate.holds(1).await;
    let whole = [(2, GATE), (3, INLINE), (4, GATE)];
    let whole = whole.map(|(call, to)| raw::header_of(call, [1, REQUEST, to.0], 0));
    let bytes = [whole.concat(), b"no frame, but as long as one".to_vec()].concat();
    let mut stream = soon(connection.open()).await.unwrap();
    soon(stream.send.send(bytes.into())).await.unwrap();
    let broken = soon(raw::whole(&mut *stream.receive)).await;
    assert_eq!(broken, Err(StreamError::Reset(CloseCode::Malformed)));

    // All of them were begun, and what had not ended is ended.
    gate.holds(1).await;
    eventually(|| b.stats().inbound_in_flight == 1).await;
    let stats = b.stats();
    assert_eq!((stats.streams_malformed, stats.connections), (1, 1));
    assert_eq!((stats.requests_handled, stats.requests_cancelled), (4, 2));
    // Their ids can be used again, and what runs on another stream goes on.
    let again = raw::header_of(2, [1, REQUEST, ECHO.0], 0);
    let answer = raw::exchange(&*connection, &again).await.unwrap();
    assert_eq!((raw::call_of(&answer), answer[1]), (2, REPLY));
    gate.let_through(1);
    let answer = raw::read_exactly(&mut *elsewhere.receive, HEADER_LEN).await;
    assert_eq!(answer[1], REPLY);
}

async fn answers_before_a_malformed_one_arrive_and_those_behind_it_do_not(fixture: Fixture) {
    let patient = |config: &mut EndpointConfig| config.ping_interval = Duration::from_secs(3600);
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let (to, connection) = raw::dialled(&*raw, &a).await;
    let ask = |body: &'static [u8]| {
        let (a, to) = (a.clone(), to.clone());
        tokio::spawn(async move { a.request(&to, request(ECHO, body)).await })
    };
    // One after the other, so that both take the first lane.
    let first = ask(b"");
    let mut lane = soon(connection.accept()).await.unwrap();
    let one = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
    let second = ask(b"");
    let two = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
    let answers = [
        raw::header_of(raw::call_of(&one), [1, REPLY, 0], 0),
        raw::header_of(raw::call_of(&one), [9, REPLY, 0], 0),
        raw::header_of(raw::call_of(&two), [1, REPLY, 0], 0),
    ];
    soon(lane.send.send(answers.concat().into())).await.unwrap();
    assert_eq!(soon(first).await.unwrap(), Ok(Bytes::new()));
    let error = soon(second).await.unwrap().unwrap_err();
    assert_eq!(error.failure, RequestFailure::Malformed);
    assert_eq!(error.executed, Executed::Unknown);
    // Only that lane is given up.
    let third = ask(b"");
    let mut lane = soon(connection.accept()).await.unwrap();
    let three = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
    let answer = raw::header_of(raw::call_of(&three), [1, REPLY, 0], 0);
    soon(lane.send.send(answer.into())).await.unwrap();
    assert_eq!(soon(third).await.unwrap(), Ok(Bytes::new()));
    assert_eq!((a.stats().streams_malformed, a.stats().dials), (1, 1));
}

on_every_wire!(
    what_came_whole_before_a_malformed_frame_ends_with_its_stream,
    answers_before_a_malformed_one_arrive_and_those_behind_it_do_not,
    what_is_no_frame_breaks_its_stream_and_nothing_else,
    an_oversized_request_is_refused_and_the_next_is_answered,
    a_frame_byte_by_byte_is_understood,
    many_frames_in_one_chunk_are_all_answered,
    a_second_call_under_the_same_id_is_refused_and_the_first_is_unharmed,
    a_cancel_that_overtakes_its_request_leaves_nothing_behind,
    a_cancel_aborts_its_handler_and_the_lane_goes_on,
    a_garbage_answer_fails_typed,
    an_answer_that_nobody_waits_for_is_counted_and_dropped,
);
