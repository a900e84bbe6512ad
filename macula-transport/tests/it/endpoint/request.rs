//! One request, one reply, and everything that can come between.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    Endpoint, EndpointConfig, Executed, InboundRequest, ProtocolId, Refusal, Request,
    RequestFailure, RequestHandler,
};
use tokio::task::JoinSet;

use super::counted::{Counted, Held};
use super::fixture::{
    Bound, ECHO, Echo, Fixture, GATE, contact, echoing, eventually, gated, known, request, soon,
};

async fn requests_are_answered_in_both_directions(fixture: Fixture) {
    let (a, b) = (
        echoing(fixture.server(1).await),
        echoing(fixture.server(2).await),
    );
    let there = soon(a.request(&contact(&b), request(ECHO, b"there"))).await;
    assert_eq!(there, Ok(Bytes::from_static(b"there")));
    let back = soon(b.request(&known(&a), request(ECHO, b"back"))).await;
    assert_eq!(back, Ok(Bytes::from_static(b"back")));
    assert_eq!((a.stats().connections, b.stats().connections), (1, 1));
}

async fn a_large_body_arrives_whole_both_ways(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    let body: Bytes = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut large = request(ECHO, b"");
    large.body = body.clone();
    let reply = soon(a.request(&contact(&b), large)).await;
    assert!(reply.is_ok_and(|reply| reply == body));
}

async fn five_thousand_requests_at_once_are_all_answered(fixture: Fixture) {
    let b = fixture
        .server_with(2, |config| {
            config.max_inbound_requests = 5000.try_into().unwrap();
            config.max_inbound_requests_per_peer = 5000.try_into().unwrap();
            config.max_inbound_requests_per_protocol = 5000.try_into().unwrap();
        })
        .await;
    let (a, b) = (fixture.server(1).await, echoing(b));
    let mut calls = JoinSet::new();
    for number in 0..5000_u32 {
        let (a, to) = (a.clone(), contact(&b));
        let mut call = request(ECHO, b"");
        call.body = Bytes::copy_from_slice(&number.to_be_bytes());
        calls.spawn(async move { a.request(&to, call.clone()).await == Ok(call.body) });
    }
    let answers = soon(calls.join_all()).await;
    assert_eq!(answers.iter().filter(|right| **right).count(), 5000);
    assert_eq!((a.stats().dials, b.stats().accepted), (1, 1));
}

/// Makes so many calls at once, each long that is `long_every`-th; the most streams that were held
/// at a time at either end.
async fn streams_held(fixture: Fixture, long_every: u32) -> usize {
    const CALLS: u32 = 5000;
    let fixture = fixture.with_a_hundred_streams();
    let ((a, at_a), (b, at_b)) = (counted(&fixture, 1).await, counted(&fixture, 2).await);
    let b = echoing(b);
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let (a, to) = (a.clone(), contact(&b));
        let mut body = number.to_be_bytes().to_vec();
        body.resize(
            if number % long_every == 1 {
                70_000
            } else {
                100
            },
            7,
        );
        let call = Request {
            body: body.into(),
            ..request(ECHO, b"")
        };
        calls.spawn(async move { a.request(&to, call.clone()).await == Ok(call.body) });
    }
    let answers = soon(calls.join_all()).await;
    assert!(answers.iter().all(|right| *right));
    assert_eq!((a.stats().dials, b.stats().accepted), (1, 1));
    eventually(|| b.stats().inbound_in_flight == 0).await;
    soon(a.shutdown()).await;
    eventually(|| at_a.now() + at_b.now() == 0).await;
    at_a.most().max(at_b.most())
}

async fn five_thousand_short_requests_at_once_share_few_streams(fixture: Fixture) {
    let held = streams_held(fixture, u32::MAX).await;
    assert!(held <= 20, "{held}");
}

async fn five_thousand_requests_of_any_length_make_do_with_a_hundred_streams(fixture: Fixture) {
    let held = streams_held(fixture, 25).await;
    assert!((2..=100).contains(&held), "{held}");
}

/// A node that handles everything at once, and what it holds of streams.
async fn counted(fixture: &Fixture, seed: u8) -> (Endpoint, Arc<Held>) {
    let runtime = fixture.runtime(seed).await;
    let transport = fixture.transport(&runtime, seed, Bound::Specific).await;
    let (transport, held) = Counted::new(transport);
    let boundless = 5000.try_into().unwrap();
    let config = EndpointConfig {
        max_inbound_requests: boundless,
        max_inbound_requests_per_peer: boundless,
        max_inbound_requests_per_protocol: boundless,
        ..EndpointConfig::default()
    };
    (Endpoint::start(runtime, transport, config).unwrap(), held)
}

async fn what_nobody_serves_is_refused_unexecuted(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let error = soon(a.request(&contact(&b), request(ECHO, b"")))
        .await
        .unwrap_err();
    assert_eq!(
        error.failure,
        RequestFailure::Refused(Refusal::UnknownProtocol)
    );
    assert_eq!(error.executed, Executed::No);
    assert_eq!(b.stats().requests_unknown_protocol, 1);
}

async fn a_protocol_is_registered_once(fixture: Fixture) {
    let a = echoing(fixture.server(1).await);
    assert!(a.register(ECHO, Arc::new(Echo)).is_err());
    assert!(a.register(ProtocolId(0), Arc::new(Echo)).is_err());
}

