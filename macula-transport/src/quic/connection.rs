//! A QUIC connection to a peer whose key is proved.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use macula_core::NodeId;
use s2n_quic::connection::{BidirectionalStreamAcceptor, Handle};
use tokio::sync::Mutex;

use super::error::connection_error;
use super::link::{Link, LinkTable};
use super::stream;
use super::subscriber::ConnectionState;
use crate::{CloseCode, Connection, ConnectionError, Stream, Traffic};

pub(super) struct QuicConnection {
    link: Arc<Link>,
    /// One for all, so that those who gave up waiting leave nothing behind.
    opener: Mutex<Handle>,
    /// An asynchronous lock, because s2n-quic wakes only one waiter: the others queue here.
    acceptor: Mutex<BidirectionalStreamAcceptor>,
}

impl QuicConnection {
    /// Takes over a connection whose handshake is done. `None`, and it is closed, if its peer
    /// proved no identity or the transport is closed.
    pub(super) fn start(
        mut connection: s2n_quic::Connection,
        table: &Arc<LinkTable>,
    ) -> Option<Arc<Self>> {
        // An error means that it has ended already, which its first user will see.
        let _ = connection.keep_alive(true);
        let state = connection
            .query_event_context(|state: &Arc<ConnectionState>| Arc::clone(state))
            .ok()?;
        let (handle, acceptor) = connection.split();
        let (acceptor, _no_unidirectional_streams) = acceptor.split();
        let link = table.admit(handle, state)?;
        Some(Arc::new(Self {
            opener: Mutex::new(link.handle()),
            link,
            acceptor: Mutex::new(acceptor),
        }))
    }
}

#[async_trait]
impl Connection for QuicConnection {
    fn peer(&self) -> NodeId {
        self.link.peer()
    }

    fn remote_address(&self) -> SocketAddr {
        self.link.remote_address()
    }

    fn rtt(&self) -> Duration {
        self.link.rtt()
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(self.link.traffic())
    }

    async fn open(&self) -> Result<Stream, ConnectionError> {
        let opened = self.opener.lock().await.open_bidirectional_stream().await;
        opened
            .map(|opened| stream::split(opened, &self.link))
            .map_err(|error| self.link.end_or(connection_error(error)))
    }

    async fn accept(&self) -> Result<Stream, ConnectionError> {
        let accepted = self
            .acceptor
            .lock()
            .await
            .accept_bidirectional_stream()
            .await;
        match accepted {
            Ok(Some(accepted)) => Ok(stream::split(accepted, &self.link)),
            // A clean or silent end: the reason is in the connection's state only.
            Ok(None) => Err(self.link.ended().await),
            Err(error) => Err(self.link.end_or(connection_error(error))),
        }
    }

    async fn closed(&self) -> ConnectionError {
        self.link.ended().await
    }

    fn close(&self, code: CloseCode) {
        self.link.close(code);
    }
}
