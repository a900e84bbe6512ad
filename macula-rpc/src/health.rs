//! How providers are doing, as far as the calls of this node tell.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use macula_core::{NodeId, ServiceName};
use tokio::time::Instant;

mod breaker;
mod vitals;

#[cfg(test)]
mod tests;

pub use breaker::BreakerState;
pub(crate) use vitals::Condition;
#[cfg(test)]
pub(crate) use vitals::DECAY;

use breaker::Admission;
use vitals::Vitals;

use crate::metrics::{Called, Meters};
use crate::wanted::Looked;
use crate::{CalledStats, Candidate, PerService};

/// What is known of a provider of a service, from the attempts of this node at it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct ProviderHealth {
    /// How long it takes to answer: a mean that believes in slowness at once and fades to nothing
    /// while the provider is not called. `None` before the first answer.
    pub latency: Option<Duration>,
    /// Which share of the latest attempts failed, 0 to 1; fades as well.
    pub failing: f64,
    /// How many attempts at it are under way.
    pub in_flight: usize,
    /// For how long the oldest of them has been.
    pub waiting: Option<Duration>,
    /// Whether it may be called. To a call that may run only once a breaker seems open for longer:
    /// it is not to find out whether the provider is well again while another call may.
    pub breaker: BreakerState,
}

/// What is known of all providers of all services that were called lately.
#[derive(Debug)]
pub(crate) struct Health {
    services: papaya::HashMap<ServiceName, Arc<ServiceHealth>, RandomState>,
    /// Counts for services beyond the bound: their providers are known together.
    crowd: Arc<ServiceHealth>,
    meters: Meters<Called>,
    last_sweep: Mutex<Option<Instant>>,
}

/// What is known of the providers of one service. Services are apart, for one may be slow or broken
/// where another of the same node is well.
#[derive(Debug, Default)]
pub(crate) struct ServiceHealth {
    known: Mutex<Known>,
    /// Whether those who are wanted were looked for.
    pub(crate) looked: Looked,
    /// Counts the calls of the service: kept here so that a call looks its name up once.
    pub(crate) meter: Arc<Called>,
}

#[derive(Debug, Default)]
struct Known {
    providers: HashMap<NodeId, Vitals, RandomState>,
    /// Each provider hears the numbers of its attempts in their order.
    attempts: u64,
}

/// An attempt under way; dropped without an end it counts as given up.
#[derive(Debug)]
pub(crate) struct AttemptUnderWay<'a> {
    service: &'a ServiceHealth,
    node_id: NodeId,
    number: u64,
    admission: Admission,
    with_dial: bool,
    /// When it ended, and how.
    ended: Option<(Instant, Condition)>,
}

impl Default for Health {
    fn default() -> Self {
        let meters = Meters::default();
        Self {
            services: papaya::HashMap::default(),
            crowd: Arc::new(ServiceHealth::counted_by(meters.other())),
            meters,
            last_sweep: Mutex::default(),
        }
    }
}

impl Health {
    pub(crate) fn of(&self, now: Instant, service: &ServiceName) -> Arc<ServiceHealth> {
        let services = self.services.pin();
        if let Some(known) = services.get(service) {
            return Arc::clone(known);
        }
        if services.len() >= MAX_SERVICES {
            self.sweep(now);
        }
        // Newcomers that race may overshoot the bound by one each.
        if services.len() >= MAX_SERVICES {
            return Arc::clone(&self.crowd);
        }
        let newcomer = || Arc::new(ServiceHealth::counted_by(self.meters.of(service)));
        Arc::clone(services.get_or_insert_with(service.clone(), newcomer))
    }

    /// What the calls of each service have come to.
    pub(crate) fn called(&self) -> PerService<CalledStats> {
        self.meters.stats()
    }

    /// Forgets the services that were not called for long. Not for every call of a service that
    /// finds no room, for it takes its time.
    fn sweep(&self, now: Instant) {
        let Ok(mut last) = self.last_sweep.try_lock() else {
            return;
        };
        let is_due = |at: &Instant| now.saturating_duration_since(*at) >= SWEEP_INTERVAL;
        if last.as_ref().is_none_or(is_due) {
            *last = Some(now);
            // One that a call holds is about to be used, even if nobody is known there yet.
            let is_held = |service: &Arc<ServiceHealth>| Arc::strong_count(service) > 1;
            self.services
                .pin()
                .retain(|_, service| is_held(service) || !service.is_idle(now, FORGOTTEN_AFTER));
        }
    }
}

