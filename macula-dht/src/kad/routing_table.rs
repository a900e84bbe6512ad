//! Whom this node knows: k-buckets by distance (Kademlia §2.2, §2.4).

use std::time::{Duration, Instant};

use macula_core::{Contact, KEY_BITS, Key, NodeId};

use super::closest::Closest;
use super::contact::PlacedContact;
use super::kbucket::{Admission, KBucket, Limits};
use super::known_contact::KnownContact;
use super::moment::{Epoch, Moment};

/// The contacts that we have reached, never ourselves.
///
// Invariant: each contact is in the bucket of its distance, so in one only.
#[derive(Debug, Clone)]
pub(super) struct RoutingTable {
    local_key: Key,
    limits: Limits,
    /// By depth: the number of leading bits that its contacts share with us. There are no more
    /// than the deepest contact needed.
    buckets: Vec<KBucket>,
    epoch: Epoch,
    /// No failing contact wants to be asked again before.
    next_retry: Option<Moment>,
    /// How often a contact was kept out because of its subnet.
    refused: u64,
}

impl RoutingTable {
    pub(super) fn new(local_key: Key, limits: Limits) -> Self {
        Self {
            local_key,
            limits,
            buckets: Vec::new(),
            epoch: Epoch::default(),
            next_retry: None,
            refused: 0,
        }
    }

    /// Takes a contact that we have reached; `None` when it is ourselves or has no address.
    pub(super) fn admit(&mut self, now: Instant, contact: PlacedContact) -> Option<Admission> {
        let depth = self.depth(contact.key());
        if contact.addresses.is_empty() || depth == KEY_BITS {
            return None;
        }
        if depth >= self.buckets.len() {
            self.buckets.reserve_exact(depth + 1 - self.buckets.len());
            self.buckets.resize_with(depth + 1, KBucket::default);
        }
        let now = self.epoch.note(now);
        let admission = self.buckets[depth].admit(now, contact, self.limits);
        self.refused += u64::from(admission == Admission::Crowded);
        Some(admission)
    }

    /// Notes that a contact has answered, and how long it took.
    pub(super) fn answered(&mut self, now: Instant, node_id: &NodeId, rtt: Duration) {
        let (now, key) = (self.epoch.note(now), Key::of_node(node_id));
        if let Some(bucket) = self.bucket_mut(&key) {
            bucket.answered(now, &key, rtt);
        }
    }

    /// Notes that a contact has not answered; the contact if it lost its place.
    pub(super) fn failed(&mut self, now: Instant, node_id: &NodeId) -> Option<PlacedContact> {
        let (now, key) = (self.epoch.note(now), Key::of_node(node_id));
        let bucket = self.bucket_mut(&key)?;
        let lost = bucket.failed(now, &key);
        let next_retry = bucket.next_retry();
        self.next_retry = self.next_retry.into_iter().chain(next_retry).min();
        lost
    }

    /// Notes that a failing contact could not be asked again: it is later.
    pub(super) fn not_retried(&mut self, now: Instant, node_id: &NodeId) {
        let (now, key) = (self.epoch.note(now), Key::of_node(node_id));
        if let Some(bucket) = self.bucket_mut(&key) {
            bucket.not_retried(now, &key);
            let next_retry = bucket.next_retry();
            self.next_retry = self.next_retry.into_iter().chain(next_retry).min();
        }
    }

    /// Takes a contact out, or off the list of those that wait.
    pub(super) fn remove(&mut self, node_id: &NodeId) -> Option<PlacedContact> {
        let key = Key::of_node(node_id);
        self.bucket_mut(&key)?.remove(&key)
    }

    /// The contacts that may be handed out, closest to a point first: none that is failing.
    pub(super) fn closest(&self, target: &Key) -> impl Iterator<Item = &PlacedContact> {
        Closest::healthy(&self.buckets, &self.local_key, target)
    }

    /// Whom to ask about a point: the closest, and then those that are failing.
    pub(super) fn seeds(&self, target: &Key, count: usize) -> Vec<Contact> {
        self.closest(target)
            .chain(Closest::failing(&self.buckets, &self.local_key, target))
            .take(count)
            .map(|contact| Contact::clone(contact))
            .collect()
    }

    /// Smoothed round trip to a contact, if it is known and has answered.
    pub(super) fn rtt(&self, node_id: &NodeId) -> Option<Duration> {
        let key = Key::of_node(node_id);
        self.buckets.get(self.depth(&key))?.rtt(&key).estimate()
    }

