//! Takes connections from the listening sockets and keeps them for whoever accepts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use s2n_quic::Server;
use tokio::sync::{Mutex, mpsc};

use super::connection::QuicConnection;
use super::link::LinkTable;
use super::socket::Bound;
use crate::{CloseCode, Connection};

/// The queue of accepted connections, filled by one task per listening socket.
pub(super) struct AcceptQueue {
    /// An asynchronous lock, because a channel wakes only one waiter: the others queue here.
    accepted: Mutex<mpsc::Receiver<Arc<QuicConnection>>>,
    overflowed: Arc<AtomicU64>,
}

impl AcceptQueue {
    /// A queue of at most `backlog` connections, and the end that fills it.
    pub(super) fn new(backlog: usize, table: Arc<LinkTable>) -> (Self, Acceptor) {
        let (queue, accepted) = mpsc::channel(backlog);
        let overflowed = Arc::new(AtomicU64::new(0));
        let acceptor = Acceptor {
            queue,
            table,
            overflowed: Arc::clone(&overflowed),
        };
        let accepted = Mutex::new(accepted);
        (
            Self {
                accepted,
                overflowed,
            },
            acceptor,
        )
    }

    /// The next connection; `None` once no socket listens.
    pub(super) async fn next(&self) -> Option<Arc<dyn Connection>> {
        let next = self.accepted.lock().await.recv().await?;
        Some(next)
    }

    /// How many connections were closed because the queue was full.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }
}

/// What a listening socket's task needs.
#[derive(Clone)]
pub(super) struct Acceptor {
    queue: mpsc::Sender<Arc<QuicConnection>>,
    table: Arc<LinkTable>,
    overflowed: Arc<AtomicU64>,
}

impl Acceptor {
    /// Runs until the socket ends or the task is aborted.
    pub(super) async fn run(self, mut listener: Bound<Server>) {
        while let Some(server) = listener.get_mut() {
            match server.accept().await {
                Some(connection) => self.take(connection),
                None => return,
            }
        }
    }

    fn take(&self, connection: s2n_quic::Connection) {
        let Some(connection) = QuicConnection::start(connection, &self.table) else {
            return;
        };
        tracing::debug!(peer = %connection.peer().short(), address = %connection.remote_address(), "accepted a connection");
        if let Err(refused) = self.queue.try_send(connection) {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            let connection = refused.into_inner();
            tracing::debug!(peer = %connection.peer().short(), "nobody takes accepted connections: closing one as overloaded");
            connection.close(CloseCode::Overloaded);
        }
    }
}
