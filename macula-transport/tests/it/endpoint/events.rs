//! The names and fields of events, which operators and their dashboards rely on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::{Contact, NodeId};
use macula_transport::{
    CloseCode, EndpointConfig, Executor, InboundRequest, Refusal, RequestHandler, Role,
};

use super::fixture::{Bound, ECHO, Fixture, GATE, contact, eventually, gated, request, soon};
use super::log::Log;
use super::raw;

/// The fields that tell which connection it is.
const WHICH: [&str; 2] = ["connection", "peer"];
const PROBE: [&str; 3] = ["address", "connection", "peer"];
const CLOSED: [&str; 4] = ["code", "connection", "peer", "reason"];
const REJECTED: [&str; 3] = ["address", "peer", "reason"];

fn memory() -> Fixture {
    Fixture::memory(Executor::Current)
}

/// For events of the only endpoint, or that concern one peer.
fn of(peer: NodeId) -> String {
    peer.short().to_string()
}

#[tokio::test(start_paused = true)]
async fn the_life_of_an_endpoint_is_told() {
    let (log, _listens) = Log::listen();
    let (fixture, brief) = (memory(), Duration::from_millis(100));
    let a = fixture.server(1).await;
    let b = fixture
        .server_with(2, |config| config.drain_timeout = brief)
        .await;
    let node = b.node_id().to_string();
    let it = ("node", &*node);
    log.told("endpoint.started", it, &["node", "realm", "role"])
        .await;
    let gate = gated(&b);
    let to = contact(&b);
    let ending = async {
        gate.holds(1).await;
        b.shutdown().await;
    };
    let held = request(GATE, b"");
    let _ = soon(async { tokio::join!(a.request(&to, held), ending) }).await;
    log.told("endpoint.drain_overdue", it, &["node", "in_flight"])
        .await;
    log.told("endpoint.shut_down", it, &["node"]).await;
    assert_eq!(log.first("endpoint.drain_overdue", &[])["in_flight"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_dial_is_a_span_and_what_came_of_it_is_told() {
    let (log, _listens) = Log::listen();
    let fixture = memory();
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let host = b.addresses()[0].to_string();
    a.connect(&host.parse().unwrap()).await.unwrap();
    let it = ("host", &*host);
    log.told("dial.first_use", it, &["host", "peer"]).await;
    let dial = log.first("dial.begun", &[])["dial"].clone();
    let it = ("dial", &*dial);
    log.told("dial", it, &["dial", "to"]).await;
    log.told("dial.begun", it, &["dial", "to"]).await;
    let succeeded = ["dial", "connection", "peer", "took"];
    log.told("dial.succeeded", it, &succeeded).await;
    let peer = of(b.node_id());
    let opened = ["connection", "peer", "address", "outbound", "role"];
    log.told("connection.opened", ("peer", &*peer), &opened)
        .await;

    let (address, _socket) = fixture.black_hole();
    let nobody = address.to_string();
    a.connect(&nobody.parse().unwrap()).await.unwrap_err();
    let failed = ["dial", "to", "error", "took"];
    log.told("dial.failed", ("to", &*nobody), &failed).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_taken_is_told_with_its_reason() {
    let (log, _listens) = Log::listen();
    let (fixture, brief) = (memory(), Duration::from_millis(300));
    let b = fixture
        .server_with(2, |config| config.dial_timeout = brief)
        .await;
    let raw = fixture.raw(1).await;
    let hellos = [
        ("wrong_realm", raw::hello(1, "com.two")),
        ("wrong_version", raw::hello(9, "open")),
        ("malformed", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    for (reason, hello) in hellos {
        let connection = raw::dial(&*raw, &b).await;
        raw::exchange(&*connection, &hello).await;
        let it = ("reason", reason);
        log.told("connection.rejected", it, &REJECTED).await;
    }
    let leaving = raw::dial(&*raw, &b).await;
    leaving.close(CloseCode::Done);
    let _silent = raw::dial(&*raw, &b).await;
    for reason in ["left", "silent"] {
        let it = ("reason", reason);
        log.told("connection.rejected", it, &REJECTED).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_room_is_told_with_the_reason() {
    let (log, _listens) = Log::listen();
    let fixture = memory();
    let patient = |config: &mut EndpointConfig| {
        config.max_connections = 1.try_into().unwrap();
        config.dial_timeout = Duration::from_secs(600);
    };
    let b = fixture.server_with(2, patient).await;
    let raw = fixture.raw(1).await;
    let mut crowd = Vec::new();
    // What fits at a time is a matter of the endpoint's own.
    while b.stats().refused_crowded == 0 {
        crowd.push(raw::dial(&*raw, &b).await);
        assert!(crowd.len() < 2000, "{:?}", b.stats());
    }
    let gate = gated(&b);
    let connection = raw::greeted(&*raw, &b).await;
    let _held = raw::ask(&*connection, GATE).await;
    gate.holds(1).await;
    let other = fixture.server(3).await;
    other.connect(&contact(&b).into()).await.unwrap_err();
    for reason in ["crowded", "full"] {
        let it = ("reason", reason);
        log.told("connection.rejected", it, &REJECTED).await;
    }
    b.drain().await;
    let _late = raw::dial(&*raw, &b).await;
    let it = ("reason", "draining");
    log.told("connection.rejected", it, &REJECTED).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_closed_is_told_with_the_reason() {
    let (log, _listens) = Log::listen();
    let fixture = memory();
    let one = |config: &mut EndpointConfig| config.max_connections = 1.try_into().unwrap();
    let (a, b, c) = (
        fixture.server_with(1, one).await,
        fixture.server(2).await,
        fixture.server(3).await,
    );
    for to in [&b, &c] {
        a.connect(&contact(to).into()).await.unwrap();
    }
    let raw = fixture.raw(4).await;
    let mut held = Vec::new();
    while b.stats().displaced == 0 {
        held.push(raw::greeted(&*raw, &b).await);
        eventually(|| b.stats().accepted == held.len() as u64 + 1).await;
    }
    for reason in ["evicted", "displaced"] {
        let it = ("reason", reason);
        log.told("connection.closed", it, &CLOSED).await;
    }
    // Longer than what is idle is kept.
    tokio::time::sleep(EndpointConfig::DEFAULT_IDLE_TIMEOUT * 2).await;
    let it = ("reason", "released");
    log.told("connection.closed", it, &CLOSED).await;
    // What they hear of it.
    let peer = of(a.node_id());
    let ended = ["connection", "peer", "error"];
    log.told("connection.ended", ("peer", &*peer), &ended).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_nothing_is_told() {
    let (log, _listens) = Log::listen();
    let fixture = memory();
    let keeping = |config: &mut EndpointConfig| {
        config.role = Role::Client;
        config.keep_alive = Duration::from_millis(500);
    };
    let a = fixture.node(1, Bound::Nowhere, keeping).await;
    let raw = fixture.raw(2).await;
    let (_to, _connection) = raw::dialled(&*raw, &a).await;
    let peer = of(raw.node_id());
    let it = ("peer", &*peer);
    log.told("connection.keep_alive_unanswered", it, &WHICH)
        .await;
    let to = Contact::new(raw.node_id(), []);
    a.request(&to, request(ECHO, b"")).await.unwrap_err();
    log.told("connection.unresponsive", it, &WHICH).await;
    let it = ("reason", "unresponsive");
    log.told("connection.closed", it, &CLOSED).await;
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_probes_is_told() {
    let (log, _listens) = Log::listen();
    let fixture = memory();
    let a = fixture.server(1).await;
    let b = fixture.node(2, Bound::Any, |_| {}).await;
    b.connect(&contact(&a).into()).await.unwrap();
    let address = soon(b.reachable()).await[0].to_string();
    let peer = of(b.node_id());
    log.told("probe.succeeded", ("peer", &*peer), &PROBE).await;
    let it = ("address", &*address);
    log.told("address.proved", it, &["address", "peer"]).await;

    // One that listens and answers no hello.
    let raw = fixture.raw(3).await;
    let connection = raw::dial(&*raw, &a).await;
    let hello = raw::hello_listening(raw.local_addresses()[0]);
    raw::exchange(&*connection, &hello).await.unwrap();
    let peer = of(raw.node_id());
    log.told("probe.failed", ("peer", &*peer), &PROBE).await;
}

/// Answers with more than goes on a shared lane, or than anybody takes unread.
struct Long;

#[async_trait]
impl RequestHandler for Long {
    async fn handle(&self, _: InboundRequest) -> Result<Bytes, Refusal> {
        Ok(Bytes::from(vec![7; 8 << 20]))
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_reply_that_is_not_taken_is_told() {
    let (log, _listens) = Log::listen();
    let fixture = memory();
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    b.register(ECHO, Arc::new(Long)).unwrap();
    let connection = raw::greeted(&*raw, &b).await;
    let peer = of(raw.node_id());
    let it = ("peer", &*peer);

    let _lane = raw::ask(&*connection, ECHO).await;
    let mut refused = soon(connection.accept()).await.unwrap();
    refused.receive.stop(CloseCode::Done);
    let broken = ["connection", "peer", "error"];
    log.told("reply.broken", it, &broken).await;

    let _lane = raw::ask(&*connection, ECHO).await;
    let _unread = soon(connection.accept()).await.unwrap();
    log.told("reply.stalled", it, &WHICH).await;
}
