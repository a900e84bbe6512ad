//! Who talks to whom at all.

use std::time::Duration;

use bytes::Bytes;
use macula_core::{Contact, DialTarget};
use macula_transport::{CloseCode, ConnectionError, DialError};

use super::fixture::{Fixture, contact, eventually, soon};
use super::raw;

async fn another_realm_is_refused_and_both_ends_know_why(fixture: Fixture) {
    let a = fixture
        .server_with(1, |config| config.realm = "com.one".parse().unwrap())
        .await;
    let b = fixture
        .server_with(2, |config| config.realm = "com.two".parse().unwrap())
        .await;
    let refused = soon(a.connect(&contact(&b).into())).await;
    assert_eq!(refused, Err(DialError::Refused(CloseCode::WrongRealm)));
    assert_eq!(b.stats().refused_wrong_realm, 1);
    assert_eq!((a.stats().dial_failures, a.stats().dials_refused), (1, 1));
    assert!(a.peers().is_empty() && b.peers().is_empty());
}

async fn a_dialler_of_another_version_is_refused_and_knows_why(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let connection = raw::dial(&*raw, &b).await;
    raw::exchange(&*connection, &raw::hello(9, "open")).await;
    let reason = soon(connection.closed()).await;
    assert_eq!(
        reason,
        ConnectionError::ClosedByPeer(CloseCode::WrongVersion)
    );
    assert_eq!(b.stats().refused_wrong_version, 1);
}

async fn a_listener_of_another_version_is_left_and_knows_why(fixture: Fixture) {
    let (a, raw) = (fixture.server(1).await, fixture.raw(2).await);
    let target = DialTarget::from(Contact::new(raw.node_id(), raw.local_addresses()));
    let listening = async {
        let connection = raw.accept().await.unwrap();
        let mut stream = connection.accept().await.unwrap();
        let answer = Bytes::from(raw::hello(9, "open"));
        stream.send.send(answer).await.unwrap();
        stream.send.finish().unwrap();
        connection.closed().await
    };
    let (dialled, reason) = soon(async { tokio::join!(a.connect(&target), listening) }).await;
    assert_eq!(dialled, Err(DialError::Refused(CloseCode::WrongVersion)));
    assert_eq!(
        reason,
        ConnectionError::ClosedByPeer(CloseCode::WrongVersion)
    );
}

async fn garbage_for_a_hello_is_refused_as_malformed(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 5000], &[1, 0, 4, 0]] {
        let connection = raw::dial(&*raw, &b).await;
        raw::exchange(&*connection, garbage).await;
        let reason = soon(connection.closed()).await;
        assert_eq!(reason, ConnectionError::ClosedByPeer(CloseCode::Malformed));
    }
    assert_eq!(b.stats().refused_malformed, 3);
}

async fn who_says_no_hello_is_left_in_time(fixture: Fixture) {
    let quick = Duration::from_millis(300);
    let raw = fixture.raw(1).await;
    let b = fixture
        .server_with(2, |config| config.dial_timeout = quick)
        .await;
    let connection = raw::dial(&*raw, &b).await;
    let reason = soon(connection.closed()).await;
    assert_eq!(
        reason,
        ConnectionError::ClosedByPeer(CloseCode::HelloTimeout)
    );
    assert_eq!(b.stats().refused_silent, 1);
}

async fn a_node_that_dials_itself_is_told_so(fixture: Fixture) {
    let a = fixture.server(1).await;
    let by_id = soon(a.connect(&contact(&a).into())).await;
    assert_eq!(by_id, Err(DialError::OwnNode));
    let by_address = a.addresses()[0].to_string().parse().unwrap();
    let by_address = soon(a.connect(&by_address)).await;
    assert_eq!(by_address, Err(DialError::OwnNode));
    assert!(a.peers().is_empty());
}

async fn who_says_half_a_hello_is_left_in_time(fixture: Fixture) {
    let quick = Duration::from_millis(300);
    let raw = fixture.raw(1).await;
    let b = fixture
        .server_with(2, |config| config.dial_timeout = quick)
        .await;
    let connection = raw::dial(&*raw, &b).await;
    let mut stream = soon(connection.open()).await.unwrap();
    let half = Bytes::from(raw::hello(1, "open")).slice(..5);
    soon(stream.send.send(half)).await.unwrap();
    let reason = soon(connection.closed()).await;
    assert_eq!(
        reason,
        ConnectionError::ClosedByPeer(CloseCode::HelloTimeout)
    );
    assert_eq!((b.stats().refused_silent, b.stats().hellos_awaited), (1, 0));
}

