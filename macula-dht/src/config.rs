//! What can be set about a node's access to the DHT.

use std::num::{NonZeroU32, NonZeroUsize};

use crate::kad::{KadConfig, KadConfigError, MAX_PUBLISHED};

/// Settings of [`KademliaDht`](crate::KademliaDht).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhtConfig {
    /// Settings of the machine.
    pub kad: KadConfig,
    /// Commands that wait for the driver at once; whoever gives more waits. Raising it costs memory
    /// under load.
    pub queue_len: NonZeroUsize,
    /// Requests and dials of this node that are under way at once; one more is not sent, which is
    /// counted and blamed on nobody. Raising it costs memory under load.
    pub max_under_way: NonZeroUsize,
    /// How many requests a peer may send. Raising it costs processor time while one floods.
    pub requests_per_peer: Rate,
    /// How many claims a peer may send to be held; each costs the check of a signature. The burst
    /// has room for all services of a large node, announced and withdrawn.
    pub claims_per_peer: Rate,
    /// Seed of every random decision; derived from the node id and the wall clock when none is
    /// given.
    pub seed: Option<u64>,
}

impl DhtConfig {
    /// Default of `queue_len`.
    pub const DEFAULT_QUEUE_LEN: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
    /// Default of `max_under_way`.
    pub const DEFAULT_MAX_UNDER_WAY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
    /// Default of `requests_per_peer`.
    pub const DEFAULT_REQUESTS_PER_PEER: Rate = Rate {
        per_sec: NonZeroU32::MIN.saturating_add(19_999),
        burst: NonZeroU32::MIN.saturating_add(39_999),
    };
    /// Default of `claims_per_peer`.
    pub const DEFAULT_CLAIMS_PER_PEER: Rate = Rate {
        per_sec: NonZeroU32::MIN.saturating_add(1_999),
        burst: NonZeroU32::MIN.saturating_add(2 * MAX_PUBLISHED as u32 - 1),
    };
}

impl Default for DhtConfig {
    fn default() -> Self {
        Self {
            kad: KadConfig::default(),
            queue_len: Self::DEFAULT_QUEUE_LEN,
            max_under_way: Self::DEFAULT_MAX_UNDER_WAY,
            requests_per_peer: Self::DEFAULT_REQUESTS_PER_PEER,
            claims_per_peer: Self::DEFAULT_CLAIMS_PER_PEER,
            seed: None,
        }
    }
}

/// So many at once, and so many a second in the long run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In a second, once the burst is used up.
    pub per_sec: NonZeroU32,
    /// At once, after a time of rest.
    pub burst: NonZeroU32,
}

/// Why a node's access to the DHT cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DhtConfigError {
    /// The settings of the machine make no sense together.
    #[error("settings of the machine")]
    Kad(#[from] KadConfigError),
    /// The endpoint has a DHT already.
    #[error("the endpoint has a dht already")]
    AlreadyStarted,
}
