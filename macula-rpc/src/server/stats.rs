//! What a server has counted.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::{FailureClass, ServedStats};

/// Counters of a [`Server`](crate::Server) since its start, and what runs now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ServerStats {
    /// Handlers running now.
    pub running: usize,
    /// Calls that arrived, this node's own included.
    pub calls: u64,
    /// Calls answered with a result.
    pub succeeded: u64,
    /// Calls answered with the service's own error.
    pub failed: u64,
    /// Calls whose handler panicked.
    pub panicked: u64,
    /// Calls to services that are not provided here.
    pub not_served: u64,
    /// Calls refused because a limit was reached, or the node shuts down.
    pub refused: u64,
    /// Calls that the service's rule of access did not admit.
    pub denied: u64,
    /// Calls whose arguments or result could not be read, written, or carried.
    pub unreadable: u64,
    /// Calls whose handler was stopped: at the deadline, by its caller, or because its service was
    /// withdrawn. Those whose time was over before it could begin are among them.
    pub stopped: u64,
    /// Calls to what the node answers by itself, which count nowhere else.
    pub system_calls: u64,
}

/// What is not counted by service.
#[derive(Debug, Default)]
pub(super) struct Counters {
    not_served: AtomicU64,
    system_calls: AtomicU64,
}

impl Counters {
    pub(super) fn not_served(&self) {
        self.not_served.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn system_called(&self) {
        self.system_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it, with what the calls of all services have come to.
    pub(super) fn snapshot(&self, running: usize, served: &ServedStats) -> ServerStats {
        let of = |class| served.failures.get(&class).copied().unwrap_or(0);
        let failed = of(FailureClass::Handler);
        let not_served = self.not_served.load(Ordering::Relaxed);
        ServerStats {
            running,
            calls: served.calls + not_served,
            succeeded: served.duration.count.saturating_sub(failed),
            failed,
            panicked: of(FailureClass::Panicked),
            not_served,
            refused: of(FailureClass::Overloaded) + of(FailureClass::ShuttingDown),
            denied: of(FailureClass::Denied),
            unreadable: of(FailureClass::Unreadable),
            stopped: of(FailureClass::Stopped) + of(FailureClass::Timeout),
            system_calls: self.system_calls.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_that_was_not_answered_counts_in_one_place() {
        let classes = [
            FailureClass::Panicked,
            FailureClass::Overloaded,
            FailureClass::ShuttingDown,
            FailureClass::Denied,
            FailureClass::Unreadable,
            FailureClass::Stopped,
            FailureClass::Timeout,
        ];
        for class in classes {
            let served = ServedStats {
                calls: 1,
                failures: [(class, 1)].into(),
                ..ServedStats::default()
            };
            let stats = Counters::default().snapshot(0, &served);
            let places = [
                stats.panicked,
                stats.refused,
                stats.denied,
                stats.unreadable,
                stats.stopped,
            ];
            assert_eq!(places.iter().sum::<u64>(), stats.calls, "{class:?}");
        }
    }
}
