//! Many machines, the links between them, and virtual time.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use macula_core::{Contact, DialTarget, Key, NodeId, SecretKey, Timestamp};
use macula_dht::kad::{
    KadConfig, KadStats, Kademlia, OperationId, OperationResult, PlacedContact, Search,
};
use macula_dht::message::{LiveRecord, LiveWithdrawal};
use rand::SeedableRng;
use rand::rngs::StdRng;

mod config;
mod links;
mod node;

mod lies;
mod play;
mod sessions;
mod synthetic;

pub use config::NetworkConfig;
pub use links::Connections;

use crate::checker::{Checker, Deadlines};
use crate::event::{Purpose, Queue};
use crate::identity;
use crate::population::Role;
use crate::trace::Trace;
use crate::{Churn, Faults, Population, Sent, SimError, Traffic};
use links::Links;
use node::Node;

/// A network of Kademlia nodes.
///
/// Nodes get to know each other when they connect, before the first request; whoever is connected
/// to dials back at once, as it were: the probe is not played. Whatever is lost or sent to the dead is never heard of again; the machines find
/// out by their own timeouts.
pub struct Network {
    seed: u64,
    epoch: Instant,
    now: Duration,
    kad: KadConfig,
    population: Population,
    churn: Option<Churn>,
    /// In the order in which they came; a node that comes back has its old place.
    nodes: Vec<Node>,
    liars: Vec<usize>,
    /// Who has left since the owner last asked.
    departed: Vec<usize>,
    queue: Queue,
    rng: StdRng,
    links: Links,
    checker: Checker,
    deadlines: Deadlines,
    trace: Trace,
    traffic: Traffic,
    outcomes: Vec<Outcome>,
    events: u64,
    max_events: u64,
}

/// An operation of a node that is over.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whose.
    pub node: usize,
    /// Which.
    pub operation: OperationId,
    /// What it came to.
    pub result: OperationResult,
    /// When, in virtual time.
    pub at: Duration,
}

impl Network {
    /// Makes the nodes; none knows another yet.
    ///
    /// # Errors
    /// [`SimError`] when the settings make no sense.
    pub fn new(config: &NetworkConfig) -> Result<Self, SimError> {
        config.check()?;
        let mut network = Self {
            seed: config.seed,
            epoch: epoch(),
            now: Duration::ZERO,
            kad: config.kad.clone(),
            population: config.population,
            churn: None,
            nodes: Vec::with_capacity(config.nodes),
            liars: Vec::new(),
            departed: Vec::new(),
            queue: Queue::default(),
            rng: StdRng::seed_from_u64(config.seed),
            links: Links::new(config.seed, config.latency, config.connections),
            checker: Checker::new(config.check_every),
            deadlines: Deadlines::default(),
            trace: Trace::new(),
            traffic: Traffic::default(),
            outcomes: Vec::new(),
            events: 0,
            max_events: config.max_events,
        };
        network.links.faults = config.faults;
        network.add_node(Role::Server);
        for _ in 1..config.nodes {
            let role = config.population.draw(&mut network.rng);
            network.add_node(role);
        }
        for _ in 0..config.population.dead_among(config.nodes) {
            network.add_dead();
        }
        Ok(network)
    }

