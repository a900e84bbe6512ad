//! Publishes advertisements and keeps them published, one task each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use macula_core::{ProviderRecord, RecordError, ServiceName};
use macula_dht::{AnnounceReport, Announced, Dht, DhtError};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::publication::draft;
use super::schedule::{Attempt, Schedule};
use super::{AdvertiseOptions, AdvertisementState, Publication};
use crate::event::Events;
use crate::{AdvertiseError, Identity, PublishStats, RegistryConfig, RegistryEvent};

/// What all advertisements of a node share.
pub(crate) struct Publisher {
    pub(super) identity: Identity,
    pub(super) dht: Arc<dyn Dht>,
    pub(super) config: RegistryConfig,
    pub(super) runtime: Handle,
    pub(super) counters: Counters,
    pub(super) withdrawing: Semaphore,
    pub(super) retrying: Semaphore,
    /// How many first attempts to withdraw are under way.
    pub(super) first_attempts: watch::Sender<usize>,
    publishing: Semaphore,
    seed: u64,
    pub(super) events: Events,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) published: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) withdrawn: AtomicU64,
    pub(super) withdrawals_given_up: AtomicU64,
}

impl Publisher {
    pub(crate) fn new(
        identity: Identity,
        dht: Arc<dyn Dht>,
        config: RegistryConfig,
        runtime: Handle,
        events: Events,
    ) -> Self {
        let at_once = config.max_publishing.get().min(Semaphore::MAX_PERMITS);
        let retries = config.max_services.get().min(Semaphore::MAX_PERMITS);
        // Nodes that started together must not refresh together: their ids tell them apart.
        let node_id = identity.node_id();
        let seed = node_id.as_bytes().iter().fold(config.seed, |seed, byte| {
            seed.rotate_left(8) ^ u64::from(*byte)
        });
        Self {
            identity,
            dht,
            config,
            runtime,
            counters: Counters::default(),
            withdrawing: Semaphore::new(at_once),
            retrying: Semaphore::new(retries),
            first_attempts: watch::Sender::new(0),
            publishing: Semaphore::new(at_once),
            seed,
            events,
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
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
        let addresses = (self.identity.addresses)();
        if options.listed && addresses.is_empty() {
            return Err(AdvertiseError::NoReachableAddress);
        }
        let draft = draft(&self.identity, name, options, addresses);
        ProviderRecord::sign(&self.identity.secret_key, draft)?;
        Ok(())
    }

    /// Starts the task that publishes and refreshes until the publication is closed.
    pub(crate) fn start(self: &Arc<Self>, publication: Arc<Publication>) {
        let publisher = Arc::clone(self);
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                () = publication.closed() => {}
                () = publisher.keep_published(&publication) => {}
            }
        });
    }

    async fn keep_published(&self, publication: &Publication) {
        let retry = (self.config.retry_first, self.config.retry_max);
        let seed = self.seed.wrapping_add(publication.generation());
        let mut schedule = Schedule::new(publication.options().ttl, retry, seed);
        loop {
            let (started_at, outcome) = self.publish(publication).await;
            let due = schedule.after(Attempt {
                started_at,
                ended_at: Instant::now(),
                succeeded: outcome.is_ok(),
            });
            self.report(publication, outcome, schedule.failures());
            if outcome == Err(DhtError::Closed) {
                return;
            }
            sleep_until(due).await;
        }
    }

    /// Publishes once, when it is its turn; answers when that was and what became of it.
    async fn publish(&self, publication: &Publication) -> (Instant, Result<Announced, DhtError>) {
        // The semaphore is never closed, so there is always a permit to wait for.
        let _permit = self.publishing.acquire().await;
        let started_at = Instant::now();
        let outcome = match publication.sign(&self.identity) {
            None => Err(DhtError::Closed),
            Some(Err(error)) => Err(unsigned(error)),
            Some(Ok(record)) if record.addresses().is_empty() => Err(DhtError::NoAddress),
            Some(Ok(record)) => self.announce(record).await,
        };
        (started_at, outcome)
    }

    async fn announce(&self, record: ProviderRecord) -> Result<Announced, DhtError> {
        let announced = timeout(self.config.publish_timeout, self.dht.announce(vec![record]));
        match announced.await {
            Ok(report) => held(&report?),
            Err(_elapsed) => Err(DhtError::Unreachable),
        }
    }

    fn report(
        &self,
        publication: &Publication,
        outcome: Result<Announced, DhtError>,
        failures: u32,
    ) {
        let service = publication.name();
        let (state, counter) = match outcome {
            Ok(Announced { holders, full, .. }) => (
                AdvertisementState::Published { holders, full },
                &self.counters.published,
            ),
            Err(cause) => (
                AdvertisementState::Degraded { cause, failures },
                &self.counters.failed,
            ),
        };
        let before = publication.set_state(state);
        if before == AdvertisementState::Withdrawn {
            return;
        }
        counter.fetch_add(1, Ordering::Relaxed);
        self.events.tell(event(service, before, outcome, failures));
        let was_degraded = matches!(before, AdvertisementState::Degraded { .. });
        match outcome {
            Ok(Announced { holders, full, .. }) if was_degraded => {
                info!(%service, holders, full, "recovered");
            }
            Ok(Announced { holders, full, .. }) if before == AdvertisementState::Publishing => {
                info!(%service, holders, full, "published");
            }
            Ok(Announced { holders, full, .. }) => {
                debug!(%service, holders, full, "refreshed");
            }
            Err(cause) if was_degraded => debug!(%service, %cause, failures, "still degraded"),
            Err(cause) => warn!(%service, %cause, "degraded: publishing failed"),
        }
    }

    pub(crate) fn stats(&self) -> PublishStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PublishStats {
            published: read(&self.counters.published),
            failed: read(&self.counters.failed),
            withdrawn: read(&self.counters.withdrawn),
            withdrawals_given_up: read(&self.counters.withdrawals_given_up),
        }
    }
}

fn event(
    service: &ServiceName,
    before: AdvertisementState,
    outcome: Result<Announced, DhtError>,
    failures: u32,
) -> RegistryEvent {
    let service = service.clone();
    let was_published = matches!(before, AdvertisementState::Published { .. });
    match outcome {
        Ok(Announced { holders, .. }) if was_published => {
            RegistryEvent::Refreshed { service, holders }
        }
        Ok(Announced { holders, .. }) => RegistryEvent::Advertised { service, holders },
        Err(cause) => RegistryEvent::Degraded {
            service,
            cause,
            failures,
        },
    }
}

/// What became of the one record; a record that nobody holds is not published.
fn held(report: &AnnounceReport) -> Result<Announced, DhtError> {
    match report.records.first() {
        Some(announced) if announced.holders > 0 => Ok(*announced),
        Some(announced) if announced.full > 0 => Err(DhtError::Rejected),
        _ => Err(DhtError::Unreachable),
    }
}

/// All else was tried when the service was advertised; only the addresses have changed since.
fn unsigned(error: RecordError) -> DhtError {
    match error {
        RecordError::UndialableAddress => DhtError::NoAddress,
        _ => DhtError::Rejected,
    }
}
