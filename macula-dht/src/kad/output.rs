//! What the machine asks its owner to do.

use std::num::NonZeroUsize;
use std::time::Duration;

use macula_core::{Contact, DialTarget, Key};

use serde::{Deserialize, Serialize};

use crate::message::Request;
use crate::{AnnounceReport, DhtError, Found, WithdrawReport};

/// Names an announce, a withdraw, a find or a join until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub(super) u64);

/// Names a request until its answer is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

/// What the owner has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a request and feed its answer to
    /// [`handle_response`](super::Kademlia::handle_response), or its failure to
    /// [`handle_failure`](super::Kademlia::handle_failure).
    Send(Outbound),
    /// Dial a bootstrap peer or a former contact; when it answers and serves, feed its contact to
    /// [`handle_reached`](super::Kademlia::handle_reached).
    Dial(DialTarget),
    /// An operation is over, as far as its caller is concerned.
    Done {
        /// Which one.
        operation: OperationId,
        /// What it came to.
        result: OperationResult,
    },
}

/// A request to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// What its answer has to name.
    pub request_id: RequestId,
    /// To whom.
    pub to: Contact,
    /// The request.
    pub request: Request,
    /// After this the answer is of no use.
    pub timeout: Duration,
}

/// What an operation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationResult {
    /// Of [`announce`](super::Kademlia::announce).
    Announced(Result<AnnounceReport, DhtError>),
    /// Of [`withdraw`](super::Kademlia::withdraw).
    Withdrawn(Result<WithdrawReport, DhtError>),
    /// Of [`find`](super::Kademlia::find).
    Found(Result<Found, DhtError>),
    /// Of [`locate`](super::Kademlia::locate).
    Located(Result<Option<Contact>, DhtError>),
    /// Of [`join`](super::Kademlia::join).
    Joined {
        /// How many contacts are in the table now.
        contacts: usize,
    },
}

/// What to look for, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The point of the service.
    pub key: Key,
    /// Stop early once so many providers are known, from two peers or more.
    ///
    /// When there are providers, though fewer, it stops once those have answered who should hold
    /// their records. One that wants more than an answer can name,
    /// [`MAX_CLAIMS`](crate::message::MAX_CLAIMS), wants all: it hears as many nodes as a search
    /// in vain.
    pub want: NonZeroUsize,
    /// End by then.
    pub timeout: Duration,
    /// Whom to ask.
    pub ask: Ask,
    /// Whether [`Found::trace`] is wanted.
    pub trace: bool,
}

/// Whom a find asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Whoever is closest to the key in the whole network.
    Network,
    /// Only these peers, one hop; the first [`MAX_ASKED`].
    Only(Vec<Contact>),
}

/// The most peers that [`Ask::Only`] asks.
pub const MAX_ASKED: usize = 64;

/// Counters and sizes of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KadStats {
    /// Contacts in the routing table.
    pub contacts: usize,
    /// Contacts waiting for a place in a full bucket.
    pub replacements: usize,
    /// Live records held for others.
    pub records: usize,
    /// Live records of this node's own.
    pub own_records: usize,
    /// Withdrawals remembered.
    pub tombstones: usize,
    /// Operations that run.
    pub operations: usize,
    /// Requests whose answer is awaited.
    pub requests_in_flight: usize,
    /// Requests sent so far.
    pub requests_sent: u64,
    /// Requests that failed or timed out.
    pub requests_failed: u64,
    /// Requests that were not sent because too many were under way.
    pub requests_unsent: u64,
    /// Answers that came too late, twice, or to no request.
    pub answers_ignored: u64,
    /// Answers of a kind that does not fit their request.
    pub answers_mismatched: u64,
    /// Lookups begun.
    pub lookups: u64,
    /// Claims whose holders were found by the walk of a neighbouring one.
    pub walks_shared: u64,
    /// Finds that joined the lookup of another.
    pub finds_joined: u64,
    /// Requests of peers answered.
    pub answered: u64,
    /// Claims refused to peers because some cap was reached.
    pub refused_full: u64,
    /// Withdrawals forgotten before their time because there were too many.
    pub tombstones_forgotten: u64,
    /// How often a contact was kept out of the table because there were too many of its subnet.
    pub contacts_refused: u64,
    /// Contacts dropped from the table because they did not answer.
    pub contacts_evicted: u64,
}
