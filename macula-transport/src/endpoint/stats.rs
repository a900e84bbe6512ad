//! What an endpoint has counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::reject::Rejection;
use crate::{DialError, Refusal, Traffic, TransportStats};

/// Counters of an [`Endpoint`](crate::Endpoint) since its start, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Connections held now.
    pub connections: usize,
    /// Of these: opened by us.
    pub connections_outbound: usize,
    /// Of these: opened by the peer.
    pub connections_inbound: usize,
    /// What went over all connections, past and present; none if the transport does not count.
    pub traffic: Option<Traffic>,
    /// What the transport below has counted; none if it does not.
    pub transport: Option<TransportStats>,
    /// Connections from peers whose hello is awaited.
    pub hellos_awaited: usize,
    /// Requests to peers that are not answered yet, signs of life that are asked for among them.
    pub outbound_in_flight: usize,
    /// Requests that wait until fewer are under way on their connection, or fewer long ones.
    pub requests_waiting: usize,
    /// Requests of peers being handled now.
    pub inbound_in_flight: usize,
    /// Bytes of the bodies of requests that are coming in or being handled now.
    pub inbound_body_bytes: usize,
    /// Dials under way, those included that wait.
    pub dials_running: usize,
    /// Dials that wait for room in the pool or for their turn.
    pub dials_waiting: usize,
    /// Dials begun, probes excluded.
    pub dials: u64,
    /// Dials that came to nothing.
    pub dial_failures: u64,
    /// Of these: nobody answered in time.
    pub dials_timed_out: u64,
    /// Of these: the peer refused us.
    pub dials_refused: u64,
    /// Of these: somebody else answered.
    pub dials_wrong_identity: u64,
    /// Dials that this node did not get round to: no connection became idle in time, or other dials
    /// left too little time; and those not begun, so not among `dials`, because too many were under
    /// way.
    pub dials_starved: u64,
    /// Dials not begun, because the last one had failed a moment ago.
    pub dials_backed_off: u64,
    /// Former dials that were forgotten for want of room: that one has failed, or whom a host led to.
    pub dials_forgotten: u64,
    /// Connections from peers whose hello was accepted.
    pub accepted: u64,
    /// Probes of peers' addresses left out because too many were due.
    pub probes_skipped: u64,
    /// Probes of peers' addresses begun.
    pub probes: u64,
    /// Probes that reached the peer.
    pub probes_succeeded: u64,
    /// What peers have said of where this node is, and was forgotten for want of room.
    pub claims_forgotten: u64,
    /// Connections from peers that were refused for their realm.
    pub refused_wrong_realm: u64,
    /// Connections from peers that were refused for their protocol version.
    pub refused_wrong_version: u64,
    /// Connections from peers that were refused for a hello nobody can read.
    pub refused_malformed: u64,
    /// Connections from peers that said no hello in time.
    pub refused_silent: u64,
    /// Connections from peers that had not said hello when too many others came.
    pub refused_crowded: u64,
    /// Connections from peers that came while this node drained.
    pub refused_draining: u64,
    /// Connections from peers that went before they said hello.
    pub left_early: u64,
    /// Connections from peers that found no room.
    pub refused_full: u64,
    /// Frames sent: requests, answers, cancels, goodbyes.
    pub frames_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Requests sent.
    pub requests_sent: u64,
    /// Requests that had to wait until fewer were under way on their connection, or fewer long ones.
    pub requests_delayed: u64,
    /// Requests whose time was over before they were sent: it went by while they waited for a
    /// connection, or for others on it.
    pub requests_unsent: u64,
    /// Requests of peers that were handed to a handler.
    pub requests_handled: u64,
    /// Requests of peers that were refused as overload.
    pub requests_overloaded: u64,
    /// Of these: for the limit of all requests at a time.
    pub overloaded_in_all: u64,
    /// Of these: for the limit of their protocol.
    pub overloaded_by_protocol: u64,
    /// Of these: for the limit of their peer.
    pub overloaded_by_peer: u64,
    /// Of these: for want of memory for their bodies.
    pub overloaded_bodies: u64,
    /// Requests of peers that nobody can read.
    pub requests_malformed: u64,
    /// Requests of peers that nobody here handles.
    pub requests_unknown_protocol: u64,
    /// Requests of peers that were denied.
    pub requests_denied: u64,
    /// Requests of peers whose time was over when they came.
    pub requests_expired: u64,
    /// Requests of peers that were too long.
    pub requests_too_large: u64,
    /// Requests of peers that came when this node was leaving them.
    pub requests_turned_away: u64,
    /// Answers that had to wait, because their peer had not taken too much of others.
    pub replies_delayed: u64,
    /// Replies of handlers that were too long to be sent.
    pub replies_too_large: u64,
    /// Requests of peers that were given up, by the peer or by their deadline.
    pub requests_cancelled: u64,
    /// Replies of peers that were left out because too much of other replies was being read.
    pub replies_without_room: u64,
    /// Replies and cancels for requests that had come to an end already.
    pub late_frames: u64,
    /// Streams given up because what came on them is no frame.
    pub streams_malformed: u64,
    /// Streams given up because the peer had begun a frame and did not go on, or did not take what it
    /// had asked for.
    pub streams_stalled: u64,
    /// Idle connections closed to make room.
    pub evictions: u64,
    /// Connections closed because their peer had too many.
    pub displaced: u64,
    /// Connections that the peer or the network ended.
    pub ended: u64,
    /// Idle connections closed without a goodbye, because too many were being taken leave of: a
    /// request that was on its way on one of them may or may not have been executed.
    pub closed_abruptly: u64,
    /// Connections closed because they were idle for too long.
    pub idle_closed: u64,
    /// Connections closed because the peer left requests and pings unanswered.
    pub unresponsive_closed: u64,
}

