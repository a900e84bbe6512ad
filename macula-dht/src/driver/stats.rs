//! Counters and sizes of a node's access to the DHT.

use crate::kad::KadStats;

/// A snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DhtStats {
    /// Of the machine.
    pub kad: KadStats,
    /// Claims of peers that were dropped: badly signed, or out of their time.
    pub claims_refused: u64,
    /// Messages of peers that nobody can read.
    pub messages_malformed: u64,
}
