//! QUIC over loopback sockets.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use macula_core::{Contact, DialTarget, HostPort, SecretKey};
use macula_transport::{Connection, QuicConfig, QuicTransport, Transport};

mod address;
mod close;
mod contract;
mod half_open;
mod identity;
mod restart;
mod stream;

/// Long enough for a loaded machine, short enough to notice a hang.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("hangs")
}

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A node that listens on IPv4 loopback.
async fn server(seed: u8) -> Arc<QuicTransport> {
    server_at(seed, loopback()).await
}

async fn server_at(seed: u8, address: SocketAddr) -> Arc<QuicTransport> {
    let config = QuicConfig {
        listen: vec![address],
        ..QuicConfig::default()
    };
    QuicTransport::bind(&secret(seed), config).await.unwrap()
}

/// A node that only dials.
async fn client(seed: u8) -> Arc<QuicTransport> {
    let config = QuicConfig {
        handshake_timeout: Duration::from_secs(2),
        ..QuicConfig::default()
    };
    QuicTransport::bind(&secret(seed), config).await.unwrap()
}

fn contact(node: &QuicTransport) -> DialTarget {
    Contact::new(node.node_id(), node.local_addresses()).into()
}

fn first_use(address: SocketAddr) -> DialTarget {
    DialTarget::FirstUse {
        host: HostPort {
            host: address.ip().to_string(),
            port: address.port(),
        },
    }
}

/// Both ends of a new connection, the dialler's first.
async fn connect(
    from: &QuicTransport,
    to: &QuicTransport,
) -> (Arc<dyn Connection>, Arc<dyn Connection>) {
    let target = contact(to);
    let (dialled, accepted) = within(async { tokio::join!(from.dial(&target), to.accept()) }).await;
    (dialled.unwrap(), accepted.unwrap())
}
