//! What all parts of an endpoint share.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use macula_core::NodeId;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinSet;

use super::config::EndpointConfig;
use super::dial::Dials;
use super::dispatch::{Dispatch, PeerLimits};
use super::hello::{Hello, Purpose, Versions};
use super::hellos::Hellos;
use super::inbound::Inbound;
use super::lane::{self, Lane};
use super::link::{Greeted, Lease, Link, Sharing};
use super::own_address::OwnAddresses;
use super::pace::Pace;
use super::peer::{Peer, PeerEvent, Role};
use super::pool::{Full, Inserted, Pool, Removed, Slot};
use super::probe::Probes;
use super::stats::Counters;
use super::trace::{self, Closing};
use super::turns::Turn;
use super::{accept, goodbye, liveness, probe, serve};
use crate::{CloseCode, ConnectionError, NodeRuntime, Stream, Transport};

/// One node's endpoint. Its handles own it; its tasks hold it weakly, so that dropping the last
/// handle ends them.
pub(super) struct Node {
    pub(super) runtime: NodeRuntime,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) config: EndpointConfig,
    pub(super) pool: Arc<Pool>,
    pub(super) dials: Dials,
    pub(super) pace: Arc<Pace>,
    pub(super) hellos: Arc<Hellos>,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) own_addresses: OwnAddresses,
    pub(super) probes: Probes,
    pub(super) counters: Arc<Counters>,
    pub(super) events: broadcast::Sender<PeerEvent>,
    /// How many more connections may be taken leave of: as many as may be in use, so that all that
    /// grow idle together can.
    farewells: Arc<Semaphore>,
    /// Turns true when the endpoint shuts down, and ends when it is dropped.
    closing: watch::Sender<bool>,
    /// Peers are let in.
    accepts: AtomicBool,
}

impl Node {
    /// Builds it; the config has been checked. Nobody is let in yet.
    pub(super) fn new(
        runtime: NodeRuntime,
        transport: Arc<dyn Transport>,
        config: EndpointConfig,
    ) -> Arc<Self> {
        let seed = config.seed.unwrap_or_else(|| seed_of(&transport.node_id()));
        let own_addresses = match config.role {
            Role::Server => {
                OwnAddresses::new(config.advertise.clone(), &transport.local_addresses())
            }
            Role::Client => OwnAddresses::none(),
        };
        let max_connections = config.max_connections.get();
        let events = broadcast::Sender::new(EVENT_BACKLOG);
        let (limits, sharing) = (PeerLimits::new(&config), Sharing::new(&config));
        Arc::new(Self {
            pool: Pool::new(max_connections, limits, sharing, events.clone()),
            dials: Dials::new(StdRng::seed_from_u64(seed)),
            pace: Arc::new(Pace::new(config.max_handshakes)),
            hellos: Arc::default(),
            dispatch: Arc::new(Dispatch::new(&config)),
            farewells: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
            own_addresses,
            probes: Probes::new(),
            counters: Arc::default(),
            events,
            closing: watch::Sender::new(false),
            accepts: AtomicBool::new(false),
            runtime,
            transport,
            config,
        })
    }

    pub(super) fn begin_accepting(self: &Arc<Self>) {
        if !self.accepts.swap(true, Ordering::Relaxed) {
            accept::start(self);
        }
    }

