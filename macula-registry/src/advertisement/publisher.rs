//! Publishes the services of a node and keeps them published, one task for all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use macula_core::{ProviderRecord, RecordError};
use macula_dht::{Announced, DhtError};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::means::{Means, count};
use super::rounds::{self, Rounds};
use super::timetable::{Batch, Timetable, Verdict};
use super::{AdvertisementState, Publication};
use crate::RegistryEvent;

/// The timetable of a node and the task that keeps it.
pub(super) struct Publisher {
    means: Arc<Means>,
    timetable: Mutex<Timetable<Arc<Publication>>>,
    wake: Arc<Notify>,
}

impl Publisher {
    /// Starts the task; it ends with the publisher.
    pub(super) fn start(means: &Arc<Means>, runtime: &Handle) -> Arc<Self> {
        let config = &means.config;
        let retry = (config.retry_first, config.retry_max);
        let at_once = config.max_publishing.get();
        let timetable = Timetable::new(Instant::now(), retry, at_once, means.seed());
        let publisher = Arc::new(Self {
            means: Arc::clone(means),
            timetable: Mutex::new(timetable),
            wake: Arc::new(Notify::new()),
        });
        let wake = Arc::clone(&publisher.wake);
        runtime.spawn(rounds::run(Arc::downgrade(&publisher), wake));
        publisher
    }

    pub(super) fn add(&self, publication: &Arc<Publication>) {
        let position = self.means.position(publication);
        let ttl = publication.options().ttl;
        self.timetable()
            .add(Instant::now(), position, ttl, Arc::clone(publication));
        if publication.is_closed() {
            // Whoever closed it may have looked here before it was there.
            self.remove(publication);
        }
        self.wake.notify_one();
    }

    pub(super) fn remove(&self, publication: &Publication) {
        let position = self.means.position(publication);
        self.timetable().remove(&position);
    }

    pub(super) fn clear(&self) {
        self.timetable().clear();
    }

    /// How many services there are whose latest attempt failed.
    pub(super) fn failing(&self) -> usize {
        self.timetable().failing()
    }

    fn timetable(&self) -> MutexGuard<'_, Timetable<Arc<Publication>>> {
        self.timetable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts and tells what became of one service, unless it is withdrawn.
    fn report(&self, publication: &Publication, attempt: Attempt, failures: u32) {
        let state = match attempt {
            Ok(Announced { holders, full, .. }) => AdvertisementState::Published { holders, full },
            Err(cause) => AdvertisementState::Degraded { cause, failures },
        };
        publication.change_state(state, |before| {
            let service = publication.name().clone();
            let was_published = matches!(before, AdvertisementState::Published { .. });
            let counters = &self.means.counters;
            let (counter, event) = match attempt {
                Ok(Announced { holders, .. }) if was_published => {
                    debug!(%service, holders, "refreshed");
                    let event = RegistryEvent::Refreshed { service, holders };
                    (&counters.refreshed, event)
                }
                Ok(Announced { holders, .. }) => {
                    debug!(%service, holders, "published");
                    let event = RegistryEvent::Advertised { service, holders };
                    (&counters.published, event)
                }
                Err(cause) => {
                    debug!(%service, %cause, failures, "degraded");
                    let event = RegistryEvent::Degraded {
                        service,
                        cause,
                        failures,
                    };
                    (&counters.failed, event)
                }
            };
            count(counter, 1);
            event
        });
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

impl Rounds for Publisher {
    type Batch = Batch<Arc<Publication>>;
    type Outcome = Vec<Attempt>;

    fn next_due(&self) -> Option<Instant> {
        self.timetable().next_due()
    }

    fn next_batch(&self, now: Instant) -> Option<Self::Batch> {
        self.timetable().next_batch(now)
    }

    fn carry_out(
        &self,
        batch: &Self::Batch,
    ) -> impl Future<Output = Self::Outcome> + Send + 'static {
        let members = batch.members.iter();
        let publications: Vec<_> = members.map(|(_, e)| Arc::clone(&e.service)).collect();
        let means = Arc::clone(&self.means);
        async move { means.publish(&publications).await }
    }

    fn ended(&self, now: Instant, batch: Self::Batch, outcome: Option<Self::Outcome>) {
        let members = batch.members.iter();
        let publications: Vec<_> = members.map(|(_, e)| Arc::clone(&e.service)).collect();
        let panicked = outcome.is_none();
        let unheard = || vec![Err(DhtError::Unreachable); publications.len()];
        let ended = outcome.unwrap_or_else(unheard);
        let outcomes = ended.iter().map(|attempt| match attempt {
            _ if panicked => Verdict::Suspect,
            attempt => judged(*attempt),
        });
        let failures = self.timetable().ended(now, batch, outcomes);
        summarize(&publications, &ended);
        for ((publication, attempt), failures) in publications.iter().zip(ended).zip(failures) {
            self.report(publication, attempt, failures);
        }
    }
}

/// What became of one record.
type Attempt = Result<Announced, DhtError>;

impl Means {
    /// Publishes once what these publications say, in the order of the key space.
    async fn publish(&self, publications: &[Arc<Publication>]) -> Vec<Attempt> {
        let addresses = self.addresses();
        if addresses.is_empty() {
            // Nothing is signed that nobody may be told, nor has to be withdrawn then.
            return vec![Err(DhtError::NoAddress); publications.len()];
        }
        let signed: Vec<_> = publications
            .iter()
            .map(|publication| self.sign(publication, &addresses))
            .collect();
        let records: Vec<_> = signed.iter().flatten().cloned().collect();
        let mut announced = match self.announce(records).await {
            Ok(announced) => announced.into_iter(),
            Err(error) => vec![Err(error); signed.len()].into_iter(),
        };
        let mut next = || announced.next().unwrap_or(Err(DhtError::Unreachable));
        let attempts = signed.into_iter();
        attempts.map(|signed| signed.and_then(|_| next())).collect()
    }

