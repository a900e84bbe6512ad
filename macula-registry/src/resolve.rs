//! From a name to those who provide it: this node, the cache, the DHT, the connected peers.

use std::convert::Infallible;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use macula_core::Provider;

use crate::LocalService;

mod flight;
mod lookup;
mod resolver;
mod search;
mod tally;

pub(crate) use resolver::Resolver;

/// How to resolve a name.
#[derive(Debug, Clone)]
pub struct ResolveOptions {
    /// How long to wait when neither this node nor the cache has an answer. The network is searched
    /// for as long as the one waits who began, yet for no more than 30 s unless the config says so.
    pub timeout: Duration,
    /// Look for other providers even if this node provides the service itself.
    pub skip_local: bool,
    /// Ask the network even if the cache has an answer, and replace the cached one only with a
    /// new one.
    pub force_refresh: bool,
    /// How long an answer counts as fresh, in place of
    /// [`RegistryConfig::cache_fresh`](crate::RegistryConfig::cache_fresh): an older entry is not
    /// fresh for this caller, and what this caller's lookup finds is kept as fresh for so long.
    /// Zero neither reads nor fills the cache.
    pub cache_ttl: Option<Duration>,
    /// How many providers are enough for a lookup that begins now, in place of
    /// [`RegistryConfig::want`](crate::RegistryConfig::want), and the most kept; at most
    /// [`MAX_WANTED`]. For those who look for particular ones among many. A lookup that is under
    /// way stays as it is.
    pub want: Option<NonZeroUsize>,
}

/// The most providers that one lookup finds.
pub const MAX_WANTED: NonZeroUsize = match NonZeroUsize::new(256) {
    Some(most) => most,
    None => NonZeroUsize::MIN,
};

impl Default for ResolveOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            skip_local: false,
            force_refresh: false,
            cache_ttl: None,
            want: None,
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

/// Who provides a service, and where that is known from. Cheap to clone.
///
/// There is at least one provider, in the order of the DHT's answer.
pub enum Resolved<H> {
    /// This node provides the service itself.
    Local(LocalService<H>),
    /// From the cache, not older than it may be.
    Fresh(Arc<[Provider]>),
    /// From the cache, while a newer answer is being looked for.
    Stale(Arc<[Provider]>),
    /// From the network.
    Dht(Arc<[Provider]>),
    /// From the peers that this node is connected to; the network could not be asked.
    Direct(Arc<[Provider]>),
}

impl<H> Resolved<H> {
    /// Where the answer came from.
    pub fn source(&self) -> Source {
        match self {
            Self::Local(_) => Source::Local,
            Self::Fresh(_) => Source::Fresh,
            Self::Stale(_) => Source::Stale,
            Self::Dht(_) => Source::Dht,
            Self::Direct(_) => Source::Direct,
        }
    }

    /// The other nodes that provide the service; none were looked for when this one does.
    pub fn providers(&self) -> &[Provider] {
        match self {
            Self::Local(_) => &[],
            Self::Fresh(providers)
            | Self::Stale(providers)
            | Self::Dht(providers)
            | Self::Direct(providers) => providers,
        }
    }
}

impl<H> Clone for Resolved<H> {
    fn clone(&self) -> Self {
        match self {
            Self::Local(service) => Self::Local(service.clone()),
            Self::Fresh(providers) => Self::Fresh(Arc::clone(providers)),
            Self::Stale(providers) => Self::Stale(Arc::clone(providers)),
            Self::Dht(providers) => Self::Dht(Arc::clone(providers)),
            Self::Direct(providers) => Self::Direct(Arc::clone(providers)),
        }
    }
}

impl<H> PartialEq for Resolved<H> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local(one), Self::Local(other)) => one == other,
            _ => self.source() == other.source() && self.providers() == other.providers(),
        }
    }
}

impl<H> Eq for Resolved<H> {}

impl<H> fmt::Debug for Resolved<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(service) => f.debug_tuple("Local").field(service).finish(),
            remote => f
                .debug_struct("Resolved")
                .field("source", &remote.source())
                .field("providers", &remote.providers())
                .finish(),
        }
    }
}

/// An answer that names other nodes, and so knows no type of handlers.
pub(crate) type Elsewhere = Resolved<Infallible>;

impl Elsewhere {
    pub(crate) fn of<H>(self) -> Resolved<H> {
        match self {
            Self::Local(service) => match *service.handler() {},
            Self::Fresh(providers) => Resolved::Fresh(providers),
            Self::Stale(providers) => Resolved::Stale(providers),
            Self::Dht(providers) => Resolved::Dht(providers),
            Self::Direct(providers) => Resolved::Direct(providers),
        }
    }
}
