//! What keeps the routing table alive: refreshes, retried bootstrap peers, former contacts.

use std::collections::VecDeque;
use std::ops::Deref as _;
use std::time::{Duration, Instant};

use macula_core::{Contact, DialTarget, KEY_BITS, Key};
use rand::RngExt as _;

use super::contact::PlacedContact;
use super::kbucket::Admission;
use super::lookups::LookupPurpose;
use super::requests::Purpose;
use super::{Kademlia, Output};
use crate::message::Request;

/// Former contacts that are remembered, to find the way back after a partition.
const MAX_FORMER: usize = 64;

/// Bootstrap peers that are remembered.
pub const MAX_BOOTSTRAP: usize = 64;

/// Buckets refreshed in one round, besides our own neighbourhood.
const BUCKETS_PER_ROUND: usize = 4;

/// First wait between two dials while nobody is known; it doubles up to [`MAX_DIAL_WAIT`].
const MIN_DIAL_WAIT: Duration = Duration::from_secs(1);

/// Longest wait between two dials while nobody is known.
const MAX_DIAL_WAIT: Duration = Duration::from_secs(30);

/// How long a contact's last answer vouches for it when another wants its place.
const VOUCHED_FOR: Duration = Duration::from_secs(30);

/// Timers and lists of the maintenance.
#[derive(Debug, Clone, Default)]
pub(super) struct Maintenance {
    bootstrap: Vec<DialTarget>,
    /// Position of the bootstrap peer to dial next.
    next_bootstrap: usize,
    /// Longest gone first.
    former: VecDeque<Contact>,
    /// When the next round is due; `None` before anything has happened.
    round_at: Option<Instant>,
    /// When the next dial out of solitude is due; `None` while somebody is known.
    dial_at: Option<Instant>,
    dial_wait: Duration,
}

impl Kademlia {
    /// Sets whom to dial while nobody is known, and one of them in each refresh interval
    /// otherwise; the first [`MAX_BOOTSTRAP`].
    pub fn set_bootstrap(&mut self, now: Instant, targets: Vec<DialTarget>) {
        self.maintenance.bootstrap = targets;
        self.maintenance.bootstrap.truncate(MAX_BOOTSTRAP);
        self.maintenance.next_bootstrap = 0;
        self.begin_rounds(now);
        self.watch_solitude(now);
    }

    /// Takes a contact that we have dialled successfully, and that serves.
    pub fn handle_reached(&mut self, now: Instant, contact: impl Into<PlacedContact>) {
        let contact = contact.into();
        self.begin_rounds(now);
        let node_id = contact.node_id;
        let was_alone = self.table.is_empty();
        match self.table.admit(now, contact) {
            Some(Admission::Added) => {
                self.maintenance
                    .former
                    .retain(|former| former.node_id != node_id);
                self.maintenance.dial_at = None;
                if was_alone {
                    self.begin_walk(now, self.local_key, LookupPurpose::Refresh);
                }
            }
            Some(Admission::Waiting) => self.ping_rival(now, &node_id),
            Some(Admission::Renewed) | None => {}
        }
        self.run(now);
    }

    /// Asks the contact that is longest unheard of whether it still wants the place that
    /// a newcomer waits for (Kademlia §2.2).
    fn ping_rival(&mut self, now: Instant, newcomer: &macula_core::NodeId) {
        let rival = self
            .table
            .least_recently_seen_beside(newcomer)
            .filter(|rival| rival.last_seen + VOUCHED_FOR <= now)
            .map(|rival| rival.contact.deref().clone());
        if let Some(rival) = rival {
            self.ping(now, rival);
        }
    }

    fn ping(&mut self, now: Instant, contact: Contact) {
        if !self.requests.is_pinging(&contact.node_id) {
            self.send(now, contact, Request::Ping, Purpose::Ping);
        }
    }

    /// Remembers a contact that has lost its place.
    pub(super) fn remember_former(&mut self, now: Instant, contact: Contact) {
        let former = &mut self.maintenance.former;
        former.retain(|known| known.node_id != contact.node_id);
        if former.len() == MAX_FORMER {
            former.pop_front();
        }
        former.push_back(contact);
        self.watch_solitude(now);
    }

