//! Whatever a node turns down or gives up, it counts under its reason, and under no other.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    Connection, DialError, Endpoint, EndpointConfig, EndpointStats, Executed, Executor,
    InboundRequest, ProtocolId, Refusal, RequestFailure, RequestHandler, Transport,
};
use tokio::task::JoinSet;

use super::fixture::{ECHO, Fixture, GATE, contact, echoing, eventually, gated, request, soon};
use super::raw::{self, HEADER_LEN};

const REFUSAL: u8 = 3;
const SHUTTING_DOWN: u8 = 2;

/// What was counted of requests that were not carried out.
pub(super) fn turned_down(stats: EndpointStats) -> Vec<(&'static str, u64)> {
    let counted = [
        ("in all", stats.overloaded_in_all),
        ("protocol", stats.overloaded_by_protocol),
        ("peer", stats.overloaded_by_peer),
        ("bodies", stats.overloaded_bodies),
        ("malformed", stats.requests_malformed),
        ("unknown", stats.requests_unknown_protocol),
        ("denied", stats.requests_denied),
        ("expired", stats.requests_expired),
        ("too large", stats.requests_too_large),
        ("turned away", stats.requests_turned_away),
        ("reply too large", stats.replies_too_large),
    ];
    let some = counted.into_iter().filter(|(_, count)| *count > 0);
    some.collect()
}

async fn a_protocol_at_its_limit_is_told_from_a_peer_at_its_own(fixture: Fixture) {
    let one_each = |config: &mut EndpointConfig| {
        config.max_inbound_requests_per_protocol = 1.try_into().unwrap();
    };
    let b = fixture.server_with(2, one_each).await;
    let (a, c) = (fixture.server(1).await, fixture.server(3).await);
    let gate = gated(&b);
    let to = contact(&b);
    let held = {
        let (a, to) = (a.clone(), to.clone());
        tokio::spawn(async move { a.request(&to, request(GATE, b"")).await })
    };
    gate.holds(1).await;
    let error = soon(c.request(&to, request(GATE, b""))).await.unwrap_err();
    let overloaded = RequestFailure::Refused(Refusal::Overloaded);
    assert_eq!((error.failure, error.executed), (overloaded, Executed::No));
    assert_eq!(turned_down(b.stats()), [("protocol", 1)]);
    gate.let_through(1);
    assert!(soon(held).await.unwrap().is_ok());
}

async fn a_second_call_under_one_id_is_malformed(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let gate = gated(&b);
    let connection = raw::greeted(&*raw, &b).await;
    let _first = raw::ask(&*connection, GATE).await;
    gate.holds(1).await;
    let mut second = raw::ask(&*connection, GATE).await;
    raw::read_exactly(&mut *second.receive, HEADER_LEN).await;
    assert_eq!(turned_down(b.stats()), [("malformed", 1)]);
}

async fn who_asks_a_node_that_drains_is_turned_away(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, echoing(fixture.server(2).await));
    let gate = gated(&b);
    let connection = raw::greeted(&*raw, &b).await;
    let mut lane = raw::ask(&*connection, GATE).await;
    gate.holds(1).await;
    let asking = async {
        // Its goodbye says that it drains.
        let mut farewell = soon(connection.accept()).await.unwrap();
        raw::read_exactly(&mut *farewell.receive, HEADER_LEN).await;
        let late = raw::header_of(2, [1, 1, ECHO.0], 0);
        soon(lane.send.send(late.into())).await.unwrap();
        let refusal = raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
        gate.let_through(1);
        // What was begun is answered all the same.
        raw::read_exactly(&mut *lane.receive, HEADER_LEN).await;
        farewell.send.finish().unwrap();
        refusal
    };
    let ((), refusal) = soon(async { tokio::join!(b.drain(), asking) }).await;
    assert_eq!(refusal[1..3], [REFUSAL, SHUTTING_DOWN]);
    assert_eq!(turned_down(b.stats()), [("turned away", 1)]);
}

/// Denies whatever is asked.
struct Denies;

#[async_trait]
impl RequestHandler for Denies {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        Err(Refusal::Denied)
    }
}

async fn what_a_handler_denies_is_denied(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    b.register(ECHO, Arc::new(Denies)).unwrap();
    let error = soon(a.request(&contact(&b), request(ECHO, b"")))
        .await
        .unwrap_err();
    assert_eq!(error.failure, RequestFailure::Refused(Refusal::Denied));
    assert_eq!(turned_down(b.stats()), [("denied", 1)]);
    assert_eq!(b.stats().requests_handled, 1);
}

/// Says more than anybody asked for.
struct Verbose;

#[async_trait]
impl RequestHandler for Verbose {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        Ok(Bytes::from_static(&[0; 1001]))
    }
}

