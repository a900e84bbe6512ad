//! The sockets of a transport: opening them, and getting them back from s2n-quic.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use macula_core::SecretKey;
use s2n_quic::provider::congestion_controller::Bbr;
use s2n_quic::provider::tls::rustls as quic_tls;
use s2n_quic::{Client, Server};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::config::{QuicConfig, QuicError};
use super::limits::{HandshakeCounts, HandshakeLimiter, PathLimits};
use super::path_mtu::PathMtu;
use super::reset_token::ResetTokens;
use super::subscriber::StateSubscriber;
use super::tls::Tls;

#[cfg(feature = "simulation")]
mod simulated;
mod system;

#[cfg(feature = "simulation")]
use simulated::SimulatedHost;

/// Whose sockets a transport has.
#[derive(Clone)]
pub(super) enum Network {
    /// The operating system's.
    System,
    /// A simulated host's.
    #[cfg(feature = "simulation")]
    Simulated(SimulatedHost),
}

impl Network {
    /// The network that a configuration asks for, of the current runtime's host.
    #[cfg_attr(
        not(feature = "simulation"),
        expect(unused_variables, reason = "there is one network only")
    )]
    pub(super) fn new(secret_key: &SecretKey, config: &QuicConfig) -> Self {
        #[cfg(feature = "simulation")]
        if let Some(seed) = config.simulation_seed {
            return Self::Simulated(SimulatedHost::new(&secret_key.node_id(), seed));
        }
        Self::System
    }

    /// Opens a socket; `label` tells those of one transport apart.
    #[cfg_attr(
        not(feature = "simulation"),
        expect(unused_variables, reason = "only seeds need a label")
    )]
    async fn open(&self, address: SocketAddr, label: &str) -> io::Result<Socket> {
        match self {
            Self::System => Ok(Socket::System(system::io(address)?)),
            #[cfg(feature = "simulation")]
            Self::Simulated(host) => {
                let socket = host.open(address, label).await?;
                Ok(Socket::Simulated(Box::new(socket)))
            }
        }
    }

    pub(super) fn has_ipv6(&self) -> bool {
        matches!(self, Self::System)
    }

    /// Sends a packet that QUIC ignores (its fixed bit is clear, RFC 9000 §17.2) to one of our
    /// sockets.
    fn wake(&self, address: SocketAddr) {
        match self {
            Self::System => system::wake(address),
            #[cfg(feature = "simulation")]
            Self::Simulated(host) => host.wake(address),
        }
    }

    async fn is_free(&self, address: SocketAddr) -> bool {
        match self {
            Self::System => system::is_free(address),
            #[cfg(feature = "simulation")]
            Self::Simulated(host) => host.is_free(address).await,
        }
    }
}

/// One of s2n-quic's two kinds of endpoint, on a socket of its own.
///
/// s2n-quic ends an endpoint's event loop, and frees its socket, only once it wakes up and finds
/// its handles and connections gone. Nothing wakes an idle one, so dropping this does.
pub(super) struct Bound<E> {
    endpoint: Option<E>,
    address: SocketAddr,
    network: Network,
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
        self.network.wake(self.address);
    }
}

/// Resolves when the event loop on a socket has ended.
pub(super) struct Ending {
    address: SocketAddr,
    network: Network,
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
            self.network.wake(self.address);
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
        while !self.network.is_free(self.address).await {
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

/// What s2n-quic starts an endpoint on.
enum Socket {
    System(system::Io),
    #[cfg(feature = "simulation")]
    Simulated(Box<simulated::Socket>),
}

/// What the sockets of one transport have in common.
pub(super) struct Opening<'a> {
    pub(super) secret_key: &'a SecretKey,
    pub(super) tls: &'a Tls,
    pub(super) config: &'a QuicConfig,
    pub(super) network: &'a Network,
    pub(super) handshakes: &'a Arc<HandshakeCounts>,
}

impl Opening<'_> {
    /// Opens a socket that accepts connections; `index` is its place in the configuration.
    pub(super) async fn listen(&self, index: usize) -> Result<(Bound<Server>, Ending), QuicError> {
        let asked = self.config.listen[index];
        let label = format!("listen {index}");
        let socket = self.network.open(asked, &label).await?;
        let (subscriber, ended) = StateSubscriber::new();
        let builder = Server::builder()
            .with_tls(quic_tls::Server::from(self.tls.server()?))?
            .with_limits(PathLimits::new(self.config)?)?
            .with_endpoint_limits(HandshakeLimiter::new(self.config, self.handshakes))?
            .with_congestion_controller(Bbr::default())?
            .with_mtu(PathMtu)?
            .with_stateless_reset_token(ResetTokens::new(self.secret_key, index, asked))?
            .with_event(subscriber)?;
        let started = match socket {
            Socket::System(io) => builder.with_io(io)?.start(),
            #[cfg(feature = "simulation")]
            Socket::Simulated(socket) => {
                let builder = builder.with_io(socket.io)?;
                builder.with_random(socket.random)?.start()
            }
        };
        let server = started.map_err(|source| QuicError::Listen {
            address: asked,
            source,
        })?;
        let address = server.local_addr()?;
        Ok(self.bound(server, address, ended))
    }

    /// Opens a socket to dial from, for the family of `any`.
    pub(super) async fn dialler(
        &self,
        any: SocketAddr,
    ) -> Result<(Bound<Client>, Ending), QuicError> {
        let socket = self.network.open(any, "dial").await?;
        let (subscriber, ended) = StateSubscriber::new();
        let builder = Client::builder()
            .with_tls(quic_tls::Client::from(self.tls.client()?))?
            .with_limits(PathLimits::new(self.config)?)?
            .with_congestion_controller(Bbr::default())?
            .with_mtu(PathMtu)?
            .with_event(subscriber)?;
        let started = match socket {
            Socket::System(io) => builder.with_io(io)?.start(),
            #[cfg(feature = "simulation")]
            Socket::Simulated(socket) => {
                let builder = builder.with_io(socket.io)?;
                builder.with_random(socket.random)?.start()
            }
        };
        let client = started.map_err(QuicError::DialSocket)?;
        let address = client.local_addr()?;
        Ok(self.bound(client, address, ended))
    }

    fn bound<E>(
        &self,
        endpoint: E,
        address: SocketAddr,
        ended: oneshot::Receiver<()>,
    ) -> (Bound<E>, Ending) {
        let ending = Ending {
            address,
            network: self.network.clone(),
            ended,
        };
        let bound = Bound {
            endpoint: Some(endpoint),
            address,
            network: self.network.clone(),
        };
        (bound, ending)
    }
}
