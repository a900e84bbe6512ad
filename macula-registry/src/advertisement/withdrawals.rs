//! What is being withdrawn: a pure machine, `now` is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::agenda::{self, Agenda, Position, Queue, Turn};
use super::schedule::back_off;

/// Withdrawals that are to be sent, or tried again a few times.
#[derive(Debug)]
pub(super) struct Withdrawals<T> {
    agenda: Agenda<Pending<T>>,
    retry_first: Duration,
    retry_max: Duration,
    max_pending: usize,
    /// How many whose first attempt has not ended.
    first_attempts: usize,
    is_draining: bool,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Pending<T> {
    pub(super) withdrawal: T,
    failures: u32,
}

/// What is sent together.
pub(super) type Batch<T> = agenda::Batch<Pending<T>>;

/// What became of an attempt to withdraw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed,
    /// It failed, and no further attempt makes sense.
    Over,
}

impl<T> Withdrawals<T> {
    /// `retry` is the first wait after a failure and the longest; of more than `max_pending`, the
    /// rest is given up.
    pub(super) fn new(retry: (Duration, Duration), max_batches: usize, max_pending: usize) -> Self {
        let (retry_first, retry_max) = retry;
        Self {
            agenda: Agenda::new(max_batches),
            retry_first,
            retry_max,
            max_pending,
            first_attempts: 0,
            is_draining: false,
        }
    }

    /// Adds one, to be sent at once; answers whether there is room for it.
    pub(super) fn add(&mut self, now: Instant, position: Position, withdrawal: T) -> bool {
        if self.agenda.len() >= self.max_pending {
            return false;
        }
        let turn = Turn {
            queue: Queue::First,
            due: now,
            ripe: Some(now),
        };
        let pending = Pending {
            withdrawal,
            failures: 0,
        };
        self.agenda.insert(position, turn, pending);
        self.first_attempts += 1;
        true
    }

    /// From now on what fails is given up at once.
    pub(super) fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Gives up everything that is left; answers how much that was.
    pub(super) fn clear(&mut self) -> usize {
        self.first_attempts = 0;
        self.agenda.clear()
    }

    pub(super) fn len(&self) -> usize {
        self.agenda.len()
    }

    /// How many whose first attempt has not ended.
    pub(super) fn first_attempts(&self) -> usize {
        self.first_attempts
    }

    /// When [`next_batch`](Self::next_batch) has something; `None` if not before something ends.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.agenda.next_due()
    }

    /// What is to be sent now.
    pub(super) fn next_batch(&mut self, now: Instant) -> Option<Batch<T>> {
        self.agenda.next_batch(now)
    }

    /// Takes what became of each member of a batch, in their order; answers what that settles.
    pub(super) fn ended(
        &mut self,
        now: Instant,
        batch: Batch<T>,
        outcomes: impl IntoIterator<Item = Outcome>,
    ) -> Settled {
        self.agenda.ended(batch.queue);
        let mut settled = Settled::default();
        for ((position, mut pending), outcome) in batch.members.into_iter().zip(outcomes) {
            if !self.agenda.is_back(&position) {
                continue;
            }
            if pending.failures == 0 {
                self.first_attempts -= 1;
            }
            if outcome == Outcome::Done {
                settled.done += 1;
                continue;
            }
            let wait = back_off(self.retry_first, self.retry_max, pending.failures);
            pending.failures += 1;
            let is_over = outcome == Outcome::Over || pending.failures > MAX_RETRIES;
            if is_over || self.is_draining {
                settled.given_up += 1;
                continue;
            }
            let turn = Turn {
                queue: Queue::Again,
                due: now + wait,
                ripe: Some(now + wait),
            };
            self.agenda.insert(position, turn, pending);
        }
        settled
    }
}

/// How many of a batch need no more attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) done: usize,
    pub(super) given_up: usize,
}

/// How often a withdrawal is tried again.
const MAX_RETRIES: u32 = 5;

#[cfg(test)]
mod tests;
