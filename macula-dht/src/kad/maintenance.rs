//! What keeps the routing table alive: refreshes, retried bootstrap peers, former contacts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use macula_core::{Contact, DialTarget, Key, NodeId};
use rand::RngExt as _;

use super::contact::PlacedContact;
use super::kbucket::Admission;
use super::requests::Purpose;
use super::{Kademlia, Output};
use crate::message::Request;

/// Former contacts that are remembered, to find the way back after a partition.
const MAX_FORMER: usize = 64;

/// Bootstrap peers that are remembered.
pub const MAX_BOOTSTRAP: usize = 64;

/// First wait between two dials while nobody is known; it doubles up to [`MAX_DIAL_WAIT`].
const MIN_DIAL_WAIT: Duration = Duration::from_secs(1);

/// Longest wait between two dials while nobody is known.
const MAX_DIAL_WAIT: Duration = Duration::from_secs(30);

/// How long a contact's last answer vouches for it when another wants its place.
const VOUCHED_FOR: Duration = Duration::from_secs(5 * 60);

/// Timers and lists of the maintenance.
#[derive(Debug, Clone, Default)]
pub(super) struct Maintenance {
    bootstrap: Vec<DialTarget>,
    /// Position of the bootstrap peer to dial next.
    next_bootstrap: usize,
    /// Longest gone first.
    former: VecDeque<PlacedContact>,
    /// When the next round is due; `None` before anything has happened.
    round_at: Option<Instant>,
    /// When the next dial out of solitude is due; `None` while somebody is known.
    dial_at: Option<Instant>,
    dial_wait: Duration,
    /// Whether the last contact of all fell silent rather than left.
    is_cut_off: bool,
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
        let (node_id, key) = (contact.node_id, *contact.key());
        let was_alone = self.table.is_empty();
        match self.table.admit(now, contact) {
            Some(Admission::Added) => {
                let was_given_up = self.maintenance.forget_former(&node_id);
                self.maintenance.dial_at = None;
                self.maintenance.is_cut_off = false;
                if was_alone {
                    self.walk_home(now);
                } else if was_given_up {
                    self.welcome_back(now);
                }
            }
            Some(Admission::Waiting) => self.ping_rival(now, &key),
            Some(Admission::Renewed | Admission::Crowded) | None => {}
        }
        self.run(now);
    }

    /// Asks the contact that is longest unheard of whether it still wants the place that
    /// a newcomer waits for (Kademlia §2.2).
    fn ping_rival(&mut self, now: Instant, newcomer: &Key) {
        let before = now.checked_sub(VOUCHED_FOR);
        let rival = before.and_then(|before| self.table.silent_beside(newcomer, before));
        if let Some(rival) = rival {
            self.ping(now, Contact::clone(rival));
        }
    }

    fn ping(&mut self, now: Instant, contact: Contact) {
        if !self.requests.is_pinging(&contact.node_id) {
            self.send(now, contact, Request::Ping, Purpose::Ping);
        }
    }

    /// Takes note that a contact has lost its place for being silent.
    pub(super) fn lose(&mut self, now: Instant, contact: PlacedContact) {
        self.maintenance.is_cut_off |= self.table.is_empty();
        self.remember_former(now, contact);
    }

    /// Whether there are others whom this node would have to reach first.
    pub(super) fn knows_others(&self) -> bool {
        let maintenance = &self.maintenance;
        !self.table.is_empty() || maintenance.has_bootstrap() || maintenance.is_cut_off
    }

    /// Remembers a contact that has lost its place.
    pub(super) fn remember_former(&mut self, now: Instant, contact: PlacedContact) {
        self.maintenance.forget_former(&contact.node_id);
        let former = &mut self.maintenance.former;
        if former.len() == MAX_FORMER {
            former.pop_front();
        }
        former.push_back(contact);
        self.watch_solitude(now);
    }

    /// Does what is due by now.
    pub(super) fn maintain(&mut self, now: Instant) {
        for failing in self.table.take_retries(now) {
            self.ping(now, failing);
        }
        if self.maintenance.round_at.is_some_and(|at| at <= now) {
            self.maintenance.round_at = None;
            self.begin_rounds(now);
            self.refresh(now);
        }
        if self.maintenance.dial_at.is_some_and(|at| at <= now) {
            self.dial_out_of_solitude(now);
        }
    }

    pub(super) fn begin_rounds(&mut self, now: Instant) {
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
        self.regions.forget_old(now);
        self.dial_bootstrap();
        self.dial_former();
        if self.table.is_empty() {
            return;
        }
        self.refresh_buckets(now);
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
                .push_back(Output::Dial(DialTarget::from(&*contact)));
            former.push_back(contact);
        }
    }

    /// Between three quarters of a wait and the whole.
    fn jittered(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(self.rng.random_range(0.75..=1.0))
    }
}

impl Maintenance {
    fn has_bootstrap(&self) -> bool {
        !self.bootstrap.is_empty()
    }

    /// Takes a node out of the book of former contacts; whether it was there.
    fn forget_former(&mut self, node_id: &NodeId) -> bool {
        let before = self.former.len();
        self.former.retain(|former| former.node_id != *node_id);
        self.former.len() < before
    }

    pub(super) fn next_event(&self) -> Option<Instant> {
        self.round_at.into_iter().chain(self.dial_at).min()
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.former.len() <= MAX_FORMER, "too many former contacts");
        assert!(self.bootstrap.len() <= MAX_BOOTSTRAP);
    }
}
