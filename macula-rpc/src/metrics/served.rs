//! What the calls that this node answers with one service come to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::class::{FailureClass, known_classes};
use super::latency::{Latency, Merging};
use super::meters::{Meter, ServiceStats, merge_counts};
use super::tally::Tally;

/// What the calls that this node answers with one service have come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ServedStats {
    /// Calls that arrived, this node's own included.
    pub calls: u64,
    /// Of these: not answered yet.
    pub running: u64,
    /// Calls that ended without a result, by class; classes that were not met are left out.
    #[serde(deserialize_with = "known_classes")]
    pub failures: BTreeMap<FailureClass, u64>,
    /// How long calls took here whose handler ran to its end, with a result or with an error of its
    /// own: from their arrival, the wait for a thread included.
    pub duration: Latency,
}

impl ServiceStats for ServedStats {
    fn calls(&self) -> u64 {
        self.calls
    }

    fn merge<'a>(&mut self, others: impl Iterator<Item = &'a Self>) {
        let mut duration = Merging::of(&self.duration);
        for other in others {
            self.calls += other.calls;
            self.running += other.running;
            merge_counts(&mut self.failures, &other.failures);
            duration.add(&other.duration);
        }
        self.duration = duration.merged();
    }
}

/// Counts the calls that this node answers with one service.
#[derive(Debug, Default)]
pub(crate) struct Served(Tally);

impl Served {
    /// A call has arrived; it counts as running until [`ended`](Self::ended).
    pub(crate) fn called(&self) {
        self.0.called();
    }

    /// A call has ended, so long after its arrival: with a result unless there is a `failure`.
    pub(crate) fn ended(&self, took: Duration, failure: Option<FailureClass>) {
        self.0.ended(took, failure);
    }
}

impl Meter for Served {
    type Stats = ServedStats;

    fn absorb(&self, other: &Self) {
        self.0.absorb(&other.0);
    }

    fn stats(&self) -> ServedStats {
        let calls = self.0.stats();
        ServedStats {
            calls: calls.calls,
            running: calls.running,
            failures: calls.failures,
            duration: calls.latency,
        }
    }
}
