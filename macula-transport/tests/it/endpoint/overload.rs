//! More than a node takes.

use bytes::Bytes;
use macula_transport::{EndpointConfig, Executed, Refusal, RequestError, RequestFailure};
use tokio::task::JoinSet;

use super::fixture::{
    ECHO, Fixture, GATE, contact, echoing, eventually, gated, known, request, soon,
};
use super::raw;

fn is_overloaded(error: &RequestError) -> bool {
    error.failure == RequestFailure::Refused(Refusal::Overloaded) && error.executed == Executed::No
}

async fn a_flooding_peer_is_refused_at_once_and_another_is_served(fixture: Fixture) {
    let b = fixture
        .server_with(2, |config| {
            config.max_inbound_requests_per_peer = 10.try_into().unwrap();
        })
        .await;
    let (flooder, other, b) = (fixture.server(1).await, fixture.server(3).await, echoing(b));
    let gate = gated(&b);
    let mut flood = JoinSet::new();
    for _ in 0..500 {
        let (flooder, to) = (flooder.clone(), contact(&b));
        flood.spawn(async move { flooder.request(&to, request(GATE, b"")).await });
    }
    for _ in 0..490 {
        let error = soon(flood.join_next()).await.unwrap().unwrap().unwrap_err();
        assert!(is_overloaded(&error), "{error:?}");
    }
    gate.holds(10).await;
    for _ in 0..20 {
        assert!(
            soon(other.request(&contact(&b), request(ECHO, b"")))
                .await
                .is_ok()
        );
    }
    gate.let_through(10);
    assert!(soon(flood.join_all()).await.iter().all(Result::is_ok));
    assert_eq!(b.stats().requests_overloaded, 490);
    assert_eq!(b.stats().overloaded_by_peer, 490);
}

async fn the_limit_over_all_peers_holds_and_permits_come_back(fixture: Fixture) {
    let b = fixture
        .server_with(2, |config| {
            config.max_inbound_requests = 1.try_into().unwrap();
        })
        .await;
    let (a, c) = (fixture.server(1).await, fixture.server(3).await);
    let gate = gated(&b);
    let held = {
        let (a, to) = (a.clone(), contact(&b));
        tokio::spawn(async move { a.request(&to, request(GATE, b"")).await })
    };
    gate.holds(1).await;
    let error = soon(c.request(&contact(&b), request(GATE, b"")))
        .await
        .unwrap_err();
    assert!(is_overloaded(&error), "{error:?}");
    assert_eq!(b.stats().overloaded_in_all, 1);
    gate.let_through(2);
    assert!(soon(held).await.unwrap().is_ok());
    eventually(|| b.stats().inbound_in_flight == 0).await;
    assert!(
        soon(c.request(&known(&b), request(GATE, b"")))
            .await
            .is_ok()
    );
}

async fn bodies_that_are_announced_and_never_sent_take_no_room(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let connection = raw::greeted(&*raw, &b).await;
    let longest = EndpointConfig::DEFAULT_MAX_MESSAGE_BYTES.get();
    let head = raw::header(1, 1, ECHO.0, u32::try_from(longest).unwrap());
    let mut announced = Vec::new();
    for _ in 0..50 {
        let mut stream = soon(connection.open()).await.unwrap();
        let head = Bytes::from(head.clone());
        soon(stream.send.send(head)).await.unwrap();
        announced.push(stream);
    }
    let whole = raw::header_of(2, [1, 1, ECHO.0], 0);
    assert!(raw::exchange(&*connection, &whole).await.is_some());
    let other = fixture.server(3).await;
    let answer = soon(other.request(&contact(&b), request(ECHO, b"short"))).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"short")));
}

async fn ten_thousand_requests_at_once_are_each_answered_or_refused(fixture: Fixture) {
    let b = fixture.server(2).await;
    let (flooder, other, b) = (fixture.server(1).await, fixture.server(3).await, echoing(b));
    soon(other.connect(&contact(&b).into())).await.unwrap();
    let mut flood = JoinSet::new();
    for _ in 0..10_000 {
        let (flooder, to) = (flooder.clone(), contact(&b));
        flood.spawn(async move { flooder.request(&to, request(ECHO, b"x")).await });
    }
    for _ in 0..50 {
        let answer = soon(other.request(&contact(&b), request(ECHO, b"y"))).await;
        assert_eq!(answer, Ok(Bytes::from_static(b"y")));
    }
    let answers = soon(flood.join_all()).await;
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    let mut refusals = 0;
    for error in refused {
        assert!(is_overloaded(error), "{error:?}");
        refusals += 1;
    }
    assert_eq!(b.stats().requests_overloaded, refusals);
    assert_eq!(b.stats().requests_handled + refusals, 10_050);
    eventually(|| b.stats().inbound_in_flight == 0).await;
}

async fn a_flood_of_requests_that_take_long_keeps_nobody_else_out(fixture: Fixture) {
    const FLOOD: usize = 10_000;
    let allowed = EndpointConfig::DEFAULT_MAX_INBOUND_REQUESTS_PER_PEER.get();
    let (flooder, other) = (fixture.server(1).await, fixture.server(3).await);
    let b = echoing(fixture.server(2).await);
    let gate = gated(&b);
    let mut flood = JoinSet::new();
    for _ in 0..FLOOD {
        let (flooder, to) = (flooder.clone(), contact(&b));
        flood.spawn(async move { flooder.request(&to, request(GATE, b"flood")).await });
    }
    let mut refused = 0;
    while refused < FLOOD - allowed {
        // Beside the flood, at every stage of it.
        if refused.is_multiple_of(100) {
            let answer = soon(other.request(&contact(&b), request(ECHO, b"y"))).await;
            assert_eq!(answer, Ok(Bytes::from_static(b"y")));
        }
        let error = soon(flood.join_next()).await.unwrap().unwrap().unwrap_err();
        assert!(is_overloaded(&error), "{error:?}");
        refused += 1;
    }
    gate.holds(allowed).await;
    assert_eq!(b.stats().requests_overloaded, refused as u64);
    let beside = {
        let (other, to) = (other.clone(), contact(&b));
        tokio::spawn(async move { other.request(&to, request(GATE, b"other")).await })
    };
    // The flooder has not used up the protocol, either.
    gate.holds(allowed + 1).await;
    gate.let_through(allowed + 1);
    let beside = soon(beside).await.unwrap();
    assert_eq!(beside, Ok(Bytes::from_static(b"other")));
    assert!(soon(flood.join_all()).await.iter().all(Result::is_ok));
    assert_eq!(b.stats().requests_overloaded, refused as u64);
    eventually(|| b.stats().inbound_in_flight == 0).await;
}

on_every_wire!(
    a_flood_of_requests_that_take_long_keeps_nobody_else_out,
    ten_thousand_requests_at_once_are_each_answered_or_refused,
    bodies_that_are_announced_and_never_sent_take_no_room,
    a_flooding_peer_is_refused_at_once_and_another_is_served,
    the_limit_over_all_peers_holds_and_permits_come_back,
);
