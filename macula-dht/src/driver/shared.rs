//! What the task, the handler of requests and the handle have in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use macula_core::{NodeId, WallClock};
use tokio::sync::Notify;

use super::DhtStats;
use super::rate::RateLimit;
use super::task::now;
use super::verifier::Verifier;
use crate::Rate;
use crate::kad::Kademlia;
use crate::message::{Request, Response};

/// The machine behind a lock that is never held for longer than one call into it, so that a peer
/// is answered without a detour over the task.
pub(super) struct Shared {
    /// Whether peers are answered at all.
    pub(super) serves: bool,
    machine: Mutex<Kademlia>,
    pub(super) verifier: Arc<Verifier>,
    requests: Mutex<RateLimit>,
    claims: Mutex<RateLimit>,
    /// Something changed that the task does not see by itself.
    pub(super) changed: Notify,
    counters: Counters,
}

/// What of the peers' messages never reaches the machine.
#[derive(Debug, Default)]
struct Counters {
    claims_refused: AtomicU64,
    messages_malformed: AtomicU64,
    rate_limited: AtomicU64,
}

impl Shared {
    pub(super) fn new(machine: Kademlia, clock: WallClock, [requests, claims]: [Rate; 2]) -> Self {
        Self {
            serves: machine.local().serves,
            machine: Mutex::new(machine),
            verifier: Arc::new(Verifier::new(clock)),
            requests: Mutex::new(RateLimit::new(requests)),
            claims: Mutex::new(RateLimit::new(claims)),
            changed: Notify::new(),
            counters: Counters::default(),
        }
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Kademlia> {
        locked(&self.machine)
    }

    /// Answers a peer.
    pub(super) fn answer(&self, from: NodeId, request: Request) -> Response {
        let holds = matches!(request, Request::Store { .. } | Request::Withdraw { .. });
        let response = self.machine().answer(now(), from, request);
        if holds {
            // When the next claim expires.
            self.changed.notify_one();
        }
        response
    }

    /// Whether a peer may ask once more; if not, that is counted.
    pub(super) fn admits_request(&self, from: &NodeId) -> bool {
        let admitted = locked(&self.requests).take(now(), from, 1);
        self.count_limited(admitted)
    }

    /// Whether a peer may have so many more claims verified; if not, that is counted.
    pub(super) fn admits_claims(&self, from: &NodeId, count: usize) -> bool {
        let admitted = count == 0 || locked(&self.claims).take(now(), from, count);
        self.count_limited(admitted)
    }

    pub(super) fn count_refused(&self, claims: usize) {
        let refused = &self.counters.claims_refused;
        refused.fetch_add(claims as u64, Ordering::Relaxed);
    }

    pub(super) fn count_malformed(&self) {
        let malformed = &self.counters.messages_malformed;
        malformed.fetch_add(1, Ordering::Relaxed);
    }

    fn count_limited(&self, admitted: bool) -> bool {
        let limited = &self.counters.rate_limited;
        limited.fetch_add(u64::from(!admitted), Ordering::Relaxed);
        admitted
    }

    pub(super) fn stats(&self) -> DhtStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DhtStats {
            kad: self.machine().stats(),
            claims_refused: read(&self.counters.claims_refused),
            messages_malformed: read(&self.counters.messages_malformed),
            rate_limited: read(&self.counters.rate_limited),
            signatures_checked: self.verifier.checked(),
            claims_recognised: self.verifier.recognised(),
            messages_handed_over: self.verifier.handed_over(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
