//! Who can be reached where, and who only dials.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use macula_core::Contact;
use macula_transport::{Executor, PeerEvent, Role};

use super::fixture::{
    Bound, ECHO, Fixture, contact, echoing, event, eventually, known, request, soon,
};
use super::raw;

fn is_reached(event: &PeerEvent) -> bool {
    matches!(event, PeerEvent::Reached(_))
}

async fn behind_any_address_nothing_is_known_until_a_peer_dials_back(fixture: Fixture) {
    let a = fixture.server(1).await;
    let b = fixture.node(2, Bound::Any, |_| {}).await;
    let mut at_a = a.events();
    assert!(b.addresses().is_empty());
    soon(b.connect(&contact(&a).into())).await.unwrap();
    let proved = soon(b.reachable()).await;
    assert!(!proved.is_empty() && proved.are_dialable());
    assert_eq!(b.addresses(), proved);
    let reached = event(&mut at_a, is_reached).await;
    assert_eq!(
        reached,
        PeerEvent::Reached(Contact::new(b.node_id(), proved.iter().copied()))
    );
    assert_eq!(
        a.peer(&b.node_id()).map(|peer| peer.addresses),
        Some(proved)
    );
    assert_eq!(
        b.stats().connections,
        1,
        "the probe is no connection for requests"
    );
    let c = fixture.server(3).await;
    assert!(
        soon(c.connect(&contact(&b).into())).await.is_ok(),
        "it works"
    );
}

async fn a_bootstrap_node_learns_its_address_from_who_it_has_dialled_back(fixture: Fixture) {
    let (bootstrap, address) = fixture.hidden(1).await;
    let client = fixture.client(2).await;
    let target = Contact::new(bootstrap.node_id(), [address]).into();
    soon(client.connect(&target)).await.unwrap();
    assert!(
        bootstrap.addresses().is_empty(),
        "nobody can dial a client back"
    );
    let server = fixture.server(3).await;
    soon(server.connect(&target)).await.unwrap();
    assert_eq!(*soon(bootstrap.reachable()).await, [address]);
}

async fn a_strangers_claim_about_our_address_counts_for_nothing(fixture: Fixture) {
    let b = fixture.node(2, Bound::Any, |_| {}).await;
    let honest = fixture.server(3).await;
    soon(b.connect(&contact(&honest).into())).await.unwrap();
    let proved = soon(b.reachable()).await;
    let raw = fixture.raw(1).await;
    let lie = SocketAddr::from(([203, 0, 113, 9], proved[0].port()));
    let connection = raw::dial(&*raw, &b).await;
    assert!(
        raw::exchange(&*connection, &raw::hello_claiming(lie))
            .await
            .is_some()
    );
    eventually(|| b.peer(&raw.node_id()).is_some()).await;
    assert_eq!(b.addresses(), proved);
}

async fn a_configured_address_is_what_is_told(fixture: Fixture) {
    let configured = "203.0.113.5:7000".parse().unwrap();
    let advertise = |config: &mut macula_transport::EndpointConfig| {
        config.advertise = [configured].into_iter().collect();
    };
    let a = fixture.node(1, Bound::Any, advertise).await;
    assert_eq!(*soon(a.reachable()).await, [configured]);
}

async fn dialling_a_server_proves_its_address(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let mut at_a = a.events();
    let peer = soon(a.connect(&contact(&b).into())).await.unwrap();
    assert_eq!((peer.role, peer.outbound), (Role::Server, true));
    assert_eq!(peer.addresses, b.addresses());
    let reached = event(&mut at_a, is_reached).await;
    assert_eq!(reached, PeerEvent::Reached(contact(&b)));
}

async fn an_address_alone_is_enough_to_dial_and_learns_the_id(fixture: Fixture) {
    let (a, b) = (fixture.server(1).await, fixture.server(2).await);
    let target = b.addresses()[0].to_string().parse().unwrap();
    let peer = soon(a.connect(&target)).await.unwrap();
    assert_eq!(peer.node_id, b.node_id());
}

async fn a_client_serves_over_its_connection_and_is_never_reached(fixture: Fixture) {
    let server = fixture.server(1).await;
    let client = echoing(fixture.client(2).await);
    let mut at_server = server.events();
    soon(client.connect(&contact(&server).into()))
        .await
        .unwrap();
    event(&mut at_server, |event| {
        matches!(event, PeerEvent::Connected(_))
    })
    .await;
    let answer = soon(server.request(&known(&client), request(ECHO, b"ask"))).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"ask")));
    let peer = server.peer(&client.node_id()).unwrap();
    assert_eq!((peer.role, peer.outbound), (Role::Client, false));
    assert!(peer.addresses.is_empty() && client.addresses().is_empty());
    soon(client.shutdown()).await;
    let gone = PeerEvent::Disconnected(client.node_id());
    let next = soon(at_server.recv()).await.unwrap();
    assert_eq!(next, gone, "no Reached in between");
    assert_eq!(server.stats().probes, 0);
}

on_every_wire!(
    behind_any_address_nothing_is_known_until_a_peer_dials_back,
    a_bootstrap_node_learns_its_address_from_who_it_has_dialled_back,
    a_strangers_claim_about_our_address_counts_for_nothing,
    a_configured_address_is_what_is_told,
    dialling_a_server_proves_its_address,
    an_address_alone_is_enough_to_dial_and_learns_the_id,
    a_client_serves_over_its_connection_and_is_never_reached,
);

#[tokio::test(start_paused = true)]
async fn the_connection_that_a_client_asked_for_never_grows_idle() {
    let fixture = Fixture::memory(Executor::Current);
    let server = fixture.server(1).await;
    let client = echoing(fixture.client(2).await);
    client.connect(&contact(&server).into()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let answer = server.request(&known(&client), request(ECHO, b"ask")).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"ask")));
    assert_eq!(server.stats().accepted, 1);
}
