//! One k-bucket: the contacts at one distance range, and those that wait for a place.

use std::collections::VecDeque;
use std::ops::Deref as _;
use std::time::Instant;

use macula_core::{Contact, NodeId};

use super::contact::{KnownContact, PlacedContact};

/// Contacts that wait for a place in one full bucket; the longest-waiting gives way to a newcomer.
pub(super) const MAX_REPLACEMENTS: usize = 8;

/// Unanswered requests after which a contact gives its place up, replacement or not.
pub(super) const MAX_FAILURES: u32 = 2;

/// Live contacts keep their places (Kademlia §2.2: old ones tend to stay).
///
// Invariant: at most `k` contacts, at most MAX_REPLACEMENTS replacements, no node in both, and
// replacements only while the bucket is full.
#[derive(Debug, Clone, Default)]
pub(super) struct KBucket {
    /// Least recently heard of first.
    contacts: Vec<KnownContact>,
    /// Longest waiting first.
    replacements: VecDeque<KnownContact>,
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
}

impl KBucket {
    /// Takes a contact that we have reached.
    pub(super) fn admit(&mut self, now: Instant, contact: PlacedContact, k: usize) -> Admission {
        let node_id = contact.node_id;
        if let Some(position) = self.position(&node_id) {
            self.contacts.remove(position);
            self.contacts.push(KnownContact::new(now, contact));
            return Admission::Renewed;
        }
        self.replacements.retain(|known| known.node_id() != node_id);
        if self.contacts.len() < k {
            self.contacts.push(KnownContact::new(now, contact));
            return Admission::Added;
        }
        if self.replacements.len() == MAX_REPLACEMENTS {
            self.replacements.pop_front();
        }
        self.replacements.push_back(KnownContact::new(now, contact));
        Admission::Waiting
    }

    /// Notes that a contact has answered.
    pub(super) fn answered(&mut self, now: Instant, node_id: &NodeId) {
        if let Some(position) = self.position(node_id) {
            let mut known = self.contacts.remove(position);
            known.last_seen = now;
            known.failures = 0;
            self.contacts.push(known);
        }
    }

    /// Notes that a contact has not answered; the contact if it lost its place: at once when
    /// another waits for it, else after [`MAX_FAILURES`].
    pub(super) fn failed(&mut self, node_id: &NodeId) -> Option<Contact> {
        self.replacements
            .retain(|known| known.node_id() != *node_id);
        let position = self.position(node_id)?;
        let known = &mut self.contacts[position];
        known.failures += 1;
        if known.failures < MAX_FAILURES && self.replacements.is_empty() {
            return None;
        }
        self.remove(node_id)
    }

    /// Takes a contact out, in favour of the newest that waits; or off the list of those.
    pub(super) fn remove(&mut self, node_id: &NodeId) -> Option<Contact> {
        self.replacements
            .retain(|known| known.node_id() != *node_id);
        let position = self.position(node_id)?;
        let removed = self.contacts.remove(position);
        if let Some(newest) = self.replacements.pop_back() {
            self.contacts.push(newest);
        }
        Some(removed.contact.deref().clone())
    }

    /// Makes a contact the first to be asked whether it still lives.
    pub(super) fn disconnected(&mut self, node_id: &NodeId) {
        if let Some(position) = self.position(node_id) {
            self.contacts[..=position].rotate_right(1);
        }
    }

    pub(super) fn contacts(&self) -> &[KnownContact] {
        &self.contacts
    }

    pub(super) fn replacements(&self) -> usize {
        self.replacements.len()
    }

    /// Whoever has not been heard of for the longest time.
    pub(super) fn least_recently_seen(&self) -> Option<&KnownContact> {
        self.contacts.first()
    }

    fn position(&self, node_id: &NodeId) -> Option<usize> {
        self.contacts
            .iter()
            .position(|known| known.node_id() == *node_id)
    }

    pub(super) fn check_invariants(&self, k: usize) {
        assert!(self.contacts.len() <= k, "bucket holds more than k");
        assert!(
            self.replacements.len() <= MAX_REPLACEMENTS,
            "too many replacements"
        );
        assert!(
            self.replacements.is_empty() || self.contacts.len() == k,
            "replacements wait for a bucket with room"
        );
        for waiting in &self.replacements {
            assert!(
                self.position(&waiting.node_id()).is_none(),
                "contact waits for the place it has"
            );
        }
    }
}
