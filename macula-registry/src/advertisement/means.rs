//! What publishing and withdrawing have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use macula_core::{Addresses, Key, ProviderRecord, RecordError};
use macula_dht::Dht;

use super::agenda::Position;
use super::numbers::Numbers;
use super::{AdvertiseOptions, Publication};
use crate::{Identity, RegistryConfig};

/// Who signs, where it goes, and what is counted.
pub(crate) struct Means {
    pub(super) identity: Identity,
    pub(super) numbers: Numbers,
    pub(super) dht: Arc<dyn Dht>,
    pub(super) config: RegistryConfig,
    pub(super) counters: Counters,
}

/// What became of this node's claims so far.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) batches: AtomicU64,
    pub(super) published: AtomicU64,
    pub(super) refreshed: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) withdrawal_batches: AtomicU64,
    pub(super) withdrawn: AtomicU64,
    pub(super) withdrawals_given_up: AtomicU64,
}

impl Means {
    /// Where a service stands among all of this node.
    pub(super) fn position(&self, publication: &Publication) -> Position {
        Position {
            key: Key::of_service(&self.identity.realm, publication.name()),
            generation: publication.generation(),
        }
    }

    pub(super) fn addresses(&self) -> Addresses {
        (self.identity.addresses)()
    }

    /// Signs a record that nobody sees, to learn whether it can be.
    pub(super) fn try_to_sign(
        &self,
        name: &macula_core::ServiceName,
        options: &AdvertiseOptions,
        addresses: Addresses,
    ) -> Result<(), RecordError> {
        let draft = super::publication::draft(&self.identity, name, options, addresses);
        ProviderRecord::sign(&self.identity.secret_key, draft).map(drop)
    }

    /// Nodes that started together must not refresh together: their ids tell them apart.
    pub(super) fn seed(&self) -> u64 {
        let node_id = self.identity.node_id();
        let bytes = node_id.as_bytes().iter();
        bytes.fold(self.config.seed, |seed, byte| {
            seed.rotate_left(8) ^ u64::from(*byte)
        })
    }
}

pub(super) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}
