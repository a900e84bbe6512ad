//! The end of a node in good order: how long it takes, who hears of it, and that it leaves nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::{Contact, NodeId};
use macula_transport::{
    CloseCode, ConnectionError, DialError, Endpoint, EndpointConfig, Executed, NodeRuntime,
    ProtocolId, RequestError, RequestFailure, StreamError,
};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::fixture::{Bound, ECHO, Fixture, GATE, Gate, contact, eventually, gated, request, soon};
use super::gone::{self, HALF_SENT, half_read, patient, very_long};
use super::raw;
use super::runtimes::Runtimes;

const INLINE: ProtocolId = ProtocolId(102);

/// How long handlers are waited for here.
const DRAIN: Duration = Duration::from_secs(2);

/// How much later than that a shutdown is over: the last replies have a second, and a busy machine
/// takes its time. Far less than any request here would wait.
const GRACE: Duration = Duration::from_secs(6);

fn brief(config: &mut EndpointConfig) {
    config.drain_timeout = DRAIN;
}

/// Lets a node hold requests of two protocols, one of them inline.
fn gated_twice(node: &Endpoint) -> Arc<Gate> {
    let gate = gated(node);
    node.register_inline(INLINE, Arc::clone(&gate) as Arc<_>)
        .unwrap();
    gate
}

type Call = JoinHandle<Result<Bytes, RequestError>>;

fn ask(from: &Endpoint, to: Contact, protocol: ProtocolId) -> Call {
    let from = from.clone();
    tokio::spawn(async move { from.request(&to, request(protocol, b"")).await })
}

async fn a_handler_that_hangs_is_waited_for_until_the_drain_timeout_and_let_go(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server_with(2, brief).await);
    let gate = gated_twice(&b);
    let calls = [GATE, INLINE].map(|protocol| ask(&a, contact(&b), protocol));
    gate.holds(2).await;
    let begun = Instant::now();
    soon(b.shutdown()).await;
    let took = begun.elapsed();
    assert!((DRAIN..DRAIN + GRACE).contains(&took), "{took:?}");

    let closed = ConnectionError::ClosedByPeer(CloseCode::ShuttingDown);
    for call in calls {
        let error = soon(call).await.unwrap().unwrap_err();
        let gone = RequestFailure::Interrupted(StreamError::Connection(closed));
        assert_eq!((error.failure, error.executed), (gone, Executed::Unknown));
    }
    eventually(|| b.stats().inbound_in_flight == 0).await;
    gate.is_let_go().await;
    assert_eq!(b.stats().requests_cancelled, 2);
}

async fn calls_of_a_node_that_shuts_down_fail_at_once_and_say_what_was_sent(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let gate = gated(&b);
    let sent = ask(&a, contact(&b), GATE);
    gate.holds(1).await;
    let (nobody, _socket) = fixture.black_hole();
    let nobody = Contact::new(NodeId::from_bytes([9; 32]), [nobody]);
    let dialling = ask(&a, nobody, ECHO);
    eventually(|| a.stats().dials_running == 1).await;
    let begun = Instant::now();
    soon(a.shutdown()).await;

    let sent = soon(sent).await.unwrap().unwrap_err();
    let closed = ConnectionError::Closed(CloseCode::ShuttingDown);
    let interrupted = RequestFailure::Interrupted(StreamError::Connection(closed));
    assert_eq!(sent.failure, interrupted);
    assert_eq!(sent.executed, Executed::Unknown);
    let unsent = soon(dialling).await.unwrap().unwrap_err();
    assert_eq!(unsent.failure, RequestFailure::Dial(DialError::Closed));
    assert_eq!(unsent.executed, Executed::No);
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());
    gate.holds(0).await;
}

/// Two nodes that have begun to ask each other what neither answers.
struct Busy {
    nodes: [Endpoint; 2],
    gates: [Arc<Gate>; 2],
    calls: JoinSet<bool>,
}

