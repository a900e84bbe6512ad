//! One k-bucket: the contacts at one distance range, and those that wait for a place.

use std::cmp::Reverse;
use std::num::NonZeroUsize;
use std::time::Duration;

use macula_core::Key;

use super::KadConfig;
use super::contact::PlacedContact;
use super::known_contact::{KnownContact, WaitingContact};
use super::moment::Moment;
use super::rtt::SmoothedRtt;
use super::subnet::Subnet;

/// Contacts that wait for a place in one full bucket; the longest-waiting gives way to a newcomer.
pub(super) const MAX_REPLACEMENTS: usize = 8;

/// Those who wait count as equals, and the fastest goes first, when they were heard of within
/// this of each other.
const EQUALLY_FRESH: Duration = Duration::from_secs(5 * 60);

/// Live contacts keep their places (Kademlia §2.2: old ones tend to stay), and failing ones until
/// they count as dead.
///
// Invariant: at most `k` contacts, at most MAX_REPLACEMENTS replacements, no node in both,
// replacements only while the bucket is full, and no subnet more often than it may be.
#[derive(Debug, Clone, Default)]
pub(super) struct KBucket {
    /// Least recently heard of first, but for those that have waited for their place.
    contacts: Vec<KnownContact>,
    /// Least recently heard of first.
    waiting: Vec<WaitingContact>,
}

/// How many contacts a bucket takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// In all.
    pub(super) k: usize,
    /// From one subnet, those that wait included.
    pub(super) per_subnet: Option<NonZeroUsize>,
}

/// What became of a contact that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is new in the bucket.
    Added,
    /// It was there already.
    Renewed,
    /// The bucket is full; it waits.
    Waiting,
    /// There are as many from its subnet as there may be; it is not in the bucket.
    Crowded,
}

impl From<&KadConfig> for Limits {
    fn from(config: &KadConfig) -> Self {
        Self {
            k: config.k.get(),
            per_subnet: config.max_per_subnet,
        }
    }
}

impl KBucket {
    /// Takes a contact that we have reached.
    pub(super) fn admit(
        &mut self,
        now: Moment,
        contact: PlacedContact,
        limits: Limits,
    ) -> Admission {
        if self.is_crowded(&contact, limits.per_subnet) {
            // It may have moved there from elsewhere, and keeps no place at its old address.
            self.remove(contact.key());
            return Admission::Crowded;
        }
        if let Some(position) = self.position(contact.key()) {
            let mut known = self.contacts.remove(position);
            known.reached(now, contact);
            self.contacts.push(known);
            return Admission::Renewed;
        }
        if self.contacts.len() < limits.k {
            push(
                &mut self.contacts,
                KnownContact::new(now, contact),
                limits.k,
            );
            return Admission::Added;
        }
        self.wait(now, contact);
        Admission::Waiting
    }

    /// Notes that a contact has answered.
    pub(super) fn answered(&mut self, now: Moment, key: &Key, rtt: Duration) {
        if let Some(position) = self.position(key) {
            self.contacts[position].answered(now, rtt);
            self.contacts[position..].rotate_left(1);
        } else if let Some(position) = self.waiting_position(key) {
            self.waiting[position].answered(now, rtt);
            self.waiting[position..].rotate_left(1);
        }
    }

    /// Notes that a contact has not answered; the contact if it counts as dead and lost its place.
    pub(super) fn failed(&mut self, now: Moment, key: &Key) -> Option<PlacedContact> {
        self.forget_waiting(key);
        let position = self.position(key)?;
        let known = &mut self.contacts[position];
        known.failed(now);
        known.is_dead().then(|| self.replace(position))
    }

    /// Notes that a contact could not be asked again.
    pub(super) fn not_retried(&mut self, now: Moment, key: &Key) {
        if let Some(position) = self.position(key) {
            self.contacts[position].not_retried(now);
        }
    }

    /// Takes a contact out, in favour of one that waits; or off the list of those.
    pub(super) fn remove(&mut self, key: &Key) -> Option<PlacedContact> {
        self.forget_waiting(key);
        let position = self.position(key)?;
        Some(self.replace(position))
    }

    pub(super) fn contact(&self, key: &Key) -> Option<&PlacedContact> {
        Some(self.contacts[self.position(key)?].contact())
    }

    pub(super) fn contacts(&self) -> &[KnownContact] {
        &self.contacts
    }

    pub(super) fn replacements(&self) -> usize {
        self.waiting.len()
    }

    /// Whoever has been silent for the longest time, and is the first to be asked whether it still
    /// lives; none that is failing, for it is asked again anyway.
    pub(super) fn first_to_ask(&self) -> Option<&KnownContact> {
        let healthy = self.contacts.iter().filter(|known| !known.is_failing());
        healthy.min_by_key(|known| known.last_seen())
    }

