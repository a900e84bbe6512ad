//! Frames that no endpoint would send.

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{Executed, RequestFailure};

use super::fixture::{ECHO, Fixture, contact, echoing, request, soon};
use super::raw;

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const REFUSAL: u8 = 3;
const MALFORMED: u8 = 4;
const TOO_LARGE: u8 = 7;

async fn bad_frames_fail_their_own_request_and_nothing_else(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let c = fixture.server(3).await;
    let connection = raw::greeted(&*raw, &b).await;
    let good = [raw::header(1, REQUEST, ECHO.0, 2), b"hi".to_vec()].concat();
    let bad = [
        (b"not a frame at all".to_vec(), MALFORMED),
        (raw::header(9, REQUEST, ECHO.0, 0), MALFORMED),
        (raw::header(1, 77, ECHO.0, 0), MALFORMED),
        (raw::header(1, REPLY, ECHO.0, 0), MALFORMED),
        (raw::header(1, REQUEST, ECHO.0, u32::MAX), TOO_LARGE),
        (good[..good.len() - 1].to_vec(), MALFORMED),
        (good[..7].to_vec(), MALFORMED),
        ([good.clone(), vec![0]].concat(), MALFORMED),
    ];
    for (bytes, reason) in bad {
        let answer = raw::exchange(&*connection, &bytes).await.unwrap();
        assert_eq!(answer[1..3], [REFUSAL, reason], "{bytes:?}");
    }
    let answer = raw::exchange(&*connection, &good).await.unwrap();
    assert_eq!(answer[1], REPLY);
    assert_eq!(answer[14..], b"hi"[..]);
    let elsewhere = soon(c.request(&contact(&b), request(ECHO, b"fine"))).await;
    assert_eq!(elsewhere, Ok(Bytes::from_static(b"fine")));
}

async fn a_frame_byte_by_byte_is_understood(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let mut stream = soon(connection.open()).await.unwrap();
    for byte in [raw::header(1, REQUEST, ECHO.0, 5), b"bytes".to_vec()].concat() {
        stream
            .send
            .send(Bytes::copy_from_slice(&[byte]))
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    let answer = soon(raw::read_all(&mut *stream.receive)).await.unwrap();
    assert_eq!(answer[14..], b"bytes"[..]);
}

async fn a_garbage_answer_fails_typed(fixture: Fixture) {
    let (a, raw) = (fixture.client(1).await, fixture.raw(2).await);
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    let answers = [
        b"HTTP/1.1 200 OK".to_vec(),
        raw::header(1, REQUEST, 0, 0),
        raw::header(1, REPLY, 0, 10),
    ];
    let answering = async {
        let connection = raw.accept().await.unwrap();
        let mut hello = connection.accept().await.unwrap();
        let own = Bytes::from(raw::hello(1, "open"));
        hello.send.send(own).await.unwrap();
        hello.send.finish().unwrap();
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

on_every_wire!(
    bad_frames_fail_their_own_request_and_nothing_else,
    a_frame_byte_by_byte_is_understood,
    a_garbage_answer_fails_typed,
);
