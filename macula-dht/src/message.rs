//! What nodes of the DHT ask each other, with signatures and wall-clock already dealt with.
//!
//! The machine speaks these types; [`wire`] turns them into bytes and back.

use std::num::NonZeroUsize;
use std::time::Duration;

use macula_core::{Claim, Contact, Key, ProviderRecord, Withdrawal};

pub mod wire;

/// The most contacts in one answer.
pub const MAX_CONTACTS: usize = 20;

/// The most provider records in one message, and the most withdrawals.
pub const MAX_CLAIMS: usize = 64;

/// A question to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Are you alive?
    Ping,
    /// Who is closest to this point?
    FindNode {
        /// The point.
        key: Key,
    },
    /// Who provides this service, and who is closer to its point?
    FindProviders {
        /// The point of the service.
        key: Key,
        /// How many providers are wanted; an answer has at most [`MAX_CLAIMS`].
        want: NonZeroUsize,
    },
    /// Hold these records; at most [`MAX_CLAIMS`].
    Store {
        /// The records and their remaining lives.
        records: Vec<LiveRecord>,
    },
    /// Hold these withdrawals; at most [`MAX_CLAIMS`].
    Withdraw {
        /// The withdrawals and how long they have to be remembered.
        withdrawals: Vec<LiveWithdrawal>,
    },
}

/// A peer's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To [`Request::Ping`].
    Pong,
    /// To [`Request::FindNode`].
    Nodes {
        /// The closest contacts the peer has reached itself; at most [`MAX_CONTACTS`].
        closer: Vec<Contact>,
    },
    /// To [`Request::FindProviders`].
    Providers(ProvidersAnswer),
    /// To [`Request::Store`] and [`Request::Withdraw`]: one entry per claim, in their order.
    Stored {
        /// What became of each claim.
        outcomes: Vec<StoreOutcome>,
    },
    /// To any request, from a node that does not serve.
    Refused,
}

/// What a peer knows about a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProvidersAnswer {
    /// Records the peer holds: a fair sample when there are more than wanted.
    pub records: Vec<LiveRecord>,
    /// Withdrawals the peer remembers, so that records elsewhere which they beat are not believed.
    pub withdrawals: Vec<LiveWithdrawal>,
    /// The closest contacts the peer has reached itself; at most [`MAX_CONTACTS`].
    pub closer: Vec<Contact>,
}

/// What a holder did with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum StoreOutcome {
    /// The claim is held.
    Stored,
    /// A claim of the same provider that takes precedence is held instead.
    Outdated,
    /// Some cap of the holder is reached; nothing changed.
    Full,
    /// The claim is not valid at the holder.
    Refused,
}

/// A verified record and how long it still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRecord {
    /// The record.
    pub record: ProviderRecord,
    /// How long it counts from now.
    pub life: Duration,
}

/// A verified withdrawal and how long it has to be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveWithdrawal {
    /// The withdrawal.
    pub withdrawal: Withdrawal,
    /// How long it has to be remembered from now.
    pub life: Duration,
}

/// A verified claim of either kind and how long it still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveClaim {
    /// The claim.
    pub claim: Claim,
    /// How long it counts from now.
    pub life: Duration,
}

impl From<LiveRecord> for LiveClaim {
    fn from(live: LiveRecord) -> Self {
        Self {
            claim: Claim::Record(live.record),
            life: live.life,
        }
    }
}

impl From<LiveWithdrawal> for LiveClaim {
    fn from(live: LiveWithdrawal) -> Self {
        Self {
            claim: Claim::Withdrawal(live.withdrawal),
            life: live.life,
        }
    }
}
