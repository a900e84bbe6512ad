//! The connections by peer, within a limit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use macula_core::{Contact, MAX_ADDRESSES, NodeId};
use tokio::time::Instant;

use super::calls::Stopped;
use super::dispatch::PeerLimits;
use super::link::{Greeted, Lease, Link};
use super::peer::{Peer, PeerConnection, Role};
use super::room::Room;
use super::stats::EndpointStats;
use super::trace::{self, Closing};
use super::use_order::UseOrder;
use crate::{CloseCode, Traffic};

/// All connections of an endpoint.
// Invariant: `by_use` holds the links of all entries, and no entry is empty.
pub(super) struct Pool {
    max_links: usize,
    limits: PeerLimits,
    room: Arc<Room>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    peers: BTreeMap<NodeId, Entry>,
    by_use: UseOrder<Arc<Link>>,
    /// Connections on their way.
    reserved: usize,
    /// What went over links that are gone, as far as the transport knows.
    past: Option<Traffic>,
    next_number: u64,
    closed: bool,
}

struct Entry {
    /// Newest last: it is the one that requests take.
    links: Vec<Arc<Link>>,
    /// Where we have reached the peer ourselves.
    proved: Vec<SocketAddr>,
    limits: Arc<PeerLimits>,
}

/// Room for one more connection.
pub(super) struct Slot {
    pool: Arc<Pool>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.state().reserved -= 1;
        self.pool.room.vacate();
    }
}

/// Every connection is in use, and there may be no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// A link that is no longer in the pool and has to be closed.
pub(super) struct Removed {
    pub(super) link: Arc<Link>,
    /// It was the last of its peer.
    pub(super) last: bool,
}

/// A link that is now in the pool.
pub(super) struct Inserted {
    pub(super) link: Arc<Link>,
    /// It is the only one of its peer.
    pub(super) first: bool,
    /// What had to leave because the peer has too many, and what to close it with.
    pub(super) displaced: Option<(Removed, CloseCode)>,
}

impl Pool {
    /// A pool of so many connections; each peer gets limits of its own like these.
    pub(super) fn new(max_links: usize, limits: PeerLimits) -> Arc<Self> {
        Arc::new(Self {
            max_links,
            limits,
            room: Arc::new(Room::new()),
            state: Mutex::default(),
        })
    }

    /// Where to wait for room.
    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Keeps room for a connection; the least recently used idle one makes it if need be.
    pub(super) fn reserve(self: &Arc<Self>) -> Result<(Slot, Option<Removed>), Full> {
        let mut state = self.state();
        let evicted = if state.by_use.len() + state.reserved < self.max_links {
            None
        } else {
            Some(state.evict().ok_or(Full)?)
        };
        state.reserved += 1;
        drop(state);
        let slot = Slot {
            pool: Arc::clone(self),
        };
        Ok((slot, evicted))
    }

    /// Puts a connection into the room kept for it; `None` after [`close`](Self::close).
    pub(super) fn insert(&self, slot: Slot, greeted: Greeted) -> Option<Inserted> {
        let node_id = greeted.connection.peer();
        let mut state = self.state();
        let inserted = (!state.closed).then(|| {
            state.next_number += 1;
            let number = state.next_number;
            let entry = state.peers.entry(node_id).or_insert_with(|| Entry {
                links: Vec::new(),
                proved: Vec::new(),
                limits: Arc::new(self.limits.anew()),
            });
            // Together with the connection: whoever finds it finds where the peer is.
            if let Some(address) = greeted.proved_address() {
                entry.prove(address);
            }
            let (limits, room) = (Arc::clone(&entry.limits), Arc::clone(&self.room));
            let link = Arc::new(Link::new(number, limits, room, greeted));
            entry.links.push(Arc::clone(&link));
            let first = entry.links.len() == 1;
            let now = Instant::now();
            state.by_use.insert(now, number, Arc::clone(&link));
            Inserted {
                link,
                first,
                displaced: state.displace(&node_id),
            }
        });
        drop(state);
        drop(slot);
        inserted
    }

    /// Takes a link out; `None` if it is out already.
    pub(super) fn remove(&self, link: &Link) -> Option<Removed> {
        let removed = self.state().remove(&link.node_id(), link.number);
        self.room.vacate();
        removed
    }

    /// Takes hold of the connection to a peer that requests take.
    pub(super) fn lease(&self, node_id: &NodeId) -> Option<Lease> {
        let state = self.state();
        let mut links = state.peers.get(node_id)?.links.iter().rev();
        links.find_map(|link| link.takes_requests().then(|| link.lease())?)
    }

    /// Whether a peer has said goodbye because it shuts down.
    pub(super) fn is_departing(&self, node_id: &NodeId) -> bool {
        let departing = Some(Stopped::Leaving(CloseCode::ShuttingDown));
        let state = self.state();
        let links = state.peers.get(node_id).map(|entry| &entry.links);
        links.is_some_and(|links| links.iter().any(|link| link.calls.stopped() == departing))
    }

