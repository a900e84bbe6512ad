//! The sockets of a transport: opening them, and getting them back from s2n-quic.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use macula_core::SecretKey;
use s2n_quic::provider::congestion_controller::Bbr;
use s2n_quic::provider::io::tokio::Provider as Io;
use s2n_quic::provider::tls::rustls as quic_tls;
use s2n_quic::{Client, Server};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::config::{QuicConfig, QuicError};
use super::limits::{HandshakeLimiter, connection_limits};
use super::reset_token::ResetTokens;
use super::subscriber::StateSubscriber;
use super::tls::Tls;

/// One of s2n-quic's two kinds of endpoint, on a socket of its own.
///
/// s2n-quic ends an endpoint's event loop, and frees its socket, only once it wakes up and finds
/// its handles and connections gone. Nothing wakes an idle one, so dropping this does.
pub(super) struct Bound<E> {
    endpoint: Option<E>,
    address: SocketAddr,
}

impl<E> Bound<E> {
    pub(super) fn get_mut(&mut self) -> Option<&mut E> {
        self.endpoint.as_mut()
    }

    pub(super) fn get(&self) -> Option<&E> {
        self.endpoint.as_ref()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl<E> Drop for Bound<E> {
    fn drop(&mut self) {
        drop(self.endpoint.take());
        wake(self.address);
    }
}

/// Resolves when the event loop on a socket has ended.
pub(super) struct Ending {
    address: SocketAddr,
    ended: oneshot::Receiver<()>,
}

impl Ending {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the event loop has ended, at most until `deadline`. True if it has.
    pub(super) async fn wait(&mut self, deadline: Instant) -> bool {
        while Instant::now() < deadline {
            // What woke the loop may have come before its last connection had gone.
            wake(self.address);
            let next = deadline.min(Instant::now() + WAKE_INTERVAL);
            if timeout_at(next, &mut self.ended).await.is_ok() {
                return true;
            }
        }
        false
    }

    /// Waits until the port can be bound again, at most until `deadline`. The event loop's socket
    /// tasks end just after it, which only the operating system can tell.
    pub(super) async fn wait_for_port(&self, deadline: Instant) -> bool {
        while !is_free(self.address) {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(PORT_INTERVAL).await;
        }
        true
    }
}

const WAKE_INTERVAL: Duration = Duration::from_millis(50);
const PORT_INTERVAL: Duration = Duration::from_millis(2);

/// Opens a socket that accepts connections; `index` is its place in the configuration.
pub(super) fn listen(
    secret_key: &SecretKey,
    tls: &Tls,
    config: &QuicConfig,
    index: usize,
) -> Result<(Bound<Server>, Ending), QuicError> {
    let address = config.listen[index];
    let (subscriber, ended) = StateSubscriber::new();
    let server = Server::builder()
        .with_io(io(address)?)?
        .with_tls(quic_tls::Server::from(tls.server()?))?
        .with_limits(connection_limits(config)?)?
        .with_endpoint_limits(HandshakeLimiter)?
        .with_congestion_controller(Bbr::default())?
        .with_stateless_reset_token(ResetTokens::new(secret_key, index, address))?
        .with_event(subscriber)?
        .start()
        .map_err(|source| QuicError::Listen { address, source })?;
    let address = server.local_addr()?;
    Ok((bound(server, address), Ending { address, ended }))
}

/// Opens a socket to dial from, for the family of `any`.
pub(super) fn dialler(
    tls: &Tls,
    config: &QuicConfig,
    any: SocketAddr,
) -> Result<(Bound<Client>, Ending), QuicError> {
    let (subscriber, ended) = StateSubscriber::new();
    let client = Client::builder()
        .with_io(io(any)?)?
        .with_tls(quic_tls::Client::from(tls.client()?))?
        .with_limits(connection_limits(config)?)?
        .with_congestion_controller(Bbr::default())?
        .with_event(subscriber)?
        .start()
        .map_err(QuicError::DialSocket)?;
    let address = client.local_addr()?;
    Ok((bound(client, address), Ending { address, ended }))
}

fn bound<E>(endpoint: E, address: SocketAddr) -> Bound<E> {
    Bound {
        endpoint: Some(endpoint),
        address,
    }
}

fn io(address: SocketAddr) -> Result<Io, QuicError> {
    let io = Io::builder()
        .with_receive_address(address)?
        // Otherwise `[::]` would take the IPv4 port too, and IPv4 peers would look like IPv6.
        .with_only_v6(address.is_ipv6())?
        .build()?;
    Ok(io)
}

/// Sends a packet that QUIC ignores (its fixed bit is clear, RFC 9000 §17.2) to one of our sockets.
fn wake(address: SocketAddr) {
    let Ok(socket) = UdpSocket::bind(any_port(address)) else {
        return;
    };
    // If it cannot be sent, the event loop ends with the next packet or timer that wakes it.
    let _ = socket.set_nonblocking(true);
    let _ = socket.send_to(&[0], reachable(address));
}

fn is_free(address: SocketAddr) -> bool {
    // An IPv6 socket of the standard library also asks for the IPv4 port, which may be another's.
    address.ip().is_ipv6() && address.ip().is_unspecified() || UdpSocket::bind(address).is_ok()
}

/// Any port of the address's family.
fn any_port(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Where a socket of this host that is bound to `address` is reached from this host.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}
