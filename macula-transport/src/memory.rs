//! Many nodes in one process: every byte goes through chunks, latency is seeded, and faults come
//! on command.
//!
//! Nothing here spawns a task: a chunk carries the instant at which it is due, and whoever receives
//! waits for it. So a network runs on tokio's paused clock, on several runtimes at once, or both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use macula_core::{NodeId, SecretKey};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::time::Instant;

mod connection;
mod node;
mod pipe;
mod stream;

pub use node::MemoryTransport;

use node::Node;

/// A network inside one process.
///
/// Nodes get virtual addresses of their own in 127.0.0.0/8 that mean nothing outside of it.
#[derive(Debug)]
pub struct MemoryNetwork {
    state: Mutex<State>,
    /// Changes whenever a partition comes or goes.
    topology: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    latency: RangeInclusive<Duration>,
    hosts: u32,
    nodes: BTreeMap<SocketAddr, Weak<Node>>,
    /// Pairs, the lesser id first, that have been cut off from each other since an instant.
    cut: BTreeMap<(NodeId, NodeId), Instant>,
    refusing: BTreeSet<NodeId>,
}

impl MemoryNetwork {
    /// How long a connection survives without hearing from the other end.
    pub const SILENCE_LIMIT: Duration = Duration::from_secs(30);

    /// How long a dial waits for somebody to answer.
    pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

    /// A network without nodes, without latency, without faults. The seed decides every delay.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                rng: StdRng::seed_from_u64(seed),
                latency: Duration::ZERO..=Duration::ZERO,
                hosts: 0,
                nodes: BTreeMap::new(),
                cut: BTreeMap::new(),
                refusing: BTreeSet::new(),
            }),
            topology: watch::Sender::new(0),
        })
    }

    /// A node that listens at a virtual address of its own.
    pub fn transport(self: &Arc<Self>, secret_key: &SecretKey) -> Arc<MemoryTransport> {
        self.attach(secret_key.node_id(), |address| vec![address])
    }

    /// A node that listens at every IP of its host, and so does not know where it is reached.
    pub fn transport_at_any(self: &Arc<Self>, secret_key: &SecretKey) -> Arc<MemoryTransport> {
        self.attach(secret_key.node_id(), |address| {
            vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))]
        })
    }

    /// A node that cannot be dialled.
    pub fn dial_only(self: &Arc<Self>, secret_key: &SecretKey) -> Arc<MemoryTransport> {
        self.attach(secret_key.node_id(), |_| Vec::new())
    }

    fn attach(
        self: &Arc<Self>,
        node_id: NodeId,
        bind: impl FnOnce(SocketAddr) -> Vec<SocketAddr>,
    ) -> Arc<MemoryTransport> {
        let mut state = self.state();
        state.hosts += 1;
        let [_, a, b, c] = state.hosts.to_be_bytes();
        let address = SocketAddr::from((Ipv4Addr::new(127, a | FIRST_HOST, b, c), PORT));
        let node = Arc::new(Node::new(node_id, address, bind(address)));
        state.nodes.insert(address, Arc::downgrade(&node));
        drop(state);
        Arc::new(MemoryTransport::new(node, Arc::clone(self)))
    }

    /// Sets how long a chunk is under way, one way; each draws anew.
    pub fn set_latency(&self, one_way: RangeInclusive<Duration>) {
        self.state().latency = one_way;
    }

    /// Cuts every node of `a` off from every node of `b`: what is under way waits for
    /// [`heal`](Self::heal), dials go unanswered, and a connection that stays silent for
    /// [`SILENCE_LIMIT`](Self::SILENCE_LIMIT) is given up by both ends.
    pub fn partition(&self, a: &[NodeId], b: &[NodeId]) {
        let now = Instant::now();
        let mut state = self.state();
        for left in a {
            for right in b {
                state.cut.entry(pair(*left, *right)).or_insert(now);
            }
        }
        drop(state);
        self.topology.send_modify(|version| *version += 1);
    }

    /// Ends every partition.
    pub fn heal(&self) {
        self.state().cut.clear();
        self.topology.send_modify(|version| *version += 1);
    }

    /// Lets dials to a node fail at once, until [`admit`](Self::admit).
    pub fn refuse(&self, node: NodeId) {
        self.state().refusing.insert(node);
    }

    /// Ends a [`refuse`](Self::refuse).
    pub fn admit(&self, node: NodeId) {
        self.state().refusing.remove(&node);
    }

    /// Ends a node as if its process had been killed: nobody is told why, its connections are lost
    /// and its address is dead.
    pub fn kill(&self, node: NodeId) {
        let victims: Vec<_> = self
            .state()
            .nodes
            .values()
            .filter_map(Weak::upgrade)
            .filter(|candidate| candidate.id == node)
            .collect();
        for victim in victims {
            self.detach(&victim);
            victim.lose_everything();
        }
    }

    fn detach(&self, node: &Node) {
        self.state().nodes.remove(&node.address);
    }

    /// The node that listens at an address.
    fn listener(&self, address: SocketAddr) -> Option<Arc<Node>> {
        let node = self.state().nodes.get(&address)?.upgrade()?;
        node.listens().then_some(node)
    }

    fn is_refusing(&self, node: NodeId) -> bool {
        self.state().refusing.contains(&node)
    }

    fn draw_latency(&self) -> Duration {
        let mut state = self.state();
        let range = state.latency.clone();
        if range.is_empty() || range.start() == range.end() {
            return *range.start();
        }
        state.rng.random_range(range)
    }

    /// What a round trip takes on average.
    fn mean_rtt(&self) -> Duration {
        let state = self.state();
        *state.latency.start() + *state.latency.end()
    }

    /// Since when two nodes have been cut off from each other.
    fn cut_since(&self, a: NodeId, b: NodeId) -> Option<Instant> {
        self.state().cut.get(&pair(a, b)).copied()
    }

    fn topology(&self) -> watch::Receiver<u64> {
        self.topology.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    if a < b { (a, b) } else { (b, a) }
}

/// Keeps virtual hosts apart from what a host really uses of 127.0.0.0/8.
const FIRST_HOST: u8 = 64;

/// Every virtual host listens at this port.
const PORT: u16 = 4433;