    /// Whoever has held the place longest without being heard of, in the bucket that a point
    /// falls into; `None` when it was heard of after `before`, or is failing.
    pub(super) fn silent_beside(&self, key: &Key, before: Instant) -> Option<&PlacedContact> {
        let before = self.epoch.moment(before)?;
        let first = self.buckets.get(self.depth(key))?.first_to_ask()?;
        (first.last_seen() <= before).then_some(first.contact())
    }

    /// One contact of each bucket that has not been heard of since `before`; none that is
    /// failing, for it is asked again anyway.
    pub(super) fn stale(&self, before: Instant) -> Vec<Contact> {
        let before = self.epoch.moment(before);
        self.buckets
            .iter()
            .rev()
            .filter_map(KBucket::first_to_ask)
            .filter(|known| before.is_some_and(|before| known.last_seen() < before))
            .map(|known| Contact::clone(known.contact()))
            .collect()
    }

    /// When [`take_retries`](Self::take_retries) may have something.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.epoch.instant(self.next_retry?)
    }

    /// The failing contacts that have to be asked again by now, each once.
    pub(super) fn take_retries(&mut self, now: Instant) -> Vec<Contact> {
        let now = self.epoch.note(now);
        if self.next_retry.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let due = self
            .buckets
            .iter_mut()
            .flat_map(|bucket| bucket.take_retries(now))
            .map(|contact| Contact::clone(contact))
            .collect();
        self.next_retry = self.buckets.iter().filter_map(KBucket::next_retry).min();
        due
    }

    /// Indices of the buckets worth refreshing: from the closest that has a contact outwards.
    pub(super) fn refreshable(&self) -> Vec<usize> {
        let closest = self
            .buckets
            .iter()
            .rposition(|bucket| !bucket.contacts().is_empty());
        closest.map_or_else(Vec::new, |deepest| {
            (KEY_BITS - 1 - deepest..KEY_BITS).collect()
        })
    }

    /// Whether a bucket takes another contact without anybody giving way.
    pub(super) fn has_room(&self, bucket: usize) -> bool {
        self.buckets
            .get(KEY_BITS - 1 - bucket)
            .is_none_or(|bucket| bucket.contacts().len() < self.limits.k)
    }

    /// Where we have reached a node ourselves, if it has a place.
    pub(super) fn contact(&self, node_id: &NodeId) -> Option<&PlacedContact> {
        let key = Key::of_node(node_id);
        let bucket = self.buckets.get(self.depth(&key))?;
        bucket.contact(&key)
    }

    /// Everybody who has a place, failing or not, closest to us first.
    pub(super) fn contacts(&self) -> Vec<Contact> {
        let mut contacts: Vec<&PlacedContact> = self
            .buckets
            .iter()
            .flat_map(KBucket::contacts)
            .map(KnownContact::contact)
            .collect();
        contacts.sort_unstable_by_key(|contact| contact.key().distance(&self.local_key));
        contacts
            .into_iter()
            .map(|contact| Contact::clone(contact))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.buckets
            .iter()
            .map(|bucket| bucket.contacts().len())
            .sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets
            .iter()
            .all(|bucket| bucket.contacts().is_empty())
    }

    pub(super) fn replacements(&self) -> usize {
        self.buckets.iter().map(KBucket::replacements).sum()
    }

    /// How often a contact was kept out because of its subnet.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// How many leading bits a point shares with us.
    fn depth(&self, key: &Key) -> usize {
        key.distance(&self.local_key).leading_zeros()
    }

    fn bucket_mut(&mut self, key: &Key) -> Option<&mut KBucket> {
        let depth = self.depth(key);
        self.buckets.get_mut(depth)
    }

    pub(super) fn check_invariants(&self) {
        for (depth, bucket) in self.buckets.iter().enumerate() {
            bucket.check_invariants(self.limits);
            for known in bucket.contacts() {
                let contact = known.contact();
                assert_eq!(
                    self.depth(contact.key()),
                    depth,
                    "contact in a wrong bucket"
                );
                assert!(!contact.addresses.is_empty(), "contact without an address");
            }
            assert!(
                bucket
                    .next_retry()
                    .is_none_or(|at| self.next_retry.is_some_and(|next| next <= at)),
                "failing contact is forgotten"
            );
        }
        assert!(self.buckets.len() <= KEY_BITS, "the table holds ourselves");
    }
}

#[cfg(test)]
mod tests;
