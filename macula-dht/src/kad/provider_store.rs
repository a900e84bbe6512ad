//! The claims this node holds: for others within caps, and its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use macula_core::{Claim, Key, NodeId};

use super::StoreConfig;
use super::expired::Expired;
use crate::message::{LiveClaim, LiveRecord, LiveWithdrawal, StoreOutcome};

/// One claim per key and provider, kept in the order of precedence until its life is over.
///
/// Whatever is over is never returned and counts towards no cap, swept or not: every call that
/// reads or writes sweeps first, which costs no more than what it removes.
///
// Invariant: `expiries` has exactly one entry per claim, and the counts are those of the claims
// that are not our own.
#[derive(Debug, Clone)]
pub(super) struct ProviderStore {
    config: StoreConfig,
    local: NodeId,
    claims: BTreeMap<Key, BTreeMap<NodeId, HeldClaim>>,
    expiries: BTreeSet<(Instant, Key, NodeId)>,
    /// The part of `expiries` that belongs to other nodes' withdrawals.
    tombstone_expiries: BTreeSet<(Instant, Key, NodeId)>,
    expired: Expired,
    foreign: Counts,
    own: Counts,
    foreign_by_provider: BTreeMap<NodeId, usize>,
}

#[derive(Debug, Clone)]
struct HeldClaim {
    claim: Claim,
    expires_at: Instant,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    records: usize,
    tombstones: usize,
}

impl ProviderStore {
    pub(super) fn new(local: NodeId, config: StoreConfig) -> Self {
        Self {
            config,
            local,
            claims: BTreeMap::new(),
            expiries: BTreeSet::new(),
            tombstone_expiries: BTreeSet::new(),
            expired: Expired::new(config.max_expired),
            foreign: Counts::default(),
            own: Counts::default(),
            foreign_by_provider: BTreeMap::new(),
        }
    }

    /// Merges a claim into what is held. The one path for local and remote claims alike.
    pub(super) fn put(&mut self, now: Instant, live: LiveClaim) -> StoreOutcome {
        self.sweep(now);
        let LiveClaim { claim, life } = live;
        let Some(expires_at) = now.checked_add(life).filter(|_| !life.is_zero()) else {
            return StoreOutcome::Refused;
        };
        if self.expired.covers(&claim) {
            return StoreOutcome::Outdated;
        }
        let held = self.held(&claim.key(), &claim.provider());
        match held.map(|held| held.claim.precedence().cmp(&claim.precedence())) {
            Some(std::cmp::Ordering::Greater) => return StoreOutcome::Outdated,
            // Identical: the life that it was first held with stands.
            Some(std::cmp::Ordering::Equal) => return StoreOutcome::Stored,
            Some(std::cmp::Ordering::Less) | None => {}
        }
        let room = self.room_for(&claim, held);
        match room {
            Room::None => StoreOutcome::Full,
            Room::Free => {
                self.insert(claim, expires_at);
                StoreOutcome::Stored
            }
            Room::InsteadOfOldestTombstone => {
                self.insert(claim, expires_at);
                self.forget_oldest_foreign_tombstone();
                StoreOutcome::Stored
            }
        }
    }

    fn room_for(&self, claim: &Claim, held: Option<&HeldClaim>) -> Room {
        let config = &self.config;
        if claim.provider() == self.local {
            return Room::Free;
        }
        let is_record = matches!(claim, Claim::Record(_));
        let tombstones_full = self.foreign.tombstones >= config.max_tombstones;
        if let Some(held) = held {
            let was_record = matches!(held.claim, Claim::Record(_));
            return match (was_record, is_record) {
                // A withdrawal must always be able to remove its record.
                (true, false) if tombstones_full => Room::InsteadOfOldestTombstone,
                (false, true) if self.foreign.records >= config.max_records => Room::None,
                _ => Room::Free,
            };
        }
        let kind_full = if is_record {
            self.foreign.records >= config.max_records
        } else {
            tombstones_full
        };
        let of_provider = self.foreign_by_provider.get(&claim.provider());
        if kind_full
            || of_provider.is_some_and(|count| *count >= config.max_per_provider)
            || self.foreign_under(&claim.key()) >= config.max_per_key
        {
            Room::None
        } else {
            Room::Free
        }
    }

    /// The records under a key, each with its remaining life, by provider.
    pub(super) fn records(&mut self, now: Instant, key: &Key) -> Vec<LiveRecord> {
        self.live(now, key)
            .filter_map(|(claim, life)| match claim {
                Claim::Record(record) => Some(LiveRecord {
                    record: record.clone(),
                    life,
                }),
                Claim::Withdrawal(_) => None,
            })
            .collect()
    }

    /// The withdrawals remembered under a key, by provider.
    pub(super) fn withdrawals(&mut self, now: Instant, key: &Key) -> Vec<LiveWithdrawal> {
        self.live(now, key)
            .filter_map(|(claim, life)| match claim {
                Claim::Record(_) => None,
                Claim::Withdrawal(withdrawal) => Some(LiveWithdrawal {
                    withdrawal: withdrawal.clone(),
                    life,
                }),
            })
            .collect()
    }