impl ServiceHealth {
    fn counted_by(meter: Arc<Called>) -> Self {
        Self {
            meter,
            ..Self::default()
        }
    }

    /// Notes of each candidate what is known of it now, to a call that may run only once or to any
    /// other.
    pub(crate) fn examine(
        &self,
        now: Instant,
        candidates: &mut [Candidate<'_>],
        at_most_once: bool,
    ) {
        let known = self.known();
        for candidate in candidates {
            if let Some(vitals) = known.providers.get(&candidate.provider.node_id()) {
                candidate.health = vitals.snapshot(now, at_most_once);
            }
        }
    }

    /// Notes that an attempt begins; `None` when the provider's breaker does not admit it, unless
    /// it is `forced`.
    pub(crate) fn begin(
        &self,
        now: Instant,
        node_id: NodeId,
        forced: bool,
    ) -> Option<AttemptUnderWay<'_>> {
        let (number, admission) = self.known().begin(now, node_id, forced)?;
        Some(AttemptUnderWay {
            service: self,
            node_id,
            number,
            admission,
            with_dial: false,
            ended: None,
        })
    }

    fn is_idle(&self, now: Instant, since: Duration) -> bool {
        let known = self.known();
        known.providers.values().all(|it| it.is_idle(now, since))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn begin(&mut self, now: Instant, node_id: NodeId, forced: bool) -> Option<(u64, Admission)> {
        if self.providers.len() >= MAX_PROVIDERS && !self.providers.contains_key(&node_id) {
            self.make_room(now);
        }
        self.attempts += 1;
        let vitals = self.providers.entry(node_id).or_default();
        let admission = vitals.begin(now, self.attempts, forced)?;
        Some((self.attempts, admission))
    }

    /// Forgets who was not called for long, or else who was not called for longest; who has not
    /// answered yet only if all have not.
    fn make_room(&mut self, now: Instant) {
        self.providers
            .retain(|_, vitals| !vitals.is_idle(now, FORGOTTEN_AFTER));
        if self.providers.len() >= MAX_PROVIDERS {
            let providers = self.providers.iter();
            let oldest = providers
                // The ids, for those that are alike: nothing depends on the order of the map.
                .min_by_key(|(id, vitals)| (vitals.is_under_way(), vitals.last_used(), **id))
                .map(|(node_id, _)| *node_id);
            oldest.map(|node_id| self.providers.remove(&node_id));
        }
    }
}

impl AttemptUnderWay<'_> {
    /// One line for each change, not for each attempt.
    fn tell(&self, before: BreakerState, after: BreakerState) {
        let provider = || self.node_id.short();
        match (before, after) {
            (BreakerState::Closed, BreakerState::Open) => {
                tracing::warn!(provider = %provider(), "breaker opened: the provider is left alone for a while");
            }
            (BreakerState::Open | BreakerState::HalfOpen, BreakerState::Closed) => {
                tracing::info!(provider = %provider(), "breaker closed: the provider is well again");
            }
            _ => {}
        }
    }

    /// Whether it was begun although the provider's breaker did not admit it.
    pub(crate) fn is_forced(&self) -> bool {
        self.admission == Admission::Forced
    }

    /// It has to make a connection first: how long it takes says nothing of the next ones.
    pub(crate) fn with_dial(mut self, with_dial: bool) -> Self {
        self.with_dial = with_dial;
        self
    }

    /// Notes when it ended, and how.
    pub(crate) fn ended(mut self, now: Instant, condition: Condition) {
        self.ended = Some((now, condition));
    }
}

impl Drop for AttemptUnderWay<'_> {
    fn drop(&mut self) {
        let given_up = || (Instant::now(), Condition::Unknown);
        let (now, condition) = self.ended.unwrap_or_else(given_up);
        let mut known = self.service.known();
        if let Some(vitals) = known.providers.get_mut(&self.node_id) {
            let latency = vitals.end(now, self.number).filter(|_| !self.with_dial);
            let before = vitals.breaker(now);
            vitals.judge(now, self.admission, condition, latency);
            let after = vitals.breaker(now);
            drop(known);
            self.tell(before, after);
        }
    }
}

/// Services whose providers are known apart.
const MAX_SERVICES: usize = 4 * 1024;

/// Providers of a service that something is known of.
const MAX_PROVIDERS: usize = 64;

/// How often what was not used is looked for, at most.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What was not used for so long is the first to be forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
