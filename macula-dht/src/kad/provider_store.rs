//! The claims this node holds: for others within caps, and its own.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use macula_core::{Claim, Key, NodeId};
use rand::rngs::StdRng;

use super::StoreConfig;
use super::expired::Expired;
use crate::message::{LiveClaim, LiveRecord, LiveWithdrawal, StoreOutcome};

mod under_key;

use under_key::{HeldClaim, UnderKey};

/// One claim per key and provider, kept in the order of precedence until its life is over.
///
/// Whatever is over is never returned and counts towards no cap, swept or not: every call that
/// reads or writes sweeps first, which costs no more than what it removes.
///
// Invariant: `expiries` has exactly one entry per claim, and the counts are those of the claims
// that are not our own; every one of those was brought by some peer and counts as its.
#[derive(Debug, Clone)]
pub(super) struct ProviderStore {
    config: StoreConfig,
    local: NodeId,
    claims: BTreeMap<Key, UnderKey>,
    expiries: BTreeSet<(Instant, Key, NodeId)>,
    /// Other nodes' withdrawals by the peer that brought them: what each gives up first, first.
    tombstones: BTreeSet<(NodeId, Instant, Key, NodeId)>,
    expired: Expired,
    foreign: Counts,
    own: Counts,
    foreign_by_provider: BTreeMap<NodeId, usize>,
    foreign_by_peer: BTreeMap<NodeId, Counts>,
    tombstones_forgotten: u64,
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
            tombstones: BTreeSet::new(),
            expired: Expired::new(config.max_expired),
            foreign: Counts::default(),
            own: Counts::default(),
            foreign_by_provider: BTreeMap::new(),
            foreign_by_peer: BTreeMap::new(),
            tombstones_forgotten: 0,
        }
    }

    /// Merges a claim that a peer brought into what is held. The one path for local and remote
    /// claims alike.
    pub(super) fn put(&mut self, now: Instant, from: NodeId, live: LiveClaim) -> StoreOutcome {
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
            Some(Ordering::Greater) => return StoreOutcome::Outdated,
            // Identical: the life that it was first held with stands.
            Some(Ordering::Equal) => return StoreOutcome::Stored,
            Some(Ordering::Less) | None => {}
        }
        match self.room_for(&from, &claim, held) {
            Room::None => return StoreOutcome::Full,
            Room::Free => {}
            Room::InsteadOfTombstoneOf(peer) => self.forget_tombstone_of(&peer),
        }
        let held = HeldClaim {
            claim,
            expires_at,
            from,
        };
        self.insert(held);
        StoreOutcome::Stored
    }

    fn room_for(&self, from: &NodeId, claim: &Claim, held: Option<&HeldClaim>) -> Room {
        if claim.provider() == self.local {
            return Room::Free;
        }
        let fits = held.is_some() || self.takes_another(&claim.key(), &claim.provider());
        let room = match claim {
            Claim::Record(_) => self.room_for_record(from, held),
            Claim::Withdrawal(_) => self.room_for_withdrawal(from, held),
        };
        if fits { room } else { Room::None }
    }

    /// Whether the caps of a key and of a provider allow one claim more.
    fn takes_another(&self, key: &Key, provider: &NodeId) -> bool {
        let of_provider = self.foreign_by_provider.get(provider).copied();
        self.foreign_under(key) < self.config.max_per_key
            && of_provider.unwrap_or_default() < self.config.max_per_provider
    }

    fn room_for_record(&self, from: &NodeId, held: Option<&HeldClaim>) -> Room {
        let replaced = held.filter(|held| held.is_record());
        let has_room = replaced.is_some() || self.foreign.records < self.config.max_records;
        let peer_has_room = replaced.is_some_and(|replaced| replaced.from == *from)
            || self.brought_by(from).records < self.config.max_per_peer;
        if has_room && peer_has_room {
            Room::Free
        } else {
            Room::None
        }
    }

    /// A withdrawal must always be able to remove its record, and one peer's withdrawals must not
    /// keep out those of others: whoever brought most of them gives one up.
    fn room_for_withdrawal(&self, from: &NodeId, held: Option<&HeldClaim>) -> Room {
        let replaces_withdrawal = held.is_some_and(|held| !held.is_record());
        if replaces_withdrawal || self.foreign.tombstones < self.config.max_tombstones {
            return Room::Free;
        }
        let by_peer = self.foreign_by_peer.iter();
        let most = by_peer.max_by_key(|(_, counts)| counts.tombstones);
        let enough = self.brought_by(from).tombstones + 1;
        match most {
            Some((peer, counts))
                if counts.tombstones > 0 && (held.is_some() || counts.tombstones > enough) =>
            {
                Room::InsteadOfTombstoneOf(*peer)
            }
            _ => Room::None,
        }
    }

    /// Records under a key, each with its remaining life, by provider: all of them, or a fair
    /// sample of `limit` when there are more.
    pub(super) fn sample_records(
        &mut self,
        (now, rng): (Instant, &mut StdRng),
        key: &Key,
        limit: usize,
    ) -> Vec<LiveRecord> {
        let live = |held: &HeldClaim| match &held.claim {
            Claim::Record(record) => Some(LiveRecord {
                record: record.clone(),
                life: held.life(now),
            }),
            Claim::Withdrawal(_) => None,
        };
        let claims = self.under(now, key);
        claims.map_or_else(Vec::new, |claims| claims.sample_records(rng, limit, live))
    }

    /// The same of the withdrawals remembered under a key.
    pub(super) fn sample_withdrawals(
        &mut self,
        (now, rng): (Instant, &mut StdRng),
        key: &Key,
        limit: usize,
    ) -> Vec<LiveWithdrawal> {
        let live = |held: &HeldClaim| match &held.claim {
            Claim::Record(_) => None,
            Claim::Withdrawal(withdrawal) => Some(LiveWithdrawal {
                withdrawal: withdrawal.clone(),
                life: held.life(now),
            }),
        };
        let claims = self.under(now, key);
        claims.map_or_else(Vec::new, |claims| {
            claims.sample_tombstones(rng, limit, live)
        })
    }

    /// The claims under a key, each with its remaining life.
    pub(super) fn live(
        &mut self,
        now: Instant,
        key: &Key,
    ) -> impl Iterator<Item = (&Claim, Duration)> {
        let claims = self.under(now, key).into_iter().flat_map(UnderKey::iter);
        claims.map(move |held| (&held.claim, held.life(now)))
    }

    fn under(&mut self, now: Instant, key: &Key) -> Option<&UnderKey> {
        self.sweep(now);
        self.claims.get(key)
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

    pub(super) fn tombstones_forgotten(&self) -> u64 {
        self.tombstones_forgotten
    }

    fn brought_by(&self, peer: &NodeId) -> Counts {
        self.foreign_by_peer.get(peer).copied().unwrap_or_default()
    }

    fn held(&self, key: &Key, provider: &NodeId) -> Option<&HeldClaim> {
        self.claims.get(key)?.get(provider)
    }

    fn foreign_under(&self, key: &Key) -> usize {
        self.claims.get(key).map_or(0, |claims| {
            claims.len() - usize::from(claims.get(&self.local).is_some())
        })
    }

    fn insert(&mut self, held: HeldClaim) {
        let (key, provider) = (held.claim.key(), held.claim.provider());
        self.remove(&key, &provider);
        self.expired.forget(&key, &provider);
        if provider == self.local {
            *self.own.of(&held.claim) += 1;
        } else {
            *self.foreign.of(&held.claim) += 1;
            *self.foreign_by_provider.entry(provider).or_default() += 1;
            let of_peer = self.foreign_by_peer.entry(held.from).or_default();
            *of_peer.of(&held.claim) += 1;
            if !held.is_record() {
                let tombstone = (held.from, held.expires_at, key, provider);
                self.tombstones.insert(tombstone);
            }
        }
        self.expiries.insert((held.expires_at, key, provider));
        self.claims.entry(key).or_default().insert(held);
    }

    fn remove(&mut self, key: &Key, provider: &NodeId) -> Option<HeldClaim> {
        let claims = self.claims.get_mut(key)?;
        let held = claims.remove(provider)?;
        if claims.is_empty() {
            self.claims.remove(key);
        }
        self.expiries.remove(&(held.expires_at, *key, *provider));
        if *provider == self.local {
            *self.own.of(&held.claim) -= 1;
            return Some(held);
        }
        let tombstone = (held.from, held.expires_at, *key, *provider);
        self.tombstones.remove(&tombstone);
        *self.foreign.of(&held.claim) -= 1;
        if let Entry::Occupied(mut count) = self.foreign_by_provider.entry(*provider) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if let Entry::Occupied(mut counts) = self.foreign_by_peer.entry(held.from) {
            *counts.get_mut().of(&held.claim) -= 1;
            if *counts.get() == Counts::default() {
                counts.remove();
            }
        }
        Some(held)
    }

    /// Forgets the withdrawal of a peer's that would be forgotten first.
    fn forget_tombstone_of(&mut self, peer: &NodeId) {
        let lowest = Key::from_bytes([0; 32]);
        let Some(first) = self.expiries.first().map(|(expires_at, _, _)| *expires_at) else {
            return;
        };
        let start = (*peer, first, lowest, NodeId::from_bytes([0; 32]));
        if let Some(&(_, _, key, provider)) = self.tombstones.range(start..).next() {
            self.remove(&key, &provider);
            self.tombstones_forgotten += 1;
        }
    }

    pub(super) fn check_invariants(&self) {
        let mut foreign = Counts::default();
        let mut own = Counts::default();
        let mut by_peer: BTreeMap<NodeId, Counts> = BTreeMap::new();
        for (key, claims) in &self.claims {
            assert!(!claims.is_empty(), "key without claims");
            claims.check_invariants();
            for held in claims.iter() {
                let provider = held.claim.provider();
                assert_eq!(held.claim.key(), *key, "claim under another key");
                let expiry = (held.expires_at, *key, provider);
                assert!(self.expiries.contains(&expiry), "claim that never expires");
                if provider == self.local {
                    *own.of(&held.claim) += 1;
                } else {
                    *foreign.of(&held.claim) += 1;
                    *by_peer.entry(held.from).or_default().of(&held.claim) += 1;
                }
            }
            assert!(self.foreign_under(key) <= self.config.max_per_key);
        }
        let claims = foreign.total() + own.total();
        assert_eq!(self.expiries.len(), claims, "expiry without a claim");
        assert_eq!((self.foreign, self.own), (foreign, own), "counts are off");
        assert_eq!(self.foreign_by_peer, by_peer, "counts of a peer are off");
        assert_eq!(self.tombstones.len(), foreign.tombstones);
        self.expired.check_invariants();
        self.check_caps();
    }

    fn check_caps(&self) {
        assert!(self.foreign.records <= self.config.max_records);
        assert!(self.foreign.tombstones <= self.config.max_tombstones);
        let by_provider: usize = self.foreign_by_provider.values().sum();
        assert_eq!(by_provider, self.foreign.total());
        for counts in self.foreign_by_peer.values() {
            assert!(counts.records <= self.config.max_per_peer);
        }
    }
}

impl Counts {
    fn of(&mut self, claim: &Claim) -> &mut usize {
        match claim {
            Claim::Record(_) => &mut self.records,
            Claim::Withdrawal(_) => &mut self.tombstones,
        }
    }

    fn total(self) -> usize {
        self.records + self.tombstones
    }
}

/// Whether there is room for a claim.
enum Room {
    None,
    Free,
    /// Once the peer has given up one of its withdrawals.
    InsteadOfTombstoneOf(NodeId),
}

#[cfg(test)]
mod tests;
