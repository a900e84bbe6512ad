//! Whom this node knows: k-buckets by distance (Kademlia §2.2, §2.4).

use std::ops::Deref as _;
use std::time::Instant;

use macula_core::{Contact, Distance, KEY_BITS, Key, NodeId};

use super::contact::{KnownContact, PlacedContact};
use super::kbucket::{Admission, KBucket};

/// The contacts that we have reached, never ourselves.
///
// Invariant: each contact is in the bucket of its distance, so in one only.
#[derive(Debug, Clone)]
pub(super) struct RoutingTable {
    local: NodeId,
    local_key: Key,
    k: usize,
    buckets: Vec<KBucket>,
}

impl RoutingTable {
    pub(super) fn new(local: NodeId, k: usize) -> Self {
        Self {
            local,
            local_key: Key::of_node(&local),
            k,
            buckets: vec![KBucket::default(); KEY_BITS],
        }
    }

    /// Takes a contact that we have reached; `None` when it is ourselves or has no address.
    pub(super) fn admit(&mut self, now: Instant, contact: PlacedContact) -> Option<Admission> {
        if contact.addresses.is_empty() {
            return None;
        }
        let k = self.k;
        let index = contact.key().distance(&self.local_key).bucket_index()?;
        Some(self.buckets[index].admit(now, contact, k))
    }

    /// Notes that a contact has answered.
    pub(super) fn answered(&mut self, now: Instant, node_id: &NodeId) {
        if let Some(bucket) = self.bucket_of(node_id) {
            bucket.answered(now, node_id);
        }
    }

    /// Notes that a contact has not answered; the contact if it lost its place.
    pub(super) fn failed(&mut self, node_id: &NodeId) -> Option<Contact> {
        self.bucket_of(node_id)?.failed(node_id)
    }

    /// Takes a contact out, or off the list of those that wait.
    pub(super) fn remove(&mut self, node_id: &NodeId) -> Option<Contact> {
        self.bucket_of(node_id)?.remove(node_id)
    }

    /// Notes that there is no connection to a contact any more.
    pub(super) fn disconnected(&mut self, node_id: &NodeId) {
        if let Some(bucket) = self.bucket_of(node_id) {
            bucket.disconnected(node_id);
        }
    }

    /// The `count` contacts closest to a point, closest first.
    pub(super) fn closest(&self, target: &Key, count: usize) -> Vec<Contact> {
        let mut by_distance: Vec<(Distance, &KnownContact)> = self
            .contacts()
            .map(|known| (known.contact.key().distance(target), known))
            .collect();
        if count < by_distance.len() {
            by_distance.select_nth_unstable_by_key(count, |(distance, _)| *distance);
            by_distance.truncate(count);
        }
        by_distance.sort_unstable_by_key(|(distance, _)| *distance);
        by_distance
            .into_iter()
            .map(|(_, known)| known.contact.deref().clone())
            .collect()
    }

    /// Whoever has held the place longest without being heard of, in the bucket that a node
    /// falls into.
    pub(super) fn least_recently_seen_beside(&self, node_id: &NodeId) -> Option<&KnownContact> {
        let index = self.bucket_index(node_id)?;
        self.buckets[index].least_recently_seen()
    }

    /// One contact of each bucket that has not been heard of since `before`.
    pub(super) fn stale(&self, before: Instant) -> Vec<Contact> {
        self.buckets
            .iter()
            .filter_map(KBucket::least_recently_seen)
            .filter(|known| known.last_seen < before)
            .map(|known| known.contact.deref().clone())
            .collect()
    }

    /// Indices of the buckets worth refreshing: from the closest that has a contact outwards.
    pub(super) fn refreshable(&self) -> Vec<usize> {
        let closest = self
            .buckets
            .iter()
            .position(|bucket| !bucket.contacts().is_empty());
        closest.map_or_else(Vec::new, |closest| (closest..self.buckets.len()).collect())
    }

    /// Whether a bucket takes another contact without anybody giving way.
    pub(super) fn has_room(&self, bucket: usize) -> bool {
        self.buckets[bucket].contacts().len() < self.k
    }

    pub(super) fn contacts(&self) -> impl Iterator<Item = &KnownContact> {
        self.buckets.iter().flat_map(KBucket::contacts)
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

    fn bucket_index(&self, node_id: &NodeId) -> Option<usize> {
        Key::of_node(node_id)
            .distance(&self.local_key)
            .bucket_index()
    }

    fn bucket_of(&mut self, node_id: &NodeId) -> Option<&mut KBucket> {
        self.bucket_index(node_id)
            .map(|index| &mut self.buckets[index])
    }

    pub(super) fn check_invariants(&self) {
        for (index, bucket) in self.buckets.iter().enumerate() {
            bucket.check_invariants(self.k);
            for known in bucket.contacts() {
                assert_ne!(known.node_id(), self.local, "the table holds ourselves");
                assert_eq!(
                    self.bucket_index(&known.node_id()),
                    Some(index),
                    "contact in a wrong bucket"
                );
                assert!(
                    !known.contact.addresses.is_empty(),
                    "contact without an address"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
