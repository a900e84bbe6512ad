//! The services of a node and when each is published: a pure machine, `now` is an argument.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use super::agenda::{self, Agenda, Lane, Place, Turn};
use super::schedule::{Draw, Refresh, Retry, Schedule, refresh_interval};

/// Every listed service of a node, published by its deadline again and again.
///
/// A service is *new* until its first attempt has ended and due at once. One that succeeded is due
/// when its [`Schedule`] says, one that failed backs off by itself; meanwhile either may be *under
/// way* as a member of a batch. It leaves when it is removed, or its attempts are over.
#[derive(Debug)]
pub(super) struct Timetable<T> {
    agenda: Agenda<Entry<T>>,
    failing: BTreeSet<Place>,
    schedule: Schedule,
    rng: StdRng,
}

/// A service in the timetable.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) service: T,
    interval: Duration,
    failures: u32,
}

/// What is published together.
pub(super) type Batch<T> = agenda::Batch<Entry<T>>;

/// What became of an attempt to publish a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is held.
    Succeeded,
    /// It is not, whoever else was in the batch.
    Failed,
    /// The batch failed, perhaps for one of its members alone: each is tried again by itself.
    Suspect,
    /// No further attempt makes sense.
    Over,
}

impl<T> Timetable<T> {
    /// A timetable without services. `retry` is the first wait after a failure and the longest.
    pub(super) fn new(
        now: Instant,
        retry: (Duration, Duration),
        max_batches: usize,
        seed: u64,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (retry_first, retry_max) = retry;
        Self {
            agenda: Agenda::new(max_batches),
            failing: BTreeSet::new(),
            schedule: Schedule {
                epoch: now,
                phase: rng.random(),
                retry_first,
                retry_max,
            },
            rng,
        }
    }

    /// Adds a service, to be published at once and refreshed from then on.
    pub(super) fn add(&mut self, now: Instant, place: Place, ttl: Duration, service: T) {
        let turn = Turn {
            lane: Lane::First,
            due: now,
            ripe: Some(now),
        };
        let entry = Entry {
            service,
            interval: refresh_interval(ttl),
            failures: 0,
        };
        self.agenda.insert(place, turn, entry);
    }

    /// Removes a service. An attempt under way goes on, and nothing follows it.
    pub(super) fn remove(&mut self, place: &Place) {
        self.agenda.remove(place);
        self.failing.remove(place);
    }

    /// Removes every service.
    pub(super) fn clear(&mut self) {
        self.agenda.clear();
        self.failing.clear();
    }

    /// How many services there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.agenda.len()
    }

    /// How many services there are whose latest attempt failed.
    pub(super) fn failing(&self) -> usize {
        self.failing.len()
    }

    /// When [`next_batch`](Self::next_batch) has something; `None` if not before something ends.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.agenda.next_due()
    }

    /// What is to be published now.
    pub(super) fn next_batch(&mut self, now: Instant) -> Option<Batch<T>> {
        self.agenda.next_batch(now)
    }

    /// Takes what became of each member of a batch, in their order; answers how many attempts in a
    /// row have failed of each.
    pub(super) fn ended(
        &mut self,
        now: Instant,
        batch: Batch<T>,
        outcomes: impl IntoIterator<Item = Outcome>,
    ) -> Vec<u32> {
        let draw = Draw(self.rng.random());
        let population = self.agenda.len();
        self.agenda.ended(batch.lane);
        let mut failures = Vec::with_capacity(batch.members.len());
        for ((place, mut entry), outcome) in batch.members.into_iter().zip(outcomes) {
            let turn = match outcome {
                Outcome::Succeeded => {
                    let refresh = Refresh {
                        key: &place.key,
                        interval: entry.interval,
                        population,
                    };
                    entry.failures = 0;
                    self.refreshed(now, batch.started_at, refresh, draw)
                }
                failed => {
                    let retry = Retry {
                        interval: entry.interval,
                        failures: entry.failures,
                    };
                    entry.failures = entry.failures.saturating_add(1);
                    let due = self.schedule.retry(now, retry, draw);
                    retried(due, failed)
                }
            };
            failures.push(entry.failures);
            self.put_back(place, (outcome != Outcome::Over).then_some(turn), entry);
        }
        failures
    }

    fn refreshed(&self, now: Instant, started_at: Instant, r: Refresh<'_>, draw: Draw) -> Turn {
        let due = self.schedule.refresh(started_at, r, draw).max(now);
        Turn {
            lane: Lane::Again,
            due,
            ripe: Some(self.schedule.ripe(started_at, due, r)),
        }
    }

    /// Unless it was removed meanwhile, or its attempts are over.
    fn put_back(&mut self, place: Place, turn: Option<Turn>, entry: Entry<T>) {
        if !self.agenda.is_back(&place) {
            return;
        }
        if entry.failures > 0 {
            self.failing.insert(place);
        } else {
            self.failing.remove(&place);
        }
        if let Some(turn) = turn {
            self.agenda.insert(place, turn, entry);
        }
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        self.agenda.check_invariants();
    }
}

fn retried(due: Instant, failed: Outcome) -> Turn {
    Turn {
        lane: Lane::Again,
        due,
        ripe: (failed != Outcome::Suspect).then_some(due),
    }
}

#[cfg(test)]
mod tests;
