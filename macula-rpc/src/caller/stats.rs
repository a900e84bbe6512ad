//! What a caller has counted.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::{CalledStats, FailureClass};

/// Counters of a [`Caller`](crate::Caller) since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CallerStats {
    /// Calls made.
    pub calls: u64,
    /// Calls without a result, services' own errors included.
    pub failed: u64,
    /// Calls that this node's own services answered.
    pub local: u64,
    /// Attempts at other nodes.
    pub attempts: u64,
    /// Attempts after the first of their call.
    pub failovers: u64,
    /// Attempts that were not made because the budget for further ones was spent.
    pub out_of_budget: u64,
    /// Lookups because the known providers were used up.
    pub refreshes: u64,
}

/// What is not counted by service.
#[derive(Debug, Default)]
pub(super) struct Counters {
    out_of_budget: AtomicU64,
    refreshes: AtomicU64,
}

impl Counters {
    pub(super) fn out_of_budget(&self) {
        self.out_of_budget.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refreshed(&self) {
        self.refreshes.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it, with what the calls of all services have come to.
    pub(super) fn snapshot(&self, called: &CalledStats) -> CallerStats {
        let failures = called.failures.iter();
        let failed = failures.filter(|(class, _)| **class != FailureClass::GivenUp);
        CallerStats {
            calls: called.calls,
            failed: failed.map(|(_, count)| count).sum(),
            local: called.local,
            attempts: called.attempts,
            failovers: called.retries,
            out_of_budget: self.out_of_budget.load(Ordering::Relaxed),
            refreshes: self.refreshes.load(Ordering::Relaxed),
        }
    }
}
