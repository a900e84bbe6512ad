//! Dials: when they begin, when they end, and when there is none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use macula_core::{Contact, DialTarget, NodeId};
use macula_transport::{
    CloseCode, Connection, ConnectionError, DialError, Endpoint, EndpointConfig, Executed,
    Executor, PeerEvent, RequestError, RequestFailure, Transport,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fixture::{Bound, ECHO, Fixture, contact, echoing, event, eventually, request, soon};

async fn a_dial_goes_on_when_its_waiter_leaves(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let mut at_a = a.events();
    let target = contact(&b).into();
    tokio::select! {
        biased;
        _ = a.connect(&target) => unreachable!("a dial takes longer than one poll"),
        () = std::future::ready(()) => {}
    }
    let it_is = |event: &PeerEvent| matches!(event, PeerEvent::Connected(peer) if peer.node_id == b.node_id());
    event(&mut at_a, it_is).await;
    assert_eq!(a.stats().dials, 1);
}

async fn a_black_hole_fails_at_the_dial_deadline(fixture: Fixture) {
    let limit = Duration::from_millis(400);
    let a = fixture
        .server_with(1, |config| config.dial_timeout = limit)
        .await;
    let (address, _socket) = fixture.black_hole();
    let target = Contact::new(NodeId::from_bytes([9; 32]), [address]).into();
    let start = Instant::now();
    let failed = soon(a.connect(&target)).await;
    assert_eq!(failed, Err(DialError::Timeout(limit)));
    assert!(start.elapsed() >= limit && start.elapsed() < limit * 10);
    assert_eq!(a.stats().dial_failures, 1);
}

async fn a_peer_that_never_answers_the_hello_fails_the_dial_at_its_deadline(fixture: Fixture) {
    let limit = Duration::from_millis(400);
    let a = fixture
        .server_with(1, |config| config.dial_timeout = limit)
        .await;
    let raw = fixture.raw(2).await;
    let target = DialTarget::from(Contact::new(raw.node_id(), raw.local_addresses()));
    let silent = async {
        let connection = raw.accept().await.unwrap();
        connection.closed().await
    };
    let (failed, reason) = soon(async { tokio::join!(a.connect(&target), silent) }).await;
    assert_eq!(failed, Err(DialError::Timeout(limit)));
    assert_eq!(
        reason,
        ConnectionError::ClosedByPeer(CloseCode::HelloTimeout)
    );
    assert_eq!(a.stats().dials_timed_out, 1);
    assert!(matches!(
        soon(a.connect(&target)).await,
        Err(DialError::BackingOff(_))
    ));
    assert_eq!((a.stats().dials, a.stats().dials_backed_off), (1, 1));
}

async fn more_dials_than_turns_all_end_well(fixture: Fixture) {
    let a = fixture
        .server_with(1, |config| config.max_handshakes = 1.try_into().unwrap())
        .await;
    let mut others = Vec::new();
    for seed in 2..20 {
        others.push(echoing(fixture.server(seed).await));
    }
    let mut calls = JoinSet::new();
    for to in others.iter().map(contact) {
        let a = a.clone();
        calls.spawn(async move { a.request(&to, request(ECHO, b"x")).await });
    }
    assert!(soon(calls.join_all()).await.iter().all(Result::is_ok));
    assert_eq!((a.stats().dials, a.stats().dial_failures), (18, 0));
    eventually(|| a.stats().dials_running == 0).await;
    assert_eq!(a.stats().dials_waiting, 0);
}

async fn dead_peers_do_not_hold_up_the_dial_of_a_live_one(fixture: Fixture) {
    let a = fixture
        .server_with(1, |config| {
            config.max_handshakes = 1.try_into().unwrap();
            config.dial_timeout = Duration::from_secs(20);
        })
        .await;
    let b = echoing(fixture.server(2).await);
    let (address, _socket) = fixture.black_hole();
    let mut dead = JoinSet::new();
    for number in 0..50 {
        let (a, target) = (
            a.clone(),
            Contact::new(NodeId::from_bytes([100 + number; 32]), [address]).into(),
        );
        dead.spawn(async move { a.connect(&target).await });
    }
    eventually(|| a.stats().dials_running == 50).await;
    assert!(soon(a.connect(&contact(&b).into())).await.is_ok());
    assert!(a.stats().dials_running >= 50, "the others still wait");
}

async fn a_host_that_led_to_a_connected_peer_is_not_dialled_again(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let mut at_a = a.events();
    let host: DialTarget = b.addresses()[0].to_string().parse().unwrap();
    for _ in 0..5 {
        let peer = soon(a.connect(&host)).await.unwrap();
        assert_eq!(peer.node_id, b.node_id());
    }
    assert_eq!((a.stats().dials, a.stats().connections), (1, 1));
    let gone = b.node_id();
    soon(b.shutdown()).await;
    event(&mut at_a, |event| *event == PeerEvent::Disconnected(gone)).await;
    assert!(!a.is_connected(&gone));
    assert!(soon(a.connect(&host)).await.is_err(), "it is dialled anew");
    assert_eq!(a.stats().dials, 2);
}

on_every_wire!(
    a_dial_goes_on_when_its_waiter_leaves,
    a_black_hole_fails_at_the_dial_deadline,
    a_peer_that_never_answers_the_hello_fails_the_dial_at_its_deadline,
    more_dials_than_turns_all_end_well,
    dead_peers_do_not_hold_up_the_dial_of_a_live_one,
    a_host_that_led_to_a_connected_peer_is_not_dialled_again,
);

in_virtual_time!(
    an_inbound_connection_ends_the_back_off,
    another_address_is_dialled_in_spite_of_the_back_off,
    a_host_that_does_not_answer_is_backed_off_until_it_does,
    back_offs_that_began_together_do_not_end_together,
);

async fn an_inbound_connection_ends_the_back_off(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let (address, _socket) = fixture.black_hole();
    let nowhere = Contact::new(b.node_id(), [address]).into();
    assert!(matches!(
        a.connect(&nowhere).await,
        Err(DialError::Timeout(_))
    ));
    assert!(matches!(
        a.connect(&nowhere).await,
        Err(DialError::BackingOff(_))
    ));
    let mut at_a = a.events();
    b.connect(&contact(&a).into()).await.unwrap();
    let connected = |event: &PeerEvent| matches!(event, PeerEvent::Connected(_));
    event(&mut at_a, connected).await;
    assert!(a.connect(&nowhere).await.is_ok(), "the connection is taken");
    b.shutdown().await;
    event(&mut at_a, |event| {
        *event == PeerEvent::Disconnected(b.node_id())
    })
    .await;
    assert!(matches!(
        a.connect(&nowhere).await,
        Err(DialError::Timeout(_))
    ));
}

async fn another_address_is_dialled_in_spite_of_the_back_off(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let (address, _socket) = fixture.black_hole();
    let nowhere = Contact::new(b.node_id(), [address]).into();
    // The second joins the dial of the first, learns that it led nowhere, and dials by itself.
    let there = contact(&b).into();
    let (first, second) = tokio::join!(a.connect(&nowhere), a.connect(&there));
    assert!(first.is_err());
    assert_eq!(second.map(|peer| peer.node_id), Ok(b.node_id()));
}

async fn a_host_that_does_not_answer_is_backed_off_until_it_does(fixture: Fixture) {
    let a = fixture.server(1).await;
    let (address, _socket) = fixture.black_hole();
    let host: DialTarget = address.to_string().parse().unwrap();
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert!(matches!(a.connect(&host).await, Err(DialError::Timeout(_))));
        let Err(DialError::BackingOff(wait)) = a.connect(&host).await else {
            panic!("dialled again at once");
        };
        waits.push(wait);
        tokio::time::sleep(wait).await;
    }
    assert!(waits[5] > 4 * waits[0], "{waits:?}");
}