impl Busy {
    async fn start(fixture: &Fixture, runtimes: &[NodeRuntime]) -> Self {
        const CALLS: usize = 12;
        let nodes = [
            started(fixture, &runtimes[0], 1).await,
            started(fixture, &runtimes[1], 2).await,
        ];
        let gates = nodes.each_ref().map(gated_twice);
        let mut calls = JoinSet::new();
        for number in 0..2 * CALLS {
            let from = nodes[number % 2].clone();
            let to = contact(&nodes[1 - number % 2]);
            let protocol = if number % 4 < 2 { GATE } else { INLINE };
            let body: &'static [u8] = if number % 6 < 2 { &[7; 100_000] } else { b"" };
            calls.spawn(async move { from.request(&to, request(protocol, body)).await.is_ok() });
        }
        for gate in &gates {
            gate.holds(CALLS).await;
        }
        Self {
            nodes,
            gates,
            calls,
        }
    }
}

async fn started(fixture: &Fixture, runtime: &NodeRuntime, seed: u8) -> Endpoint {
    let transport = fixture.transport(runtime, seed, Bound::Specific).await;
    let mut config = EndpointConfig::default();
    brief(&mut config);
    Endpoint::start(runtime.clone(), transport, config).unwrap()
}

async fn a_shutdown_leaves_neither_tasks_nor_sockets_while_the_handle_is_held(fixture: Fixture) {
    let runtimes = Runtimes::of(&fixture, &[1, 2]).await;
    let Busy {
        nodes,
        gates,
        calls,
    } = Busy::start(&fixture, &runtimes.of_nodes).await;
    let addresses = nodes.each_ref().map(Endpoint::addresses);

    soon(async { tokio::join!(nodes[0].shutdown(), nodes[1].shutdown()) }).await;
    for (seed, addresses) in (1..).zip(&addresses) {
        for address in addresses.iter() {
            assert!(fixture.is_free((seed, *address)).await, "{address}");
        }
    }
    assert!(
        soon(calls.join_all())
            .await
            .iter()
            .all(|answered| !answered)
    );
    for gate in &gates {
        gate.is_let_go().await;
    }
    runtimes.leave_nothing().await;
    drop(nodes);
}

async fn own_long_requests_that_wait_for_their_turn_fail_at_once_as_not_executed(fixture: Fixture) {
    const WAITING: usize = 6;
    let (a, raw) = (fixture.server_with(1, patient).await, fixture.raw(2).await);
    let to = Contact::new(raw.node_id(), raw.local_addresses());
    let pending = gone::calls(&a, &to, HALF_SENT + WAITING, &very_long());
    let connection = raw::welcome(&*raw).await;
    let _unread = half_read(&*connection).await;
    eventually(|| a.stats().requests_waiting == WAITING).await;
    soon(a.shutdown()).await;
    let ended = Instant::now();
    let outcomes = soon(pending.join_all()).await;
    assert!(ended.elapsed() <= fixture.round_trip());

    let errors = outcomes.into_iter().map(Result::unwrap_err);
    let (sent, waiting): (Vec<_>, Vec<_>) =
        errors.partition(|error| error.executed == Executed::Unknown);
    assert_eq!((sent.len(), waiting.len()), (HALF_SENT, WAITING));
    let closed = ConnectionError::Closed(CloseCode::ShuttingDown);
    let interrupted = RequestFailure::Interrupted(StreamError::Connection(closed));
    assert!(sent.iter().all(|error| error.failure == interrupted));
    for error in waiting {
        let closed = RequestFailure::Dial(DialError::Closed);
        assert_eq!((error.failure, error.executed), (closed, Executed::No));
    }
    assert_eq!(a.stats().requests_waiting, 0);
    assert_eq!(a.stats().dials, 1, "nobody is dialled at the end");
}

on_every_wire!(
    own_long_requests_that_wait_for_their_turn_fail_at_once_as_not_executed,
    a_handler_that_hangs_is_waited_for_until_the_drain_timeout_and_let_go,
    calls_of_a_node_that_shuts_down_fail_at_once_and_say_what_was_sent,
    a_shutdown_leaves_neither_tasks_nor_sockets_while_the_handle_is_held,
);
