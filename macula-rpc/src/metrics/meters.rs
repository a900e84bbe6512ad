//! A meter for each service by its name, and one for all that find no room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use macula_core::ServiceName;
use serde::{Deserialize, Serialize};

use super::class::FailureClass;

/// Services that are counted apart, on either side; a name takes about 3 KiB.
///
/// When there are more, the names that were not called lately make room: what they have counted
/// goes to [`PerService::other`], and so does what the rest counts if there is no room all the same.
pub const MAX_METERED_SERVICES: usize = 4 * 1024;

/// What was counted, service by service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PerService<S> {
    /// By name.
    pub services: BTreeMap<ServiceName, S>,
    /// All services together that are not named here.
    pub other: S,
}

/// What can be said of one service, or of several together.
pub trait ServiceStats: Clone + Default {
    /// How many calls there were.
    fn calls(&self) -> u64;

    /// Adds what was counted elsewhere: in one go, for what is told of the whole is reckoned once.
    fn merge<'a>(&mut self, others: impl Iterator<Item = &'a Self>)
    where
        Self: 'a;
}

impl<S: ServiceStats> PerService<S> {
    /// All services together.
    pub fn total(&self) -> S {
        let mut total = self.other.clone();
        total.merge(self.services.values());
        total
    }

    /// Names no more than so many services: those with the most calls, and of two with as many the
    /// one whose name comes first.
    #[must_use]
    pub fn busiest(mut self, most: usize) -> Self {
        let mut by_calls: Vec<_> = std::mem::take(&mut self.services).into_iter().collect();
        by_calls.sort_by_key(|(_, stats)| std::cmp::Reverse(stats.calls()));
        let left_out = by_calls.split_off(most.min(by_calls.len()));
        self.other.merge(left_out.iter().map(|(_, stats)| stats));
        self.services.extend(by_calls);
        self
    }
}

pub(super) fn merge_counts(
    own: &mut BTreeMap<FailureClass, u64>,
    other: &BTreeMap<FailureClass, u64>,
) {
    for (class, count) in other {
        *own.entry(*class).or_default() += count;
    }
}

/// Counts for one service, or for all that have no meter of their own.
pub(crate) trait Meter: Default + Send + Sync {
    type Stats: ServiceStats;

    /// Takes over what another one, in which nothing runs, has counted.
    fn absorb(&self, other: &Self);

    fn stats(&self) -> Self::Stats;
}

/// The meters of one side.
///
// Invariant: what a meter has counted is in the map or in `other`, and nowhere twice.
#[derive(Debug)]
pub(crate) struct Meters<M> {
    by_name: Mutex<BTreeMap<ServiceName, Arc<M>>>,
    other: Arc<M>,
    most: usize,
}

impl<M: Meter> Default for Meters<M> {
    fn default() -> Self {
        Self::at_most(MAX_METERED_SERVICES)
    }
}

impl<M: Meter> Meters<M> {
    fn at_most(most: usize) -> Self {
        Self {
            by_name: Mutex::default(),
            other: Arc::default(),
            most,
        }
    }

    /// The meter of a service. It takes a lock: whoever counts often keeps it, and counts as one
    /// who uses it while he does.
    pub(crate) fn of(&self, name: &ServiceName) -> Arc<M> {
        let mut by_name = self.by_name();
        if let Some(meter) = by_name.get(name) {
            return Arc::clone(meter);
        }
        if by_name.len() >= self.most {
            // Under the lock nobody gets hold of one that nobody holds.
            by_name.retain(|_, meter| {
                let is_held = Arc::strong_count(meter) > 1;
                if !is_held {
                    self.other.absorb(meter);
                }
                is_held
            });
        }
        if by_name.len() >= self.most {
            return self.other();
        }
        Arc::clone(by_name.entry(name.clone()).or_default())
    }

    /// The meter of all services that have none of their own.
    pub(crate) fn other(&self) -> Arc<M> {
        Arc::clone(&self.other)
    }

    pub(crate) fn stats(&self) -> PerService<M::Stats> {
        // Held until `other` is read: none of them moves there meanwhile.
        let meters = self.by_name().clone();
        let services = meters
            .iter()
            .map(|(name, meter)| (name.clone(), meter.stats()));
        PerService {
            services: services.collect(),
            other: self.other.stats(),
        }
    }

    fn by_name(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Arc<M>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
