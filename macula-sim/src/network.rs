//! Many machines, the links between them, and virtual time.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use macula_core::{Contact, DialTarget, NodeId, SecretKey, Timestamp};
use macula_dht::kad::{
    KadConfig, KadStats, Kademlia, Local, OperationId, OperationResult, Outbound, Output,
    RequestId, Search,
};
use macula_dht::message::{LiveRecord, LiveWithdrawal, Request, Response};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

mod node;
mod synthetic;

use crate::checker::Checker;
use crate::event::{Event, Purpose, Queue, What};
use crate::identity::{self, MAX_NODES};
use crate::network::node::Node;
use crate::trace::Trace;
use crate::{Faults, Latency, SimError, Traffic};

/// A network of Kademlia nodes that all serve.
///
/// A node that is asked gets to know who asks, as if it had dialled back at once: the probe is
/// not played. Whatever is lost or sent to the dead is never heard of again; the machines find
/// out by their own timeouts.
pub struct Network {
    seed: u64,
    epoch: Instant,
    now: Duration,
    nodes: Vec<Node>,
    queue: Queue,
    rng: StdRng,
    latency: Latency,
    faults: Faults,
    checker: Checker,
    trace: Trace,
    traffic: Traffic,
    outcomes: Vec<Outcome>,
    events: u64,
    max_events: u64,
}

