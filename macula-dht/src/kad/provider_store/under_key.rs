//! The claims that are held under one key.

use std::time::{Duration, Instant};

use macula_core::{Claim, NodeId};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// A claim and what is known of it here.
#[derive(Debug, Clone)]
pub(super) struct HeldClaim {
    pub(super) claim: Claim,
    pub(super) expires_at: Instant,
    /// The peer that brought it.
    pub(super) from: NodeId,
}

/// Records and withdrawals apart, so that a sample of either is drawn without looking at the rest;
/// lists rather than maps, because most keys have a single provider.
///
// Invariant: both lists are sorted by provider, and no provider is in both.
#[derive(Debug, Clone, Default)]
pub(super) struct UnderKey {
    records: Vec<HeldClaim>,
    tombstones: Vec<HeldClaim>,
}

impl HeldClaim {
    pub(super) fn is_record(&self) -> bool {
        matches!(self.claim, Claim::Record(_))
    }

    /// How long it still counts; it is not over.
    pub(super) fn life(&self, now: Instant) -> Duration {
        self.expires_at.duration_since(now)
    }
}

impl UnderKey {
    pub(super) fn len(&self) -> usize {
        self.records.len() + self.tombstones.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.tombstones.is_empty()
    }

    /// All of them, the records first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &HeldClaim> {
        self.records.iter().chain(&self.tombstones)
    }

    pub(super) fn get(&self, provider: &NodeId) -> Option<&HeldClaim> {
        let find = |list: &[HeldClaim]| position(list, provider).ok();
        let record = find(&self.records).map(|index| &self.records[index]);
        record.or_else(|| find(&self.tombstones).map(|index| &self.tombstones[index]))
    }

    /// Takes a claim of a provider that has none here.
    pub(super) fn insert(&mut self, held: HeldClaim) {
        let list = if held.is_record() {
            &mut self.records
        } else {
            &mut self.tombstones
        };
        if let Err(index) = position(list, &held.claim.provider()) {
            if list.len() < FEW {
                list.reserve_exact(1);
            }
            list.insert(index, held);
        }
    }

    pub(super) fn remove(&mut self, provider: &NodeId) -> Option<HeldClaim> {
        for list in [&mut self.records, &mut self.tombstones] {
            if let Ok(index) = position(list, provider) {
                return Some(list.remove(index));
            }
        }
        None
    }

    /// The records, by provider, or a fair sample of `limit` in any order when there are more.
    pub(super) fn sample_records<T>(
        &self,
        rng: &mut StdRng,
        limit: usize,
        live: impl FnMut(&HeldClaim) -> Option<T>,
    ) -> Vec<T> {
        sample(&self.records, rng, limit, live)
    }

    /// The same of the withdrawals.
    pub(super) fn sample_tombstones<T>(
        &self,
        rng: &mut StdRng,
        limit: usize,
        live: impl FnMut(&HeldClaim) -> Option<T>,
    ) -> Vec<T> {
        sample(&self.tombstones, rng, limit, live)
    }

    pub(super) fn check_invariants(&self) {
        let provider = |held: &HeldClaim| held.claim.provider();
        assert!(self.records.is_sorted_by_key(provider));
        assert!(self.tombstones.is_sorted_by_key(provider));
        assert!(self.records.iter().all(HeldClaim::is_record));
        assert!(!self.tombstones.iter().any(HeldClaim::is_record));
        for held in &self.records {
            let in_both = position(&self.tombstones, &provider(held)).is_ok();
            assert!(!in_both, "two claims of a provider");
        }
    }
}

fn position(list: &[HeldClaim], provider: &NodeId) -> Result<usize, usize> {
    list.binary_search_by_key(provider, |held| held.claim.provider())
}

/// Allocates nothing but the answer, unless there is more than fits.
fn sample<T>(
    list: &[HeldClaim],
    rng: &mut StdRng,
    limit: usize,
    live: impl FnMut(&HeldClaim) -> Option<T>,
) -> Vec<T> {
    let mut sampled = Vec::with_capacity(list.len().min(limit));
    if list.len() > limit {
        sampled.extend(list.sample(rng, limit).filter_map(live));
    } else {
        sampled.extend(list.iter().filter_map(live));
    }
    sampled
}

/// Lists up to this length are as long as their memory.
const FEW: usize = 8;