    /// Runs a part of the endpoint until it is done or the endpoint ends.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut closing = self.closing.subscribe();
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => {}
                () = work => {}
            }
        });
    }

    /// Runs what ends by itself with a connection.
    pub(super) fn spawn_on_link(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// Starts a lane of our own. It ends by itself with its connection.
    pub(super) fn start_lane(&self, link: &Arc<Link>, lane: Arc<Lane>, turn: Option<Turn>) {
        let inbound = Inbound::new(self, link);
        self.spawn_on_link(lane::opened(lane, inbound, turn));
    }

    /// Takes in a lane of the peer's. It ends by itself with its connection, which is not idle until
    /// what has opened the lane is read.
    pub(super) fn take_lane(&self, stream: Stream, inbound: Arc<Inbound>) {
        let lease = inbound.link.lease();
        let mut lane = Box::pin(lane::accepted(stream, inbound));
        self.spawn_on_link(async move {
            let begun = poll_fn(|cx| Poll::Ready(lane.as_mut().poll(cx))).await;
            drop(lease);
            if begun.is_pending() {
                lane.await;
            }
        });
    }

    pub(super) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// What this node says of itself to whom it has dialled at an address, or answers.
    pub(super) fn hello(&self, dialled: Option<SocketAddr>, purpose: Purpose) -> Hello {
        let listening = match self.config.role {
            Role::Client => Vec::new(),
            Role::Server => {
                let advertised = self.config.advertise.iter().copied();
                advertised.chain(self.transport.local_addresses()).collect()
            }
        };
        Hello {
            versions: Versions::OWN,
            realm: self.config.realm.clone(),
            role: self.config.role,
            listening: listening.into_iter().collect(),
            capabilities: 0,
            dialled,
            purpose,
        }
    }

    /// Keeps room for a connection, closing an idle one if need be.
    pub(super) fn reserve(&self) -> Result<Slot, Full> {
        let (slot, evicted) = self.pool.reserve()?;
        if let Some(evicted) = evicted {
            self.counters.evictions.add();
            self.leave(evicted, Closing::Evicted);
        }
        Ok(slot)
    }

    /// Takes a connection into use, in whichever direction it came about.
    pub(super) fn attach(self: &Arc<Self>, slot: Slot, greeted: Greeted) -> Option<Lease> {
        let peer = greeted.connection.peer();
        let was_connected = self.pool.is_connected(&peer);
        let connection = Arc::clone(&greeted.connection);
        let Some(inserted) = self.pool.insert(slot, greeted) else {
            connection.close(CloseCode::ShuttingDown);
            return None;
        };
        let Inserted {
            link,
            lease,
            displaced,
        } = inserted;
        trace::opened(&link);
        if let Some((displaced, code)) = displaced {
            self.counters.displaced.add();
            match code {
                CloseCode::Idle => self.leave(displaced, Closing::Displaced),
                code => close_link(&displaced, Closing::Displaced, code),
            }
        }
        self.dials.arrived(&peer);
        if !link.outbound {
            self.learn_from(&link, was_connected);
        }
        serve::start(self, &link);
        liveness::start(self, &link);
        self.say_goodbye_late(&link);
        lease
    }

    /// Says goodbye on a connection that has come about during a drain. A drain that begins now may
    /// say it as well, which is heard as one.
    fn say_goodbye_late(&self, link: &Arc<Link>) {
        // After the connection is in the pool, so that a drain either is seen or finds it there.
        if self.dispatch.is_draining() {
            let link = Arc::clone(link);
            let dispatch = Arc::clone(&self.dispatch);
            let code = CloseCode::ShuttingDown;
            self.spawn_on_link(async move { goodbye::say(&link, code, dispatch.idle()).await });
        }
    }

    /// A peer has dialled us: where it did so may be our address, and where it listens be its.
    fn learn_from(self: &Arc<Self>, link: &Arc<Link>, was_connected: bool) {
        if was_connected && let Some(dialled) = link.hello.dialled {
            self.own_addresses.confirm(link.node_id(), dialled);
        }
        probe::consider(self, link);
    }

    /// Takes a connection that has grown idle out of use.
    pub(super) fn retire(&self, link: &Link) {
        if let Some(removed) = self.pool.remove(link) {
            self.leave(removed, Closing::Released);
        }
    }

    /// Tells all peers that this node takes no more requests; done once all have what they wait for.
    pub(super) fn say_goodbye(&self, code: CloseCode) -> JoinSet<()> {
        let mut farewells = JoinSet::new();
        for link in self.pool.links() {
            let dispatch = Arc::clone(&self.dispatch);
            let saying = async move { goodbye::say(&link, code, dispatch.idle()).await };
            farewells.spawn_on(saying, self.runtime.handle());
        }
        farewells
    }

    /// A connection has ended.
    pub(super) fn ended(&self, link: &Link, error: ConnectionError) {
        // Out of the pool first, and counted: whoever hears of it there finds it so.
        if self.pool.remove_ended(link, error).is_some() {
            self.counters.ended.add();
            trace::ended(link, error);
        }
        link.end(error);
    }

    /// A peer has left requests and pings unanswered: only that connection is given up.
    pub(super) fn unresponsive(&self, link: &Link) {
        self.counters.unresponsive_closed.add();
        trace::unresponsive(link);
        let code = CloseCode::Unresponsive;
        match self.pool.remove_dead(link) {
            Some(removed) => close_link(&removed, Closing::Unresponsive, code),
            None => link.close(code),
        }
    }

    /// Closes a connection that nobody uses in good order.
    fn leave(&self, removed: Removed, why: Closing) {
        let code = CloseCode::Idle;
        let Ok(turn) = Arc::clone(&self.farewells).try_acquire_owned() else {
            self.counters.closed_abruptly.add();
            return close_link(&removed, why, code);
        };
        trace::closed(&removed.link, why, code);
        let pool = Arc::downgrade(&self.pool);
        // Not cut short by the end of the node: nobody else closes this connection.
        self.spawn_on_link(async move {
            goodbye::leave(Arc::clone(&removed.link), code).await;
            drop(turn);
            if let Some(pool) = pool.upgrade() {
                pool.count_rest(&removed);
            }
        });
    }

    pub(super) fn peer(&self, node_id: &NodeId) -> Option<Peer> {
        self.pool.peer(node_id)
    }

    /// Ends all tasks and connections.
    pub(super) async fn close(&self, code: CloseCode) {
        // Connections first: the tasks that end now would reset their streams, and peers would not
        // hear the same reason on all.
        self.pool.close(code);
        self.closing.send_replace(true);
        self.dispatch.clear();
        self.transport.close(code).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.pool.close(CloseCode::Done);
        self.dispatch.clear();
        let transport = Arc::clone(&self.transport);
        let runtime = self.runtime.clone();
        // The task keeps the runtime until the sockets are closed; on one that has ended already
        // it is dropped, and the transport with it.
        self.runtime.spawn(async move {
            transport.close(CloseCode::Done).await;
            drop(runtime);
        });
    }
}

fn close_link(removed: &Removed, why: Closing, code: CloseCode) {
    removed.link.close(code);
    trace::closed(&removed.link, why, code);
}

/// Jitter that differs from node to node needs no entropy.
fn seed_of(node_id: &NodeId) -> u64 {
    node_id
        .as_bytes()
        .chunks_exact(8)
        .filter_map(|chunk| chunk.try_into().ok())
        .fold(0, |seed, chunk| seed ^ u64::from_be_bytes(chunk))
}

/// How many events a slow listener can lag behind before it loses some.
const EVENT_BACKLOG: usize = 1024;
