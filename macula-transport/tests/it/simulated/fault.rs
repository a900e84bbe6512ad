//! Peers that crash, are cut off, and come back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    CloseCode, ConnectionError, Endpoint, EndpointConfig, Executed, PeerEvent, QuicConfig, Request,
    RequestError, RequestFailure, Role, StreamError,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Links, Network, on_some_seeds};
use crate::endpoint::fixture::{
    Bound, ECHO, Fixture, GATE, Gate, contact, echoing, event, gated, known, request, soon,
};

/// A caller, a peer that holds what it is asked, and one that answers.
struct Three {
    caller: Endpoint,
    peer: Endpoint,
    gate: Arc<Gate>,
    healthy: Endpoint,
}

const CALLER: u8 = 1;
const PEER: u8 = 2;
const HEALTHY: u8 = 3;

impl Three {
    async fn start(network: &Network) -> Self {
        let fixture = Fixture::simulated(network.clone());
        let caller = fixture.server(CALLER).await;
        let peer = echoing(fixture.server(PEER).await);
        let healthy = echoing(fixture.server(HEALTHY).await);
        soon(caller.connect(&contact(&healthy).into()))
            .await
            .unwrap();
        let gate = gated(&peer);
        Self {
            caller,
            peer,
            gate,
            healthy,
        }
    }

    /// Requests that the peer holds, every other of them long.
    async fn pending(&self, count: usize) -> JoinSet<RequestError> {
        let calls = pending(&self.caller, &contact(&self.peer), count);
        self.gate.holds(count).await;
        calls
    }

    /// The silent connection was given up, and only that.
    async fn assert_only_the_peer_is_gone(&self) {
        let connected = self.caller.peers();
        assert_eq!(connected.len(), 1);
        assert_eq!(connected[0].node_id, self.healthy.node_id());
        let healthy = known(&self.healthy);
        let answer = soon(self.caller.request(&healthy, request(ECHO, b"you?"))).await;
        assert_eq!(answer, Ok(Bytes::from_static(b"you?")));
        assert_eq!(self.caller.stats().unresponsive_closed, 1);
    }
}

fn pending(caller: &Endpoint, to: &Contact, count: usize) -> JoinSet<RequestError> {
    let mut calls = JoinSet::new();
    for number in 0..count {
        let (caller, to) = (caller.clone(), to.clone());
        // Those have a stream of their own.
        let body: &'static [u8] = if number % 2 == 0 { &[7; 100_000] } else { b"" };
        calls.spawn(async move { caller.request(&to, request(GATE, body)).await.unwrap_err() });
    }
    calls
}

/// All failed, for the same reason.
async fn assert_lost(calls: JoinSet<RequestError>, reason: ConnectionError) {
    let expected = RequestError {
        failure: RequestFailure::Interrupted(StreamError::Connection(reason)),
        executed: Executed::Unknown,
    };
    for error in soon(calls.join_all()).await {
        assert_eq!(error, expected);
    }
}

/// How long a silent peer may pass for a live one, and a little for the packets.
fn liveness_bound() -> Duration {
    EndpointConfig::default().liveness_bound() + Duration::from_millis(50)
}

async fn silence_is_noticed_within_the_bound(network: Network, fall_silent: fn(&Network)) {
    let three = Three::start(&network).await;
    let calls = three.pending(10).await;
    fall_silent(&network);
    let silent = Instant::now();
    assert_lost(calls, ConnectionError::Closed(CloseCode::Unresponsive)).await;
    assert!(
        silent.elapsed() <= liveness_bound(),
        "{:?}",
        silent.elapsed()
    );
    three.assert_only_the_peer_is_gone().await;
    network.let_go(CALLER, PEER);
    soon(answered(&three.caller, &contact(&three.peer))).await;
}

/// Asks until there is an answer; what comes before has to be an error that is true.
async fn answered(caller: &Endpoint, to: &Contact) {
    loop {
        let patient = Request {
            timeout: Duration::from_millis(500),
            ..request(ECHO, b"again")
        };
        match caller.request(to, patient).await {
            Ok(answer) => return assert_eq!(answer, "again"),
            Err(error) => assert_honest(&error),
        }
    }
}

/// What had no connection was not executed; what was sent and not answered perhaps was.
fn assert_honest(error: &RequestError) {
    match (&error.failure, error.executed) {
        (RequestFailure::Dial(_) | RequestFailure::Timeout(_), Executed::No) => {
            // It waits for a dial, or the back-off after one, which takes virtual time.
        }
        (RequestFailure::Interrupted(_) | RequestFailure::Timeout(_), Executed::Unknown) => {}
        _ => panic!("{error:?}"),
    }
}

#[test]
fn a_peer_that_is_cut_off_is_found_dead_and_nobody_else() {
    on_some_seeds(Links::GOOD, |network| {
        silence_is_noticed_within_the_bound(network, |network| network.cut(CALLER, PEER))
    });
}

#[test]
fn a_peer_whose_packets_are_held_back_is_found_dead_and_nobody_else() {
    on_some_seeds(Links::GOOD, |network| {
        silence_is_noticed_within_the_bound(network, |network| network.hold(CALLER, PEER))
    });
}

#[test]
fn a_peer_that_hears_and_is_not_heard_is_found_dead_and_nobody_else() {
    on_some_seeds(Links::GOOD, |network| {
        silence_is_noticed_within_the_bound(network, |network| network.mute(PEER, CALLER))
    });
}

