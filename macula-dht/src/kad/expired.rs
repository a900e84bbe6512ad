//! Records that are over, remembered so that a replay does not bring them back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use macula_core::{CLOCK_SKEW, Claim, Key, NodeId, Precedence};

/// By key and provider: the precedence that a claim has to exceed to be taken again.
///
// Invariant: `ends` has exactly one entry per remembered record.
#[derive(Debug, Clone)]
pub(super) struct Expired {
    remembered: BTreeMap<(Key, NodeId), Remembered>,
    ends: BTreeSet<(Instant, Key, NodeId)>,
    capacity: usize,
}

#[derive(Debug, Clone, Copy)]
struct Remembered {
    precedence: Precedence,
    until: Instant,
}

impl Expired {
    /// Remembers up to `capacity` records; beyond it the one that would be forgotten first is
    /// forgotten early.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            remembered: BTreeMap::new(),
            ends: BTreeSet::new(),
            capacity,
        }
    }

    /// Takes a record whose life ended at `expired_at`.
    pub(super) fn remember(&mut self, claim: &Claim, expired_at: Instant) {
        let Claim::Record(record) = claim else {
            return;
        };
        // The record's signed window cannot stay open for longer after any admission of it.
        let Some(until) = expired_at.checked_add(record.ttl() + WINDOW) else {
            return;
        };
        let (key, provider) = (claim.key(), claim.provider());
        self.forget(&key, &provider);
        let precedence = claim.precedence();
        self.remembered
            .insert((key, provider), Remembered { precedence, until });
        self.ends.insert((until, key, provider));
        if self.ends.len() > self.capacity {
            self.forget_first();
        }
    }

    /// Whether a claim is no newer than one that is over.
    pub(super) fn covers(&self, claim: &Claim) -> bool {
        self.remembered
            .get(&(claim.key(), claim.provider()))
            .is_some_and(|remembered| claim.precedence() <= remembered.precedence)
    }

    pub(super) fn forget(&mut self, key: &Key, provider: &NodeId) {
        if let Some(remembered) = self.remembered.remove(&(*key, *provider)) {
            self.ends.remove(&(remembered.until, *key, *provider));
        }
    }

    /// Forgets what could not be replayed any more.
    pub(super) fn sweep(&mut self, now: Instant) {
        while self.ends.first().is_some_and(|(until, _, _)| *until <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key, provider)) = self.ends.pop_first() {
            self.remembered.remove(&(key, provider));
        }
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.remembered.len(), self.ends.len());
        assert!(self.ends.len() <= self.capacity);
    }
}

/// Both sides' tolerance for clocks that differ.
const WINDOW: Duration = Duration::from_secs(2 * CLOCK_SKEW.as_secs());
