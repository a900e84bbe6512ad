//! How providers are doing, as far as the calls of this node tell.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
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

use crate::Candidate;

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
    /// Whether it may be called.
    pub breaker: BreakerState,
}

/// What is known of all providers of all services that were called lately.
#[derive(Debug, Default)]
pub(crate) struct Health {
    services: DashMap<ServiceName, Arc<ServiceHealth>>,
    /// Counts for services beyond the bound: their providers are known together.
    crowd: Arc<ServiceHealth>,
    last_sweep: Mutex<Option<Instant>>,
}

/// What is known of the providers of one service. Services are apart, for one may be slow or broken
/// where another of the same node is well.
#[derive(Debug, Default)]
pub(crate) struct ServiceHealth {
    providers: Mutex<BTreeMap<NodeId, Vitals>>,
    attempts: AtomicU64,
}

/// An attempt under way; dropped without an end it counts as given up.
#[derive(Debug)]
pub(crate) struct AttemptUnderWay {
    service: Arc<ServiceHealth>,
    node_id: NodeId,
    number: u64,
    admission: Admission,
    condition: Condition,
    with_dial: bool,
}

impl Health {
    pub(crate) fn of(&self, now: Instant, service: &ServiceName) -> Arc<ServiceHealth> {
        if let Some(known) = self.services.get(service) {
            return Arc::clone(&known);
        }
        if self.services.len() >= MAX_SERVICES {
            self.sweep(now);
        }
        if self.services.len() >= MAX_SERVICES {
            return Arc::clone(&self.crowd);
        }
        Arc::clone(&self.services.entry(service.clone()).or_default())
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
                .retain(|_, service| is_held(service) || !service.is_idle(now, FORGOTTEN_AFTER));
        }
    }
}

impl ServiceHealth {
    /// Notes of each candidate what is known of it now.
    pub(crate) fn examine(&self, now: Instant, candidates: &mut [Candidate]) {
        let known = self.providers();
        for candidate in candidates {
            let vitals = known.get(&candidate.provider.node_id());
            candidate.health =
                vitals.map_or_else(ProviderHealth::default, |vitals| vitals.snapshot(now));
        }
    }

    /// Notes that an attempt begins; `None` when the provider's breaker does not admit it, unless
    /// it is `forced`.
    pub(crate) fn begin(
        self: &Arc<Self>,
        now: Instant,
        node_id: NodeId,
        forced: bool,
    ) -> Option<AttemptUnderWay> {
        let mut providers = self.providers();
        // Under the lock: each provider hears the numbers in their order.
        let number = self.attempts.fetch_add(1, Ordering::Relaxed);
        if providers.len() >= MAX_PROVIDERS && !providers.contains_key(&node_id) {
            make_room(&mut providers, now);
        }
        let vitals = providers.entry(node_id).or_default();
        let admission = vitals.begin(now, number, forced)?;
        drop(providers);
        Some(AttemptUnderWay {
            service: Arc::clone(self),
            node_id,
            number,
            admission,
            condition: Condition::Unknown,
            with_dial: false,
        })
    }

    fn is_idle(&self, now: Instant, since: Duration) -> bool {
        self.providers()
            .values()
            .all(|vitals| vitals.is_idle(now, since))
    }

    fn providers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Vitals>> {
        self.providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets who was not called for long, or else who was not called for longest; who has not
/// answered yet only if all have not.
fn make_room(providers: &mut BTreeMap<NodeId, Vitals>, now: Instant) {
    providers.retain(|_, vitals| !vitals.is_idle(now, FORGOTTEN_AFTER));
    if providers.len() >= MAX_PROVIDERS {
        let oldest = providers
            .iter()
            .min_by_key(|(_, vitals)| (vitals.is_under_way(), vitals.last_used()))
            .map(|(node_id, _)| *node_id);
        oldest.map(|node_id| providers.remove(&node_id));
    }
}

impl AttemptUnderWay {
    /// One line for each change, not for each attempt.
    fn tell(&self, before: BreakerState, after: BreakerState) {
        let provider = self.node_id.short();
        match (before, after) {
            (BreakerState::Closed, BreakerState::Open) => {
                tracing::warn!(%provider, "breaker opened: the provider is left alone for a while");
            }
            (BreakerState::Open | BreakerState::HalfOpen, BreakerState::Closed) => {
                tracing::info!(%provider, "breaker closed: the provider is well again");
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

    /// Notes how it ended.
    pub(crate) fn ended(mut self, condition: Condition) {
        self.condition = condition;
    }
}

impl Drop for AttemptUnderWay {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut providers = self.service.providers();
        if let Some(vitals) = providers.get_mut(&self.node_id) {
            let latency = vitals.end(now, self.number).filter(|_| !self.with_dial);
            let before = vitals.breaker(now);
            vitals.judge(now, self.admission, self.condition, latency);
            let after = vitals.breaker(now);
            drop(providers);
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
