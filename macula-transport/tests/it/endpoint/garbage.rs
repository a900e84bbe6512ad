//! Whatever bytes a peer sends.

use bytes::Bytes;
use macula_core::{Contact, DialTarget};
use macula_transport::{CloseCode, Executed, RequestFailure, StreamError};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::fixture::{ECHO, Fixture, contact, echoing, eventually, request, soon};
use super::raw::{self, Frames, HEADER_LEN};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const GOAWAY: u8 = 10;

/// A frame in which one byte, or what it is about, is not what it should be; sometimes no frame.
fn mutated(rng: &mut StdRng, frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    match rng.random_range(0..5) {
        0 => {
            bytes = (0..rng.random_range(0..200))
                .map(|_| rng.random())
                .collect();
        }
        1 => bytes.truncate(rng.random_range(0..frame.len())),
        2 => bytes.extend((0..rng.random_range(1..40)).map(|_| rng.random::<u8>())),
        _ => {
            let at = rng.random_range(0..HEADER_LEN);
            bytes[at] = rng.random();
        }
    }
    bytes
}

async fn whatever_bytes_come_others_are_served(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let other = fixture.server(3).await;
    let mut rng = StdRng::seed_from_u64(11);
    let good = [raw::header(1, REQUEST, ECHO.0, 3), b"abc".to_vec()].concat();
    let mut connection = raw::greeted(&*raw, &b).await;
    for round in 0..200 {
        let bytes = mutated(&mut rng, &good);
        if bytes.get(1) == Some(&GOAWAY) {
            continue;
        }
        let mut stream = soon(connection.open()).await.unwrap();
        let _ = soon(stream.send.send(bytes.clone().into())).await;
        let _ = stream.send.finish();
        match soon(raw::whole(&mut *stream.receive)).await {
            Ok(answer) => {
                let mut frames = Frames::default();
                frames.extend(&answer);
                while frames.next().is_some() {}
            }
            Err(error) => {
                let reset = StreamError::Reset(CloseCode::Malformed);
                assert_eq!(error, reset, "round {round}: {bytes:?}");
            }
        }
        if round % 20 == 0 {
            let answer = soon(other.request(&contact(&b), request(ECHO, b"fine"))).await;
            assert_eq!(answer, Ok(Bytes::from_static(b"fine")));
            connection = raw::greeted(&*raw, &b).await;
        }
    }
    let answer = raw::exchange(&*connection, &good).await.unwrap();
    assert_eq!(answer[HEADER_LEN..], b"abc"[..]);
    eventually(|| b.stats().inbound_in_flight == 0).await;
}

async fn whatever_is_answered_the_caller_hears_something_true(fixture: Fixture) {
    const ROUNDS: usize = 100;
    let (a, raw) = (fixture.client(1).await, fixture.raw(2).await);
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    let answering = async {
        let mut rng = StdRng::seed_from_u64(12);
        let connection = raw::welcome(&*raw).await;
        loop {
            let Ok(mut lane) = connection.accept().await else {
                return;
            };
            let mut frames = Frames::default();
            while let Ok(Some(chunk)) = lane.receive.receive().await {
                frames.extend(&chunk);
                while let Some(frame) = frames.next() {
                    let reply = raw::header_of(raw::call_of(&frame.head), [1, REPLY, 0], 2);
                    let reply = mutated(&mut rng, &[reply, b"ok".to_vec()].concat());
                    let _ = lane.send.send(reply.into()).await;
                }
            }
        }
    };
    let asking = async {
        assert!(a.connect(&DialTarget::from(&to)).await.is_ok());
        for _ in 0..ROUNDS {
            let mut brief = request(ECHO, b"");
            brief.timeout = std::time::Duration::from_millis(100);
            match a.request(&to, brief).await {
                Ok(_) => {}
                Err(error) => match (&error.failure, error.executed) {
                    (
                        RequestFailure::Refused(_)
                        | RequestFailure::Interrupted(_)
                        | RequestFailure::Timeout(_),
                        Executed::No,
                    )
                    | (RequestFailure::TooLarge { .. }, Executed::Yes)
                    | (
                        RequestFailure::Malformed
                        | RequestFailure::Interrupted(_)
                        | RequestFailure::Timeout(_),
                        Executed::Unknown,
                    ) => {}
                    _ => panic!("{error:?}"),
                },
            }
        }
    };
    soon(async {
        tokio::select! {
            () = asking => {}
            () = answering => panic!("the connection ended"),
        }
    })
    .await;
    assert_eq!(a.stats().dials, 1);
}

on_every_wire!(
    whatever_bytes_come_others_are_served,
    whatever_is_answered_the_caller_hears_something_true,
);
