//! What the routing table knows about a contact, in as little as it can.

use std::time::Duration;

use macula_core::Key;

use super::contact::PlacedContact;
use super::moment::Moment;
use super::rtt::SmoothedRtt;

/// Unanswered requests after which a contact counts as dead. Those that fail together, while one
/// waits to be asked again, count once.
pub(super) const MAX_FAILURES: u8 = 3;

/// How long a contact that has not answered is left alone; it doubles with each failure.
const BACK_OFF: Duration = Duration::from_secs(2);

/// A contact that has a place: healthy, or failing until it answers or counts as dead.
#[derive(Debug, Clone)]
pub(super) struct KnownContact {
    contact: PlacedContact,
    /// The first bits of its point, so that sorting does not look any further.
    prefix: u64,
    last_seen: Moment,
    /// When it is asked again, while it is failing.
    retry_at: Moment,
    rtt: SmoothedRtt,
    failures: u8,
    /// Whether it is being asked again.
    is_retried: bool,
}

/// A contact that waits for a place.
#[derive(Debug, Clone)]
pub(super) struct WaitingContact {
    pub(super) contact: PlacedContact,
    last_seen: Moment,
    rtt: SmoothedRtt,
}

// A large network is simulated in one process: a table there has some 280 of the one and up to
// a hundred of the other.
const _: () = assert!(size_of::<KnownContact>() <= 32 && size_of::<WaitingContact>() <= 16);

impl KnownContact {
    pub(super) fn new(now: Moment, contact: PlacedContact) -> Self {
        WaitingContact::new(now, contact).placed()
    }

    pub(super) fn contact(&self) -> &PlacedContact {
        &self.contact
    }

    pub(super) fn into_contact(self) -> PlacedContact {
        self.contact
    }

    pub(super) fn is_at(&self, key: &Key) -> bool {
        self.prefix == prefix(key) && self.contact.key() == key
    }

    pub(super) fn prefix(&self) -> u64 {
        self.prefix
    }

    pub(super) fn last_seen(&self) -> Moment {
        self.last_seen
    }

    pub(super) fn rtt(&self) -> SmoothedRtt {
        self.rtt
    }

    /// Whether it did not answer when it was last asked.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub(super) fn is_dead(&self) -> bool {
        self.failures >= MAX_FAILURES
    }

    /// Notes where it was reached.
    pub(super) fn reached(&mut self, now: Moment, contact: PlacedContact) {
        self.contact = contact;
        self.heard_of(now);
    }

    pub(super) fn answered(&mut self, now: Moment, rtt: Duration) {
        self.rtt.record(rtt);
        self.heard_of(now);
    }

    pub(super) fn failed(&mut self, now: Moment) {
        let backs_off = self.is_failing() && !self.is_retried && now < self.retry_at;
        if !backs_off {
            self.retry_at = now.after(BACK_OFF * (1 << self.failures.min(MAX_FAILURES)));
            self.failures = self.failures.saturating_add(1);
            self.is_retried = false;
        }
    }

    /// When it wants to be asked again, if it does.
    pub(super) fn retry_at(&self) -> Option<Moment> {
        (self.is_failing() && !self.is_retried).then_some(self.retry_at)
    }

    /// Notes that it could not be asked again for want of room.
    pub(super) fn not_retried(&mut self, now: Moment) {
        if self.is_retried {
            self.is_retried = false;
            self.retry_at = now.after(BACK_OFF);
        }
    }

    /// Notes that it is asked again.
    pub(super) fn retried(&mut self) {
        self.is_retried = true;
    }

    fn heard_of(&mut self, now: Moment) {
        self.last_seen = now;
        self.failures = 0;
        self.is_retried = false;
    }
}

impl WaitingContact {
    pub(super) fn new(now: Moment, contact: PlacedContact) -> Self {
        Self {
            contact,
            last_seen: now,
            rtt: SmoothedRtt::default(),
        }
    }

    /// Notes where it was reached.
    pub(super) fn reached(&mut self, now: Moment, contact: PlacedContact) {
        self.contact = contact;
        self.last_seen = now;
    }

    pub(super) fn answered(&mut self, now: Moment, rtt: Duration) {
        self.rtt.record(rtt);
        self.last_seen = now;
    }

    pub(super) fn last_seen(&self) -> Moment {
        self.last_seen
    }

    pub(super) fn rtt(&self) -> SmoothedRtt {
        self.rtt
    }

    /// The same with a place.
    pub(super) fn placed(self) -> KnownContact {
        KnownContact {
            prefix: prefix(self.contact.key()),
            contact: self.contact,
            last_seen: self.last_seen,
            retry_at: self.last_seen,
            rtt: self.rtt,
            failures: 0,
            is_retried: false,
        }
    }
}

/// The first bits of a point.
pub(super) fn prefix(key: &Key) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
