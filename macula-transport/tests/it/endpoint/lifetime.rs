//! From start to end.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::{Addresses, NodeId};
use macula_transport::{
    CloseCode, ConnectionError, DialError, Endpoint, EndpointConfig, EndpointConfigError, Executed,
    InboundRequest, PeerEvent, ProtocolId, Refusal, RequestFailure, RequestHandler, StreamError,
    Transport,
};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fixture::{
    Bound, ECHO, Fixture, GATE, Gate, contact, echoing, event, eventually, gated, request, soon,
};
use super::runtimes::Runtimes;

async fn dropping_the_last_handle_frees_tasks_and_sockets(fixture: Fixture) {
    let a = fixture.server(1).await;
    let runtime = fixture.runtime(2).await;
    let transport = fixture.transport(&runtime, 2, Bound::Specific).await;
    let sockets = Arc::downgrade(&transport);
    let b = echoing(Endpoint::start(runtime, transport, EndpointConfig::default()).unwrap());
    let gate = gated(&b);
    let mut at_a = a.events();
    soon(a.request(&contact(&b), request(ECHO, b"")))
        .await
        .unwrap();
    let pending = {
        let (a, to) = (a.clone(), contact(&b));
        tokio::spawn(async move { a.request(&to, request(GATE, b"")).await })
    };
    gate.holds(1).await;
    let (id, other) = (b.node_id(), b.clone());
    drop(b);
    assert!(sockets.strong_count() > 0, "another handle is left");
    drop(other);
    event(&mut at_a, |event| *event == PeerEvent::Disconnected(id)).await;
    assert!(soon(pending).await.unwrap().is_err());
    eventually(|| sockets.strong_count() == 0).await;
    gate.holds(0).await;
    assert_eq!(Arc::strong_count(&gate), 1, "the handler is let go");
}

async fn a_reply_sent_just_before_shutdown_still_arrives(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let gate = gated(&b);
    let pending = {
        let (a, to) = (a.clone(), contact(&b));
        tokio::spawn(async move { a.request(&to, request(GATE, b"last")).await })
    };
    gate.holds(1).await;
    let closing = {
        let b = b.clone();
        tokio::spawn(async move { b.shutdown().await })
    };
    let to = contact(&b);
    let refused = soon(async {
        loop {
            // What comes before the shutdown has begun is held, and given up here.
            let late = a.request(&to, request(GATE, b"late"));
            if let Ok(outcome) = timeout(Duration::from_millis(100), late).await {
                return outcome.unwrap_err();
            }
        }
    })
    .await;
    assert_eq!(
        refused.failure,
        RequestFailure::Refused(Refusal::ShuttingDown)
    );
    gate.let_through(1);
    assert_eq!(
        soon(pending).await.unwrap(),
        Ok(Bytes::from_static(b"last"))
    );
    soon(closing).await.unwrap();
    soon(b.shutdown()).await;
}

/// Holds every request at a gate, and answers it at length.
struct AtLength(Arc<Gate>);

#[async_trait]
impl RequestHandler for AtLength {
    async fn handle(&self, asked: InboundRequest) -> Result<Bytes, Refusal> {
        let from = asked.from;
        self.0.handle(asked).await?;
        Ok(at_length(&from))
    }
}

/// A long answer, another for each peer.
fn at_length(to: &NodeId) -> Bytes {
    to.as_bytes().repeat(8000).into()
}