async fn messages_beyond_the_limit_fail_typed_at_either_end(fixture: Fixture) {
    let small = |config: &mut macula_transport::EndpointConfig| {
        config.max_message_bytes = 1000.try_into().unwrap();
    };
    let a = fixture.server(1).await;
    let b = echoing(fixture.server_with(2, small).await);
    let c = fixture.server_with(3, small).await;
    let d = fixture.server(4).await;
    d.register(ECHO, Arc::new(Long)).unwrap();
    let mut long = request(ECHO, b"");
    long.body = Bytes::from_static(&[0; 100_000]);

    let by_peer = soon(a.request(&contact(&b), long.clone()))
        .await
        .unwrap_err();
    assert_eq!(by_peer.failure, RequestFailure::Refused(Refusal::TooLarge));
    assert_eq!(by_peer.executed, Executed::No);
    assert_eq!(b.stats().requests_too_large, 1);
    let limit_bytes = 1000;
    let here = soon(c.request(&contact(&b), long)).await.unwrap_err();
    assert_eq!(here.failure, RequestFailure::TooLarge { limit_bytes });
    assert_eq!(here.executed, Executed::No);
    let reply = soon(c.request(&contact(&d), request(ECHO, b"")))
        .await
        .unwrap_err();
    assert_eq!(reply.failure, RequestFailure::TooLarge { limit_bytes });
    assert_eq!(reply.executed, Executed::Yes);

    let after = soon(a.request(&contact(&b), request(ECHO, b"fits"))).await;
    assert_eq!(after, Ok(Bytes::from_static(b"fits")));
}

struct Long;

#[async_trait]
impl RequestHandler for Long {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        Ok(Bytes::from_static(&[0; 100_000]))
    }
}

async fn dropping_a_request_aborts_its_handler_and_frees_the_permit(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let gate = gated(&b);
    let to = contact(&b);
    tokio::select! {
        _ = a.request(&to, request(GATE, b"")) => unreachable!("the gate is shut"),
        () = gate.holds(1) => {}
    }
    gate.holds(0).await;
    eventually(|| b.stats().inbound_in_flight == 0).await;
    assert_eq!(b.stats().requests_cancelled, 1);
    assert_eq!(b.stats().connections, 1, "the connection lives on");
}

/// Begins a request and drops it before the endpoint, on whose thread that is, can write it.
async fn begun_and_dropped(a: &Endpoint, to: Contact, begun: Request) {
    let (runtime, a) = (a.runtime().clone(), a.clone());
    let dropping = runtime.spawn(async move {
        let mut call = pin!(a.request(&to, begun));
        let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(first.is_pending());
    });
    dropping.await.unwrap();
}

async fn a_request_dropped_before_it_is_written_sends_nothing(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let gate = gated(&b);
    soon(a.connect(&contact(&b).into())).await.unwrap();
    // The first is dropped before its lane is open, the third has a stream of its own.
    for (count, dropped) in (1..).zip([b"dropped", b"dropped", &[7; 100_000][..]]) {
        begun_and_dropped(&a, known(&b), request(GATE, dropped)).await;
        gate.let_through(1);
        let next = soon(a.request(&known(&b), request(GATE, b"next"))).await;
        assert_eq!(next, Ok(Bytes::from_static(b"next")));
        let (sent, handled) = (a.stats().requests_sent, b.stats().requests_handled);
        assert_eq!((sent, handled), (count, count));
    }
    assert_eq!(b.stats().requests_cancelled, 0);
}

async fn a_request_out_of_time_says_whether_it_was_sent(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let gate = gated(&b);
    let mut short = request(GATE, b"");
    short.timeout = Duration::from_millis(300);
    let error = soon(a.request(&contact(&b), short.clone()))
        .await
        .unwrap_err();
    assert_eq!(error.failure, RequestFailure::Timeout(short.timeout));
    assert_eq!(error.executed, Executed::Unknown);
    gate.holds(0).await;

    let (nobody, _socket) = fixture.black_hole();
    let nobody = macula_core::Contact::new(macula_core::NodeId::from_bytes([9; 32]), [nobody]);
    let error = soon(a.request(&nobody, short.clone())).await.unwrap_err();
    assert_eq!(error.failure, RequestFailure::Timeout(short.timeout));
    assert_eq!(error.executed, Executed::No);
}

async fn a_handlers_panic_fails_its_own_request_only(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    b.register(GATE, Arc::new(Panics)).unwrap();
    let error = soon(a.request(&contact(&b), request(GATE, b"")))
        .await
        .unwrap_err();
    assert!(matches!(error.failure, RequestFailure::Interrupted(_)));
    assert_eq!(error.executed, Executed::Unknown);
    let after = soon(a.request(&known(&b), request(ECHO, b"alive"))).await;
    assert_eq!(after, Ok(Bytes::from_static(b"alive")));
    eventually(|| b.stats().inbound_in_flight == 0).await;
}

struct Panics;

#[async_trait]
impl RequestHandler for Panics {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        panic!("as the test wants it")
    }
}

on_every_wire!(
    requests_are_answered_in_both_directions,
    a_large_body_arrives_whole_both_ways,
    five_thousand_requests_at_once_are_all_answered,
    five_thousand_short_requests_at_once_share_few_streams,
    five_thousand_requests_of_any_length_make_do_with_a_hundred_streams,
    what_nobody_serves_is_refused_unexecuted,
    a_protocol_is_registered_once,
    messages_beyond_the_limit_fail_typed_at_either_end,
    dropping_a_request_aborts_its_handler_and_frees_the_permit,
    a_request_dropped_before_it_is_written_sends_nothing,
    a_request_out_of_time_says_whether_it_was_sent,
    a_handlers_panic_fails_its_own_request_only,
);
