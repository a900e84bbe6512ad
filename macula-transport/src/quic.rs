//! Connections over QUIC: s2n-quic with TLS 1.3, both sides proving an Ed25519 key.
//!
//! A node that listens has one socket per listening address, and every node has one socket per
//! address family to dial from. Nothing but the node id is trusted: there is no certificate, no
//! name that a peer could claim, and no way to connect without proving a key.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use macula_core::{DialTarget, NodeId, SecretKey};
use s2n_quic::Client;
use s2n_quic::client::Connect;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{CloseCode, Connection, DialError, Transport, TransportStats};

mod accept;
mod config;
mod connection;
mod error;
mod limits;
mod link;
mod path_mtu;
mod race;
mod reset_token;
mod resolve;
mod socket;
mod stream;
mod subscriber;
mod tls;

use accept::{AcceptQueue, Acceptor};
pub use config::{QuicConfig, QuicError};
use connection::QuicConnection;
use error::Dialled;
use limits::HandshakeCounts;
use link::LinkTable;
use socket::{Bound, Ending, Network, Opening};
use tls::{Pin, Tls};

/// How long closing waits for the listening ports to be free.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long closing waits for the sockets that were dialled from. Farewells are sent at once, and
/// what takes longer are handshakes with nobody, whose socket nobody needs either.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(300);

/// A [`Transport`] over QUIC.
///
/// It works on the runtime that it was bound in, whoever calls. Dropping the last handle closes
/// every connection and frees the sockets in the background; [`close`](Transport::close) waits for
/// both.
pub struct QuicTransport {
    node_id: NodeId,
    handshake_timeout: Duration,
    runtime: Handle,
    listening: Vec<SocketAddr>,
    table: Arc<LinkTable>,
    queue: AcceptQueue,
    handshakes: Arc<HandshakeCounts>,
    /// `None` once closed.
    sockets: Mutex<Option<Sockets>>,
    is_closed: watch::Sender<bool>,
}

struct Sockets {
    /// One task per listening socket; dropping them closes the sockets.
    acceptors: JoinSet<()>,
    ipv4: Option<Bound<Client>>,
    ipv6: Option<Bound<Client>>,
    listening: Vec<Ending>,
    dialling: Vec<Ending>,
}

impl QuicTransport {
    /// Opens the sockets and starts accepting on the current runtime.
    ///
    /// # Errors
    /// [`QuicError`], for example when an address is taken.
    ///
    /// # Cancel safety
    /// Dropping the future opens nothing.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as everything of tokio does.
    pub async fn bind(secret_key: &SecretKey, config: QuicConfig) -> Result<Arc<Self>, QuicError> {
        config.check()?;
        let tls = Tls::new(secret_key)?;
        let table = LinkTable::new(config.send_buffer_bytes as usize);
        let (queue, acceptor) = AcceptQueue::new(config.accept_backlog, Arc::clone(&table));
        let handshakes = Arc::default();
        let opening = Opening {
            secret_key,
            tls: &tls,
            config: &config,
            network: &Network::new(secret_key, &config),
            handshakes: &handshakes,
        };
        let (sockets, listening) = Sockets::open(&opening, &acceptor).await?;
        let node_id = secret_key.node_id();
        tracing::info!(node = %node_id.short(), ?listening, "bound QUIC sockets");
        Ok(Arc::new(Self {
            node_id,
            handshake_timeout: config.handshake_timeout,
            runtime: Handle::current(),
            listening,
            table,
            queue,
            handshakes,
            sockets: Mutex::new(Some(sockets)),
            is_closed: watch::Sender::new(false),
        }))
    }

    fn attempt(
        &self,
        pin: Pin,
        address: SocketAddr,
    ) -> impl Future<Output = Result<Arc<QuicConnection>, DialError>> + Send + use<> {
        let client = self.client(address);
        let table = Arc::clone(&self.table);
        let dialled = Dialled {
            pin,
            address,
            handshake_timeout: self.handshake_timeout,
        };
        async move { handshake(client?, dialled, &table).await }
    }

    /// The socket of the address's family.
    fn client(&self, address: SocketAddr) -> Result<Client, DialError> {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let sockets = sockets.as_ref().ok_or(DialError::Closed)?;
        let client = match address {
            SocketAddr::V4(_) => &sockets.ipv4,
            SocketAddr::V6(_) => &sockets.ipv6,
        };
        client
            .as_ref()
            .and_then(Bound::get)
            .cloned()
            .ok_or(DialError::Unreachable)
    }

