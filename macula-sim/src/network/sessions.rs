//! Nodes that leave and nodes that come.

use macula_dht::kad::{Kademlia, Local};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Network, Node};
use crate::event::{Event, What};
use crate::identity::{self, MAX_NODES};
use crate::population::Role;
use crate::{Churn, SimError};

impl Network {
    /// Lets nodes leave and others come from now on. Those that are there are met in the middle
    /// of their sessions, as in a network that has been up for long.
    ///
    /// # Errors
    /// [`SimError`] when the settings make no sense.
    pub fn start_churn(&mut self, churn: Churn) -> Result<(), SimError> {
        churn.check()?;
        self.churn = Some(churn);
        for node in 0..self.nodes.len() {
            if self.is_alive(node) {
                let stays = churn.residual(&mut self.rng);
                let life = self.nodes[node].life();
                let what = What::Leave { life };
                self.queue.push(self.now + stays, Event { to: node, what });
            }
        }
        Ok(())
    }

    /// Lets a server come into the network that stays, whatever becomes of the others; which.
    pub fn add_stayer(&mut self) -> usize {
        let node = self.add_node(Role::Server);
        let bootstrap = self.bootstrap_for(node);
        self.join(node, &bootstrap);
        node
    }

    /// Ends a node at once and without a word. Nobody comes in its place.
    pub fn kill(&mut self, node: usize) {
        if self.nodes.get_mut(node).is_some_and(Node::kill) {
            self.deadlines.forget(node);
            self.departed.push(node);
        }
    }

    pub(super) fn leave(&mut self, node: usize, life: u32) {
        let Some(churn) = self.churn else {
            return;
        };
        if !self.is_alive(node) || self.nodes[node].life() != life {
            return;
        }
        self.kill(node);
        let at = self.now + churn.gap(&mut self.rng);
        let what = What::Arrive;
        self.queue.push(at, Event { to: node, what });
    }

    /// The place of a node that has left is taken by itself or by somebody new.
    pub(super) fn arrive(&mut self, gone: usize) {
        let Some(churn) = self.churn else {
            return;
        };
        let returns = self.rng.random_bool(churn.returning) || self.nodes.len() >= MAX_NODES;
        let node = if returns {
            let machine = self.machine(gone);
            self.nodes[gone].revive(machine);
            gone
        } else {
            self.add_newcomer()
        };
        let stays = churn.session(&mut self.rng);
        let life = self.nodes[node].life();
        let what = What::Leave { life };
        self.queue.push(self.now + stays, Event { to: node, what });
        let bootstrap = self.bootstrap_for(node);
        self.join(node, &bootstrap);
    }

    fn add_newcomer(&mut self) -> usize {
        let role = self.population.draw(&mut self.rng);
        self.add_node(role)
    }

    /// Adds a node that knows nobody.
    pub(super) fn add_node(&mut self, role: Role) -> usize {
        let node = self.nodes.len();
        let node_id = identity::secret_key(self.seed, node).node_id();
        let contact = identity::contact(node_id, node);
        self.nodes.push(Node::dead(contact.into(), role));
        let machine = self.machine(node);
        self.nodes[node].revive(machine);
        if role.is_liar() {
            self.liars.push(node);
        }
        node
    }

    /// Adds the contact of somebody who has died already.
    pub(super) fn add_dead(&mut self) {
        let node = self.nodes.len();
        let contact = identity::contact(identity::stranger(&mut self.rng).node_id, node);
        self.nodes.push(Node::dead(contact.into(), Role::Server));
    }

    /// A fresh machine for the next life of a node.
    fn machine(&mut self, node: usize) -> Kademlia {
        let local = Local {
            node_id: self.nodes[node].node_id(),
            serves: self.nodes[node].role() != Role::Client,
        };
        #[expect(
            clippy::expect_used,
            reason = "the settings were checked when the network was made"
        )]
        Kademlia::new(self.kad.clone(), local, self.rng.random()).expect("checked settings")
    }

    /// Some nodes by which another can join now: alive, reachable, and on its side.
    fn bootstrap_for(&mut self, node: usize) -> Vec<usize> {
        let mut rng = StdRng::seed_from_u64(self.rng.random());
        let mut peers = Vec::new();
        for _ in 0..BOOTSTRAP_PEERS {
            peers.extend(self.pick(&mut rng, |peer| {
                peer != node && self.is_reachable(peer) && self.group(peer) == self.group(node)
            }));
        }
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// A node that is accepted, any as likely as another unless hardly any is.
    pub(crate) fn pick(&self, rng: &mut StdRng, accept: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.nodes.len();
        for _ in 0..PICKS {
            let node = rng.random_range(0..count);
            if accept(node) {
                return Some(node);
            }
        }
        let begin = rng.random_range(0..count);
        (begin..count).chain(0..begin).find(|node| accept(*node))
    }

    fn is_reachable(&self, node: usize) -> bool {
        self.is_alive(node) && self.nodes[node].role().is_reachable()
    }
}

/// Peers by which a node joins.
const BOOTSTRAP_PEERS: usize = 3;

/// Random picks before all nodes are gone through in turn.
const PICKS: usize = 64;
