//! The services of a node and when each is published: a pure machine, `now` is an argument.

use std::collections::BTreeSet;
use std::time::Duration;

use macula_dht::message::MAX_CLAIMS;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use super::agenda::{self, Agenda, Position, Queue, Turn};
use super::schedule::{Draw, Refresh, Retry, Schedule, refresh_interval};

/// Every listed service of a node, published by its deadline again and again.
///
/// A service is *new* until its first attempt has ended and due at once. One that succeeded is due
/// when its [`Schedule`] says, one that failed backs off by itself; meanwhile either may be *under
/// way* as a member of a batch. It leaves when it is removed, or its attempts are over.
#[derive(Debug)]
pub(super) struct Timetable<T> {
    agenda: Agenda<Entry<T>>,
    failing: BTreeSet<Position>,
    /// Suspects whom nobody else can have failed.
    alone: BTreeSet<Position>,
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
pub(super) enum Verdict {
    /// It is held.
    Succeeded,
    /// It is not, whoever else was in the batch.
    Failed,
    /// The batch failed, perhaps for one of its members alone: it is tried again in halves.
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
            alone: BTreeSet::new(),
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
    pub(super) fn add(&mut self, now: Instant, position: Position, ttl: Duration, service: T) {
        let turn = Turn {
            queue: Queue::First,
            due: now,
            ripe: Some(now),
        };
        let entry = Entry {
            service,
            interval: refresh_interval(ttl),
            failures: 0,
        };
        self.agenda.insert(position, turn, entry);
    }

    /// Removes a service. An attempt under way goes on, and nothing follows it.
    pub(super) fn remove(&mut self, position: &Position) {
        self.agenda.remove(position);
        self.failing.remove(position);
        self.alone.remove(position);
    }

    /// Removes every service.
    pub(super) fn clear(&mut self) {
        self.agenda.clear();
        self.failing.clear();
        self.alone.clear();
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
        outcomes: impl IntoIterator<Item = Verdict>,
    ) -> Vec<u32> {
        let draw = Draw(self.rng.random());
        let population = self.agenda.len();
        self.agenda.ended(batch.queue);
        let size = batch.members.len();
        let mut failures = Vec::with_capacity(size);
        for ((position, mut entry), outcome) in batch.members.into_iter().zip(outcomes) {
            self.alone.remove(&position);
            let before = entry.failures;
            entry.failures = match outcome {
                Verdict::Succeeded => 0,
                _ => before.saturating_add(1),
            };
            failures.push(entry.failures);
            let retry = Retry {
                interval: entry.interval,
                failures: before,
            };
            let again = match outcome {
                Verdict::Succeeded => {
                    let refresh = Refresh {
                        key: &position.key,
                        interval: entry.interval,
                        population,
                    };
                    Some((
                        self.refreshed(now, batch.started_at, refresh, draw),
                        MAX_CLAIMS,
                    ))
                }
                Verdict::Failed => Some((self.retried(now, retry, draw), MAX_CLAIMS)),
                Verdict::Suspect => Some(self.suspected(now, retry, size, draw)),
                Verdict::Over => None,
            };
            self.put_back(position, again, entry);
        }
        failures
    }

    fn refreshed(&self, now: Instant, started_at: Instant, r: Refresh<'_>, draw: Draw) -> Turn {
        let due = self.schedule.refresh(started_at, r, draw).max(now);
        Turn {
            queue: Queue::Again,
            due,
            ripe: Some(self.schedule.ripe(started_at, due, r)),
        }
    }

    fn retried(&self, now: Instant, retry: Retry, draw: Draw) -> Turn {
        let due = self.schedule.retry(now, retry, draw);
        Turn {
            queue: Queue::Again,
            due,
            ripe: Some(due),
        }
    }

    /// When a member of a batch of that size is tried again, and how many it is of then at most.
    ///
    /// Halving ends long before the record of a member without fault expires: it is not put off.
    fn suspected(&self, now: Instant, retry: Retry, size: usize, draw: Draw) -> (Turn, usize) {
        let at_most = (size / 2).max(1);
        let has_company = size > 1;
        if at_most == 1 && self.alone.len() >= MAX_ALONE {
            return (self.retried(now, retry, draw), MAX_CLAIMS);
        }
        let retry = Retry {
            failures: if has_company { 0 } else { retry.failures },
            ..retry
        };
        let turn = Turn {
            queue: Queue::Suspect,
            ..self.retried(now, retry, draw)
        };
        (turn, at_most)
    }

    /// Unless it was removed meanwhile, or its attempts are over.
    fn put_back(&mut self, position: Position, again: Option<(Turn, usize)>, entry: Entry<T>) {
        if !self.agenda.is_back(&position) {
            return;
        }
        if entry.failures > 0 {
            self.failing.insert(position);
        } else {
            self.failing.remove(&position);
        }
        if let Some((turn, at_most)) = again {
            if at_most == 1 {
                self.alone.insert(position);
            }
            self.agenda.insert_apart(position, turn, at_most, entry);
        }
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        self.agenda.check_invariants();
        assert!(self.alone.len() <= MAX_ALONE);
    }
}

/// The most suspects that are tried alone. Of more the cause is none of them: they come together
/// again, so that all are there soon once it is gone.
const MAX_ALONE: usize = 2 * MAX_CLAIMS;

#[cfg(test)]
mod tests;
