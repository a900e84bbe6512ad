//! A node's place in the network.

use std::collections::VecDeque;
use std::fmt;
use std::future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use macula_core::{DialTarget, HostPort, NodeId};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::MemoryNetwork;
use super::connection::{End, MemoryConnection};
use crate::{CloseCode, Connection, ConnectionError, DialError, Transport, TransportStats};

/// What the network knows of a node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) address: SocketAddr,
    bound: Vec<SocketAddr>,
    inbox: watch::Sender<Inbox>,
    ends: Mutex<Vec<Weak<End>>>,
}

/// Connections that nobody has accepted yet.
#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<Arc<End>>,
    /// How many found too many waiting.
    overflowed: u64,
    closed: bool,
}

impl Node {
    pub(super) fn new(id: NodeId, address: SocketAddr, bound: Vec<SocketAddr>) -> Self {
        Self {
            id,
            address,
            bound,
            inbox: watch::Sender::default(),
            ends: Mutex::default(),
        }
    }

    pub(super) fn listens(&self) -> bool {
        !self.bound.is_empty() && !self.is_closed()
    }

    fn is_closed(&self) -> bool {
        self.inbox.borrow().closed
    }

    /// Ends every connection without a reason.
    pub(super) fn lose_everything(&self) {
        self.end_all(ConnectionError::Lost, ConnectionError::Lost);
    }

    fn end_all(&self, here: ConnectionError, there: ConnectionError) {
        let mut unaccepted = VecDeque::new();
        self.inbox.send_modify(|inbox| {
            inbox.closed = true;
            unaccepted = std::mem::take(&mut inbox.waiting);
        });
        let ends = std::mem::take(&mut *self.ends());
        for end in ends.iter().filter_map(Weak::upgrade) {
            end.end_both(here, there);
        }
    }

    /// Takes a connection in; fails when too many wait, or after closing.
    fn deliver(&self, end: &Arc<End>) -> Result<(), DialError> {
        let mut outcome = Ok(());
        self.inbox.send_if_modified(|inbox| {
            if inbox.closed {
                outcome = Err(DialError::Unreachable);
            } else if inbox.waiting.len() == BACKLOG {
                inbox.overflowed += 1;
                outcome = Err(DialError::Refused(CloseCode::Overloaded));
            } else {
                inbox.waiting.push_back(Arc::clone(end));
            }
            outcome.is_ok()
        });
        outcome?;
        self.remember(end);
        Ok(())
    }

    fn remember(&self, end: &Arc<End>) {
        let mut ends = self.ends();
        ends.retain(|end| end.strong_count() > 0);
        ends.push(Arc::downgrade(end));
    }

    fn stats(&self) -> TransportStats {
        let held = |end: &&Weak<End>| end.strong_count() > 0;
        TransportStats {
            connections: self.ends().iter().filter(held).count(),
            overflowed: self.inbox.borrow().overflowed,
            ..TransportStats::default()
        }
    }

    fn ends(&self) -> MutexGuard<'_, Vec<Weak<End>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's place in a [`MemoryNetwork`]. Dropping it loses its connections.
pub struct MemoryTransport {
    node: Arc<Node>,
    network: Arc<MemoryNetwork>,
}

impl MemoryTransport {
    pub(super) fn new(node: Arc<Node>, network: Arc<MemoryNetwork>) -> Self {
        Self { node, network }
    }

    /// The virtual address of this node's host and port, also when it is bound to any IP.
    pub fn virtual_address(&self) -> SocketAddr {
        self.node.address
    }

    async fn reach(
        &self,
        expected: Option<NodeId>,
        addresses: &[SocketAddr],
    ) -> Result<Arc<dyn Connection>, DialError> {
        let latency = self.network.draw_latency() + self.network.draw_latency();
        sleep(latency).await;
        let mut mismatch = None;
        for address in addresses {
            let Some(listener) = self.network.listener(*address) else {
                continue;
            };
            if self.network.cut_since(self.node.id, listener.id).is_some() {
                continue;
            }
            match expected {
                Some(expected) if expected != listener.id => {
                    mismatch = Some(DialError::WrongIdentity {
                        expected,
                        address: *address,
                    });
                }
                _ => return self.connect(&listener, *address),
            }
        }
        match mismatch {
            Some(error) => Err(error),
            // Like packets to nowhere: nobody says that nobody is there.
            None => future::pending().await,
        }
    }

    fn connect(
        &self,
        listener: &Arc<Node>,
        address: SocketAddr,
    ) -> Result<Arc<dyn Connection>, DialError> {
        if self.node.is_closed() {
            return Err(DialError::Closed);
        }
        if self.network.is_refusing(listener.id) {
            return Err(DialError::Unreachable);
        }
        let (near, far) = End::pair(
            &self.network,
            (self.node.id, self.node.address),
            (listener.id, address),
        );
        listener.deliver(&far)?;
        self.node.remember(&near);
        Ok(Arc::new(MemoryConnection(near)))
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    fn node_id(&self) -> NodeId {
        self.node.id
    }

    async fn dial(&self, target: &DialTarget) -> Result<Arc<dyn Connection>, DialError> {
        if self.node.is_closed() {
            return Err(DialError::Closed);
        }
        let (expected, hosts) = match target {
            DialTarget::Pinned { node_id, hosts } => (Some(*node_id), hosts.as_slice()),
            DialTarget::FirstUse { host } => (None, std::slice::from_ref(host)),
        };
        let addresses = resolve(hosts)?;
        timeout(
            MemoryNetwork::HANDSHAKE_TIMEOUT,
            self.reach(expected, &addresses),
        )
        .await
        .map_err(|_| DialError::Timeout(MemoryNetwork::HANDSHAKE_TIMEOUT))?
    }

    async fn accept(&self) -> Option<Arc<dyn Connection>> {
        let mut inbox = self.node.inbox.subscribe();
        loop {
            let mut next = None;
            let mut closed = false;
            self.node.inbox.send_if_modified(|inbox| {
                next = inbox.waiting.pop_front();
                closed = inbox.closed;
                false
            });
            if let Some(end) = next {
                return Some(Arc::new(MemoryConnection(end)));
            }
            if closed || inbox.changed().await.is_err() {
                return None;
            }
        }
    }

    fn local_addresses(&self) -> Vec<SocketAddr> {
        self.node.bound.clone()
    }

    fn stats(&self) -> Option<TransportStats> {
        Some(self.node.stats())
    }

    async fn close(&self, code: CloseCode) {
        self.network.detach(&self.node);
        self.node.end_all(
            ConnectionError::Closed(code),
            ConnectionError::ClosedByPeer(code),
        );
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.network.detach(&self.node);
        self.node.lose_everything();
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport")
            .field("node", &self.node.id)
            .field("address", &self.node.address)
            .finish_non_exhaustive()
    }
}

/// Names mean nothing here: only IP addresses resolve.
fn resolve(hosts: &[HostPort]) -> Result<Vec<SocketAddr>, DialError> {
    let addresses: Vec<_> = hosts
        .iter()
        .filter_map(|host| {
            Some(SocketAddr::new(
                host.host.parse::<IpAddr>().ok()?,
                host.port,
            ))
        })
        .collect();
    match hosts.first() {
        None => Err(DialError::NoAddress),
        Some(first) if addresses.is_empty() => Err(DialError::Unresolvable {
            host: first.host.clone(),
        }),
        Some(_) => Ok(addresses),
    }
}

/// The most connections that wait to be accepted.
const BACKLOG: usize = 1024;
