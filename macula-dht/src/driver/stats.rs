//! Counters and sizes of a node's access to the DHT.

use serde::{Deserialize, Serialize};

use crate::kad::KadStats;

/// A snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DhtStats {
    /// Of the machine.
    pub kad: KadStats,
    /// Claims of peers that were dropped: badly signed, or out of their time.
    pub claims_refused: u64,
    /// Messages of peers that nobody can read.
    pub messages_malformed: u64,
    /// Requests of peers refused because they asked too much in too short a time.
    pub rate_limited: u64,
    /// Signatures checked.
    pub signatures_checked: u64,
    /// Claims that came again, so that their signatures were not checked again.
    pub claims_recognised: u64,
    /// Messages with so many signatures that another thread checked them.
    pub messages_handed_over: u64,
}
