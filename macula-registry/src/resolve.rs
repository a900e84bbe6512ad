//! From a name to those who provide it: cache, then DHT, then the connected peers.

use std::sync::Arc;
use std::time::Duration;

use macula_core::Provider;

mod flight;
mod lookup;
mod resolver;

pub(crate) use resolver::Resolver;

/// How to resolve a name.
#[derive(Debug, Clone)]
pub struct ResolveOptions {
    /// How long to wait when the cache has no answer.
    pub timeout: Duration,
    /// Ask the network even if the cache has an answer, and replace the cached one only with a
    /// new one.
    pub force_refresh: bool,
    /// How long an answer counts as fresh, in place of
    /// [`RegistryConfig::cache_fresh`](crate::RegistryConfig::cache_fresh): an older entry is not
    /// fresh for this caller, and what this caller's lookup finds is kept as fresh for so long.
    /// Zero neither reads nor fills the cache.
    pub cache_ttl: Option<Duration>,
}

impl Default for ResolveOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            force_refresh: false,
            cache_ttl: None,
        }
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// This node provides the service itself.
    Local,
    /// The cache, not older than it may be.
    Fresh,
    /// The cache, while a newer answer is being looked for.
    Stale,
    /// The network.
    Dht,
    /// The peers that this node is connected to; the network could not be asked.
    Direct,
}

/// Those who provide a service. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Where the answer came from.
    pub source: Source,
    /// At least one, in the order of the DHT's answer.
    pub providers: Arc<[Provider]>,
}
