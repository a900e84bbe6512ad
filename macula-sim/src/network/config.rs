//! What can be set about a network.

use std::num::NonZeroU64;

use macula_dht::kad::KadConfig;

use crate::identity::MAX_NODES;
use crate::{Connections, Faults, Latency, Population, SimError};

/// Settings of a [`Network`](super::Network).
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    /// How many nodes; two at least.
    pub nodes: usize,
    /// Where all randomness comes from, the identities included.
    pub seed: u64,
    /// Settings of every node.
    pub kad: KadConfig,
    /// What kinds of nodes there are.
    pub population: Population,
    /// Delays of messages.
    pub latency: Latency,
    /// What connections cost.
    pub connections: Connections,
    /// What goes wrong on the way.
    pub faults: Faults,
    /// After how many steps the node concerned is checked once. Raising it makes a run faster
    /// and a broken invariant show later.
    pub check_every: NonZeroU64,
    /// After how many events the run is given up.
    pub max_events: u64,
}

impl NetworkConfig {
    pub(super) fn check(&self) -> Result<(), SimError> {
        if self.nodes < 2 {
            return Err(SimError::TooFewNodes(self.nodes));
        }
        self.population.check()?;
        let slots = self.nodes + self.population.dead_among(self.nodes);
        if slots > MAX_NODES {
            return Err(SimError::TooManyNodes(slots));
        }
        self.latency.check()?;
        self.faults.check()?;
        Ok(self.kad.check()?)
    }
}

/// As in [`Scenario::default`](crate::Scenario).
impl Default for NetworkConfig {
    fn default() -> Self {
        crate::Scenario::default().network_config()
    }
}