    fn live(
        &mut self,
        now: Instant,
        key: &Key,
    ) -> impl Iterator<Item = (&Claim, std::time::Duration)> {
        self.sweep(now);
        self.claims
            .get(key)
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(move |held| (&held.claim, held.expires_at.duration_since(now)))
    }

    /// Forgets everything whose life is over.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.expired.sweep(now);
        while let Some(&(expires_at, key, provider)) = self.expiries.first() {
            if expires_at > now {
                break;
            }
            if let Some(held) = self.remove(&key, &provider) {
                self.expired.remember(&held.claim, expires_at);
            }
        }
    }

    /// When the life of a provider's claim is over, if one is held.
    pub(super) fn expires_at(&self, key: &Key, provider: &NodeId) -> Option<Instant> {
        self.held(key, provider).map(|held| held.expires_at)
    }

    /// When the next life is over.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|(expires_at, _, _)| *expires_at)
    }

    pub(super) fn foreign_records(&self) -> usize {
        self.foreign.records
    }

    pub(super) fn own_records(&self) -> usize {
        self.own.records
    }

    pub(super) fn tombstones(&self) -> usize {
        self.foreign.tombstones + self.own.tombstones
    }

    fn held(&self, key: &Key, provider: &NodeId) -> Option<&HeldClaim> {
        self.claims.get(key)?.get(provider)
    }

    fn foreign_under(&self, key: &Key) -> usize {
        self.claims.get(key).map_or(0, |claims| {
            claims.len() - usize::from(claims.contains_key(&self.local))
        })
    }

    fn insert(&mut self, claim: Claim, expires_at: Instant) {
        let (key, provider) = (claim.key(), claim.provider());
        self.remove(&key, &provider);
        self.expired.forget(&key, &provider);
        *self.count_of(&claim) += 1;
        if provider != self.local {
            *self.foreign_by_provider.entry(provider).or_default() += 1;
            if matches!(claim, Claim::Withdrawal(_)) {
                self.tombstone_expiries.insert((expires_at, key, provider));
            }
        }
        self.expiries.insert((expires_at, key, provider));
        self.claims
            .entry(key)
            .or_default()
            .insert(provider, HeldClaim { claim, expires_at });
    }

    fn remove(&mut self, key: &Key, provider: &NodeId) -> Option<HeldClaim> {
        let claims = self.claims.get_mut(key)?;
        let held = claims.remove(provider)?;
        if claims.is_empty() {
            self.claims.remove(key);
        }
        let expiry = (held.expires_at, *key, *provider);
        self.expiries.remove(&expiry);
        self.tombstone_expiries.remove(&expiry);
        *self.count_of(&held.claim) -= 1;
        if let Some(count) = self.foreign_by_provider.get_mut(provider) {
            *count -= 1;
            if *count == 0 {
                self.foreign_by_provider.remove(provider);
            }
        }
        Some(held)
    }

    fn count_of(&mut self, claim: &Claim) -> &mut usize {
        let counts = if claim.provider() == self.local {
            &mut self.own
        } else {
            &mut self.foreign
        };
        match claim {
            Claim::Record(_) => &mut counts.records,
            Claim::Withdrawal(_) => &mut counts.tombstones,
        }
    }

    fn forget_oldest_foreign_tombstone(&mut self) {
        let oldest = self.tombstone_expiries.first();
        if let Some(&(_, key, provider)) = oldest {
            self.remove(&key, &provider);
        }
    }

    pub(super) fn check_invariants(&self) {
        let mut foreign = Counts::default();
        let mut own = Counts::default();
        let mut claims = 0;
        for (key, by_provider) in &self.claims {
            assert!(!by_provider.is_empty(), "key without claims");
            for (provider, held) in by_provider {
                claims += 1;
                assert_eq!((held.claim.key(), held.claim.provider()), (*key, *provider));
                assert!(
                    self.expiries.contains(&(held.expires_at, *key, *provider)),
                    "claim that never expires"
                );
                let counts = if *provider == self.local {
                    &mut own
                } else {
                    &mut foreign
                };
                match held.claim {
                    Claim::Record(_) => counts.records += 1,
                    Claim::Withdrawal(_) => counts.tombstones += 1,
                }
            }
            assert!(self.foreign_under(key) <= self.config.max_per_key);
        }
        assert_eq!(self.expiries.len(), claims, "expiry without a claim");
        assert_eq!((self.foreign, self.own), (foreign, own), "counts are off");
        assert_eq!(self.tombstone_expiries.len(), foreign.tombstones);
        self.expired.check_invariants();
        assert!(foreign.records <= self.config.max_records);
        assert!(foreign.tombstones <= self.config.max_tombstones);
        let by_provider: usize = self.foreign_by_provider.values().sum();
        assert_eq!(by_provider, foreign.records + foreign.tombstones);
    }
}

/// Whether there is room for a claim.
enum Room {
    None,
    Free,
    InsteadOfOldestTombstone,
}

#[cfg(test)]
mod tests;
