//! What happens in a registry, for whoever wants to hear of it.

use macula_core::{NodeId, ServiceName};
use macula_dht::DhtError;
use tokio::sync::broadcast;

/// Something happened to a service of this node, or to a provider of another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryEvent {
    /// A service of this node was published for the first time, or after it was degraded.
    Advertised {
        /// Which service.
        service: ServiceName,
        /// How many nodes acknowledged its record.
        holders: usize,
    },
    /// The record of a service of this node was renewed in time.
    Refreshed {
        /// Which service.
        service: ServiceName,
        /// How many nodes acknowledged its record.
        holders: usize,
    },
    /// A service of this node could not be published or refreshed; more attempts follow.
    Degraded {
        /// Which service.
        service: ServiceName,
        /// Why the attempt failed.
        cause: DhtError,
        /// How many attempts failed in a row.
        failures: u32,
    },
    /// A service of this node was unregistered, or a newer advertisement took its place.
    Withdrawn {
        /// Which service.
        service: ServiceName,
    },
    /// A lookup found a provider that was not among the cached ones of the name.
    ProviderAppeared {
        /// Of which service.
        service: ServiceName,
        /// Who provides it.
        provider: NodeId,
    },
    /// A cached provider was removed: a newer answer lacks it, its record expired, or it proved
    /// dead. Names that made room for others, and a cache that was cleared, say nothing.
    ProviderLeft {
        /// Of which service.
        service: ServiceName,
        /// Who provided it.
        provider: NodeId,
    },
}

/// Tells subscribers, and waits for none of them.
#[derive(Debug, Clone)]
pub(crate) struct Events(broadcast::Sender<RegistryEvent>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(MAX_UNREAD))
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<RegistryEvent> {
        self.0.subscribe()
    }

    /// Whether anybody would hear; what is costly to tell is found out only then.
    pub(crate) fn are_heard(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(crate) fn tell(&self, event: RegistryEvent) {
        if self.are_heard() {
            // An error means that the last subscriber has just left.
            let _ = self.0.send(event);
        }
    }
}

/// Events that a subscriber may leave unread before it loses the oldest.
pub(crate) const MAX_UNREAD: usize = 256;
