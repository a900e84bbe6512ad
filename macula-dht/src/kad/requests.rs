//! The requests whose answers are awaited.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use macula_core::NodeId;

use super::{OperationId, RequestId};

/// Names a lookup until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LookupId(pub(super) u64);

/// Every request leaves by an answer, a failure, or its deadline.
///
// Invariant: `due` has one entry for each request in flight, at its next event.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests {
    in_flight: BTreeMap<RequestId, InFlight>,
    due: BTreeSet<(Instant, RequestId)>,
    next: u64,
}

#[derive(Debug, Clone)]
pub(super) struct InFlight {
    pub(super) to: NodeId,
    pub(super) purpose: Purpose,
    pub(super) sent_at: Instant,
    /// When its lookup gives the slot to another; `None` once it has.
    pub(super) slot_until: Option<Instant>,
    pub(super) deadline: Instant,
}

/// What an answer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A step of a lookup.
    Lookup(LookupId),
    /// Telling a holder about these placements of a publication.
    Place {
        operation: OperationId,
        placements: Vec<usize>,
    },
    /// Whether a contact still lives.
    Ping,
}

/// What the time has come for.
#[derive(Debug)]
pub(super) enum Due {
    /// The lookup gives this peer's slot to another.
    SlotRelease(LookupId, NodeId),
    /// The request has failed, and is in flight no more.
    Overdue(InFlight),
}

impl Requests {
    pub(super) fn begin(&mut self, request: InFlight) -> RequestId {
        let request_id = RequestId(self.next);
        self.next += 1;
        self.due.insert((request.next_event(), request_id));
        self.in_flight.insert(request_id, request);
        request_id
    }

    pub(super) fn end(&mut self, request_id: RequestId) -> Option<InFlight> {
        let request = self.in_flight.remove(&request_id)?;
        self.due.remove(&(request.next_event(), request_id));
        if self.in_flight.is_empty() {
            // An idle node keeps no memory for them.
            self.in_flight = BTreeMap::new();
            self.due = BTreeSet::new();
        }
        Some(request)
    }

    /// What is due by now, the earliest first; each event once.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Due> {
        let (_, request_id) = *self.due.first().filter(|(at, _)| *at <= now)?;
        let request = self.in_flight.get_mut(&request_id)?;
        let release = match (&request.purpose, request.slot_until) {
            (Purpose::Lookup(lookup), Some(until)) if until <= now => {
                Due::SlotRelease(*lookup, request.to)
            }
            _ => return self.end(request_id).map(Due::Overdue),
        };
        request.slot_until = None;
        let deadline = request.deadline;
        self.due.pop_first();
        self.due.insert((deadline, request_id));
        Some(release)
    }

    /// When the next slot is released or the next deadline comes.
    pub(super) fn next_event(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn is_pinging(&self, node_id: &NodeId) -> bool {
        self.in_flight
            .values()
            .any(|request| request.purpose == Purpose::Ping && request.to == *node_id)
    }

    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn check_invariants(&self) {
        let due: BTreeSet<_> = self
            .in_flight
            .iter()
            .map(|(request_id, request)| (request.next_event(), *request_id))
            .collect();
        assert_eq!(self.due, due, "requests are not looked at in time");
    }
}

impl InFlight {
    fn next_event(&self) -> Instant {
        self.slot_until
            .map_or(self.deadline, |until| until.min(self.deadline))
    }
}
