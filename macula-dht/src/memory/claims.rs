//! The newest claim of each provider to each key, and how long each counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use macula_core::{
    Addresses, CLOCK_SKEW, Claim, Key, NodeId, ProviderRecord, Timestamp, Withdrawal,
};

use crate::memory::MemoryDhtConfig;

/// Claims by key and provider, each the one that takes precedence of all that were put.
///
/// A record counts while it lives. Withdrawals, and records whose life is over but which could
/// still be replayed, are only remembered: they keep older claims out and fill no place of a live
/// record.
///
// Invariant: every claim is in exactly one of `live` and `remembered`, under its own instant.
pub(super) struct Claims {
    config: MemoryDhtConfig,
    by_key: BTreeMap<Key, BTreeMap<NodeId, Held>>,
    live: BTreeSet<Due>,
    remembered: BTreeSet<Due>,
    forgotten_early: u64,
}

/// A claim and its time.
pub(super) struct Held {
    claim: Claim,
    /// When a record stops to count; for a withdrawal, when it came.
    expires_at: Instant,
    /// When no older claim, and not this one either, can come back any more.
    forget_at: Instant,
}

/// What became of a claim that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It is held now, or was already.
    Held,
    /// It is a new provider's, and there is no place.
    Full,
    /// A claim that takes precedence is held, or its own time is over.
    Superseded,
}

/// When something becomes of a claim, and which claim it is.
type Due = (Instant, Key, NodeId);

impl Claims {
    pub(super) fn new(config: MemoryDhtConfig) -> Self {
        Self {
            config,
            by_key: BTreeMap::new(),
            live: BTreeSet::new(),
            remembered: BTreeSet::new(),
            forgotten_early: 0,
        }
    }

    /// Keeps the claim if it takes precedence over what is held of its provider.
    pub(super) fn put(&mut self, now: Instant, held: Held) -> Put {
        self.sweep(now);
        let (key, provider) = (held.claim.key(), held.claim.provider());
        if let Some(older) = self.claim(&key, &provider) {
            if older.claim.precedence() > held.claim.precedence() {
                return Put::Superseded;
            }
            if older.claim.precedence() == held.claim.precedence() {
                return older.state_at(now);
            }
        }
        if held.lives(now) && self.is_full(now, &key, &provider) {
            return Put::Full;
        }
        self.remove(&key, &provider);
        self.insert(now, held);
        self.forget_surplus();
        Put::Held
    }

    /// The live records of a key and what is left of their lives, by provider.
    pub(super) fn providers(
        &mut self,
        now: Instant,
        key: &Key,
    ) -> impl Iterator<Item = (ProviderRecord, Duration)> {
        self.sweep(now);
        let held = self.by_key.get(key).into_iter().flat_map(BTreeMap::values);
        held.filter_map(move |held| match &held.claim {
            Claim::Record(record) if held.lives(now) => {
                Some((record.clone(), held.expires_at.duration_since(now)))
            }
            Claim::Record(_) | Claim::Withdrawal(_) => None,
        })
    }

    /// Where a provider is, by the newest of its live records.
    pub(super) fn addresses(&mut self, now: Instant, provider: &NodeId) -> Option<Addresses> {
        self.sweep(now);
        let held = self
            .by_key
            .values()
            .filter_map(|of_key| of_key.get(provider));
        let records = held.filter_map(|held| match &held.claim {
            Claim::Record(record) if held.lives(now) => Some(record),
            Claim::Record(_) | Claim::Withdrawal(_) => None,
        });
        let newest = records.max_by_key(|record| record.seq())?;
        Some(newest.addresses().clone())
    }

    /// Moves the expired out of the live, and forgets what need not be remembered.
    pub(super) fn sweep(&mut self, now: Instant) {
        while let Some(due) = self.live.first().copied().filter(|due| due.0 <= now) {
            self.live.remove(&due);
            let (_, key, provider) = due;
            if let Some(held) = self.claim(&key, &provider) {
                let forget_at = held.forget_at;
                self.remembered.insert((forget_at, key, provider));
            }
        }
        self.forget_surplus();
        while let Some(due) = self.remembered.first().copied().filter(|due| due.0 <= now) {
            self.remove(&due.1, &due.2);
        }
    }

