//! What this node's calls of one service come to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::class::{ByClass, FailureClass, known_classes};
use super::latency::{Latency, Merging};
use super::meters::{Meter, ServiceStats, merge_counts};
use super::tally::{Tally, UnderWay};
use crate::AttemptOutcome;

/// What this node's calls of one service have come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CalledStats {
    /// Calls made.
    pub calls: u64,
    /// Of these: under way now.
    pub running: u64,
    /// Calls that this node's own service took, even if it turned them away.
    pub local: u64,
    /// Attempts at other nodes.
    pub attempts: u64,
    /// Attempts after the first of their call.
    pub retries: u64,
    /// Calls without a result, by class; classes that were not met are left out.
    #[serde(deserialize_with = "known_classes")]
    pub failures: BTreeMap<FailureClass, u64>,
    /// Attempts without a result, by class. Those that another attempt made up for are here and not
    /// among `failures`.
    #[serde(deserialize_with = "known_classes")]
    pub attempt_failures: BTreeMap<FailureClass, u64>,
    /// How long calls took that a handler answered, with a result or with an error of its own:
    /// lookup, dial and attempts in vain included.
    pub latency: Latency,
}

impl ServiceStats for CalledStats {
    fn calls(&self) -> u64 {
        self.calls
    }

    fn merge<'a>(&mut self, others: impl Iterator<Item = &'a Self>) {
        let mut latency = Merging::of(&self.latency);
        for other in others {
            self.calls += other.calls;
            self.running += other.running;
            self.local += other.local;
            self.attempts += other.attempts;
            self.retries += other.retries;
            merge_counts(&mut self.failures, &other.failures);
            merge_counts(&mut self.attempt_failures, &other.attempt_failures);
            latency.add(&other.latency);
        }
        self.latency = latency.merged();
    }
}

/// Counts this node's calls of one service.
#[derive(Debug, Default)]
pub(crate) struct Called {
    calls: Tally,
    local: AtomicU64,
    attempts: AtomicU64,
    retries: AtomicU64,
    attempt_failures: ByClass,
}

impl Called {
    /// A call begins.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.calls.begin()
    }

    /// This node's own service takes a call.
    pub(crate) fn local(&self) {
        self.local.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt at another node begins: the call's `number`th, counted from one.
    pub(crate) fn attempt(&self, number: u8) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        if number > 1 {
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An attempt at another node has ended.
    pub(crate) fn attempted(&self, outcome: &AttemptOutcome) {
        if let Some(class) = outcome.class() {
            self.attempt_failures.add(class);
        }
    }
}

impl Meter for Called {
    type Stats = CalledStats;

    fn absorb(&self, other: &Self) {
        self.calls.absorb(&other.calls);
        for (own, other) in [
            (&self.local, &other.local),
            (&self.attempts, &other.attempts),
            (&self.retries, &other.retries),
        ] {
            own.fetch_add(other.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.attempt_failures.absorb(&other.attempt_failures);
    }

    fn stats(&self) -> CalledStats {
        let calls = self.calls.stats();
        CalledStats {
            calls: calls.calls,
            running: calls.running,
            local: self.local.load(Ordering::Relaxed),
            attempts: self.attempts.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            failures: calls.failures,
            attempt_failures: self.attempt_failures.stats(),
            latency: calls.latency,
        }
    }
}
