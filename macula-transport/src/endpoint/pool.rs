//! The connections by peer, within a limit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use macula_core::{Contact, MAX_ADDRESSES, NodeId};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::calls::Stopped;
use super::dispatch::PeerLimits;
use super::link::{Greeted, Lease, Link, Sharing};
use super::peer::{Peer, PeerConnection, PeerEvent, Role};
use super::room::Room;
use super::stats::EndpointStats;
use super::trace::{self, Closing};
use super::use_order::UseOrder;
use crate::{CloseCode, ConnectionError, Traffic};

/// All connections of an endpoint.
// Invariant: `by_use` holds the links of all entries, and no entry is empty.
pub(super) struct Pool {
    max_links: usize,
    limits: PeerLimits,
    sharing: Sharing,
    room: Arc<Room>,
    state: Mutex<State>,
}

struct State {
    peers: BTreeMap<NodeId, Entry>,
    by_use: UseOrder<Arc<Link>>,
    /// Connections on their way.
    reserved: usize,
    /// What went over links that are gone, as far as the transport knows.
    past: Option<Traffic>,
    next_number: u64,
    closed: bool,
    /// Told while the state is locked, so that events come in the order of what they tell.
    events: broadcast::Sender<PeerEvent>,
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
    /// What went over it by then.
    traffic: Option<Traffic>,
}

/// A link that is now in the pool.
pub(super) struct Inserted {
    pub(super) link: Arc<Link>,
    /// Taken before anybody could find it idle.
    pub(super) lease: Option<Lease>,
    /// What had to leave because the peer has too many, and what to close it with.
    pub(super) displaced: Option<(Removed, CloseCode)>,
}

