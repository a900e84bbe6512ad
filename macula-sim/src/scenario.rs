//! What happens to a network: join, announce, live, withdraw.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use macula_dht::kad::KadConfig;

use crate::fault::share;
use crate::{
    Churn, Connections, Faults, Latency, NetworkConfig, Population, Progress, Report, SimError,
    Simulation,
};

/// A story about a network and the numbers in it.
///
/// The nodes join, services are announced, and then for [`duration`](Self::duration) nodes look
/// for them while their providers refresh the records and nodes come and go. In the end some
/// records are withdrawn, and nodes look for those.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Where all randomness comes from.
    pub seed: u64,
    /// How many nodes; two at least.
    pub nodes: usize,
    /// How the nodes get to know each other.
    pub join: Join,
    /// What kinds of nodes there are.
    pub population: Population,
    /// How long nodes stay; `None` when all do.
    pub churn: Option<Churn>,
    /// How many services are announced. When the last provider of one leaves, another service
    /// takes its place.
    pub services: usize,
    /// How many nodes provide each service. One that leaves is replaced.
    pub providers: usize,
    /// How long the records live. They are refreshed every `max(10 s, ttl − 60 s)`, a tenth
    /// earlier at most.
    pub ttl: Duration,
    /// How long the network is watched, once the services are announced.
    pub duration: Duration,
    /// How many finds are started in that time, evenly, by nodes that do not provide the service.
    pub finds: usize,
    /// How many providers each find wants; `None` to ask until nobody closer is left.
    pub want: Option<NonZeroUsize>,
    /// The share of finds of a service that nobody provides.
    pub absent: f64,
    /// When a find gives up.
    pub find_timeout: Duration,
    /// The share of nodes that are killed at one instant in the middle of the duration.
    pub kill: f64,
    /// Splits the network for a while.
    pub partition: Option<Partition>,
    /// The share of services that are withdrawn in the end.
    pub withdraw: f64,
    /// What goes wrong on the way, once the network has come together.
    pub faults: Faults,
    /// Delays of messages.
    pub latency: Latency,
    /// What connections cost.
    pub connections: Connections,
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

/// A network that falls apart and becomes whole again.
///
/// While it is split, nodes look for services on their own side only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Into how many parts of about the same size; two at least, or nothing happens.
    pub groups: NonZeroU64,
    /// When, after the announcements.
    pub begins: Duration,
    /// For how long.
    pub lasts: Duration,
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
        self.run_with(|_| {})
    }

    /// Plays it to the end and tells again and again how far it is.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_with(&self, progress: impl FnMut(Progress)) -> Result<Report, SimError> {
        let mut simulation = Simulation::new(self)?.with_progress(progress);
        simulation.join()?;
        simulation.announce()?;
        simulation.live()?;
        simulation.withdraw()?;
        simulation.network().check_invariants();
        Ok(simulation.report())
    }

    pub(crate) fn check(&self) -> Result<(), SimError> {
        share("kill", self.kill)?;
        share("withdraw", self.withdraw)?;
        share("absent", self.absent)?;
        if let Some(churn) = &self.churn {
            churn.check()?;
        }
        if self.providers == 0 || self.providers >= self.nodes.max(2) {
            return Err(SimError::Providers(self.providers));
        }
        self.faults.check()
    }

    pub(crate) fn network_config(&self) -> NetworkConfig {
        NetworkConfig {
            nodes: self.nodes,
            seed: self.seed,
            kad: self.kad.clone(),
            population: self.population,
            latency: self.latency,
            connections: self.connections,
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
            population: Population::default(),
            churn: None,
            services: 50,
            providers: 1,
            ttl: Duration::from_secs(300),
            duration: Duration::from_secs(60),
            finds: 200,
            want: Some(NonZeroUsize::MIN),
            absent: 0.0,
            find_timeout: Duration::from_secs(5),
            kill: 0.0,
            partition: None,
            withdraw: 0.2,
            faults: Faults::default(),
            latency: Latency::default(),
            connections: Connections::default(),
            kad: KadConfig::default(),
            check_every: CHECK_EVERY,
            max_events: 10_000_000_000,
        }
    }
}

/// A check looks at everything that a machine holds, so it costs about as much as so many steps.
const CHECK_EVERY: NonZeroU64 = NonZeroU64::MIN.saturating_add(63);