async fn a_crash_fails_every_pending_request_alike(network: Network) {
    let three = Three::start(&network).await;
    let calls = three.pending(10).await;
    let crashed = Instant::now();
    network.crash(PEER).await;
    assert_lost(calls, ConnectionError::Closed(CloseCode::Unresponsive)).await;
    assert!(crashed.elapsed() <= liveness_bound());
    three.assert_only_the_peer_is_gone().await;
}

#[test]
fn a_crashed_peer_fails_every_pending_request_alike() {
    on_some_seeds(Links::GOOD, a_crash_fails_every_pending_request_alike);
}

async fn keeping_alive_finds_who_is_cut_off(network: Network) {
    const EVERY: Duration = Duration::from_secs(4);
    let fixture = Fixture::simulated(network.clone());
    let keeping = |config: &mut EndpointConfig| {
        config.role = Role::Client;
        config.keep_alive = EVERY;
    };
    let caller = fixture.node(CALLER, Bound::Nowhere, keeping).await;
    let (peer, healthy) = (fixture.server(PEER).await, fixture.server(HEALTHY).await);
    let mut events = caller.events();
    for to in [&peer, &healthy] {
        soon(caller.connect(&contact(to).into())).await.unwrap();
    }
    network.cut(CALLER, PEER);
    let cut_off = Instant::now();
    let lost = PeerEvent::Lost(peer.node_id());
    event(&mut events, |event| *event == lost).await;
    // Long before QUIC would have missed a packet.
    let took = cut_off.elapsed();
    assert!(took <= EVERY + liveness_bound(), "{took:?}");
    tokio::time::sleep(EVERY * 5).await;
    let connected = caller.peers();
    assert_eq!(connected.len(), 1);
    assert_eq!(connected[0].node_id, healthy.node_id());
    assert_eq!(healthy.stats().accepted, 1);
    assert_eq!(caller.stats().unresponsive_closed, 1);
}

#[test]
fn a_kept_peer_that_is_cut_off_is_found_dead_though_nobody_asks() {
    on_some_seeds(Links::GOOD, keeping_alive_finds_who_is_cut_off);
}

/// A node that is found at the same address after a restart.
async fn restartable(network: &Network) -> Endpoint {
    let runtime = network.runtime(PEER).await;
    let config = QuicConfig {
        listen: vec![(network.ip(PEER), 4433).into()],
        ..QuicConfig::default()
    };
    let transport = network.bind(PEER, config).await;
    Endpoint::start(runtime, transport, EndpointConfig::default()).unwrap()
}

async fn a_restart_is_noticed_at_the_next_packet(network: Network) {
    let caller = Fixture::simulated(network.clone()).server(CALLER).await;
    let peer = restartable(&network).await;
    let gate = gated(&peer);
    let calls = pending(&caller, &contact(&peer), 10);
    gate.holds(10).await;
    network.crash(PEER).await;
    let peer = echoing(restartable(&network).await);
    let restarted = Instant::now();
    assert_lost(calls, ConnectionError::Lost).await;
    // The ping that finds it out goes out in the second interval at the latest.
    let pinged = EndpointConfig::DEFAULT_PING_INTERVAL * 2;
    assert!(restarted.elapsed() <= pinged + Duration::from_millis(50));
    soon(answered(&caller, &contact(&peer))).await;
    assert_eq!(caller.stats().unresponsive_closed, 0);
}

#[test]
fn a_restarted_peer_is_noticed_with_the_first_packet() {
    on_some_seeds(Links::GOOD, a_restart_is_noticed_at_the_next_packet);
}

async fn a_restart_is_noticed_at_the_next_request(network: Network) {
    let caller = Fixture::simulated(network.clone()).server(CALLER).await;
    let peer = restartable(&network).await;
    let gate = gated(&peer);
    let mut calls = pending(&caller, &contact(&peer), 10);
    gate.holds(10).await;
    network.crash(PEER).await;
    let peer = echoing(restartable(&network).await);
    let restarted = Instant::now();
    let (from, to) = (caller.clone(), contact(&peer));
    calls.spawn(async move {
        from.request(&to, request(ECHO, b"further"))
            .await
            .unwrap_err()
    });
    assert_lost(calls, ConnectionError::Lost).await;
    // A few times there and back, where a ping would take a second at least.
    let noticed = restarted.elapsed();
    assert!(noticed <= Links::GOOD.latency.1 * 10, "{noticed:?}");
    let next = soon(caller.request(&contact(&peer), request(ECHO, b"next"))).await;
    assert_eq!(next, Ok(Bytes::from_static(b"next")));
    assert_eq!((caller.stats().dials, peer.stats().accepted), (2, 1));
}

#[test]
fn a_request_after_a_restart_fails_what_was_pending_and_the_next_is_answered() {
    on_some_seeds(Links::GOOD, a_restart_is_noticed_at_the_next_request);
}

async fn calls_go_on_after_a_partition(network: Network) {
    let three = Three::start(&network).await;
    let to = contact(&three.peer);
    for _ in 0..3 {
        soon(answered(&three.caller, &to)).await;
        network.cut(CALLER, PEER);
        let healed = Instant::now() + Duration::from_secs(15);
        while Instant::now() < healed {
            let patient = Request {
                timeout: Duration::from_millis(700),
                ..request(ECHO, b"anybody?")
            };
            let error = three.caller.request(&to, patient).await.unwrap_err();
            assert_honest(&error);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        network.heal(CALLER, PEER);
    }
    soon(answered(&three.caller, &to)).await;
    assert_eq!(
        three.healthy.stats().accepted,
        1,
        "the others stay connected"
    );
}

#[test]
fn calls_fail_truly_in_a_partition_and_work_after_it() {
    on_some_seeds(Links::GOOD, calls_go_on_after_a_partition);
}
