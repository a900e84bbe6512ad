//! Peers that are connected and answer nothing.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{
    CloseCode, Connection, ConnectionError, Endpoint, EndpointConfig, Executed, PeerEvent, Request,
    RequestFailure, StreamError, Transport,
};
use tokio::time::Instant;

use super::fixture::{ECHO, Fixture, GATE, contact, echoing, event, gated, request, soon};
use super::raw;

on_every_wire! {
    a_connected_but_silent_peer_is_found_dead_within_the_bound,
    callers_of_little_patience_hide_no_dead_peer,
    a_slow_handler_is_no_silence,
    only_the_silent_connection_is_given_up,
}

fn impatient(config: &mut EndpointConfig) {
    config.ping_interval = Duration::from_millis(100);
    config.max_missed_pings = NonZeroU32::MIN.saturating_add(1);
}

fn impatient_bound() -> Duration {
    let mut config = EndpointConfig::default();
    impatient(&mut config);
    config.liveness_bound()
}

/// A peer that has said hello, and answers nothing.
struct Silent {
    contact: Contact,
    connection: Arc<dyn Connection>,
    /// Its last handle closes its connections.
    _transport: Arc<dyn Transport>,
}

async fn silent_peer(fixture: &Fixture, endpoint: &Endpoint) -> Silent {
    let transport = fixture.raw(9).await;
    let mut events = endpoint.events();
    let connection = raw::greeted(&*transport, endpoint).await;
    let node_id = transport.node_id();
    event(
        &mut events,
        |event| matches!(event, PeerEvent::Connected(peer) if peer.node_id == node_id),
    )
    .await;
    Silent {
        contact: Contact::new(node_id, []),
        connection,
        _transport: transport,
    }
}

async fn a_connected_but_silent_peer_is_found_dead_within_the_bound(fixture: Fixture) {
    let endpoint = fixture.server_with(1, impatient).await;
    let silent = silent_peer(&fixture, &endpoint).await;
    let started = Instant::now();
    let calls = [0, 1, 2].map(|_| endpoint.request(&silent.contact, request(ECHO, b"hello?")));
    let [first, second, third] = calls;
    let errors = soon(async { tokio::join!(first, second, third) }).await;
    let took = started.elapsed();

    let expected = RequestFailure::Interrupted(StreamError::Connection(ConnectionError::Closed(
        CloseCode::Unresponsive,
    )));
    for error in [errors.0, errors.1, errors.2].map(Result::unwrap_err) {
        assert_eq!(
            (error.failure, error.executed),
            (expected.clone(), Executed::Unknown)
        );
    }
    // Virtual time is exact; real time is granted what a busy machine takes.
    let bound = impatient_bound() + Duration::from_secs(2);
    assert!(took <= bound, "{took:?}");
    assert_eq!(
        soon(silent.connection.closed()).await,
        ConnectionError::ClosedByPeer(CloseCode::Unresponsive)
    );
    assert_eq!(endpoint.stats().unresponsive_closed, 1);
}

async fn callers_of_little_patience_hide_no_dead_peer(fixture: Fixture) {
    let endpoint = fixture.server_with(1, impatient).await;
    let silent = silent_peer(&fixture, &endpoint).await;
    soon(async {
        loop {
            let hasty = Request {
                timeout: Duration::from_millis(20),
                ..request(ECHO, b"hello?")
            };
            let error = endpoint.request(&silent.contact, hasty).await.unwrap_err();
            if !matches!(error.failure, RequestFailure::Timeout(_)) {
                return;
            }
        }
    })
    .await;
    assert_eq!(endpoint.stats().unresponsive_closed, 1);
}

async fn a_slow_handler_is_no_silence(fixture: Fixture) {
    let caller = fixture.server_with(1, impatient).await;
    let provider = fixture.server(2).await;
    let gate = gated(&provider);
    let to = contact(&provider);
    let call = caller.request(&to, request(GATE, b"slow"));
    let patience = async {
        gate.holds(1).await;
        // Ten times as long as an unanswered request is left alone.
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.let_through(1);
    };
    let (answer, ()) = soon(async { tokio::join!(call, patience) }).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"slow")));
    assert_eq!(caller.stats().unresponsive_closed, 0);
}

async fn only_the_silent_connection_is_given_up(fixture: Fixture) {
    let endpoint = fixture.server_with(1, impatient).await;
    let healthy = echoing(fixture.server(2).await);
    let mut events = endpoint.events();
    soon(endpoint.connect(&contact(&healthy).into()))
        .await
        .unwrap();
    let silent = silent_peer(&fixture, &endpoint).await;
    soon(endpoint.request(&silent.contact, request(ECHO, b"hello?")))
        .await
        .unwrap_err();
    event(&mut events, |event| {
        *event == PeerEvent::Disconnected(silent.contact.node_id)
    })
    .await;
    let answer = soon(endpoint.request(&contact(&healthy), request(ECHO, b"you?"))).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"you?")));
    assert_eq!(
        endpoint.stats().dials,
        1,
        "its connection was never given up"
    );
}