async fn back_offs_that_began_together_do_not_end_together(fixture: Fixture) {
    let a = fixture.server(1).await;
    let (address, _socket) = fixture.black_hole();
    let targets: Vec<DialTarget> = (0..10)
        .map(|number| Contact::new(NodeId::from_bytes([number; 32]), [address]).into())
        .collect();
    let mut dials = JoinSet::new();
    for target in targets.clone() {
        let a = a.clone();
        dials.spawn(async move { a.connect(&target).await });
    }
    dials.join_all().await;
    let mut waits = Vec::new();
    for target in &targets {
        match a.connect(target).await {
            Err(DialError::BackingOff(wait)) => waits.push(wait),
            other => panic!("{other:?}"),
        }
    }
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 5, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_dial_covers_its_time_in_the_queue() {
    let fixture = Fixture::memory(Executor::Current);
    let limit = Duration::from_secs(1);
    let a = fixture
        .server_with(1, |config| {
            config.dial_timeout = limit;
            config.max_connections = 1.try_into().unwrap();
        })
        .await;
    let (address, _socket) = fixture.black_hole();
    let start = Instant::now();
    let mut dials = JoinSet::new();
    for number in 0..3 {
        let (a, target) = (
            a.clone(),
            Contact::new(NodeId::from_bytes([number; 32]), [address]).into(),
        );
        dials.spawn(async move { a.connect(&target).await });
    }
    let outcomes = dials.join_all().await;
    assert_eq!(start.elapsed(), limit, "all at their one deadline");
    let blamed = |outcome: &&Result<_, _>| **outcome == Err(DialError::Timeout(limit));
    assert_eq!(outcomes.iter().filter(blamed).count(), 1, "{outcomes:?}");
    assert_eq!(a.stats().dials_starved, 2, "peers that were never tried");
}

#[tokio::test(start_paused = true)]
async fn beyond_the_most_dials_one_fails_at_once_and_its_peer_is_not_to_blame() {
    const MOST: usize = 4096;
    let fixture = Fixture::memory(Executor::Current);
    let (a, b) = (fixture.server(1).await, echoing(fixture.server(2).await));
    let (address, _socket) = fixture.black_hole();
    let dial = |number: usize| {
        let mut id = [9; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let target = Contact::new(NodeId::from_bytes(id), [address]).into();
        let a = a.clone();
        async move { a.connect(&target).await }
    };
    let dials: JoinSet<_> = (0..MOST).map(dial).collect();
    eventually(|| a.stats().dials_running == MOST).await;

    let (start, before) = (Instant::now(), a.stats());
    let asked = soon(a.request(&contact(&b), request(ECHO, b"x"))).await;
    let busy = RequestError {
        failure: RequestFailure::Dial(DialError::Busy),
        executed: Executed::No,
    };
    assert_eq!((asked, start.elapsed()), (Err(busy), Duration::ZERO));
    let stats = a.stats();
    assert_eq!(stats.dials_starved, before.dials_starved + 1);
    assert_eq!(stats.dials, MOST as u64);

    assert!(soon(dials.join_all()).await.iter().all(Result::is_err));
    eventually(|| a.stats().dials_running == 0).await;
    assert!(soon(a.connect(&contact(&b).into())).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_many_threads_begin_one_dial_and_one_only() {
    let fixture = Fixture::memory(Executor::Own);
    for round in 0..20 {
        let (a, b) = (
            fixture.server(2 * round + 1).await,
            echoing(fixture.server(2 * round + 2).await),
        );
        let mut calls = JoinSet::new();
        for _ in 0..100 {
            let (a, to) = (a.clone(), contact(&b));
            calls.spawn(async move { a.request(&to, request(ECHO, b"x")).await.is_ok() });
        }
        assert!(soon(calls.join_all()).await.into_iter().all(|is_ok| is_ok));
        assert_eq!((a.stats().dials, b.stats().accepted), (1, 1));
    }
}

/// A transport that gets stuck when it dials, in the resolution of a name for example.
struct Stuck(Arc<dyn Transport>);

#[async_trait]
impl Transport for Stuck {
    fn node_id(&self) -> NodeId {
        self.0.node_id()
    }

    async fn dial(&self, _target: &DialTarget) -> Result<Arc<dyn Connection>, DialError> {
        std::future::pending().await
    }

    async fn accept(&self) -> Option<Arc<dyn Connection>> {
        self.0.accept().await
    }

    fn local_addresses(&self) -> Vec<SocketAddr> {
        self.0.local_addresses()
    }

    async fn close(&self, code: CloseCode) {
        self.0.close(code).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_transport_does_the_dial_ends_at_its_deadline() {
    let fixture = Fixture::memory(Executor::Current);
    let runtime = fixture.runtime(1).await;
    let transport = fixture.transport(&runtime, 1, Bound::Specific).await;
    let config = EndpointConfig::default();
    let limit = config.dial_timeout;
    let a = Endpoint::start(runtime, Arc::new(Stuck(transport)), config).unwrap();
    let start = Instant::now();
    let named: DialTarget = "example.com:4433".parse().unwrap();
    assert_eq!(a.connect(&named).await, Err(DialError::Timeout(limit)));
    assert_eq!(start.elapsed(), limit);
}

#[tokio::test(start_paused = true)]
async fn a_connection_made_room_for_is_there_for_whoever_waited() {
    let fixture = Fixture::memory(Executor::Current);
    let a = fixture
        .server_with(1, |config| config.max_connections = 1.try_into().unwrap())
        .await;
    let mut calls = JoinSet::new();
    // Each is evicted for the next as soon as it is idle, and never before it was used.
    for seed in 2..40 {
        let (a, to) = (a.clone(), echoing(fixture.server(seed).await));
        calls.spawn(async move {
            let answer = a.request(&contact(&to), request(ECHO, b"x")).await;
            answer.map(|_| drop(to))
        });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(a.stats().dials, 38);
}