/// The counters behind [`EndpointStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) dials: Counter,
    pub(super) dial_failures: Counter,
    pub(super) dials_timed_out: Counter,
    pub(super) dials_refused: Counter,
    pub(super) dials_wrong_identity: Counter,
    pub(super) dials_starved: Counter,
    pub(super) dials_backed_off: Counter,
    pub(super) dials_waiting: Gauge,
    pub(super) dials_forgotten: Counter,
    pub(super) accepted: Counter,
    pub(super) probes_skipped: Counter,
    pub(super) probes: Counter,
    pub(super) probes_succeeded: Counter,
    pub(super) refused_wrong_realm: Counter,
    pub(super) refused_wrong_version: Counter,
    pub(super) refused_malformed: Counter,
    pub(super) refused_silent: Counter,
    pub(super) refused_crowded: Counter,
    pub(super) refused_draining: Counter,
    pub(super) left_early: Counter,
    pub(super) displaced: Counter,
    pub(super) ended: Counter,
    pub(super) refused_full: Counter,
    pub(super) frames_sent: Counter,
    pub(super) frames_received: Counter,
    pub(super) requests_sent: Counter,
    pub(super) requests_waiting: Gauge,
    pub(super) requests_delayed: Counter,
    pub(super) requests_unsent: Counter,
    pub(super) requests_handled: Counter,
    pub(super) requests_overloaded: Counter,
    pub(super) overloaded_in_all: Counter,
    pub(super) overloaded_by_protocol: Counter,
    pub(super) overloaded_by_peer: Counter,
    pub(super) overloaded_bodies: Counter,
    pub(super) requests_malformed: Counter,
    pub(super) requests_unknown_protocol: Counter,
    pub(super) requests_denied: Counter,
    pub(super) requests_expired: Counter,
    pub(super) requests_too_large: Counter,
    pub(super) requests_turned_away: Counter,
    pub(super) replies_delayed: Counter,
    pub(super) replies_too_large: Counter,
    pub(super) requests_cancelled: Counter,
    pub(super) replies_without_room: Counter,
    pub(super) late_frames: Counter,
    pub(super) streams_malformed: Counter,
    pub(super) streams_stalled: Counter,
    pub(super) evictions: Counter,
    pub(super) closed_abruptly: Counter,
    pub(super) idle_closed: Counter,
    pub(super) unresponsive_closed: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.add_many(1);
    }

    pub(super) fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are now.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicUsize);

