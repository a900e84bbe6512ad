//! Why a simulation cannot run.

use macula_core::RecordError;
use macula_dht::kad::KadConfigError;

/// Why a simulation did not run, or not to its end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The settings of the machines are refused.
    #[error("the settings of the nodes are refused")]
    Kad(#[from] KadConfigError),
    /// A network needs two nodes or more: one to look and one to be found.
    #[error("a network of {0} nodes, less than two")]
    TooFewNodes(usize),
    /// More nodes than there are addresses to give them.
    #[error("a network of {0} nodes, more than the simulator can address")]
    TooManyNodes(usize),
    /// A share is not between zero and one.
    #[error("{name} is {value}, not between 0 and 1")]
    NotAShare {
        /// Which setting.
        name: &'static str,
        /// What it was set to.
        value: f64,
    },
    /// The shortest latency is longer than the longest.
    #[error("the shortest latency is longer than the longest")]
    LatencyRange,
    /// Sessions of this shape and scale cannot be drawn.
    #[error("the shape of the churn is not between 0.1 and 20, or its sessions take no time")]
    Churn,
    /// A service that nobody provides, or that all would have to provide.
    #[error("{0} providers of each service, not between 1 and the number of nodes less one")]
    Providers(usize),
    /// A record or a withdrawal cannot be signed with these settings.
    #[error("a claim cannot be signed")]
    Claim(#[from] RecordError),
    /// More events than the scenario allows: the network does not come to rest.
    #[error("the network goes on after {0} events")]
    TooManyEvents(u64),
}
