//! The joint to the layers above: announce, withdraw, find.

use std::num::NonZeroUsize;
use std::time::Duration;

use async_trait::async_trait;
use macula_core::{Contact, Key, NodeId, ProviderRecord, Withdrawal};

use crate::DhtError;

/// Stores signed records under the keys of services and finds them again.
///
/// Implementations pass the suite in `macula_dht::contract`.
#[async_trait]
pub trait Dht: Send + Sync + 'static {
    /// Stores this node's own records at their holders.
    ///
    /// The report has an entry for each record, in their order. The whole does not fail for the
    /// sake of one record: when it names no address to dial, is out of its time, is refused by all,
    /// or nobody could be told of it, its entry has no holders, and the others are stored.
    ///
    /// Records whose keys are close to each other cost few messages when they are announced
    /// together; [`MAX_CLAIMS`](crate::message::MAX_CLAIMS) of them fit a message.
    ///
    /// # Errors
    /// Only when no record has a holder: [`DhtError::NoAddress`] when none names an address to
    /// dial, so that nobody could use them; [`DhtError::Rejected`] when any of them was refused;
    /// [`DhtError::Unreachable`] when nobody could be asked. And [`DhtError::Overloaded`];
    /// [`DhtError::Closed`].
    async fn announce(&self, records: Vec<ProviderRecord>) -> Result<AnnounceReport, DhtError>;

    /// Retracts this node's own records at their holders.
    ///
    /// Whoever may hold a record is told, and the nodes closest to its key, so that it stays
    /// withdrawn; a record that was never announced, or whose holders are gone, is withdrawn as
    /// well when these were told.
    ///
    /// The report has an entry for each withdrawal, in their order. A withdrawal fails alone: when
    /// nobody could be told of it, [`Withdrawn::is_told`] is false, and the others are done. One
    /// out of its time is done: no record that it retracts counts any more.
    ///
    /// As with [`announce`](Self::announce), withdrawals of close keys cost few messages together.
    ///
    /// # Errors
    /// [`DhtError::Unreachable`] when nobody could be told of any; [`DhtError::Overloaded`];
    /// [`DhtError::Closed`].
    async fn withdraw(&self, withdrawals: Vec<Withdrawal>) -> Result<WithdrawReport, DhtError>;

    /// Finds the providers recorded under a key.
    ///
    /// Ends by `options.timeout` with whatever was found by then.
    ///
    /// # Errors
    /// [`DhtError::Unreachable`] when there was nobody to ask and nothing is held here;
    /// [`DhtError::Closed`].
    async fn find(&self, key: Key, options: FindOptions) -> Result<Found, DhtError>;

    /// Finds where a node can be dialled, by its id; `None` when nobody knows.
    ///
    /// Ends by `timeout`. The node may have gone since, and is proved by nothing but dialling it.
    /// Without an implementation of its own a DHT knows services only, and no node.
    ///
    /// # Errors
    /// [`DhtError::Unreachable`] when there was nobody to ask; [`DhtError::Overloaded`];
    /// [`DhtError::Closed`].
    async fn locate(
        &self,
        _node_id: NodeId,
        _timeout: Duration,
    ) -> Result<Option<Contact>, DhtError> {
        Ok(None)
    }
}

/// How to look for providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FindOptions {
    /// Stop early once so many providers are known.
    ///
    /// When there are providers, though fewer, it stops once those have answered who should hold
    /// their records. One that wants more than an answer can name,
    /// [`MAX_CLAIMS`](crate::message::MAX_CLAIMS), wants all: it hears as many nodes as a search
    /// in vain.
    pub want: NonZeroUsize,
    /// End by then.
    pub timeout: Duration,
    /// Whom to ask.
    pub scope: Scope,
    /// Whether the answer tells of every request on the way.
    pub trace: bool,
}

/// Whom a find may ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Whoever is closest to the key in the whole network.
    #[default]
    Network,
    /// Only the peers that are connected already, one hop.
    Connected,
}

/// What a find came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// One entry per provider, the newest claim of each, freshest life first.
    pub providers: Vec<FoundProvider>,
    /// What an empty or short list means.
    pub outcome: FindOutcome,
    /// How many requests were sent.
    pub requests: usize,
    /// Depth of the request whose answer first held a provider, zero for what is held here; of the
    /// one whose answer first named the last of the closest nodes when there is no provider.
    pub hops: usize,
    /// Every request in the order in which they were sent; empty unless
    /// [`FindOptions::trace`] asks for it, and where there are no requests.
    pub trace: Vec<Hop>,
}

/// One request of a find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Who was asked.
    pub peer: NodeId,
    /// 1 for a node that was known before, one more for each answer that led to it.
    pub depth: usize,
    /// Leading bits that the peer's point shares with the key: the more, the closer.
    pub shared_bits: usize,
    /// When it was asked, counted from the beginning of the lookup.
    pub sent_after: Duration,
    /// What came of it.
    pub outcome: HopOutcome,
}

/// What came of one request of a find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HopOutcome {
    /// The peer answered.
    Answered {
        /// When, counted from the beginning of the lookup.
        after: Duration,
        /// How many records of providers it named.
        providers: usize,
        /// How many contacts it named that are closer to the key than itself.
        closer: usize,
    },
    /// The peer was not reached, refused, or said nothing until its time was over.
    Failed {
        /// When, counted from the beginning of the lookup.
        after: Duration,
    },
    /// The find was over first.
    Unanswered,
}

/// A provider's record and how long it still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundProvider {
    /// What the provider claims.
    pub record: ProviderRecord,
    /// How long it counts from now.
    pub life: Duration,
}

/// What the list of providers means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FindOutcome {
    /// At least one provider was found.
    Found,
    /// Enough of the closest nodes answered, and none knows a provider.
    Absent,
    /// Too few of the closest nodes answered to tell.
    Inconclusive,
}

/// What became of an announcement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnnounceReport {
    /// One entry per record, in their order.
    pub records: Vec<Announced>,
}

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Where it belongs.
    pub key: Key,
    /// How many nodes acknowledged it, this one included if it holds it for others; zero when it
    /// could not be announced.
    pub holders: usize,
    /// How many refused it because they are full.
    pub full: usize,
}

/// What became of withdrawals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WithdrawReport {
    /// One entry per withdrawal, in their order.
    pub withdrawals: Vec<Withdrawn>,
}

/// What became of one withdrawal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawn {
    /// Where its record belongs.
    pub key: Key,
    /// How many nodes took it, this one included if it is among the closest.
    pub acknowledged: usize,
    /// How many hold nothing that it retracts and did not take it, this one included: they know
    /// something newer of the provider, have no room for it, or find it out of its time.
    pub declined: usize,
}

impl WithdrawReport {
    /// How many acknowledgements came in, over all withdrawals.
    pub fn acknowledged(&self) -> usize {
        let withdrawals = self.withdrawals.iter();
        withdrawals.map(|withdrawn| withdrawn.acknowledged).sum()
    }
}

impl Withdrawn {
    /// Whether anybody was told: if not, it is worth another attempt.
    pub fn is_told(&self) -> bool {
        self.acknowledged + self.declined > 0
    }
}