async fn long_replies_to_several_peers_that_are_under_way_at_shutdown_arrive(fixture: Fixture) {
    const EACH: usize = 6;
    let b = fixture.server(2).await;
    let gate = Gate::new();
    let handler = Arc::new(AtLength(Arc::clone(&gate)));
    b.register(GATE, handler).unwrap();
    let mut calls = JoinSet::new();
    for seed in [1, 3, 4] {
        let peer = fixture.server(seed).await;
        for number in 0..EACH {
            let (peer, to) = (peer.clone(), contact(&b));
            // Replies to these come on the stream of the request, the others on one of their own.
            let asked: &'static [u8] = if number % 2 == 0 { &[7; 70_000] } else { b"" };
            calls.spawn(async move {
                let expected = at_length(&peer.node_id());
                peer.request(&to, request(GATE, asked)).await == Ok(expected)
            });
        }
    }
    gate.holds(3 * EACH).await;
    // Some are on their way by then, some are not begun.
    gate.let_through(EACH);
    let letting = async {
        tokio::task::yield_now().await;
        gate.let_through(2 * EACH);
    };
    soon(async { tokio::join!(b.shutdown(), letting) }).await;
    let answers = soon(calls.join_all()).await;
    assert_eq!(answers.iter().filter(|whole| **whole).count(), 3 * EACH);
}

async fn after_shutdown_nothing_works_and_says_so(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let mut at_b = b.events();
    soon(a.connect(&contact(&b).into())).await.unwrap();
    event(&mut at_b, |event| matches!(event, PeerEvent::Connected(_))).await;
    soon(a.shutdown()).await;
    for gone in [
        PeerEvent::Disconnected(a.node_id()),
        PeerEvent::Departed(a.node_id()),
    ] {
        event(&mut at_b, |event| *event == gone).await;
    }
    let error = soon(a.request(&contact(&b), request(ECHO, b"")))
        .await
        .unwrap_err();
    assert_eq!(error.failure, RequestFailure::ShuttingDown);
    let dialled = soon(a.connect(&contact(&b).into())).await;
    assert_eq!(dialled, Err(DialError::Closed));
    assert!(a.peers().is_empty());
}

async fn settings_that_cannot_work_are_refused(fixture: Fixture) {
    let runtime = fixture.runtime(1).await;
    let start = |transport: &Arc<dyn Transport>, config| {
        Endpoint::start(runtime.clone(), Arc::clone(transport), config).err()
    };
    let deaf = fixture.transport(&runtime, 1, Bound::Nowhere).await;
    let default = EndpointConfig::default;
    assert_eq!(
        start(&deaf, default()),
        Some(EndpointConfigError::NotListening)
    );
    let listening = fixture.transport(&runtime, 2, Bound::Specific).await;
    let advertise: Addresses = ["0.0.0.0:80".parse().unwrap()].into_iter().collect();
    let config = EndpointConfig {
        advertise,
        ..default()
    };
    let undialable = Some(EndpointConfigError::UndialableAddress);
    assert_eq!(start(&listening, config), undialable);
    let config = EndpointConfig {
        dial_timeout: Duration::ZERO,
        ..default()
    };
    let zero = Some(EndpointConfigError::Zero("dial_timeout"));
    assert_eq!(start(&listening, config), zero);
}

async fn settings_without_a_bound_work(fixture: Fixture) {
    let boundless = |config: &mut EndpointConfig| {
        config.idle_timeout = Duration::MAX;
        config.dial_timeout = Duration::MAX;
        config.drain_timeout = Duration::MAX;
        config.keep_alive = Duration::MAX;
        config.ping_interval = Duration::MAX;
        config.max_connections = NonZeroUsize::MAX;
        config.max_inbound_requests = NonZeroUsize::MAX;
        config.max_inbound_requests_per_peer = NonZeroUsize::MAX;
    };
    assert_eq!(
        EndpointConfig {
            ping_interval: Duration::MAX,
            ..EndpointConfig::default()
        }
        .liveness_bound(),
        Duration::MAX
    );
    let a = fixture.server_with(1, boundless).await;
    let b = echoing(fixture.server_with(2, boundless).await);
    let mut echo = request(ECHO, b"echo");
    echo.timeout = Duration::MAX;
    assert_eq!(
        soon(a.request(&contact(&b), echo)).await,
        Ok(Bytes::from_static(b"echo"))
    );
    soon(a.shutdown()).await;
    soon(b.shutdown()).await;
}

