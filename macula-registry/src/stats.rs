//! What the registry counted so far.

use serde::{Deserialize, Serialize};

/// A snapshot of a registry's counters and sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryStats {
    /// Services registered now.
    pub local_services: usize,
    /// Resolves that this node's own services answered.
    pub local_answers: u64,
    /// The discovery cache.
    pub cache: CacheStats,
    /// The advertisements.
    pub publish: PublishStats,
}

/// What the discovery cache counted so far.
///
/// Every resolve is exactly one of [`local_answers`](RegistryStats::local_answers), hits, stale
/// hits, negative hits and misses; every lookup that has ended is one of the answers or failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheStats {
    /// Names cached now, those known to have no provider included.
    pub entries: usize,
    /// Answered from a fresh entry.
    pub hits: u64,
    /// Answered from a stale entry.
    pub stale_hits: u64,
    /// Answered "nobody" from the cache.
    pub negative_hits: u64,
    /// Not answered from the cache, or told to bypass it.
    pub misses: u64,
    /// Of the misses, those that waited for a lookup that another one had started.
    pub coalesced: u64,
    /// Lookups started, in the foreground and in the background.
    pub lookups: u64,
    /// Of the lookups, those to which the network named providers.
    pub dht_answers: u64,
    /// Of the lookups, those to which only the connected peers named providers.
    pub direct_answers: u64,
    /// Of the lookups, those that proved that nobody provides the name.
    pub absent_answers: u64,
    /// Of the lookups, those that ended without an answer.
    pub failed_lookups: u64,
    /// Lookups refused because too many were running.
    pub refused_lookups: u64,
    /// Entries that made room for others.
    pub evicted: u64,
    /// Entries removed because their time was over.
    pub expired: u64,
    /// Providers removed because they proved dead or have left.
    pub repaired: u64,
}

/// What became of this node's advertisements so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublishStats {
    /// Services whose latest attempt to be published failed.
    pub degraded: usize,
    /// Batches of records handed to the DHT.
    pub batches: u64,
    /// Records that holders acknowledged, for the first time or after a failure.
    pub published: u64,
    /// Records that holders acknowledged in the place of an earlier one.
    pub refreshed: u64,
    /// Records that nobody took, to be tried again.
    pub failed: u64,
    /// Withdrawals that are to be sent, or to be tried again.
    pub withdrawing: usize,
    /// Batches of withdrawals handed to the DHT.
    pub withdrawal_batches: u64,
    /// Withdrawals that holders acknowledged or did not need.
    pub withdrawn: u64,
    /// Withdrawals given up after their last retry; the records expire by themselves.
    pub withdrawals_given_up: u64,
    /// Attempts to reserve sequence numbers on disk that failed. While they do, a restart with the
    /// clock set back may sign claims that lose against this run's.
    pub unsaved_sequences: u64,
}
