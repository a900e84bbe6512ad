//! Bodies too long for a lane.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    CloseCode, Connection, Endpoint, EndpointConfig, Executed, InboundRequest, ProtocolId, Refusal,
    Request, RequestFailure, RequestHandler, Stream, StreamError,
};
use tokio::task::JoinSet;

use super::fixture::{
    ECHO, Fixture, GATE, contact, echoing, eventually, gated, known, request, soon,
};
use super::raw::{self, HEADER_LEN};

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const REFUSAL: u8 = 3;

/// Longer than what shares a lane.
static LONG: [u8; 200_000] = [7; 200_000];

/// A peer by hand is silent for longer than endpoints put up with.
fn patient(config: &mut EndpointConfig) {
    config.ping_interval = Duration::from_secs(3600);
}

/// Asks whoever asks, as often as the first byte of the body says, and answers with the body.
#[derive(Default)]
struct AsksBack(OnceLock<Endpoint>);

impl AsksBack {
    fn serve(at: &Endpoint) {
        let handler = Self::default();
        let _ = handler.0.set(at.clone());
        at.register(GATE, Arc::new(handler)).unwrap();
    }
}

#[async_trait]
impl RequestHandler for AsksBack {
    async fn handle(&self, asked: InboundRequest) -> Result<Bytes, Refusal> {
        if asked.body[0] > 0 {
            let mut body = asked.body.to_vec();
            body[0] -= 1;
            let back = Request {
                protocol: GATE,
                timeout: asked.remaining,
                body: body.into(),
            };
            let to = Contact::new(asked.from, []);
            let here = self.0.get().unwrap();
            here.request(&to, back).await.map_err(|_| Refusal::Denied)?;
        }
        Ok(asked.body)
    }
}

async fn requests_and_replies_of_any_length_may_wait_for_each_other(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    AsksBack::serve(&a);
    AsksBack::serve(&b);
    let mut calls = JoinSet::new();
    for number in 0..30 {
        let mut body = LONG.to_vec();
        body[0] = number % 4;
        let (a, to) = (a.clone(), contact(&b));
        let asked = Request {
            body: body.into(),
            ..request(GATE, b"")
        };
        calls.spawn(async move { a.request(&to, asked.clone()).await == Ok(asked.body) });
    }
    let answers = soon(calls.join_all()).await;
    assert_eq!(answers.iter().filter(|right| **right).count(), 30);
    soon(async { tokio::join!(a.shutdown(), b.shutdown()) }).await;
}

/// Answers a short request with a long body.
struct Long(Bytes);

#[async_trait]
impl RequestHandler for Long {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        Ok(self.0.clone())
    }
}

const AT_LENGTH: ProtocolId = ProtocolId(102);

async fn long_requests_that_are_handled_hold_up_no_long_reply(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let gate = gated(&b);
    let long = Arc::new(Long(Bytes::from_static(&LONG)));
    a.register(AT_LENGTH, long).unwrap();
    let mut held = JoinSet::new();
    for _ in 0..20 {
        let (a, to) = (a.clone(), contact(&b));
        held.spawn(async move { a.request(&to, request(GATE, &LONG)).await });
    }
    gate.holds(20).await;
    let back = soon(b.request(&known(&a), request(AT_LENGTH, b""))).await;
    assert!(back.is_ok_and(|body| body == LONG[..]));
    gate.let_through(20);
    let answers = soon(held.join_all()).await;
    assert!(answers.iter().all(Result::is_ok));
}