    fn sign(
        &self,
        publication: &Publication,
        addresses: &macula_core::Addresses,
    ) -> Result<ProviderRecord, DhtError> {
        match publication.sign(&self.identity, &self.numbers, addresses.clone()) {
            None => Err(DhtError::Closed),
            Some(Err(error)) => Err(unsigned(error)),
            Some(Ok(record)) => Ok(record),
        }
    }

    async fn announce(&self, records: Vec<ProviderRecord>) -> Result<Vec<Attempt>, DhtError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        count(&self.counters.batches, 1);
        let announced = timeout(self.config.publish_timeout, self.dht.announce(records));
        match announced.await {
            Ok(report) => Ok(report?.records.into_iter().map(held).collect()),
            Err(_elapsed) => Err(DhtError::Unreachable),
        }
    }
}

/// A record that nobody holds is not published.
fn held(announced: Announced) -> Attempt {
    match announced {
        Announced { holders: 1.., .. } => Ok(announced),
        Announced { full: 1.., .. } => Err(DhtError::Rejected),
        Announced { .. } => Err(DhtError::Unreachable),
    }
}

/// A batch that fails as a whole does so for what all its members share: the DHT tells of each
/// record by itself otherwise. So they stay together.
fn judged(attempt: Attempt) -> Verdict {
    match attempt {
        Ok(_) => Verdict::Succeeded,
        Err(DhtError::Closed) => Verdict::Over,
        Err(_) => Verdict::Failed,
    }
}

/// All else was tried when the service was advertised; only the addresses have changed since.
fn unsigned(error: RecordError) -> DhtError {
    match error {
        RecordError::UndialableAddress => DhtError::NoAddress,
        _ => DhtError::Rejected,
    }
}

/// One line for what changed in a batch, however many services that are.
fn summarize(publications: &[Arc<Publication>], ended: &[Attempt]) {
    let (mut published, mut degraded, mut last_cause) = (0, 0, None);
    for (publication, attempt) in publications.iter().zip(ended) {
        match (publication.latest_state(), attempt) {
            (AdvertisementState::Published { .. }, Ok(_)) => {}
            (AdvertisementState::Publishing | AdvertisementState::Degraded { .. }, Ok(_)) => {
                published += 1;
            }
            (AdvertisementState::Publishing | AdvertisementState::Published { .. }, Err(cause)) => {
                degraded += 1;
                last_cause = Some(cause);
            }
            _ => {}
        }
    }
    let first = publications.first().map(|publication| publication.name());
    let service = first
        .filter(|_| publications.len() == 1)
        .map(tracing::field::display);
    if published > 0 {
        info!(service, services = published, "published");
    }
    if let Some(cause) = last_cause {
        warn!(service, services = degraded, %cause, "degraded: publishing failed");
    }
}
