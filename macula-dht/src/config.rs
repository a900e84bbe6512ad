//! What can be set about a node's access to the DHT.

use std::num::NonZeroUsize;

use crate::kad::{KadConfig, KadConfigError};

/// Settings of [`KademliaDht`](crate::KademliaDht).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhtConfig {
    /// Settings of the machine.
    pub kad: KadConfig,
    /// Commands and requests of peers that wait for the driver at once; more of them wait or are
    /// refused as overload. Raising it costs memory under load.
    pub queue_len: NonZeroUsize,
    /// Seed of every random decision; derived from the node id and the wall clock when none is
    /// given.
    pub seed: Option<u64>,
}

impl DhtConfig {
    /// Default of `queue_len`.
    pub const DEFAULT_QUEUE_LEN: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
}

impl Default for DhtConfig {
    fn default() -> Self {
        Self {
            kad: KadConfig::default(),
            queue_len: Self::DEFAULT_QUEUE_LEN,
            seed: None,
        }
    }
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