async fn a_long_reply_that_breaks_off_fails_its_own_request_at_once(fixture: Fixture) {
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    let answering = async {
        let connection = raw::welcome(&*raw).await;
        let mut lane = connection.accept().await.unwrap();
        let asked = raw::read_exactly(&mut *lane.receive, 2 * HEADER_LEN).await;
        let mut broken = connection.open().await.unwrap();
        let head = raw::header_of(raw::call_of(&asked), [1, REPLY, 0], 200_000);
        broken.send.send(head.into()).await.unwrap();
        for _ in 0..20 {
            let piece = Bytes::from_static(&[7; 1000]);
            broken.send.send(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        broken.send.reset(CloseCode::Overloaded);
        (connection, lane, raw::call_of(&asked[HEADER_LEN..]))
    };
    let asking = || a.request(&to, request(ECHO, b""));
    let mut whole = std::pin::pin!(asking());
    let both = async { tokio::join!(asking(), answering) };
    let (broken, (_connection, mut lane, other)) = tokio::select! {
        biased;
        both = soon(both) => both,
        _ = &mut whole => unreachable!("it has no answer yet"),
    };
    let error = broken.unwrap_err();
    let reset = StreamError::Reset(CloseCode::Overloaded);
    assert_eq!(error.failure, RequestFailure::Interrupted(reset));
    assert_eq!(error.executed, Executed::Unknown);
    let reply = raw::header_of(other, [1, REPLY, 0], 0);
    soon(lane.send.send(reply.into())).await.unwrap();
    assert_eq!(soon(whole).await, Ok(Bytes::new()));
}

async fn an_answer_before_its_long_request_is_whole_ends_the_request(fixture: Fixture) {
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    let mut long = request(ECHO, b"");
    long.body = vec![7; 8 << 20].into();
    let answering = async {
        let connection = raw::welcome(&*raw).await;
        let mut stream = connection.accept().await.unwrap();
        let chunk = raw::read_some(&mut *stream.receive).await;
        let overloaded = raw::header_of(raw::call_of(&chunk), [1, REFUSAL, 1], 0);
        stream.send.send(overloaded.into()).await.unwrap();
        (connection, stream)
    };
    let (answer, (_connection, mut stream)) =
        soon(async { tokio::join!(a.request(&to, long), answering) }).await;
    let refused = RequestFailure::Refused(Refusal::Overloaded);
    assert_eq!(answer.map_err(|error| error.failure), Err(refused));
    let rest = soon(raw::whole(&mut *stream.receive)).await;
    assert_eq!(rest.err(), Some(StreamError::Reset(CloseCode::Cancelled)));
}

async fn a_long_answer_that_nobody_waits_for_is_dropped_as_it_comes(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let mut stray = soon(connection.open()).await.unwrap();
    let half = [raw::header(1, REPLY, 0, 1_000_000), vec![7; 1000]].concat();
    soon(stray.send.send(half.into())).await.unwrap();
    eventually(|| b.stats().late_frames == 1).await;
    soon(stray.send.send(vec![7; 999_000].into()))
        .await
        .unwrap();
    let next = raw::header(1, REQUEST, ECHO.0, 0);
    soon(stray.send.send(next.into())).await.unwrap();
    let answer = raw::read_exactly(&mut *stray.receive, HEADER_LEN).await;
    assert_eq!(answer[1], REPLY, "the stream is still understood");
    assert_eq!(b.stats().late_frames, 1);
}

async fn unread_long_replies_hold_up_nothing_else(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let long = Bytes::from(vec![7; 10 << 20]);
    b.register(AT_LENGTH, Arc::new(Long(long))).unwrap();
    let connection = raw::greeted(&*raw, &b).await;
    let mut bulk = soon(connection.open()).await.unwrap();
    let asks = (0..50).flat_map(|call| raw::header_of(call, [1, REQUEST, AT_LENGTH.0], 0));
    soon(bulk.send.send(asks.collect())).await.unwrap();
    let mut unread = Vec::new();
    for _ in 0..8 {
        let mut reply = soon(connection.accept()).await.unwrap();
        assert!(soon(reply.receive.receive()).await.is_ok());
        unread.push(reply);
    }
    answers_go_on(&*connection).await;
    let other = fixture.server(3).await;
    let answer = soon(other.request(&contact(&b), request(ECHO, &LONG))).await;
    assert!(answer.is_ok());
}

async fn long_replies_wait_until_the_peer_has_ended_those_before(fixture: Fixture) {
    const LENGTH: usize = 300 << 10;
    const ASKED: usize = 60;
    const AT_ONCE: usize = 27;
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let long = Bytes::from(vec![7; LENGTH]);
    b.register(AT_LENGTH, Arc::new(Long(long))).unwrap();
    let connection = raw::greeted(&*raw, &b).await;
    let mut bulk = soon(connection.open()).await.unwrap();
    let asks = (0..).take(ASKED);
    let asks = asks.flat_map(|call| raw::header_of(call, [1, REQUEST, AT_LENGTH.0], 0));
    soon(bulk.send.send(asks.collect())).await.unwrap();
    let mut received = VecDeque::new();
    for next in 0..ASKED {
        if next >= AT_ONCE {
            let mut ended: Stream = received.pop_front().unwrap();
            ended.send.finish().unwrap();
        }
        let mut reply = soon(connection.accept()).await.unwrap();
        let body = soon(raw::whole(&mut *reply.receive)).await.unwrap();
        assert_eq!(body.len(), HEADER_LEN + LENGTH);
        received.push_back(reply);
        if next + 1 == AT_ONCE {
            let in_flight = || b.stats().inbound_in_flight;
            eventually(|| in_flight() == ASKED - AT_ONCE).await;
            answers_go_on(&*connection).await;
            assert!(
                in_flight() >= ASKED - AT_ONCE,
                "more than the peer can hold"
            );
        }
    }
}

/// Many short requests on one lane, one after the other.
async fn answers_go_on(connection: &dyn Connection) {
    let mut lane = soon(connection.open()).await.unwrap();
    for call in 1000..1100 {
        let ask = [
            raw::header_of(call, [1, REQUEST, ECHO.0], 1000),
            vec![7; 1000],
        ];
        soon(lane.send.send(ask.concat().into())).await.unwrap();
        let answer = raw::read_exactly(&mut *lane.receive, HEADER_LEN + 1000).await;
        assert_eq!(raw::call_of(&answer), call);
    }
}

async fn long_replies_to_long_requests_have_turns_too(fixture: Fixture) {
    const LONGEST: usize = 1 << 20;
    let longest = |config: &mut EndpointConfig| {
        config.max_message_bytes = LONGEST.try_into().unwrap();
    };
    let a = fixture.server_with(1, longest).await;
    let b = echoing(fixture.server_with(2, longest).await);
    let body = Bytes::from(vec![7; LONGEST]);
    let mut calls = JoinSet::new();
    for _ in 0..24 {
        let (a, to, body) = (a.clone(), contact(&b), body.clone());
        let request = Request {
            protocol: ECHO,
            timeout: Duration::from_secs(60),
            body,
        };
        calls.spawn(async move { a.request(&to, request).await.map(|back| back.len()) });
    }
    let answers = soon(calls.join_all()).await;
    assert!(
        answers.iter().all(|answer| *answer == Ok(LONGEST)),
        "{answers:?}"
    );
    assert_eq!(a.stats().replies_without_room, 0);
}

on_every_wire!(
    long_replies_to_long_requests_have_turns_too,
    requests_and_replies_of_any_length_may_wait_for_each_other,
    long_requests_that_are_handled_hold_up_no_long_reply,
    a_long_reply_that_breaks_off_fails_its_own_request_at_once,
    an_answer_before_its_long_request_is_whole_ends_the_request,
    a_long_answer_that_nobody_waits_for_is_dropped_as_it_comes,
    unread_long_replies_hold_up_nothing_else,
    long_replies_wait_until_the_peer_has_ended_those_before,
);
