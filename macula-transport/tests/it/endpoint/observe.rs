//! What an operator sees.

#[cfg(feature = "quic")]
use macula_core::Contact;
use macula_transport::{Endpoint, Executor, Traffic};
#[cfg(feature = "quic")]
use macula_transport::{EndpointConfig, QuicConfig, QuicTransport, Transport as _};

use super::fixture::{ECHO, Fixture, GATE, contact, echoing, eventually, gated, request, soon};
use super::log::Log;
use super::raw;

async fn every_connection_is_listed_with_its_direction(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    soon(a.request(&contact(&b), request(ECHO, b"x")))
        .await
        .unwrap();
    let (at_a, at_b) = (a.connections(), b.connections());
    assert_eq!((at_a.len(), at_b.len()), (1, 1));
    assert_eq!((at_a[0].node_id, at_a[0].outbound), (b.node_id(), true));
    assert_eq!((at_b[0].node_id, at_b[0].outbound), (a.node_id(), false));
    assert_eq!(at_a[0].address, b.addresses()[0]);
    let (a, b) = (a.stats(), b.stats());
    assert_eq!((a.connections_outbound, a.connections_inbound), (1, 0));
    assert_eq!((b.connections_outbound, b.connections_inbound), (0, 1));
}

async fn frames_and_requests_under_way_are_counted_at_both_ends(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    let gate = gated(&b);
    let asking = {
        let (a, to) = (a.clone(), contact(&b));
        tokio::spawn(async move { a.request(&to, request(GATE, b"held")).await })
    };
    gate.holds(1).await;
    let (at_a, at_b) = (a.stats(), b.stats());
    assert_eq!((at_a.outbound_in_flight, at_a.inbound_in_flight), (1, 0));
    assert_eq!((at_b.outbound_in_flight, at_b.inbound_in_flight), (0, 1));
    assert_eq!((at_a.frames_sent, at_a.frames_received), (1, 0));
    assert_eq!((at_b.frames_sent, at_b.frames_received), (0, 1));

    let long: &[u8] = &[7; 200_000];
    soon(a.request(&contact(&b), request(ECHO, long)))
        .await
        .unwrap();
    gate.let_through(1);
    soon(asking).await.unwrap().unwrap();
    for stats in [a.stats(), b.stats()] {
        assert_eq!((stats.frames_sent, stats.frames_received), (2, 2));
        assert_eq!(stats.outbound_in_flight, 0);
    }
}

async fn what_the_transport_counts_is_in_the_snapshot(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let held = |b: &Endpoint| b.stats().transport.unwrap().connections;
    assert_eq!(held(&b), 0);
    // One that has not said hello is none of the endpoint's yet.
    let connection = raw::dial(&*raw, &b).await;
    eventually(|| held(&b) == 1).await;
    assert_eq!(b.stats().connections, 0);
    let counted = raw.stats().unwrap();
    assert_eq!((counted.connections, counted.overflowed), (1, 0));
    drop(connection);
    eventually(|| held(&b) == 0).await;
}

on_every_wire!(
    what_the_transport_counts_is_in_the_snapshot,
    every_connection_is_listed_with_its_direction,
    frames_and_requests_under_way_are_counted_at_both_ends,
);

#[cfg(feature = "quic")]
#[tokio::test]
async fn over_quic_bytes_are_counted_and_stay_counted() {
    let fixture = Fixture::quic(Executor::Current);
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    let body = &[7; 100_000];
    soon(a.request(&contact(&b), request(ECHO, body)))
        .await
        .unwrap();
    let traffic = a.connections()[0].traffic.unwrap();
    assert!(traffic.bytes_sent > 100_000 && traffic.bytes_sent < 1_000_000);
    assert!(traffic.bytes_received > 100_000 && traffic.bytes_received < 1_000_000);
    soon(b.shutdown()).await;
    eventually(|| a.stats().connections == 0).await;
    let past = a.stats().traffic.unwrap();
    assert!(past.bytes_sent >= traffic.bytes_sent && past.bytes_received >= traffic.bytes_received);
    assert_eq!(a.stats().ended, 1);
    let at_b = b.stats();
    let (used, all) = (
        at_b.traffic.unwrap(),
        at_b.transport.unwrap().traffic.unwrap(),
    );
    assert!(used.bytes_received > 100_000 && all.bytes_received >= used.bytes_received);
}

#[cfg(feature = "quic")]
#[tokio::test]
async fn a_connection_that_the_endpoint_is_too_slow_to_take_is_in_the_snapshot() {
    let key = macula_core::SecretKey::from_bytes(&[2; 32]);
    let config = QuicConfig {
        listen: vec![([127, 0, 0, 1], 0).into()],
        accept_backlog: 1,
        ..QuicConfig::default()
    };
    let transport = QuicTransport::bind(&key, config).await.unwrap();
    let fixture = Fixture::quic(Executor::Current);
    let raw = fixture.raw(1).await;
    let target = Contact::new(transport.node_id(), transport.local_addresses()).into();
    // Nobody takes them before the endpoint is there.
    let _first = soon(raw.dial(&target)).await.unwrap();
    let second = soon(raw.dial(&target)).await.unwrap();
    soon(second.closed()).await;
    let runtime = fixture.runtime(2).await;
    let b = Endpoint::start(runtime, transport, EndpointConfig::default()).unwrap();
    assert_eq!(b.stats().transport.unwrap().overflowed, 1);
    eventually(|| b.stats().hellos_awaited == 1).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_transport_does_not_count_is_not_reported_as_nothing() {
    let fixture = Fixture::memory(Executor::Current);
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    a.request(&contact(&b), request(ECHO, b"x")).await.unwrap();
    let none: Option<Traffic> = None;
    assert_eq!(
        (a.connections()[0].traffic, a.stats().traffic),
        (none, none)
    );
    assert_eq!(a.stats().transport.unwrap().traffic, none);
}

#[tokio::test(start_paused = true)]
async fn a_connection_can_be_followed_by_its_number() {
    let (log, _listens) = Log::listen();
    let fixture = Fixture::memory(Executor::Current);
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    a.request(&contact(&b), request(ECHO, b"x")).await.unwrap();
    let number = a.connections()[0].number.to_string();
    a.shutdown().await;
    eventually(|| b.stats().connections == 0).await;
    let dial = log.first("dial.begun", &[])["dial"].clone();
    let dialled = log.first("dial.succeeded", &[("dial", &dial)]);
    assert_eq!(dialled["connection"], number);
    let opened = log.first("connection.opened", &[("outbound", "true")]);
    assert_eq!(opened["connection"], number);
    let closed = log.first("connection.closed", &[("reason", "shutdown")]);
    assert_eq!(closed["connection"], number);
    let ended = log.first("connection.ended", &[]);
    assert_eq!(ended["peer"], a.node_id().short().to_string());
    assert_eq!(ended["error"], "closed by peer: shutting down");
}