impl Gauge {
    /// Counts one until it is dropped.
    pub(super) fn enter(&self) -> Entered<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(self)
    }

    fn value(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) struct Entered<'a>(&'a Gauge);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    /// A request has to wait for others of this node, until what is returned is dropped.
    pub(super) fn request_waits(&self) -> Entered<'_> {
        self.requests_delayed.add();
        self.requests_waiting.enter()
    }

    /// A request of a peer was refused.
    pub(super) fn refused_request(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Overloaded => &self.requests_overloaded,
            Refusal::Malformed => &self.requests_malformed,
            Refusal::UnknownProtocol => &self.requests_unknown_protocol,
            Refusal::Denied => &self.requests_denied,
            Refusal::DeadlineExceeded => &self.requests_expired,
            Refusal::TooLarge => &self.requests_too_large,
            Refusal::ShuttingDown | Refusal::Leaving => &self.requests_turned_away,
        };
        counter.add();
    }

    pub(super) fn snapshot(&self) -> EndpointStats {
        EndpointStats {
            dials_waiting: self.dials_waiting.value(),
            dials: self.dials.value(),
            dial_failures: self.dial_failures.value(),
            dials_timed_out: self.dials_timed_out.value(),
            dials_refused: self.dials_refused.value(),
            dials_wrong_identity: self.dials_wrong_identity.value(),
            dials_starved: self.dials_starved.value(),
            dials_backed_off: self.dials_backed_off.value(),
            dials_forgotten: self.dials_forgotten.value(),
            accepted: self.accepted.value(),
            probes_skipped: self.probes_skipped.value(),
            probes: self.probes.value(),
            probes_succeeded: self.probes_succeeded.value(),
            refused_wrong_realm: self.refused_wrong_realm.value(),
            refused_wrong_version: self.refused_wrong_version.value(),
            refused_malformed: self.refused_malformed.value(),
            refused_silent: self.refused_silent.value(),
            refused_crowded: self.refused_crowded.value(),
            refused_draining: self.refused_draining.value(),
            left_early: self.left_early.value(),
            displaced: self.displaced.value(),
            ended: self.ended.value(),
            refused_full: self.refused_full.value(),
            frames_sent: self.frames_sent.value(),
            frames_received: self.frames_received.value(),
            requests_sent: self.requests_sent.value(),
            requests_waiting: self.requests_waiting.value(),
            requests_delayed: self.requests_delayed.value(),
            requests_unsent: self.requests_unsent.value(),
            requests_handled: self.requests_handled.value(),
            requests_overloaded: self.requests_overloaded.value(),
            overloaded_in_all: self.overloaded_in_all.value(),
            overloaded_by_protocol: self.overloaded_by_protocol.value(),
            overloaded_by_peer: self.overloaded_by_peer.value(),
            overloaded_bodies: self.overloaded_bodies.value(),
            requests_malformed: self.requests_malformed.value(),
            requests_unknown_protocol: self.requests_unknown_protocol.value(),
            requests_denied: self.requests_denied.value(),
            requests_expired: self.requests_expired.value(),
            requests_too_large: self.requests_too_large.value(),
            requests_turned_away: self.requests_turned_away.value(),
            replies_delayed: self.replies_delayed.value(),
            replies_too_large: self.replies_too_large.value(),
            requests_cancelled: self.requests_cancelled.value(),
            replies_without_room: self.replies_without_room.value(),
            late_frames: self.late_frames.value(),
            streams_malformed: self.streams_malformed.value(),
            streams_stalled: self.streams_stalled.value(),
            evictions: self.evictions.value(),
            closed_abruptly: self.closed_abruptly.value(),
            idle_closed: self.idle_closed.value(),
            unresponsive_closed: self.unresponsive_closed.value(),
            ..EndpointStats::default()
        }
    }

    /// Counts a dial that came to nothing.
    pub(super) fn dial_failed(&self, error: &DialError) {
        self.dial_failures.add();
        match error {
            DialError::Timeout(_) => self.dials_timed_out.add(),
            DialError::Refused(_) => self.dials_refused.add(),
            DialError::WrongIdentity { .. } => self.dials_wrong_identity.add(),
            DialError::PoolFull | DialError::Busy => self.dials_starved.add(),
            _ => {}
        }
    }

    /// Counts a connection from a peer that was not taken.
    pub(super) fn refused(&self, why: Rejection) {
        match why {
            Rejection::WrongRealm => self.refused_wrong_realm.add(),
            Rejection::WrongVersion => self.refused_wrong_version.add(),
            Rejection::Malformed => self.refused_malformed.add(),
            Rejection::Silent => self.refused_silent.add(),
            Rejection::Crowded => self.refused_crowded.add(),
            Rejection::Full => self.refused_full.add(),
            Rejection::Draining => self.refused_draining.add(),
            Rejection::Left => self.left_early.add(),
        }
    }
}