impl Pool {
    /// A pool of so many connections, which tells their events; each peer gets limits of its own like
    /// these.
    pub(super) fn new(
        max_links: usize,
        limits: PeerLimits,
        sharing: Sharing,
        events: broadcast::Sender<PeerEvent>,
    ) -> Arc<Self> {
        Arc::new(Self {
            max_links,
            limits,
            sharing,
            room: Arc::new(Room::new()),
            state: Mutex::new(State::new(events)),
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
        let inserted = self.state().insert(self, greeted);
        drop(slot);
        inserted
    }

    /// Takes a link out; `None` if it is out already.
    pub(super) fn remove(&self, link: &Link) -> Option<Removed> {
        let removed = self.state().remove(&link.node_id(), link.number);
        self.room.vacate();
        removed
    }

    /// The same for one whose peer is taken for dead.
    pub(super) fn remove_dead(&self, link: &Link) -> Option<Removed> {
        let removed = self.state().remove_dead(link);
        self.room.vacate();
        removed
    }

    /// The same for one that has ended by itself.
    pub(super) fn remove_ended(&self, link: &Link, error: ConnectionError) -> Option<Removed> {
        let removed = self.state().remove_ended(link, error);
        self.room.vacate();
        removed
    }

    /// Counts what went over a link since it was removed.
    pub(super) fn count_rest(&self, removed: &Removed) {
        let now = removed.link.connection.traffic();
        if let (Some(now), Some(before)) = (now, removed.traffic) {
            let mut state = self.state();
            state.past = Traffic::sum(state.past, Some(now.since(before)));
        }
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

    /// Notes that we have reached a peer at an address, if it is connected.
    pub(super) fn prove(&self, node_id: &NodeId, address: SocketAddr) {
        self.state().prove(node_id, address);
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
            stats.outbound_in_flight += link.calls.in_flight();
            stats.traffic = Traffic::sum(stats.traffic, link.connection.traffic());
        }
        stats.connections_inbound = stats.connections - stats.connections_outbound;
    }

    /// Closes everything and lets nothing in any more.
    pub(super) fn close(&self, code: CloseCode) {
        let mut state = self.state();
        state.closed = true;
        state.by_use = UseOrder::default();
        let peers = std::mem::take(&mut state.peers);
        for (node_id, entry) in &peers {
            for link in &entry.links {
                state.past = Traffic::sum(state.past, link.connection.traffic());
            }
            state.emit(PeerEvent::Disconnected(*node_id));
        }
        drop(state);
        for link in peers.values().flat_map(|entry| &entry.links) {
            link.close(code);
            trace::closed(link, Closing::Shutdown, code);
        }
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
    fn new(events: broadcast::Sender<PeerEvent>) -> Self {
        Self {
            peers: BTreeMap::new(),
            by_use: UseOrder::default(),
            reserved: 0,
            past: None,
            next_number: 0,
            closed: false,
            events,
        }
    }

    fn insert(&mut self, pool: &Pool, greeted: Greeted) -> Option<Inserted> {
        if self.closed {
            return None;
        }
        let node_id = greeted.connection.peer();
        let proved = greeted.proved_address();
        self.next_number += 1;
        let number = self.next_number;
        let entry = self.peers.entry(node_id).or_insert_with(|| Entry {
            links: Vec::new(),
            proved: Vec::new(),
            limits: Arc::new(pool.limits.anew()),
        });
        let (limits, room) = (Arc::clone(&entry.limits), Arc::clone(&pool.room));
        let link = Arc::new(Link::new(number, limits, room, pool.sharing, greeted));
        let lease = link.lease();
        entry.links.push(Arc::clone(&link));
        self.by_use
            .insert(Instant::now(), number, Arc::clone(&link));
        self.announce(&node_id, proved);
        let displaced = self.displace(&node_id);
        Some(Inserted {
            link,
            lease,
            displaced,
        })
    }

    /// Tells of a peer's new connection, and where it has reached the peer.
    fn announce(&mut self, node_id: &NodeId, proved: Option<SocketAddr>) {
        let Some(entry) = self.peers.get_mut(node_id) else {
            return;
        };
        // Before it is told: whoever hears of the peer finds where it is.
        proved.into_iter().for_each(|address| entry.prove(address));
        let first = entry.links.len() == 1;
        let (peer, contact) = (entry.peer(), entry.contact(*node_id));
        if let Some(peer) = peer.filter(|_| first) {
            self.emit(PeerEvent::Connected(peer));
        }
        if proved.is_some() {
            self.emit(PeerEvent::Reached(contact));
        }
    }

    fn prove(&mut self, node_id: &NodeId, address: SocketAddr) {
        if let Some(entry) = self.peers.get_mut(node_id) {
            entry.prove(address);
            let contact = entry.contact(*node_id);
            self.emit(PeerEvent::Reached(contact));
        }
    }

    fn remove_ended(&mut self, link: &Link, error: ConnectionError) -> Option<Removed> {
        let node_id = link.node_id();
        let removed = self.remove(&node_id, link.number)?;
        let departs = error == ConnectionError::ClosedByPeer(CloseCode::ShuttingDown);
        if departs && !self.peers.contains_key(&node_id) {
            self.emit(PeerEvent::Departed(node_id));
        }
        Some(removed)
    }

    fn remove_dead(&mut self, link: &Link) -> Option<Removed> {
        let node_id = link.node_id();
        let removed = self.remove(&node_id, link.number)?;
        if !self.peers.contains_key(&node_id) {
            self.emit(PeerEvent::Lost(node_id));
        }
        Some(removed)
    }

    fn emit(&self, event: PeerEvent) {
        // Nobody may be listening, which is fine.
        let _ = self.events.send(event);
    }

    fn remove(&mut self, node_id: &NodeId, number: u64) -> Option<Removed> {
        let entry = self.peers.get_mut(node_id)?;
        let place = entry.links.iter().position(|link| link.number == number)?;
        let link = entry.links.remove(place);
        link.retire();
        if entry.links.is_empty() {
            self.peers.remove(node_id);
            self.emit(PeerEvent::Disconnected(*node_id));
        }
        self.by_use.remove(number);
        let traffic = link.connection.traffic();
        self.past = Traffic::sum(self.past, traffic);
        Some(Removed { link, traffic })
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

    fn contact(&self, node_id: NodeId) -> Contact {
        Contact::new(node_id, self.proved.iter().copied())
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