    pub(super) fn is_connected(&self, node_id: &NodeId) -> bool {
        self.state().peers.contains_key(node_id)
    }

    /// Notes that we have reached a peer at an address; its contact if it is connected.
    pub(super) fn prove(&self, node_id: &NodeId, address: SocketAddr) -> Option<Contact> {
        let mut state = self.state();
        let entry = state.peers.get_mut(node_id)?;
        entry.prove(address);
        Some(Contact::new(*node_id, entry.proved.iter().copied()))
    }

    pub(super) fn has_proved(&self, node_id: &NodeId) -> bool {
        let state = self.state();
        state
            .peers
            .get(node_id)
            .is_some_and(|entry| !entry.proved.is_empty())
    }

    pub(super) fn peers(&self) -> Vec<Peer> {
        self.state()
            .peers
            .values()
            .filter_map(Entry::peer)
            .collect()
    }

    pub(super) fn peer(&self, node_id: &NodeId) -> Option<Peer> {
        self.state().peers.get(node_id)?.peer()
    }

    /// Every connection, by peer, oldest first.
    pub(super) fn connections(&self) -> Vec<PeerConnection> {
        let state = self.state();
        let links = state.peers.values().flat_map(|entry| &entry.links);
        links.map(|link| link.snapshot()).collect()
    }

    /// Writes down what there is, and what went over it.
    pub(super) fn count(&self, stats: &mut EndpointStats) {
        let state = self.state();
        stats.connections = state.by_use.len();
        stats.traffic = state.past;
        for link in state.peers.values().flat_map(|entry| &entry.links) {
            stats.connections_outbound += usize::from(link.outbound);
            stats.traffic = Traffic::sum(stats.traffic, link.connection.traffic());
        }
        stats.connections_inbound = stats.connections - stats.connections_outbound;
    }

    /// Closes everything and lets nothing in any more; the peers that were connected.
    pub(super) fn close(&self, code: CloseCode) -> Vec<NodeId> {
        let mut state = self.state();
        state.closed = true;
        state.by_use = UseOrder::default();
        let peers = std::mem::take(&mut state.peers);
        drop(state);
        for link in peers.values().flat_map(|entry| &entry.links) {
            link.close(code);
            trace::closed(link, Closing::Shutdown, code);
        }
        peers.into_keys().collect()
    }

    /// All connections.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        let state = self.state();
        let links = state.peers.values().flat_map(|entry| &entry.links);
        links.cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, node_id: &NodeId, number: u64) -> Option<Removed> {
        let entry = self.peers.get_mut(node_id)?;
        let place = entry.links.iter().position(|link| link.number == number)?;
        let link = entry.links.remove(place);
        link.retire();
        let last = entry.links.is_empty();
        if last {
            self.peers.remove(node_id);
        }
        self.by_use.remove(number);
        self.past = Traffic::sum(self.past, link.connection.traffic());
        Some(Removed { link, last })
    }

    /// Removes the least recently used of the idle links.
    fn evict(&mut self) -> Option<Removed> {
        // One that has been taken hold of in the meantime stays.
        let link = self.by_use.take_idle(
            Instant::now(),
            |link| link.idle_since(),
            |link| link.retire_if_idle(),
        )?;
        self.remove(&link.node_id(), link.number)
    }

    /// Removes one of a peer's links if it has too many: an idle one, or else the oldest.
    fn displace(&mut self, node_id: &NodeId) -> Option<(Removed, CloseCode)> {
        let entry = self.peers.get(node_id)?;
        if entry.links.len() <= MAX_LINKS_PER_PEER {
            return None;
        }
        let older = &entry.links[..entry.links.len() - 1];
        let idle = older.iter().find(|link| link.retire_if_idle());
        let (number, code) = match idle {
            Some(link) => (link.number, CloseCode::Idle),
            None => (older.first()?.number, CloseCode::Overloaded),
        };
        Some((self.remove(node_id, number)?, code))
    }
}

impl Entry {
    fn prove(&mut self, address: SocketAddr) {
        self.proved.retain(|known| *known != address);
        self.proved.insert(0, address);
        self.proved.truncate(MAX_ADDRESSES);
    }

    fn peer(&self) -> Option<Peer> {
        let link = self.links.last()?;
        let role = link.hello.role;
        let proved: &[SocketAddr] = match role {
            Role::Server => &self.proved,
            Role::Client => &[],
        };
        Some(Peer {
            node_id: link.node_id(),
            role,
            addresses: proved.iter().copied().collect(),
            rtt: link.connection.rtt(),
            outbound: link.outbound,
        })
    }
}

/// The most connections with one peer. Two come about when both dial at the same time, more when
/// a peer restarts and its old ones have not been found dead yet.
pub(super) const MAX_LINKS_PER_PEER: usize = 4;
