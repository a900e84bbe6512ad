//! What happens to a network: join, announce, find, kill, find, withdraw, find.

use std::num::NonZeroU64;
use std::time::Duration;

use macula_dht::kad::KadConfig;

mod run;
mod service;

use crate::fault::share;
use crate::{Faults, Latency, NetworkConfig, Report, SimError};

/// A story about a network and the numbers in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Where all randomness comes from.
    pub seed: u64,
    /// How many nodes; two at least.
    pub nodes: usize,
    /// How the nodes get to know each other.
    pub join: Join,
    /// How many services are announced, each by one node.
    pub records: usize,
    /// How many finds are started in each phase, by nodes that are not the provider.
    pub finds: usize,
    /// The share of nodes that are killed at one instant, providers of records included.
    pub kill: f64,
    /// The share of records that are withdrawn in the end, of those whose provider lives.
    pub withdraw: f64,
    /// What goes wrong on the way, once the network has come together.
    pub faults: Faults,
    /// Delays of messages.
    pub latency: Latency,
    /// Settings of every node.
    pub kad: KadConfig,
    /// See [`NetworkConfig::check_every`].
    pub check_every: NonZeroU64,
    /// See [`NetworkConfig::max_events`].
    pub max_events: u64,
}

/// How the nodes of a network get to know each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Join {
    /// Routing tables are filled at once: see
    /// [`join_synthetically`](crate::Network::join_synthetically).
    #[default]
    Synthetic,
    /// One after the other joins by way of a node that has joined before.
    Bootstrap,
}

impl Scenario {
    /// Plays it to the end.
    ///
    /// # Errors
    /// [`SimError`] when the numbers make no sense, or the network does not come to rest.
    ///
    /// # Panics
    /// When a machine breaks one of its invariants: a bug of the machine.
    pub fn run(&self) -> Result<Report, SimError> {
        share("kill", self.kill)?;
        share("withdraw", self.withdraw)?;
        self.faults.check()?;
        run::Run::new(self)?.report()
    }

    fn network_config(&self) -> NetworkConfig {
        NetworkConfig {
            nodes: self.nodes,
            seed: self.seed,
            kad: self.kad.clone(),
            latency: self.latency,
            faults: Faults::default(),
            check_every: self.check_every,
            max_events: self.max_events,
        }
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 1,
            nodes: 200,
            join: Join::default(),
            records: 50,
            finds: 200,
            kill: 0.2,
            withdraw: 0.2,
            faults: Faults::default(),
            latency: Latency::default(),
            kad: KadConfig::default(),
            check_every: CHECK_EVERY,
            max_events: 1_000_000_000,
        }
    }
}

/// Virtual time between two operations of a phase.
const PACE: Duration = Duration::from_millis(20);

/// A check looks at everything that a machine holds, so it costs about as much as so many steps.
const CHECK_EVERY: NonZeroU64 = NonZeroU64::MIN.saturating_add(63);
