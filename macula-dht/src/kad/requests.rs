//! The requests whose answers are awaited.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use macula_core::NodeId;

use super::{OperationId, RequestId};

/// Names a lookup until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LookupId(pub(super) u64);

/// Every request leaves by an answer, a failure, or its deadline.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests {
    in_flight: BTreeMap<RequestId, InFlight>,
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

impl Requests {
    pub(super) fn begin(&mut self, request: InFlight) -> RequestId {
        let request_id = RequestId(self.next);
        self.next += 1;
        self.in_flight.insert(request_id, request);
        request_id
    }

    pub(super) fn end(&mut self, request_id: RequestId) -> Option<InFlight> {
        self.in_flight.remove(&request_id)
    }

    /// Takes a request out whose deadline has come.
    pub(super) fn pop_overdue(&mut self, now: Instant) -> Option<InFlight> {
        let overdue = self
            .in_flight
            .iter()
            .find(|(_, request)| request.deadline <= now)
            .map(|(request_id, _)| *request_id)?;
        self.end(overdue)
    }

    /// The lookups and peers whose slots have to be released now; each is named once.
    pub(super) fn release_slots(&mut self, now: Instant) -> Vec<(LookupId, NodeId)> {
        let mut released = Vec::new();
        for request in self.in_flight.values_mut() {
            if let (Purpose::Lookup(lookup), Some(until)) = (&request.purpose, request.slot_until)
                && until <= now
            {
                request.slot_until = None;
                released.push((*lookup, request.to));
            }
        }
        released
    }

    /// When the next slot is released or the next deadline comes.
    pub(super) fn next_event(&self) -> Option<Instant> {
        self.in_flight
            .values()
            .map(|request| {
                request
                    .slot_until
                    .map_or(request.deadline, |until| until.min(request.deadline))
            })
            .min()
    }

    pub(super) fn is_pinging(&self, node_id: &NodeId) -> bool {
        self.in_flight
            .values()
            .any(|request| request.purpose == Purpose::Ping && request.to == *node_id)
    }

    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }
}

/// How long answers take lately, to tell a slow peer from a usual one.
#[derive(Debug, Clone)]
pub(super) struct RoundTrips {
    recent: Vec<Duration>,
    next: usize,
    ceiling: Duration,
}

impl RoundTrips {
    /// `ceiling` is the request timeout: no slot is held longer than half of it.
    pub(super) fn new(ceiling: Duration) -> Self {
        Self {
            recent: Vec::new(),
            next: 0,
            ceiling: ceiling / 2,
        }
    }

    pub(super) fn record(&mut self, round_trip: Duration) {
        if self.recent.len() < REMEMBERED_ROUND_TRIPS {
            self.recent.push(round_trip);
        } else {
            self.recent[self.next] = round_trip;
            self.next = (self.next + 1) % REMEMBERED_ROUND_TRIPS;
        }
    }

    /// How long a request may hold its slot: twice the 95th percentile of recent answers.
    pub(super) fn slot_timeout(&self) -> Duration {
        if self.recent.len() < MIN_ROUND_TRIPS {
            return (self.ceiling / 2).max(MIN_SLOT_TIMEOUT).min(self.ceiling);
        }
        let mut sorted = self.recent.clone();
        let p95 = (sorted.len() - 1) * 95 / 100;
        let (_, value, _) = sorted.select_nth_unstable(p95);
        (*value * 2).max(MIN_SLOT_TIMEOUT).min(self.ceiling)
    }
}

/// Answers that the estimate is made from.
const REMEMBERED_ROUND_TRIPS: usize = 64;

/// Answers before there is an estimate.
const MIN_ROUND_TRIPS: usize = 8;

/// Scheduling hiccups on a fast network must not pass for slow peers.
const MIN_SLOT_TIMEOUT: Duration = Duration::from_millis(50);
