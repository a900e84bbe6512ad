//! One connection for each peer, so many and so long as is good.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::{Contact, NodeId};
use macula_transport::{
    CloseCode, ConnectionError, DialError, Endpoint, Executed, InboundRequest, PeerEvent, Refusal,
    RequestError, RequestFailure, RequestHandler,
};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::fixture::{
    ECHO, Fixture, GATE, contact, echoing, event, eventually, gated, known, request, soon,
};
use super::raw;

async fn a_thousand_requests_to_a_cold_peer_open_one_connection(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    let mut calls = JoinSet::new();
    for _ in 0..1000 {
        let (a, to) = (a.clone(), contact(&b));
        calls.spawn(async move { a.request(&to, request(ECHO, b"x")).await.is_ok() });
    }
    assert!(
        soon(calls.join_all())
            .await
            .into_iter()
            .all(|answered| answered)
    );
    assert_eq!((a.stats().dials, b.stats().accepted), (1, 1));
    assert_eq!((a.stats().connections, b.stats().connections), (1, 1));
}

async fn at_its_limit_the_least_recently_used_idle_connection_makes_room(fixture: Fixture) {
    let a = fixture
        .server_with(1, |config| config.max_connections = 2.try_into().unwrap())
        .await;
    let b = echoing(fixture.server(2).await);
    let (c, d) = (fixture.server(3).await, fixture.server(4).await);
    let mut at_c = c.events();
    soon(a.connect(&contact(&b).into())).await.unwrap();
    soon(a.connect(&contact(&c).into())).await.unwrap();
    // Longer than the clocks of simulated hosts are apart on a busy machine.
    sleep(Duration::from_millis(300)).await;
    soon(a.request(&known(&b), request(ECHO, b"used")))
        .await
        .unwrap();
    soon(a.connect(&contact(&d).into())).await.unwrap();
    event(&mut at_c, |event| {
        *event == PeerEvent::Disconnected(a.node_id())
    })
    .await;
    let mut expected = [b.node_id(), d.node_id()];
    expected.sort();
    assert_eq!(ids(&a), expected);
    assert_eq!(a.stats().evictions, 1);
}

async fn a_busy_connection_is_never_evicted(fixture: Fixture) {
    let a = fixture
        .server_with(1, |config| {
            config.max_connections = NonZeroUsize::MIN;
            config.dial_timeout = Duration::from_millis(400);
        })
        .await;
    let (b, c) = (fixture.server(2).await, fixture.server(3).await);
    let gate = gated(&b);
    let busy = hold(&a, &b);
    gate.holds(1).await;
    let refused = soon(a.connect(&contact(&c).into())).await;
    assert_eq!(refused, Err(DialError::PoolFull));
    assert_eq!((a.stats().dials_starved, a.stats().evictions), (1, 0));
    gate.let_through(1);
    assert_eq!(soon(busy).await.unwrap(), Ok(Bytes::from_static(b"held")));
    assert!(
        soon(a.connect(&contact(&c).into())).await.is_ok(),
        "the peer is not to blame, so there is no back-off"
    );
}

