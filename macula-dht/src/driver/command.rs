//! What the task is asked to do.

use std::time::Duration;

use macula_core::{Contact, DialTarget, NodeId};
use tokio::sync::oneshot;

use crate::kad::Search;
use crate::message::{LiveRecord, LiveWithdrawal};
use crate::{AnnounceReport, DhtError, Found, WithdrawReport};

/// One thing for the machine, and whom to tell what came of it.
pub(super) enum Command {
    Announce(
        Vec<LiveRecord>,
        oneshot::Sender<Result<AnnounceReport, DhtError>>,
    ),
    Withdraw(
        Vec<LiveWithdrawal>,
        oneshot::Sender<Result<WithdrawReport, DhtError>>,
    ),
    Find(Search, oneshot::Sender<Result<Found, DhtError>>),
    /// Where the node is, to be known within so long.
    Locate(
        NodeId,
        Duration,
        oneshot::Sender<Result<Option<Contact>, DhtError>>,
    ),
    /// Remember the bootstrap peers, take those that were reached, and look up our own key; the
    /// answer is the number of contacts then.
    Join(Joining, oneshot::Sender<usize>),
}

/// What is known before the machine joins.
pub(super) struct Joining {
    pub(super) bootstrap: Vec<DialTarget>,
    pub(super) reached: Vec<Contact>,
}
