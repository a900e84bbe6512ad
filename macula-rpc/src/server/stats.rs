//! What a server has counted.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::message::Status;

/// Counters of a [`Server`](crate::Server) since its start, and what runs now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Calls whose handler was stopped: at the deadline, or because its service was withdrawn.
    pub stopped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    calls: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    not_served: AtomicU64,
    refused: AtomicU64,
    denied: AtomicU64,
    unreadable: AtomicU64,
    stopped: AtomicU64,
}

impl Counters {
    pub(super) fn call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn replied(&self, status: &Status) {
        let counter = match status {
            Status::Ok => &self.succeeded,
            Status::Handler(_) => &self.failed,
            Status::Panicked => &self.panicked,
            Status::NotServed => &self.not_served,
            Status::Overloaded | Status::ShuttingDown => &self.refused,
            Status::Denied => &self.denied,
            Status::BadArguments(_) | Status::BadResult(_) | Status::ResultTooLarge { .. } => {
                &self.unreadable
            }
            Status::DeadlineExceeded | Status::Aborted => &self.stopped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, running: usize) -> ServerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServerStats {
            running,
            calls: read(&self.calls),
            succeeded: read(&self.succeeded),
            failed: read(&self.failed),
            panicked: read(&self.panicked),
            not_served: read(&self.not_served),
            refused: read(&self.refused),
            denied: read(&self.denied),
            unreadable: read(&self.unreadable),
            stopped: read(&self.stopped),
        }
    }
}