    /// How many records count, as of the last sweep.
    pub(super) fn live(&self) -> usize {
        self.live.len()
    }

    /// How many claims are only remembered, as of the last sweep.
    pub(super) fn remembered(&self) -> usize {
        self.remembered.len()
    }

    /// How many were forgotten for want of a place.
    pub(super) fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }

    fn claim(&self, key: &Key, provider: &NodeId) -> Option<&Held> {
        self.by_key.get(key)?.get(provider)
    }

    /// Whether one more live provider finds no place; replacing one's own live record always does.
    fn is_full(&self, now: Instant, key: &Key, provider: &NodeId) -> bool {
        let Some(of_key) = self.by_key.get(key) else {
            return self.live.len() >= self.config.max_records;
        };
        if of_key.get(provider).is_some_and(|held| held.lives(now)) {
            return false;
        }
        let live_of_key = of_key.values().filter(|held| held.lives(now)).count();
        live_of_key >= self.config.max_providers_per_key
            || self.live.len() >= self.config.max_records
    }

    fn insert(&mut self, now: Instant, held: Held) {
        let (key, provider) = (held.claim.key(), held.claim.provider());
        if held.lives(now) {
            self.live.insert((held.expires_at, key, provider));
        } else {
            self.remembered.insert((held.forget_at, key, provider));
        }
        self.by_key.entry(key).or_default().insert(provider, held);
    }

    fn remove(&mut self, key: &Key, provider: &NodeId) {
        let Some(of_key) = self.by_key.get_mut(key) else {
            return;
        };
        if let Some(held) = of_key.remove(provider) {
            self.live.remove(&(held.expires_at, *key, *provider));
            self.remembered.remove(&(held.forget_at, *key, *provider));
        }
        if of_key.is_empty() {
            self.by_key.remove(key);
        }
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        let of_key = self.by_key.values().flat_map(BTreeMap::values);
        let mut claims = 0;
        for held in of_key {
            let (key, provider) = (held.claim.key(), held.claim.provider());
            let live = self.live.contains(&(held.expires_at, key, provider));
            let remembered = self.remembered.contains(&(held.forget_at, key, provider));
            assert!(live != remembered, "in both sets or in none");
            claims += 1;
        }
        assert_eq!(claims, self.live.len() + self.remembered.len());
        assert!(self.live.len() <= self.config.max_records);
        assert!(self.remembered.len() <= self.config.max_remembered);
        assert!(self.by_key.values().all(|of_key| !of_key.is_empty()));
    }

    fn forget_surplus(&mut self) {
        while self.remembered.len() > self.config.max_remembered {
            let Some(&(_, key, provider)) = self.remembered.first() else {
                return;
            };
            self.remove(&key, &provider);
            self.forgotten_early += 1;
        }
    }
}

impl Held {
    /// A record that counts for `life` and is remembered for `memory`.
    pub(super) fn record(
        record: &ProviderRecord,
        now: Instant,
        life: Duration,
        memory: Duration,
    ) -> Self {
        Self {
            claim: record.clone().into(),
            expires_at: now + life,
            forget_at: now + memory,
        }
    }

    /// A withdrawal that is remembered for `life`.
    pub(super) fn withdrawal(withdrawal: &Withdrawal, now: Instant, life: Duration) -> Self {
        Self {
            claim: withdrawal.clone().into(),
            expires_at: now,
            forget_at: now + life,
        }
    }

    fn lives(&self, now: Instant) -> bool {
        self.expires_at > now
    }

    /// What putting the same claim again comes to: it gains no life.
    fn state_at(&self, now: Instant) -> Put {
        match self.claim {
            Claim::Record(_) if !self.lives(now) => Put::Superseded,
            Claim::Record(_) | Claim::Withdrawal(_) => Put::Held,
        }
    }
}

/// How long a record whose time is over at `ends` would still be accepted, skew granted.
pub(super) fn replay_window(ends: Timestamp, now: Timestamp) -> Duration {
    ends.saturating_add(CLOCK_SKEW).saturating_since(now)
}

#[cfg(test)]
mod tests;
