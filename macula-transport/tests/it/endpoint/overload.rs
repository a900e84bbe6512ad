//! More than a node takes.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use macula_transport::{
    EndpointConfig, Executed, Executor, Refusal, Request, RequestError, RequestFailure,
};
use tokio::task::JoinSet;
use tokio::time::sleep;

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

#[tokio::test(start_paused = true)]
async fn more_requests_than_may_be_under_way_wait_and_the_peer_is_still_asked_if_it_lives() {
    const MOST: usize = 16 * 1024;
    const MORE: usize = 100;
    let patience = Duration::from_secs(3600);
    let roomy = |config: &mut EndpointConfig| {
        config.max_inbound_requests = NonZeroUsize::MAX;
        config.max_inbound_requests_per_protocol = NonZeroUsize::MAX;
        config.max_inbound_requests_per_peer = NonZeroUsize::MAX;
    };
    let fixture = Fixture::memory(Executor::Current);
    let (a, b) = (fixture.server(1).await, fixture.server_with(2, roomy).await);
    let (gate, to) = (gated(&b), contact(&b));
    let ask = |timeout| {
        let (a, to) = (a.clone(), to.clone());
        let asked = Request {
            timeout,
            ..request(GATE, b"")
        };
        async move { a.request(&to, asked).await }
    };
    let calls: JoinSet<_> = (0..MOST + MORE).map(|_| ask(patience)).collect();
    gate.holds(MOST).await;
    let stats = a.stats();
    assert_eq!(
        (stats.outbound_in_flight, stats.requests_waiting),
        (MOST, MORE)
    );
    assert_eq!(stats.requests_delayed, MORE as u64);

    let brief = Duration::from_secs(1);
    let error = ask(brief).await.unwrap_err();
    assert_eq!(error.failure, RequestFailure::Timeout(brief));
    assert_eq!(error.executed, Executed::No);

    // Nothing is answered for far longer than a dead peer would be left alone.
    sleep(10 * EndpointConfig::default().liveness_bound()).await;
    let stats = a.stats();
    assert!(stats.requests_sent > MOST as u64, "pings find a place");
    assert_eq!((stats.connections, stats.unresponsive_closed), (1, 0));
    assert_eq!(b.stats().requests_handled, MOST as u64);

    gate.let_through(MOST + MORE);
    assert!(soon(calls.join_all()).await.iter().all(Result::is_ok));
    let stats = a.stats();
    assert_eq!((stats.outbound_in_flight, stats.requests_waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn more_long_requests_than_may_be_under_way_are_counted_while_they_wait() {
    const LONG: &[u8] = &[7; 100_000];
    const MOST: usize = 8;
    let fixture = Fixture::memory(Executor::Current);
    let (a, raw) = (fixture.server(1).await, fixture.raw(2).await);
    let (to, _connection) = raw::dialled(&*raw, &a).await;
    let ask = |_| {
        let (a, to) = (a.clone(), to.clone());
        async move { a.request(&to, request(ECHO, LONG)).await }
    };
    // The peer takes none of them in.
    let mut calls: JoinSet<_> = (0..MOST + 3).map(ask).collect();
    eventually(|| a.stats().requests_waiting == 3).await;
    assert_eq!(a.stats().requests_delayed, 3);
    calls.shutdown().await;
    eventually(|| a.stats().requests_waiting == 0).await;
}

on_every_wire!(
    a_flood_of_requests_that_take_long_keeps_nobody_else_out,
    ten_thousand_requests_at_once_are_each_answered_or_refused,
    bodies_that_are_announced_and_never_sent_take_no_room,
    a_flooding_peer_is_refused_at_once_and_another_is_served,
    the_limit_over_all_peers_holds_and_permits_come_back,
);