async fn a_dial_waits_for_a_connection_to_become_idle(fixture: Fixture) {
    let a = fixture
        .server_with(1, |config| config.max_connections = NonZeroUsize::MIN)
        .await;
    let (b, c) = (fixture.server(2).await, echoing(fixture.server(3).await));
    let d = echoing(fixture.server(4).await);
    let gate = gated(&b);
    let busy = hold(&a, &b);
    gate.holds(1).await;
    let mut waiting = JoinSet::new();
    for to in [contact(&c), contact(&d)] {
        let a = a.clone();
        waiting.spawn(async move { a.request(&to, request(ECHO, b"next")).await });
    }
    eventually(|| a.stats().dials_waiting == 2).await;
    // Whoever dials us does not come before them.
    let e = fixture.server(5).await;
    let refused = soon(e.connect(&contact(&a).into())).await;
    assert_eq!(refused, Err(DialError::Refused(CloseCode::Overloaded)));
    gate.let_through(1);
    assert!(soon(busy).await.unwrap().is_ok());
    let answers = soon(waiting.join_all()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((a.stats().evictions, a.stats().dials_waiting), (2, 0));
    assert_eq!((a.stats().connections, a.stats().refused_full), (1, 1));
}

async fn a_waiting_dial_ends_when_the_peer_connects_to_us(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let (address, _socket) = fixture.black_hole();
    let nowhere = Contact::new(b.node_id(), [address]).into();
    let waiting = {
        let a = a.clone();
        tokio::spawn(async move { a.connect(&nowhere).await })
    };
    eventually(|| a.stats().dials_running == 1).await;
    soon(b.connect(&contact(&a).into())).await.unwrap();
    let connected = soon(waiting).await.unwrap();
    assert_eq!(connected.map(|peer| peer.node_id), Ok(b.node_id()));
    assert_eq!(a.stats().dials_running, 1, "it was not the dial that ended");
    assert!(a.is_connected(&b.node_id()));
}

/// Asks something that is answered once the gate there lets it through.
fn hold(from: &Endpoint, to: &Endpoint) -> JoinHandle<Result<Bytes, RequestError>> {
    let (from, to) = (from.clone(), contact(to));
    tokio::spawn(async move { from.request(&to, request(GATE, b"held")).await })
}

async fn dialling_each_other_at_once_loses_no_request(fixture: Fixture) {
    let (a, b) = (
        echoing(fixture.server(1).await),
        echoing(fixture.server(2).await),
    );
    for _ in 0..10 {
        let (to_a, to_b) = (contact(&a), contact(&b));
        let (there, back) = soon(async {
            tokio::join!(
                a.request(&to_b, request(ECHO, b"there")),
                b.request(&to_a, request(ECHO, b"back")),
            )
        })
        .await;
        assert_eq!(there, Ok(Bytes::from_static(b"there")));
        assert_eq!(back, Ok(Bytes::from_static(b"back")));
    }
    assert!(a.stats().connections <= 2);
}

async fn with_the_peer_gone_every_pending_request_fails_alike(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let mut at_a = a.events();
    let gate = gated(&b);
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let (a, to) = (a.clone(), contact(&b));
        calls.spawn(async move { a.request(&to, request(GATE, b"")).await.unwrap_err() });
    }
    gate.holds(10).await;
    let gone = b.node_id();
    let dropped = Instant::now();
    drop(b);
    let errors = soon(calls.join_all()).await;
    let took = dropped.elapsed();
    assert!(took <= fixture.round_trip(), "{took:?}");
    assert!(matches!(errors[0].failure, RequestFailure::Interrupted(_)));
    assert_eq!(errors[0].executed, Executed::Unknown);
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    event(&mut at_a, |event| *event == PeerEvent::Disconnected(gone)).await;
    assert_eq!(a.stats().connections, 0);
}

async fn a_connection_in_use_is_not_displaced_as_idle(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let gate = gated(&b);
    let mut held = Vec::new();
    for count in 1..=4 {
        let connection = raw::greeted(&*raw, &b).await;
        let stream = raw::ask(&*connection, GATE).await;
        gate.holds(count).await;
        held.push((connection, stream));
    }
    let _fifth = raw::greeted(&*raw, &b).await;
    let ended = soon(held[0].0.closed()).await;
    assert_eq!(
        ended,
        ConnectionError::ClosedByPeer(CloseCode::Overloaded),
        "idle would say that its request was not carried out"
    );
}

on_every_wire!(
    a_connection_in_use_is_not_displaced_as_idle,
    a_thousand_requests_to_a_cold_peer_open_one_connection,
    at_its_limit_the_least_recently_used_idle_connection_makes_room,
    a_busy_connection_is_never_evicted,
    a_dial_waits_for_a_connection_to_become_idle,
    a_waiting_dial_ends_when_the_peer_connects_to_us,
    dialling_each_other_at_once_loses_no_request,
    with_the_peer_gone_every_pending_request_fails_alike,
);

in_virtual_time!(the_idle_timer_starts_when_nothing_is_in_flight);

async fn the_idle_timer_starts_when_nothing_is_in_flight(fixture: Fixture) {
    let idle = Duration::from_secs(30);
    let a = fixture
        .server_with(1, |config| config.idle_timeout = idle)
        .await;
    let b = fixture
        .server_with(2, |config| config.idle_timeout = idle)
        .await;
    b.register(GATE, Arc::new(Slow)).unwrap();
    let mut at_a = a.events();
    let mut slow = request(GATE, b"slow");
    slow.timeout = Duration::from_secs(90);
    assert!(a.request(&contact(&b), slow).await.is_ok());
    let released = Instant::now();
    event(&mut at_a, |event| {
        *event == PeerEvent::Disconnected(b.node_id())
    })
    .await;
    let idled = released.elapsed();
    assert!(
        idled >= idle && idled < idle + Duration::from_secs(1),
        "{idled:?}"
    );
    eventually(|| b.stats().connections == 0).await;
}

struct Slow;

#[async_trait]
impl RequestHandler for Slow {
    async fn handle(&self, request: InboundRequest) -> Result<Bytes, Refusal> {
        sleep(Duration::from_secs(60)).await;
        Ok(request.body)
    }
}

fn ids(endpoint: &Endpoint) -> Vec<NodeId> {
    endpoint.peers().iter().map(|peer| peer.node_id).collect()
}
