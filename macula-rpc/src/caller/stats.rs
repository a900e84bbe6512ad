//! What a caller has counted.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a [`Caller`](crate::Caller) since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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

#[derive(Debug, Default)]
pub(super) struct Counters {
    calls: AtomicU64,
    failed: AtomicU64,
    local: AtomicU64,
    attempts: AtomicU64,
    failovers: AtomicU64,
    out_of_budget: AtomicU64,
    refreshes: AtomicU64,
}

impl Counters {
    pub(super) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn local(&self) {
        self.local.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn attempt(&self, number: u8) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        if number > 1 {
            self.failovers.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn out_of_budget(&self) {
        self.out_of_budget.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refreshed(&self) {
        self.refreshes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> CallerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CallerStats {
            calls: read(&self.calls),
            failed: read(&self.failed),
            local: read(&self.local),
            attempts: read(&self.attempts),
            failovers: read(&self.failovers),
            out_of_budget: read(&self.out_of_budget),
            refreshes: read(&self.refreshes),
        }
    }
}