async fn who_leaves_before_a_hello_is_counted(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let connection = raw::dial(&*raw, &b).await;
    eventually(|| b.stats().hellos_awaited == 1).await;
    connection.close(CloseCode::Done);
    eventually(|| b.stats().left_early == 1).await;
    assert_eq!((b.stats().hellos_awaited, b.stats().accepted), (0, 0));
}

async fn a_crowd_that_says_nothing_keeps_nobody_out(fixture: Fixture) {
    // They all have to be there before the first is out of time.
    let patient = Duration::from_secs(120);
    let raw = fixture.raw(1).await;
    let b = fixture
        .server_with(2, |config| config.dial_timeout = patient)
        .await;
    let mut silent = Vec::new();
    // What fits at a time is a matter of the endpoint's own.
    while b.stats().refused_crowded == 0 {
        silent.push(raw::dial(&*raw, &b).await);
        assert!(silent.len() < 2000, "{:?}", b.stats());
        // No faster than the endpoint takes them, or the wire itself turns some away.
        let taken = || b.stats().hellos_awaited as u64 + b.stats().refused_crowded;
        eventually(|| taken() >= silent.len() as u64).await;
    }
    let a = fixture.server(3).await;
    assert!(soon(a.connect(&contact(&b).into())).await.is_ok());
    let reason = soon(silent[0].closed()).await;
    assert_eq!(
        reason,
        ConnectionError::ClosedByPeer(CloseCode::Overloaded),
        "who had the longest time has to go"
    );
    eventually(|| b.is_connected(&a.node_id())).await;
    // Whoever came in its place did not add to them.
    let stats = b.stats();
    assert!(stats.refused_crowded > 0 && stats.hellos_awaited > 0);
    let all = stats.hellos_awaited as u64 + stats.refused_crowded;
    assert_eq!(all, silent.len() as u64, "{stats:?}");
}

async fn who_comes_while_a_node_drains_is_turned_away(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    soon(b.drain()).await;
    let connection = raw::dial(&*raw, &b).await;
    let reason = soon(connection.closed()).await;
    assert_eq!(
        reason,
        ConnectionError::ClosedByPeer(CloseCode::ShuttingDown)
    );
    assert_eq!(b.stats().refused_draining, 1);
}

async fn whose_hello_comes_only_after_a_drain_has_begun_is_turned_away(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let connection = raw::dial(&*raw, &b).await;
    eventually(|| b.stats().hellos_awaited == 1).await;
    soon(b.drain()).await;
    let answer = raw::exchange(&*connection, &raw::hello(1, "open")).await;
    assert_eq!(answer, None);
    assert_eq!(
        soon(connection.closed()).await,
        ConnectionError::ClosedByPeer(CloseCode::ShuttingDown)
    );
    assert_eq!(b.stats().refused_draining, 1);
}

async fn more_connections_than_a_peer_may_have_displace_its_oldest_idle_one(fixture: Fixture) {
    let (raw, b) = (fixture.raw(1).await, fixture.server(2).await);
    let mut held = Vec::new();
    while b.stats().displaced == 0 {
        held.push(raw::greeted(&*raw, &b).await);
        assert!(held.len() < 100, "{:?}", b.stats());
        eventually(|| b.stats().accepted == held.len() as u64).await;
    }
    let reason = soon(held[0].closed()).await;
    assert_eq!(reason, ConnectionError::ClosedByPeer(CloseCode::Idle));
    eventually(|| b.stats().connections == held.len() - 1).await;
    assert_eq!(b.stats().connections_inbound, held.len() - 1);
    assert_eq!(b.connections().len(), held.len() - 1);
}

on_every_wire!(
    who_says_half_a_hello_is_left_in_time,
    who_leaves_before_a_hello_is_counted,
    a_crowd_that_says_nothing_keeps_nobody_out,
    who_comes_while_a_node_drains_is_turned_away,
    whose_hello_comes_only_after_a_drain_has_begun_is_turned_away,
    more_connections_than_a_peer_may_have_displace_its_oldest_idle_one,
    another_realm_is_refused_and_both_ends_know_why,
    a_dialler_of_another_version_is_refused_and_knows_why,
    a_listener_of_another_version_is_left_and_knows_why,
    garbage_for_a_hello_is_refused_as_malformed,
    who_says_no_hello_is_left_in_time,
    a_node_that_dials_itself_is_told_so,
);