async fn a_reply_beyond_the_limit_is_counted_where_it_was_made(fixture: Fixture) {
    const INLINE: ProtocolId = ProtocolId(102);
    let small = |config: &mut EndpointConfig| {
        config.max_message_bytes = 1000.try_into().unwrap();
    };
    let (a, b) = (fixture.server(1).await, fixture.server_with(2, small).await);
    b.register(ECHO, Arc::new(Verbose)).unwrap();
    b.register_inline(INLINE, Arc::new(Verbose)).unwrap();
    for (protocol, count) in [(ECHO, 1), (INLINE, 2)] {
        let error = soon(a.request(&contact(&b), request(protocol, b"")))
            .await
            .unwrap_err();
        assert!(matches!(error.failure, RequestFailure::TooLarge { .. }));
        assert_eq!(error.executed, Executed::Yes);
        assert_eq!(turned_down(b.stats()), [("reply too large", count)]);
    }
    assert_eq!(turned_down(a.stats()), []);
}

/// Dials that came to nothing: refused, somebody else, and nobody in time.
fn failed_dials(endpoint: &Endpoint) -> [u64; 4] {
    let stats = endpoint.stats();
    [
        stats.dial_failures,
        stats.dials_refused,
        stats.dials_wrong_identity,
        stats.dials_timed_out,
    ]
}

async fn a_dial_that_fails_is_counted_under_its_reason(fixture: Fixture) {
    let a = fixture.server(1).await;
    let elsewhere = |config: &mut EndpointConfig| config.realm = "com.two".parse().unwrap();
    let b = fixture.server_with(2, elsewhere).await;
    let (c, d) = (fixture.server(3).await, fixture.server(4).await);
    let refused = soon(a.connect(&contact(&b).into())).await;
    assert!(matches!(refused, Err(DialError::Refused(_))), "{refused:?}");
    assert_eq!(failed_dials(&a), [1, 1, 0, 0]);
    let mistaken = Contact::new(c.node_id(), d.addresses().iter().copied());
    let other = soon(a.connect(&mistaken.into())).await;
    assert!(
        matches!(other, Err(DialError::WrongIdentity { expected, .. }) if expected == c.node_id()),
        "{other:?}"
    );
    assert_eq!(failed_dials(&a), [2, 1, 1, 0]);
    assert_eq!((a.stats().dials, a.stats().connections), (2, 0));
}

async fn a_probe_that_reaches_its_peer_is_counted_and_is_no_dial(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    soon(a.connect(&contact(&b).into())).await.unwrap();
    eventually(|| b.stats().probes_succeeded == 1).await;
    assert_eq!((b.stats().probes, b.stats().probes_skipped), (1, 0));
    assert_eq!((b.stats().dials, b.stats().connections), (0, 1));
    assert!(a.is_connected(&b.node_id()));
}

on_every_wire!(
    a_protocol_at_its_limit_is_told_from_a_peer_at_its_own,
    a_second_call_under_one_id_is_malformed,
    who_asks_a_node_that_drains_is_turned_away,
    what_a_handler_denies_is_denied,
    a_reply_beyond_the_limit_is_counted_where_it_was_made,
    a_dial_that_fails_is_counted_under_its_reason,
    a_probe_that_reaches_its_peer_is_counted_and_is_no_dial,
);

/// Dials as a server that listens, and says so.
async fn greeted_as_server(raw: Arc<dyn Transport>, to: Endpoint) -> Arc<dyn Connection> {
    let hello = raw::hello_listening(raw.local_addresses()[0]);
    let connection = raw::dial(&*raw, &to).await;
    assert!(raw::exchange(&*connection, &hello).await.is_some());
    connection
}

#[tokio::test(start_paused = true)]
async fn probes_of_a_crowd_that_comes_at_once_are_left_out_and_counted() {
    let fixture = Fixture::memory(Executor::Current);
    let b = fixture.server(255).await;
    let mut crowd = Vec::new();
    for seed in 0..250 {
        crowd.push(fixture.raw(seed).await);
    }
    let mut connections = Vec::new();
    // No more at once than may leave their hello to be awaited.
    for _ in 0..2 {
        let greeting = crowd
            .iter()
            .map(|raw| greeted_as_server(Arc::clone(raw), b.clone()));
        let greeted: JoinSet<_> = greeting.collect();
        connections.extend(soon(greeted.join_all()).await);
    }
    let stats = b.stats();
    assert!((1..500).contains(&stats.probes_skipped), "{stats:?}");
    assert_eq!((stats.accepted, stats.connections), (500, 500));
    let asked = raw::header(1, 1, ECHO.0, 0);
    let answer = raw::exchange(&*connections[499], &asked).await;
    assert!(
        answer.is_some(),
        "whoever is not probed is served all the same"
    );
}
