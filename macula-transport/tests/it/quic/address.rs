//! Where a node listens, and how its addresses are dialled.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use macula_core::{Contact, DialTarget, HostPort};
use macula_transport::{DialError, QuicConfig, QuicError, QuicTransport, Transport};

use super::{client, connect, contact, first_use, loopback, secret, server, server_at, within};

#[tokio::test]
async fn a_silent_address_fails_by_the_handshake_timeout() {
    let black_hole = UdpSocket::bind(loopback()).unwrap();
    let limit = Duration::from_millis(300);
    let config = QuicConfig {
        handshake_timeout: limit,
        ..QuicConfig::default()
    };
    let a = QuicTransport::bind(&secret(1), config).await.unwrap();
    let target = first_use(black_hole.local_addr().unwrap());
    let outcome = within(a.dial(&target)).await.map(|_| ());
    assert_eq!(outcome, Err(DialError::Timeout(limit)));
}

#[tokio::test]
async fn a_silent_address_does_not_hide_one_that_answers() {
    let black_hole = UdpSocket::bind(loopback()).unwrap();
    let (a, b) = (client(1).await, server(2).await);
    let addresses = [black_hole.local_addr().unwrap(), b.local_addresses()[0]];
    let target = Contact::new(b.node_id(), addresses).into();
    let dialled = within(a.dial(&target)).await.unwrap();
    assert_eq!(dialled.remote_address(), b.local_addresses()[0]);
}

#[tokio::test]
async fn a_host_name_is_resolved_and_dialled() {
    let (a, b) = (client(1).await, server(2).await);
    let target = DialTarget::Pinned {
        node_id: b.node_id(),
        hosts: vec![HostPort {
            host: "localhost".to_owned(),
            port: b.local_addresses()[0].port(),
        }],
    };
    let dialled = within(a.dial(&target)).await.unwrap();
    assert_eq!(dialled.peer(), b.node_id());
}

#[tokio::test]
async fn a_host_name_without_an_address_is_unresolvable() {
    let a = client(1).await;
    // Reserved never to exist (RFC 6761 §6.4).
    let host = "macula.invalid".to_owned();
    let target = DialTarget::FirstUse {
        host: HostPort {
            host: host.clone(),
            port: 4433,
        },
    };
    let outcome = within(a.dial(&target)).await.map(|_| ());
    assert_eq!(outcome, Err(DialError::Unresolvable { host }));
}

#[tokio::test]
async fn a_contact_without_addresses_cannot_be_dialled() {
    let a = client(1).await;
    let target = Contact::new(secret(2).node_id(), []).into();
    let outcome = within(a.dial(&target)).await.map(|_| ());
    assert_eq!(outcome, Err(DialError::NoAddress));
}

#[tokio::test]
async fn ipv6_is_dialled_where_there_is_any() {
    if !has_ipv6() {
        return;
    }
    let (a, b) = (
        client(1).await,
        server_at(2, (Ipv6Addr::LOCALHOST, 0).into()).await,
    );
    let (dialled, accepted) = connect(&a, &b).await;
    assert!(dialled.remote_address().is_ipv6());
    assert!(accepted.remote_address().is_ipv6());
    assert_eq!(accepted.peer(), a.node_id());
}

#[tokio::test]
async fn both_families_listen_at_one_port_side_by_side() {
    if !has_ipv6() {
        return;
    }
    let a = client(1).await;
    let port = UdpSocket::bind("0.0.0.0:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let listen: Vec<SocketAddr> = vec![
        ([0, 0, 0, 0], port).into(),
        (Ipv6Addr::UNSPECIFIED, port).into(),
    ];
    let config = QuicConfig {
        listen: listen.clone(),
        ..QuicConfig::default()
    };
    let b = QuicTransport::bind(&secret(2), config).await.unwrap();
    assert_eq!(b.local_addresses(), listen);
    for host in ["127.0.0.1", "::1"] {
        let target = first_use(SocketAddr::new(host.parse().unwrap(), port));
        let dialled = within(a.dial(&target)).await.unwrap();
        let accepted = within(b.accept()).await.unwrap();
        assert_eq!(dialled.peer(), b.node_id());
        assert_eq!(accepted.remote_address().is_ipv6(), host == "::1");
    }
}

#[tokio::test]
async fn a_taken_address_is_a_clear_error() {
    let b = server(2).await;
    let address = b.local_addresses()[0];
    let config = QuicConfig {
        listen: vec![address],
        ..QuicConfig::default()
    };
    let outcome = QuicTransport::bind(&secret(3), config).await;
    let Err(QuicError::Listen { address: at, .. }) = outcome else {
        panic!("bound a taken address");
    };
    assert_eq!(at, address);
}

#[tokio::test]
async fn a_node_that_only_dials_has_no_address() {
    let (a, b) = (client(1).await, server(2).await);
    assert_eq!(a.local_addresses(), []);
    assert_ne!(b.local_addresses()[0].port(), 0);
    assert!(contact(&b).to_string().contains("127.0.0.1"));
}

fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}
