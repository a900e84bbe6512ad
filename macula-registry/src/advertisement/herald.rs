//! Tells the network what this node serves, and what it no longer does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use macula_core::ServiceName;
use macula_dht::Dht;
use tokio::runtime::Handle;

use super::means::{Counters, Means};
use super::numbers::Numbers;
use super::publisher::Publisher;
use super::withdrawer::{FirstAttempt, Withdrawer};
use super::{AdvertiseOptions, Publication};
use crate::{AdvertiseError, Identity, PublishStats, RegistryConfig};

/// The advertisements of a node: one task publishes them, one withdraws them.
pub(crate) struct Herald {
    means: Arc<Means>,
    publisher: Arc<Publisher>,
    withdrawer: Arc<Withdrawer>,
}

impl Herald {
    /// Starts both tasks; they end with the herald.
    pub(crate) fn start(
        identity: Identity,
        dht: Arc<dyn Dht>,
        config: RegistryConfig,
        runtime: &Handle,
    ) -> Self {
        let means = Arc::new(Means {
            numbers: Numbers::new(Arc::clone(&identity.sequences), runtime.clone()),
            identity,
            dht,
            config,
            counters: Counters::default(),
        });
        Self {
            publisher: Publisher::start(&means, runtime),
            withdrawer: Withdrawer::start(&means, runtime),
            means,
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.means.identity
    }

    /// Finds out beforehand what no retry can mend.
    pub(crate) fn check(
        &self,
        name: &ServiceName,
        options: &AdvertiseOptions,
    ) -> Result<(), AdvertiseError> {
        if options.listed && name.is_system() {
            return Err(AdvertiseError::ReservedName);
        }
        let addresses = self.means.addresses();
        if options.listed && addresses.is_empty() {
            return Err(AdvertiseError::NoReachableAddress);
        }
        self.means.try_to_sign(name, options, addresses)?;
        Ok(())
    }

    /// Publishes and refreshes what the publication says, until it is closed.
    pub(crate) fn publish(&self, publication: &Arc<Publication>) {
        self.publisher.add(publication);
    }

    /// A newer publication of the same name, which retracts in the end what this closed one has
    /// signed, has taken its place.
    pub(crate) fn replaced(&self, publication: &Publication) {
        self.publisher.remove(publication);
    }

    /// Starts to withdraw everything that a closed publication has signed.
    pub(crate) fn withdraw(&self, publication: &Publication) -> FirstAttempt {
        self.replaced(publication);
        self.withdrawer.withdraw(publication)
    }

    /// Withdraws everything that these closed publications have signed, and whatever is being
    /// withdrawn already, all within one timeout. What fails is not tried again: the records expire
    /// by themselves.
    pub(crate) async fn withdraw_all(&self, publications: &[Arc<Publication>]) {
        self.close();
        self.withdrawer.drain(publications).await;
    }

    /// Publishes nothing from now on and leaves what is not withdrawn to expire.
    pub(crate) fn close(&self) {
        self.publisher.clear();
    }

    pub(crate) fn stats(&self) -> PublishStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.means.counters;
        PublishStats {
            degraded: self.publisher.failing(),
            batches: read(&counters.batches),
            published: read(&counters.published),
            refreshed: read(&counters.refreshed),
            failed: read(&counters.failed),
            withdrawing: self.withdrawer.pending(),
            withdrawal_batches: read(&counters.withdrawal_batches),
            withdrawn: read(&counters.withdrawn),
            withdrawals_given_up: read(&counters.withdrawals_given_up),
            unsaved_sequences: self.means.numbers.failures(),
        }
    }
}
