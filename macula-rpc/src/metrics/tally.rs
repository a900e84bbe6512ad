//! What both sides count of a service: how many calls, how they ended, how long they took.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::class::{ByClass, FailureClass};
use super::latency::{Latency, LatencyMeter};

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Tally {
    begun: AtomicU64,
    failures: ByClass,
    /// Of those that a handler answered, with a result or with an error of its own.
    latency: LatencyMeter,
}

/// A call that is counted as running; dropped without an end it counts as given up.
#[must_use = "dropped at once, the call counts as given up"]
#[derive(Debug)]
pub(crate) struct UnderWay<'a> {
    tally: &'a Tally,
    is_over: bool,
}

/// What was counted.
pub(super) struct TallyStats {
    pub(super) calls: u64,
    pub(super) running: u64,
    pub(super) failures: BTreeMap<FailureClass, u64>,
    pub(super) latency: Latency,
}

impl Tally {
    /// A call begins; it runs until [`ended`](Self::ended).
    pub(super) fn called(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// A call has ended: with a result unless there is a `failure`.
    pub(super) fn ended(&self, took: Duration, failure: Option<FailureClass>) {
        if failure.is_none_or(FailureClass::is_answer) {
            self.latency.record(took);
        }
        if let Some(class) = failure {
            self.failures.add(class);
        }
    }

    /// A call begins, and ends with what is handed out.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.called();
        UnderWay {
            tally: self,
            is_over: false,
        }
    }

    /// Takes over what another one, in which nothing runs, has counted.
    pub(super) fn absorb(&self, other: &Self) {
        let begun = other.begun.load(Ordering::Relaxed);
        self.begun.fetch_add(begun, Ordering::Relaxed);
        self.failures.absorb(&other.failures);
        self.latency.absorb(&other.latency);
    }

    pub(super) fn stats(&self) -> TallyStats {
        // What ends while this reads has begun before, so that none runs less than never.
        let failures = self.failures.stats();
        let latency = self.latency.stats();
        let calls = self.begun.load(Ordering::Relaxed);
        let unanswered = failures.iter().filter(|(class, _)| !class.is_answer());
        let ended = latency.count + unanswered.map(|(_, count)| count).sum::<u64>();
        TallyStats {
            calls,
            running: calls.saturating_sub(ended),
            failures,
            latency,
        }
    }
}

impl UnderWay<'_> {
    /// Notes that it ended after so long: with a result unless there is a `failure`.
    pub(crate) fn ended(mut self, took: Duration, failure: Option<FailureClass>) {
        self.is_over = true;
        self.tally.ended(took, failure);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.tally.failures.add(FailureClass::GivenUp);
        }
    }
}