/// Settings of a [`Network`].
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    /// How many nodes; two at least.
    pub nodes: usize,
    /// Where all randomness comes from, the identities included.
    pub seed: u64,
    /// Settings of every node.
    pub kad: KadConfig,
    /// Delays of messages.
    pub latency: Latency,
    /// What goes wrong on the way.
    pub faults: Faults,
    /// After how many events the node concerned is checked once. Raising it makes a run faster
    /// and a broken invariant show later.
    pub check_every: NonZeroU64,
    /// After how many events the run is given up.
    pub max_events: u64,
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
        let epoch = epoch();
        let mut rng = StdRng::seed_from_u64(config.seed);
        let mut nodes = Vec::with_capacity(config.nodes);
        for index in 0..config.nodes {
            let node_id = identity::secret_key(config.seed, index).node_id();
            let local = Local {
                node_id,
                serves: true,
            };
            let machine = Kademlia::new(config.kad.clone(), local, rng.random())?;
            nodes.push(Node::new(node_id, machine));
        }
        Ok(Self {
            seed: config.seed,
            epoch,
            now: Duration::ZERO,
            nodes,
            queue: Queue::default(),
            rng,
            latency: config.latency,
            faults: config.faults,
            checker: Checker::new(config.check_every),
            trace: Trace::new(),
            traffic: Traffic::default(),
            outcomes: Vec::new(),
            events: 0,
            max_events: config.max_events,
        })
    }

    /// How many nodes there are, dead ones included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node; there always is.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
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

    /// How a node is reached; `None` when there is no such node.
    pub fn contact(&self, node: usize) -> Option<Contact> {
        let node_id = self.nodes.get(node)?.node_id();
        Some(identity::contact(node_id, node))
    }

    /// Whether a node is running.
    pub fn is_alive(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(Node::is_alive)
    }

    /// Counters of a node; `None` when it is dead.
    pub fn stats(&self, node: usize) -> Option<KadStats> {
        self.nodes.get(node)?.machine().map(Kademlia::stats)
    }

    /// Fills every routing table with reachable contacts, as a network has them that has been up
    /// for long, without playing the joins. Each node still looks itself up once.
    pub fn join_synthetically(&mut self) {
        let ids: Vec<NodeId> = self.nodes.iter().map(Node::node_id).collect();
        let atlas = synthetic::Atlas::new(&ids);
        for node in 0..self.nodes.len() {
            for peer in atlas.contacts_of(node, CONTACTS_PER_BUCKET, &mut self.rng) {
                self.reach(node, peer);
            }
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
        self.tell(node, |machine, now| machine.announce(now, records))
    }

    /// Lets a node withdraw its own records.
    pub fn withdraw(
        &mut self,
        node: usize,
        withdrawals: Vec<LiveWithdrawal>,
    ) -> Option<OperationId> {
        self.tell(node, |machine, now| machine.withdraw(now, withdrawals))
    }

    /// Lets a node look for providers.
    pub fn find(&mut self, node: usize, search: Search) -> Option<OperationId> {
        self.tell(node, |machine, now| machine.find(now, search))
    }

    /// Changes what goes wrong on the way from now on.
    ///
    /// # Errors
    /// [`SimError::NotAShare`].
    pub fn set_faults(&mut self, faults: Faults) -> Result<(), SimError> {
        faults.check()?;
        self.faults = faults;
        Ok(())
    }

    /// Ends a node at once and without a word.
    pub fn kill(&mut self, node: usize) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.kill();
        }
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

    /// The operations that are over since the last call.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
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

    /// How many events were played.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What was sent so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// A hash over everything that has happened; equal for equal seeds and verbs.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    fn play(&mut self, Event { to, what }: Event) {
        match what {
            What::Request {
                from,
                request_id,
                request,
            } => self.play_request((from, to), request_id, request),
            What::Response {
                from,
                request_id,
                response,
            } => self.play_response((from, to), request_id, response),
            What::Reached { peer, purpose } => {
                self.reach(to, peer);
                self.reach(peer, to);
                if purpose == Purpose::Join {
                    self.tell(to, Kademlia::join);
                }
            }
            What::Wake => self.wake(to),
        }
    }

    fn play_request(&mut self, (from, to): Link, request_id: RequestId, request: Request) {
        let asker = self.nodes[from].node_id();
        let Some(response) = self.tell(to, |machine, now| machine.answer(now, asker, request))
        else {
            self.traffic.to_the_dead += 1;
            return;
        };
        if self.is_alive(from) {
            self.reach(to, from);
        }
        self.traffic.responses += 1;
        let what = What::Response {
            from: to,
            request_id,
            response,
        };
        self.send((to, from), what);
    }

    fn play_response(&mut self, (from, to): Link, request_id: RequestId, response: Response) {
        let answered = self.tell(to, |machine, now| {
            machine.handle_response(now, request_id, response);
        });
        match answered {
            Some(()) => self.reach(to, from),
            None => self.traffic.to_the_dead += 1,
        }
    }

    /// Tells a node that it has reached a peer.
    fn reach(&mut self, node: usize, peer: usize) {
        if let Some(contact) = self.contact(peer) {
            self.tell(node, |machine, now| machine.handle_reached(now, contact));
        }
    }

    fn wake(&mut self, node: usize) {
        let now = self.epoch + self.now;
        if self.nodes[node].woken(now, self.now) {
            self.tell(node, Kademlia::handle_timeout);
        } else {
            self.arm(node);
        }
    }

    /// The one way in which anything is told to a machine: afterwards its outputs are carried
    /// out and its timer is set.
    fn tell<R>(
        &mut self,
        node: usize,
        verb: impl FnOnce(&mut Kademlia, Instant) -> R,
    ) -> Option<R> {
        let now = self.epoch + self.now;
        let machine = self.nodes.get_mut(node)?.machine_mut()?;
        let said = verb(machine, now);
        if self.checker.is_due() {
            machine.check_invariants();
        }
        while let Some(output) = self.next_output(node) {
            self.carry_out(node, output);
        }
        self.arm(node);
        Some(said)
    }

    fn next_output(&mut self, node: usize) -> Option<Output> {
        self.nodes[node].machine_mut()?.poll_output()
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Send(outbound) => self.carry_request(node, outbound),
            Output::Dial(target) => self.dial(node, &target, Purpose::Maintain),
            Output::Done { operation, result } => self.outcomes.push(Outcome {
                node,
                operation,
                result,
                at: self.now,
            }),
        }
    }

    fn carry_request(&mut self, node: usize, outbound: Outbound) {
        self.traffic.requests += 1;
        let Some(to) = self.index_of(&DialTarget::from(&outbound.to)) else {
            self.traffic.lost += 1;
            return;
        };
        let what = What::Request {
            from: node,
            request_id: outbound.request_id,
            request: outbound.request,
        };
        self.send((node, to), what);
    }

    fn dial(&mut self, node: usize, target: &DialTarget, purpose: Purpose) {
        self.traffic.dials += 1;
        let Some(peer) = self.index_of(target) else {
            return;
        };
        if !self.is_alive(peer) || peer == node {
            self.traffic.to_the_dead += 1;
        } else if self.faults.lose(&mut self.rng) {
            self.traffic.lost += 1;
        } else {
            let there = self.latency.draw(self.seed, (node, peer), &mut self.rng);
            let back = self.latency.draw(self.seed, (peer, node), &mut self.rng);
            let event = Event {
                to: node,
                what: What::Reached { peer, purpose },
            };
            self.queue.push(self.now + there + back, event);
        }
    }

    fn send(&mut self, link: Link, what: What) {
        if self.faults.lose(&mut self.rng) {
            self.traffic.lost += 1;
            return;
        }
        let delay = self.latency.draw(self.seed, link, &mut self.rng);
        self.queue
            .push(self.now + delay, Event { to: link.1, what });
    }

    fn arm(&mut self, node: usize) {
        if let Some(at) = self.nodes[node].arm(self.epoch, self.now) {
            let what = What::Wake;
            self.queue.push(at, Event { to: node, what });
        }
    }

    /// Which node answers at a target, dead or alive.
    fn index_of(&self, target: &DialTarget) -> Option<usize> {
        let (pinned, hosts) = match target {
            DialTarget::Pinned { node_id, hosts } => (Some(*node_id), hosts.as_slice()),
            DialTarget::FirstUse { host } => (None, std::slice::from_ref(host)),
        };
        let index = hosts.iter().find_map(identity::index_at)?;
        let node_id = self.nodes.get(index)?.node_id();
        pinned
            .is_none_or(|pinned| pinned == node_id)
            .then_some(index)
    }
}

impl NetworkConfig {
    fn check(&self) -> Result<(), SimError> {
        if self.nodes < 2 {
            return Err(SimError::TooFewNodes(self.nodes));
        }
        if self.nodes > MAX_NODES {
            return Err(SimError::TooManyNodes(self.nodes));
        }
        self.latency.check()?;
        self.faults.check()?;
        Ok(self.kad.check()?)
    }
}

/// From whom, to whom.
type Link = (usize, usize);

#[expect(
    clippy::disallowed_methods,
    reason = "instants have no other origin; only distances from it are ever looked at"
)]
fn epoch() -> Instant {
    Instant::now()
}

/// As many as a bucket holds by default; a machine with smaller buckets keeps what fits.
const CONTACTS_PER_BUCKET: usize = 20;

const WALL_CLOCK_START: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);