    /// Does what is due by now.
    pub(super) fn maintain(&mut self, now: Instant) {
        if self.maintenance.round_at.is_some_and(|at| at <= now) {
            self.maintenance.round_at = None;
            self.begin_rounds(now);
            self.refresh(now);
        }
        if self.maintenance.dial_at.is_some_and(|at| at <= now) {
            self.dial_out_of_solitude(now);
        }
    }

    fn begin_rounds(&mut self, now: Instant) {
        if self.maintenance.round_at.is_none() {
            let interval = self.config.refresh_interval;
            self.maintenance.round_at = Some(now + self.jittered(interval));
        }
    }

    fn watch_solitude(&mut self, now: Instant) {
        let is_alone = self.table.is_empty();
        let knows_whom_to_dial =
            self.maintenance.has_bootstrap() || !self.maintenance.former.is_empty();
        if is_alone && knows_whom_to_dial && self.maintenance.dial_at.is_none() {
            self.maintenance.dial_wait = MIN_DIAL_WAIT;
            self.maintenance.dial_at = Some(now + self.jittered(MIN_DIAL_WAIT));
        }
    }

    fn dial_out_of_solitude(&mut self, now: Instant) {
        self.dial_bootstrap();
        self.dial_former();
        let wait = (self.maintenance.dial_wait * 2).min(MAX_DIAL_WAIT);
        self.maintenance.dial_wait = wait;
        self.maintenance.dial_at = Some(now + self.jittered(wait));
    }

    /// One round: our own neighbourhood, some random far buckets, whoever has been silent, one
    /// bootstrap peer and one former contact.
    fn refresh(&mut self, now: Instant) {
        self.holders.prune(now);
        self.dial_bootstrap();
        self.dial_former();
        if self.table.is_empty() {
            return;
        }
        self.begin_walk(now, self.local_key, LookupPurpose::Refresh);
        let mut buckets = self.table.refreshable();
        for _ in 0..BUCKETS_PER_ROUND.min(buckets.len()) {
            let picked = self.rng.random_range(0..buckets.len());
            let target = self.point_in_bucket(buckets.swap_remove(picked));
            self.begin_walk(now, target, LookupPurpose::Refresh);
        }
        if let Some(before) = now.checked_sub(self.config.refresh_interval) {
            for contact in self.table.stale(before) {
                self.ping(now, contact);
            }
        }
    }

    fn dial_bootstrap(&mut self) {
        let maintenance = &mut self.maintenance;
        let count = maintenance.bootstrap.len();
        let Some(target) = maintenance.bootstrap.get(maintenance.next_bootstrap) else {
            return;
        };
        self.outputs.push_back(Output::Dial(target.clone()));
        maintenance.next_bootstrap = (maintenance.next_bootstrap + 1) % count;
    }

    fn dial_former(&mut self) {
        let former = &mut self.maintenance.former;
        if let Some(contact) = former.pop_front() {
            self.outputs
                .push_back(Output::Dial(DialTarget::from(&contact)));
            former.push_back(contact);
        }
    }

    /// A random point whose distance to us falls into a bucket.
    fn point_in_bucket(&mut self, index: usize) -> Key {
        let mut bytes: [u8; 32] = self.rng.random();
        let local = self.local_key.as_bytes();
        let first_differing = KEY_BITS - 1 - index;
        for bit in 0..=first_differing {
            let (byte, mask) = (bit / 8, 0x80_u8 >> (bit % 8));
            let ours = local[byte] & mask;
            let wanted = if bit == first_differing {
                ours ^ mask
            } else {
                ours
            };
            bytes[byte] = (bytes[byte] & !mask) | wanted;
        }
        Key::from_bytes(bytes)
    }

    /// Between three quarters of a wait and the whole.
    fn jittered(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(self.rng.random_range(0.75..=1.0))
    }
}

impl Maintenance {
    pub(super) fn has_bootstrap(&self) -> bool {
        !self.bootstrap.is_empty()
    }

    pub(super) fn next_event(&self) -> Option<Instant> {
        self.round_at.into_iter().chain(self.dial_at).min()
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.former.len() <= MAX_FORMER, "too many former contacts");
        assert!(self.bootstrap.len() <= MAX_BOOTSTRAP);
    }
}