/// Calls of every kind that are under way.
fn busy(from: &Endpoint, to: &Endpoint) -> JoinSet<bool> {
    let mut calls = JoinSet::new();
    for number in 0..40 {
        let (from, to) = (from.clone(), contact(to));
        let body: &'static [u8] = match number % 4 {
            0 => &[7; 300_000],
            _ => b"short",
        };
        let protocol = if number % 2 == 0 { GATE } else { INLINE };
        calls.spawn(async move { from.request(&to, request(protocol, body)).await.is_ok() });
    }
    calls
}

const INLINE: ProtocolId = ProtocolId(102);

async fn what_is_dropped_in_the_middle_of_everything_leaves_no_task(fixture: Fixture) {
    let runtimes = Runtimes::of(&fixture, &[1, 2]).await;
    let mut nodes = Vec::new();
    let mut gates = Vec::new();
    for (seed, runtime) in (1..).zip(&runtimes.of_nodes) {
        let transport = fixture.transport(runtime, seed, Bound::Specific).await;
        let config = EndpointConfig::default();
        let node = Endpoint::start(runtime.clone(), transport, config).unwrap();
        gates.push(gated(&node));
        let inline = Gate::new();
        node.register_inline(INLINE, Arc::clone(&inline) as Arc<_>)
            .unwrap();
        gates.push(inline);
        nodes.push(node);
    }
    let calls = [busy(&nodes[0], &nodes[1]), busy(&nodes[1], &nodes[0])];
    for gate in &gates {
        gate.holds(20).await;
    }
    // Some answers are on their way.
    gates.iter().for_each(|gate| gate.let_through(3));
    drop(nodes);
    for mut calls in calls {
        calls.abort_all();
        while soon(calls.join_next()).await.is_some() {}
    }
    for gate in &gates {
        gate.is_let_go().await;
    }
    runtimes.leave_nothing().await;
}

async fn callers_of_a_node_that_is_dropped_each_hear_of_it_by_themselves(fixture: Fixture) {
    let patient = |config: &mut EndpointConfig| config.ping_interval = Duration::from_secs(3600);
    let callers = [
        fixture.server_with(1, patient).await,
        fixture.server_with(3, patient).await,
    ];
    let runtimes = Runtimes::of(&fixture, &[2]).await;
    let runtime = &runtimes.of_nodes[0];
    let transport = fixture.transport(runtime, 2, Bound::Specific).await;
    let sockets = Arc::downgrade(&transport);
    let b = Endpoint::start(runtime.clone(), transport, EndpointConfig::default()).unwrap();
    let gate = gated(&b);
    b.register_inline(INLINE, Arc::clone(&gate) as Arc<_>)
        .unwrap();
    let mut calls = JoinSet::new();
    for number in 0..60 {
        let (caller, to) = (callers[number % 2].clone(), contact(&b));
        let body: &'static [u8] = if number % 4 < 2 { &[7; 100_000] } else { b"" };
        let protocol = if number % 8 < 4 { GATE } else { INLINE };
        calls.spawn(async move { caller.request(&to, request(protocol, body)).await });
    }
    gate.holds(60).await;
    drop(b);
    let gone = StreamError::Connection(ConnectionError::ClosedByPeer(CloseCode::Done));
    for outcome in soon(calls.join_all()).await {
        let error = outcome.unwrap_err();
        assert_eq!(error.failure, RequestFailure::Interrupted(gone));
        assert_eq!(error.executed, Executed::Unknown);
    }
    eventually(|| sockets.strong_count() == 0).await;
    gate.is_let_go().await;
    // Else the callers' tasks are among them.
    if Handle::current().id() != runtime.handle().id() {
        runtimes.are_as_before().await;
    }
}

on_every_wire!(
    long_replies_to_several_peers_that_are_under_way_at_shutdown_arrive,
    callers_of_a_node_that_is_dropped_each_hear_of_it_by_themselves,
    what_is_dropped_in_the_middle_of_everything_leaves_no_task,
    settings_without_a_bound_work,
    dropping_the_last_handle_frees_tasks_and_sockets,
    a_reply_sent_just_before_shutdown_still_arrives,
    after_shutdown_nothing_works_and_says_so,
    settings_that_cannot_work_are_refused,
);