    /// Smoothed round trip to a contact, with or without a place.
    pub(super) fn rtt(&self, key: &Key) -> SmoothedRtt {
        let placed = self.position(key).map(|at| self.contacts[at].rtt());
        let waiting = || self.waiting_position(key).map(|at| self.waiting[at].rtt());
        placed.or_else(waiting).unwrap_or_default()
    }

    /// When the first of those that are failing wants to be asked again.
    pub(super) fn next_retry(&self) -> Option<Moment> {
        self.contacts
            .iter()
            .filter_map(KnownContact::retry_at)
            .min()
    }

    /// Those that want to be asked again by now, each once.
    pub(super) fn take_retries(&mut self, now: Moment) -> impl Iterator<Item = &PlacedContact> {
        let contacts = self.contacts.iter_mut();
        let due = contacts.filter(move |known| known.retry_at().is_some_and(|at| at <= now));
        due.map(|known| {
            known.retried();
            known.contact()
        })
    }

    fn wait(&mut self, now: Moment, contact: PlacedContact) {
        if let Some(position) = self.waiting_position(contact.key()) {
            self.waiting[position].reached(now, contact);
            self.waiting[position..].rotate_left(1);
            return;
        }
        if self.waiting.len() == MAX_REPLACEMENTS {
            self.waiting.remove(0);
        }
        let waiting = WaitingContact::new(now, contact);
        push(&mut self.waiting, waiting, MAX_REPLACEMENTS);
    }

    /// Takes a contact out, in favour of the best that waits.
    fn replace(&mut self, position: usize) -> PlacedContact {
        let removed = self.contacts.remove(position);
        if let Some(best) = self.best_waiting() {
            let promoted = self.waiting.remove(best).placed();
            let later = |known: &KnownContact| known.last_seen() > promoted.last_seen();
            let position = self.contacts.iter().position(later);
            let position = position.unwrap_or(self.contacts.len());
            self.contacts.insert(position, promoted);
        }
        removed.into_contact()
    }

    /// The fastest of those that were heard of about as lately as the last one; of equally fast
    /// ones the last. Who was not measured counts as slowest.
    fn best_waiting(&self) -> Option<usize> {
        let latest = self.waiting.last()?.last_seen();
        let waiting = self.waiting.iter().enumerate();
        waiting
            .filter(|(_, waiting)| waiting.last_seen().until(latest) <= EQUALLY_FRESH)
            .min_by_key(|(position, waiting)| (waiting.rtt().rank(), Reverse(*position)))
            .map(|(position, _)| position)
    }

    /// Whether others fill what the contact's subnet may have.
    fn is_crowded(&self, contact: &PlacedContact, per_subnet: Option<NonZeroUsize>) -> bool {
        per_subnet.is_some_and(|most| {
            let subnet = Subnet::of(contact);
            let beside = self
                .everybody()
                .filter(|other| other.key() != contact.key() && Subnet::of(other) == subnet);
            beside.count() >= most.get()
        })
    }

    fn everybody(&self) -> impl Iterator<Item = &PlacedContact> {
        let waiting = self.waiting.iter().map(|waiting| &waiting.contact);
        self.contacts
            .iter()
            .map(KnownContact::contact)
            .chain(waiting)
    }

    fn position(&self, key: &Key) -> Option<usize> {
        self.contacts.iter().position(|known| known.is_at(key))
    }

    fn waiting_position(&self, key: &Key) -> Option<usize> {
        let mut waiting = self.waiting.iter();
        waiting.position(|waiting| waiting.contact.key() == key)
    }

    fn forget_waiting(&mut self, key: &Key) {
        self.waiting.retain(|waiting| waiting.contact.key() != key);
    }

    pub(super) fn check_invariants(&self, limits: Limits) {
        assert!(self.contacts.len() <= limits.k, "bucket holds more than k");
        assert!(
            self.waiting.len() <= MAX_REPLACEMENTS,
            "too many replacements"
        );
        assert!(
            self.waiting.is_empty() || self.contacts.len() == limits.k,
            "replacements wait for a bucket with room"
        );
        for waiting in &self.waiting {
            assert!(
                self.position(waiting.contact.key()).is_none(),
                "contact waits for the place it has"
            );
        }
        for contact in self.everybody() {
            assert!(
                !self.is_crowded(contact, limits.per_subnet),
                "too many of one subnet"
            );
        }
        assert!(
            !self.contacts.iter().any(KnownContact::is_dead),
            "dead contact has a place"
        );
    }
}

/// Appends to a short list that never has more than `bound` items, without room for many more
/// than are there.
fn push<T>(list: &mut Vec<T>, item: T, bound: usize) {
    if list.len() == list.capacity() {
        list.reserve_exact(GROWTH.min(bound.saturating_sub(list.len())).max(1));
    }
    list.push(item);
}

/// Places that a list grows by.
const GROWTH: usize = 4;