    /// How many nodes there are, dead ones included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node; there always is.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many nodes are alive.
    pub fn alive(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_alive()).count()
    }

    /// Virtual time since the beginning.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Virtual time by everybody's wall clock.
    pub fn wall_clock(&self) -> Timestamp {
        WALL_CLOCK_START.saturating_add(self.now)
    }

    /// What a node signs with.
    pub fn secret_key(&self, node: usize) -> SecretKey {
        identity::secret_key(self.seed, node)
    }

    /// Who a node is; `None` when there is no such node.
    pub fn node_id(&self, node: usize) -> Option<NodeId> {
        self.nodes.get(node).map(Node::node_id)
    }

    /// How a node is reached; `None` when there is no such node.
    pub fn contact(&self, node: usize) -> Option<Contact> {
        Some(Contact::clone(self.nodes.get(node)?.contact()))
    }

    /// Which node a contact is of; `None` when it is of none.
    pub fn index_of(&self, contact: &Contact) -> Option<usize> {
        identity::index_of(contact).filter(|index| {
            let node = self.nodes.get(*index);
            node.is_some_and(|node| node.node_id() == contact.node_id)
        })
    }

    /// Whether a node is running.
    pub fn is_alive(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(Node::is_alive)
    }

    /// How many times a node has left.
    pub fn life(&self, node: usize) -> u32 {
        self.nodes.get(node).map_or(0, Node::life)
    }

    /// Whether a node tells the truth.
    pub fn is_honest(&self, node: usize) -> bool {
        let node = self.nodes.get(node);
        node.is_some_and(|node| !node.role().is_liar())
    }

    /// Whether a node serves, and can be reached by the others.
    pub fn is_server(&self, node: usize) -> bool {
        let node = self.nodes.get(node);
        node.is_some_and(|node| node.role().is_reachable())
    }

    /// In which of its parts a node is while the network is [split](Self::split).
    pub fn group(&self, node: usize) -> u64 {
        self.links.group(node)
    }

    /// Counters of a node; `None` when it is dead.
    pub fn stats(&self, node: usize) -> Option<KadStats> {
        self.nodes.get(node)?.machine().map(Kademlia::stats)
    }

    /// Whom a node has in its table, closest first; `None` when it is dead.
    pub fn contacts(&self, node: usize) -> Option<Vec<Contact>> {
        self.nodes.get(node)?.machine().map(Kademlia::contacts)
    }

    /// How many live nodes other than the provider hold a record of its under a key.
    pub fn holders(&self, key: &Key, provider: &NodeId) -> usize {
        let now = self.instant();
        self.nodes
            .iter()
            .filter(|node| node.node_id() != *provider)
            .filter_map(Node::machine)
            .filter(|machine| machine.holds(now, key, provider))
            .count()
    }

    /// Fills every routing table, as nodes have them that have been up for long, without playing
    /// the joins: nobody looks itself up.
    pub fn join_synthetically(&mut self) {
        let knowable: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].role().is_reachable())
            .collect();
        let points: Vec<Key> = self
            .nodes
            .iter()
            .map(|node| *node.contact().key())
            .collect();
        let atlas = synthetic::Atlas::new(points, &knowable);
        let k = self.kad.k.get();
        for node in 0..self.nodes.len() {
            if !self.is_alive(node) {
                continue;
            }
            let peers = atlas.contacts_of(node, k, &mut self.rng);
            let contacts: Vec<PlacedContact> = peers
                .iter()
                .map(|peer| self.nodes[*peer].contact().clone())
                .collect();
            self.tell(node, |machine, now| machine.restore(now, contacts));
        }
    }

    /// Lets a node join by way of others, as the owner of a machine does: it remembers them, dials
    /// them, and looks itself up whenever one answers.
    pub fn join(&mut self, node: usize, bootstrap: &[usize]) {
        let targets: Vec<DialTarget> = bootstrap
            .iter()
            .filter_map(|peer| self.contact(*peer))
            .map(|contact| DialTarget::from(&contact))
            .collect();
        for target in &targets {
            self.dial(node, target, Purpose::Join);
        }
        self.tell(node, |machine, now| machine.set_bootstrap(now, targets));
    }

    /// Lets a node announce its own records. `None` when it is dead; so for all operations.
    pub fn announce(&mut self, node: usize, records: Vec<LiveRecord>) -> Option<OperationId> {
        let limit = self.publication_limit(records.len());
        self.begin(node, limit, |machine, now| machine.announce(now, records))
    }

    /// Lets a node withdraw its own records.
    pub fn withdraw(
        &mut self,
        node: usize,
        withdrawals: Vec<LiveWithdrawal>,
    ) -> Option<OperationId> {
        let limit = self.publication_limit(withdrawals.len());
        self.begin(node, limit, |machine, now| {
            machine.withdraw(now, withdrawals)
        })
    }

    /// Lets a node look for providers.
    pub fn find(&mut self, node: usize, search: Search) -> Option<OperationId> {
        let limit = search.timeout;
        self.begin(node, limit, |machine, now| machine.find(now, search))
    }

    /// Begins an operation that has to be over within `limit`.
    fn begin(
        &mut self,
        node: usize,
        limit: Duration,
        verb: impl FnOnce(&mut Kademlia, Instant) -> OperationId,
    ) -> Option<OperationId> {
        let ended_before = self.outcomes.len();
        let operation = self.tell(node, verb)?;
        let is_over = self.outcomes[ended_before..]
            .iter()
            .any(|outcome| (outcome.node, outcome.operation) == (node, operation));
        if !is_over {
            self.deadlines.begin(node, operation, self.now + limit);
        }
        Some(operation)
    }

    /// How long it takes at most to tell the holders of so many claims: each is told at once or
    /// after a walk, and everybody who stands in for one that does not answer comes in turn.
    fn publication_limit(&self, claims: usize) -> Duration {
        let rounds = u32::try_from(claims.max(1)).unwrap_or(u32::MAX);
        let stand_ins = u32::try_from(self.kad.k.get()).unwrap_or(u32::MAX);
        let one = self.kad.walk_timeout + self.kad.request_timeout * (stand_ins + 1);
        one.saturating_mul(rounds)
    }

    /// Changes what goes wrong on the way from now on.
    ///
    /// # Errors
    /// [`SimError::NotAShare`].
    pub fn set_faults(&mut self, faults: Faults) -> Result<(), SimError> {
        faults.check()?;
        self.links.faults = faults;
        Ok(())
    }

    /// Splits the network into groups of about the same size, drawn by seed, between which
    /// nothing passes.
    pub fn split(&mut self, groups: NonZeroU64) {
        self.links.split(Some(groups));
    }

    /// Makes a split network whole again.
    pub fn heal(&mut self) {
        self.links.split(None);
    }

    /// Plays everything that happens within this time.
    ///
    /// # Errors
    /// [`SimError::TooManyEvents`].
    pub fn run_for(&mut self, duration: Duration) -> Result<(), SimError> {
        let until = self.now + duration;
        while let Some((at, event)) = self.queue.pop_until(until) {
            if self.events >= self.max_events {
                return Err(SimError::TooManyEvents(self.events));
            }
            self.events += 1;
            self.now = at;
            event.trace(at, &mut self.trace);
            self.play(event);
        }
        self.now = until;
        Ok(())
    }

    /// When something happens next, in virtual time; `None` when nothing does.
    pub fn next_event(&self) -> Option<Duration> {
        self.queue.next_at()
    }

    /// The operations that are over since the last call.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// The nodes that have left since the last call; some may be back.
    pub fn take_departed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.departed)
    }

    /// Checks the invariants of every live node.
    ///
    /// # Panics
    /// When one is broken.
    pub fn check_invariants(&self) {
        for machine in self.nodes.iter().filter_map(Node::machine) {
            machine.check_invariants();
        }
    }

    /// How many operations of live nodes were not over by their deadline.
    pub fn missed_deadlines(&self) -> u64 {
        self.deadlines.missed(self.now)
    }

    /// How many events were played.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What was sent so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// What a node has sent so far, its earlier lives included; `None` when there is no such node.
    pub fn sent(&self, node: usize) -> Option<Sent> {
        self.nodes.get(node).map(Node::sent)
    }

    /// A hash over everything that has happened; equal for equal seeds and verbs.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// The machines' time.
    fn instant(&self) -> Instant {
        self.epoch + self.now
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "instants have no other origin; only distances from it are ever looked at"
)]
fn epoch() -> Instant {
    Instant::now()
}

const WALL_CLOCK_START: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);
