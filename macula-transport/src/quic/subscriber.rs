//! What s2n-quic tells of a connection only through its events: the peer's key, the round-trip
//! time, what it has carried, and why it ended.
//!
//! The peer's key comes from a method that s2n-quic does not document yet. It is used here and
//! nowhere else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use macula_core::NodeId;
use s2n_quic::provider::event::events::{
    ConnectionClosed, DatagramReceived, DatagramSent, PacketLost, RecoveryMetrics, TlsExporterReady,
};
use s2n_quic::provider::event::{ConnectionInfo, ConnectionMeta, Subscriber};
use tokio::sync::{oneshot, watch};

use super::limits::INITIAL_RTT;
use super::{error, tls};
use crate::{ConnectionError, Traffic};

/// What is known of one connection, written by events and read by whoever holds the connection.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// Set before the connection is handed out.
    peer: OnceLock<NodeId>,
    rtt_micros: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    packets_lost: AtomicU64,
    end: watch::Sender<Option<ConnectionError>>,
}

impl ConnectionState {
    fn new() -> Self {
        Self {
            peer: OnceLock::new(),
            rtt_micros: AtomicU64::new(micros(INITIAL_RTT)),
            bytes_sent: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
            packets_lost: AtomicU64::new(0),
            end: watch::Sender::new(None),
        }
    }

    /// Who proved its key in the handshake.
    pub(super) fn peer(&self) -> Option<NodeId> {
        self.peer.get().copied()
    }

    pub(super) fn rtt(&self) -> Duration {
        Duration::from_micros(self.rtt_micros.load(Ordering::Relaxed))
    }

    /// What its datagrams carried so far.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
            packets_lost: self.packets_lost.load(Ordering::Relaxed),
        }
    }

    /// Why the connection ended, once it has.
    pub(super) fn end(&self) -> Option<ConnectionError> {
        *self.end.borrow()
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> ConnectionError {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await.map(|end| *end) {
            Ok(Some(reason)) => reason,
            // Cannot happen: `self` holds the sender.
            _ => ConnectionError::Lost,
        }
    }

    /// Notes the end; the first reason is kept. True if this was it.
    pub(super) fn set_end(&self, reason: ConnectionError) -> bool {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert(reason);
            is_first
        })
    }
}

/// Listens to the events of one socket; its sender is dropped with the socket's event loop.
pub(super) struct StateSubscriber {
    _running: oneshot::Sender<()>,
}

impl StateSubscriber {
    /// The receiver resolves, with an error, when the event loop has ended.
    pub(super) fn new() -> (Self, oneshot::Receiver<()>) {
        let (running, ended) = oneshot::channel();
        (Self { _running: running }, ended)
    }
}

impl Subscriber for StateSubscriber {
    type ConnectionContext = Arc<ConnectionState>;

    fn create_connection_context(
        &mut self,
        _meta: &ConnectionMeta,
        _info: &ConnectionInfo<'_>,
    ) -> Self::ConnectionContext {
        Arc::new(ConnectionState::new())
    }

    fn on_tls_exporter_ready(
        &mut self,
        state: &mut Self::ConnectionContext,
        _meta: &ConnectionMeta,
        event: &TlsExporterReady<'_>,
    ) {
        let Ok(chain) = event.session.peer_cert_chain_der() else {
            return;
        };
        if let Some(node_id) = chain.first().and_then(|spki| tls::decode_spki(spki)) {
            let _ = state.peer.set(node_id);
        }
    }

    fn on_recovery_metrics(
        &mut self,
        state: &mut Self::ConnectionContext,
        _meta: &ConnectionMeta,
        event: &RecoveryMetrics<'_>,
    ) {
        if event.path.is_active {
            state
                .rtt_micros
                .store(micros(event.smoothed_rtt), Ordering::Relaxed);
        }
    }

    fn on_datagram_sent(
        &mut self,
        state: &mut Self::ConnectionContext,
        _meta: &ConnectionMeta,
        event: &DatagramSent,
    ) {
        state
            .bytes_sent
            .fetch_add(event.len.into(), Ordering::Relaxed);
    }

    fn on_datagram_received(
        &mut self,
        state: &mut Self::ConnectionContext,
        _meta: &ConnectionMeta,
        event: &DatagramReceived,
    ) {
        state
            .bytes_received
            .fetch_add(event.len.into(), Ordering::Relaxed);
    }

    fn on_packet_lost(
        &mut self,
        state: &mut Self::ConnectionContext,
        _meta: &ConnectionMeta,
        event: &PacketLost<'_>,
    ) {
        // A probe for larger packets is meant to be lost where they do not fit.
        if !event.is_mtu_probe {
            state.packets_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn on_connection_closed(
        &mut self,
        state: &mut Self::ConnectionContext,
        _meta: &ConnectionMeta,
        event: &ConnectionClosed,
    ) {
        state.set_end(error::connection_error(event.error));
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
