//! Walks that keep the routing table filled, one after the other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use macula_core::{KEY_BITS, Key};
use rand::RngExt as _;

use super::Kademlia;
use super::lookups::LookupPurpose;

/// Walks that wait for those before them; one more is left out, and made up for by a later round.
const MAX_WAITING: usize = 64;

/// Buckets that one round of maintenance looks into, besides our own neighbourhood.
const BUCKETS_PER_ROUND: usize = 4;

/// The least time between two walks home that others make us begin by coming back.
const HOMECOMING_PAUSE: Duration = Duration::from_secs(30);

/// Where to walk next, to meet those who live there. One at a time, so that a newcomer does not
/// reach out to hundreds of peers at once.
#[derive(Debug, Clone, Default)]
pub(super) struct RefreshWalks {
    waiting: VecDeque<Key>,
    is_walking: bool,
    /// When a contact last came back that had been given up.
    homecoming: Option<Instant>,
}

impl Kademlia {
    /// Looks up our own key, before anything else that waits.
    pub(super) fn walk_home(&mut self, now: Instant) {
        let home = self.local_key;
        let waiting = &mut self.refresh_walks.waiting;
        waiting.retain(|target| *target != home);
        waiting.push_front(home);
        waiting.truncate(MAX_WAITING);
        self.walk_next(now);
    }

    /// A contact that had been given up is back: others may be, and may not know us any more.
    pub(super) fn welcome_back(&mut self, now: Instant) {
        let homecoming = &mut self.refresh_walks.homecoming;
        if homecoming.is_none_or(|last| last + HOMECOMING_PAUSE <= now) {
            *homecoming = Some(now);
            self.walk_home(now);
        }
    }

    /// Looks into every bucket with room that is further away than our closest contact
    /// (Kademlia §2.3), as a newcomer does.
    pub(super) fn fill_buckets(&mut self, now: Instant) {
        for bucket in self.table.refreshable() {
            if self.table.has_room(bucket) {
                self.walk_to_bucket(now, bucket);
            }
        }
    }

    /// Looks into our own neighbourhood and some random buckets.
    pub(super) fn refresh_buckets(&mut self, now: Instant) {
        self.walk_home(now);
        let mut buckets = self.table.refreshable();
        for _ in 0..BUCKETS_PER_ROUND.min(buckets.len()) {
            let picked = self.rng.random_range(0..buckets.len());
            self.walk_to_bucket(now, buckets.swap_remove(picked));
        }
    }

    /// Goes on with the next walk once one has ended.
    pub(super) fn handle_refreshed(&mut self, now: Instant) {
        self.refresh_walks.is_walking = false;
        self.walk_next(now);
    }

    fn walk_to_bucket(&mut self, now: Instant, bucket: usize) {
        let target = self.point_in_bucket(bucket);
        let waiting = &mut self.refresh_walks.waiting;
        if waiting.len() < MAX_WAITING {
            waiting.push_back(target);
        }
        self.walk_next(now);
    }

    fn walk_next(&mut self, now: Instant) {
        if self.refresh_walks.is_walking {
            return;
        }
        if let Some(target) = self.refresh_walks.waiting.pop_front() {
            self.refresh_walks.is_walking = true;
            self.begin_walk(now, target, LookupPurpose::Refresh);
        }
        if self.refresh_walks.waiting.is_empty() {
            // An idle node keeps no memory for a newcomer's walks.
            self.refresh_walks.waiting = VecDeque::new();
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
}

impl RefreshWalks {
    pub(super) fn check_invariants(&self) {
        assert!(self.waiting.len() <= MAX_WAITING, "too many walks wait");
        assert!(
            self.is_walking || self.waiting.is_empty(),
            "walks wait for nothing"
        );
    }
}