    fn shut(&self, code: CloseCode) -> Option<Sockets> {
        let sockets = self
            .sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.is_closed.send_replace(true);
        self.table.close(code);
        sockets
    }
}

#[async_trait]
impl Transport for QuicTransport {
    fn node_id(&self) -> NodeId {
        self.node_id
    }

    async fn dial(&self, target: &DialTarget) -> Result<Arc<dyn Connection>, DialError> {
        let (pin, hosts) = match target {
            DialTarget::Pinned { node_id, hosts } => (Pin::Node(*node_id), hosts.as_slice()),
            DialTarget::FirstUse { host } => (Pin::FirstUse, std::slice::from_ref(host)),
        };
        let mut is_closed = self.is_closed.subscribe();
        let race = race::race(hosts, self.handshake_timeout, &self.runtime, |address| {
            self.attempt(pin, address)
        });
        tokio::select! {
            biased;
            _ = is_closed.wait_for(|is_closed| *is_closed) => Err(DialError::Closed),
            dialled = race => Ok(dialled? as Arc<dyn Connection>),
        }
    }

    async fn accept(&self) -> Option<Arc<dyn Connection>> {
        let mut is_closed = self.is_closed.subscribe();
        tokio::select! {
            biased;
            _ = is_closed.wait_for(|is_closed| *is_closed) => None,
            accepted = self.queue.next() => accepted,
        }
    }

    fn local_addresses(&self) -> Vec<SocketAddr> {
        self.listening.clone()
    }

    fn stats(&self) -> Option<TransportStats> {
        Some(TransportStats {
            connections: self.table.len(),
            traffic: Some(self.table.traffic()),
            overflowed: self.queue.overflowed(),
            handshakes_retried: self.handshakes.retried(),
            handshakes_refused: self.handshakes.refused(),
        })
    }

    async fn close(&self, code: CloseCode) {
        if let Some(sockets) = self.shut(code) {
            sockets.free().await;
        }
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.shut(CloseCode::ShuttingDown);
    }
}

impl Sockets {
    async fn open(
        opening: &Opening<'_>,
        acceptor: &Acceptor,
    ) -> Result<(Self, Vec<SocketAddr>), QuicError> {
        let (ipv4, ipv4_ending) = opening.dialler((Ipv4Addr::UNSPECIFIED, 0).into()).await?;
        let ipv6 = if opening.network.has_ipv6() {
            // A host without IPv6 is an ordinary host.
            opening
                .dialler((Ipv6Addr::UNSPECIFIED, 0).into())
                .await
                .ok()
        } else {
            None
        };
        let (ipv6, ipv6_ending) = ipv6.unzip();
        let mut sockets = Self {
            acceptors: JoinSet::new(),
            ipv4: Some(ipv4),
            ipv6,
            listening: Vec::new(),
            dialling: [ipv4_ending].into_iter().chain(ipv6_ending).collect(),
        };
        let mut addresses = Vec::new();
        for index in 0..opening.config.listen.len() {
            let (listener, ending) = opening.listen(index).await?;
            addresses.push(listener.address());
            sockets.acceptors.spawn(acceptor.clone().run(listener));
            sockets.listening.push(ending);
        }
        Ok((sockets, addresses))
    }

    /// Gives the sockets back. Their event loops go on until every peer had the time to hear that
    /// its connection is closed.
    async fn free(mut self) {
        let start = Instant::now();
        self.acceptors.shutdown().await;
        self.ipv4 = None;
        self.ipv6 = None;
        for ending in &mut self.dialling {
            ending.wait(start + FAREWELL_TIMEOUT).await;
        }
        for ending in &mut self.listening {
            let deadline = start + CLOSE_TIMEOUT;
            if !ending.wait(deadline).await || !ending.wait_for_port(deadline).await {
                tracing::warn!(address = %ending.address(), "unfinished handshakes keep a closed socket for a while");
            }
        }
    }
}

async fn handshake(
    client: Client,
    dialled: Dialled,
    table: &Arc<LinkTable>,
) -> Result<Arc<QuicConnection>, DialError> {
    let connect = Connect::new(dialled.address).with_server_name(dialled.pin.to_server_name());
    let connection = client
        .connect(connect)
        .await
        .map_err(|error| error::dial_error(error, &dialled))?;
    let connection = QuicConnection::start(connection, table).ok_or(DialError::Closed)?;
    tracing::debug!(peer = %connection.peer().short(), address = %dialled.address, "connected");
    Ok(connection)
}
