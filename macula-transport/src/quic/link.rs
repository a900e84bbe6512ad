//! What a connection and its streams share, and the table of all of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use macula_core::NodeId;
use s2n_quic::connection::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::application_error;
use super::subscriber::ConnectionState;
use crate::{CloseCode, ConnectionError, StreamError, Traffic};

/// One QUIC connection: held by the connection and by each of its streams, gone with the last.
pub(super) struct Link {
    handle: Handle,
    state: Arc<ConnectionState>,
    peer: NodeId,
    dialled_address: SocketAddr,
    number: u64,
    table: Weak<LinkTable>,
    late_resets: Arc<Semaphore>,
    send_buffer_bytes: usize,
}

/// Streams of a connection that wait with their reset until the peer has what was sent on them.
const MAX_LATE_RESETS: usize = 8;

impl Link {
    pub(super) fn peer(&self) -> NodeId {
        self.peer
    }

    /// Where the peer is now: it may have moved since the handshake.
    pub(super) fn remote_address(&self) -> SocketAddr {
        self.handle
            .remote_addr()
            .map_or(self.dialled_address, canonical)
    }

    pub(super) fn rtt(&self) -> Duration {
        self.state.rtt()
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.state.traffic()
    }

    /// A handle to open streams with. s2n-quic keeps a place in a queue for each that has ever
    /// waited.
    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub(super) async fn ended(&self) -> ConnectionError {
        self.state.ended().await
    }

    /// Leave for a stream to be reset later; `None` when too many wait for it already.
    pub(super) fn late_reset(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.late_resets).try_acquire_owned().ok()
    }

    /// How much each of its streams may hold of what was sent.
    pub(super) fn send_buffer_bytes(&self) -> usize {
        self.send_buffer_bytes
    }

    /// The reason of the end, or the given one if none is known yet.
    pub(super) fn end_or(&self, error: ConnectionError) -> ConnectionError {
        self.state.end().unwrap_or(error)
    }

    /// Lets an error of a stream that is due to the connection say what ended the connection.
    pub(super) fn stream_error(&self, error: StreamError) -> StreamError {
        match error {
            StreamError::Connection(error) => self.end_or(error).into(),
            other => other,
        }
    }

    /// Ends the connection; the first reason wins.
    pub(super) fn close(&self, code: CloseCode) {
        if self.state.set_end(ConnectionError::Closed(code)) {
            self.handle.close(application_error(code));
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            let mut links = table.lock();
            links.links.remove(&self.number);
            links.past += self.traffic();
        }
    }
}

/// Every open connection of a transport, so that closing it reaches all of them. Bounded by what
/// the layer above admits: a connection that it drops is gone from here.
pub(super) struct LinkTable {
    send_buffer_bytes: usize,
    links: Mutex<Links>,
}

struct Links {
    next_number: u64,
    links: BTreeMap<u64, Weak<Link>>,
    /// What went over connections that are gone.
    past: Traffic,
    /// Set once the transport is closed: what comes later is closed at once.
    closed: Option<CloseCode>,
}

impl LinkTable {
    /// Of connections whose streams may each hold so much of what was sent.
    pub(super) fn new(send_buffer_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            send_buffer_bytes,
            links: Mutex::new(Links {
                next_number: 0,
                links: BTreeMap::new(),
                past: Traffic::default(),
                closed: None,
            }),
        })
    }

    /// Takes a connection in. `None`, and the connection is closed, if its peer proved no identity
    /// or the table is closed.
    pub(super) fn admit(
        self: &Arc<Self>,
        handle: Handle,
        state: Arc<ConnectionState>,
    ) -> Option<Arc<Link>> {
        let (Some(peer), Ok(address)) = (state.peer(), handle.remote_addr()) else {
            handle.close(application_error(CloseCode::Malformed));
            return None;
        };
        let mut links = self.lock();
        if let Some(code) = links.closed {
            handle.close(application_error(code));
            return None;
        }
        let number = links.next_number;
        links.next_number += 1;
        let link = Arc::new(Link {
            handle,
            state,
            peer,
            dialled_address: canonical(address),
            number,
            table: Arc::downgrade(self),
            late_resets: Arc::new(Semaphore::new(MAX_LATE_RESETS)),
            send_buffer_bytes: self.send_buffer_bytes,
        });
        links.links.insert(number, Arc::downgrade(&link));
        Some(link)
    }

    /// Closes every connection, now and from now on.
    pub(super) fn close(&self, code: CloseCode) {
        let open: Vec<_> = {
            let mut links = self.lock();
            links.closed.get_or_insert(code);
            links.links.values().filter_map(Weak::upgrade).collect()
        };
        // Outside of the lock: the last owner's drop takes it.
        for link in open {
            link.close(code);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().links.len()
    }

    /// What went over all connections, past and present.
    pub(super) fn traffic(&self) -> Traffic {
        let (mut sum, open): (_, Vec<_>) = {
            let links = self.lock();
            let open = links.links.values().filter_map(Weak::upgrade);
            (links.past, open.collect())
        };
        // Outside of the lock: the last owner's drop takes it.
        for link in open {
            sum += link.traffic();
        }
        sum
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
