//! Finding the way into the network.

use std::fmt;

use macula_core::{Contact, DialTarget, NodeId};
use macula_transport::DialError;
use tokio::task::JoinSet;

use super::command::{Command, Joining};
use super::{KademliaDht, reached};
use crate::kad::MAX_BOOTSTRAP;

/// What came of joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinReport {
    /// The bootstrap peers that were reached.
    pub reached: Vec<NodeId>,
    /// Those that were not, and why; they are retried in the background.
    pub failed: Vec<JoinFailure>,
    /// How many contacts are known after looking up our own key.
    pub contacts: usize,
}

/// A bootstrap peer that was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinFailure {
    /// Which one.
    pub target: DialTarget,
    /// Why.
    pub cause: JoinFailureCause,
}

impl fmt::Display for JoinFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.cause)
    }
}

/// Why a bootstrap peer is of no use now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinFailureCause {
    /// It could not be dialled.
    #[error("cannot connect: {0}")]
    Dial(DialError),
    /// It is this node itself.
    #[error("this node itself")]
    Itself,
    /// It only dials and serves nobody.
    #[error("not a server")]
    NotServing,
}

/// Why joining failed. The bootstrap peers are retried in the background.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// None of the bootstrap peers was reached.
    #[error("no bootstrap peer can be reached{}", Listed(.failures))]
    NoneReached {
        /// Each of them, in their order.
        failures: Vec<JoinFailure>,
    },
    /// More bootstrap peers than are remembered.
    #[error("{0} bootstrap peers are more than {MAX_BOOTSTRAP}")]
    TooMany(usize),
    /// This node is shut down.
    #[error("closed")]
    Closed,
}

/// Shows the failures one after the other.
struct Listed<'a>(&'a [JoinFailure]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|failure| write!(f, "; {failure}"))
    }
}

impl KademliaDht {
    /// Dials the bootstrap peers, looks up our own key, and keeps trying the peers that failed.
    ///
    /// Without bootstrap peers this node is the first of its network, and joins at once.
    ///
    /// # Errors
    /// [`JoinError`]. After `NoneReached` the node joins by itself once a bootstrap peer answers.
    ///
    /// # Cancel safety
    /// When the future is dropped, nothing is remembered of peers that have not answered yet.
    pub async fn join(&self, bootstrap: &[DialTarget]) -> Result<JoinReport, JoinError> {
        if bootstrap.len() > MAX_BOOTSTRAP {
            return Err(JoinError::TooMany(bootstrap.len()));
        }
        let (reached, failed) = self.dial_all(bootstrap).await;
        let node_ids: Vec<NodeId> = reached.iter().map(|contact| contact.node_id).collect();
        let joining = Joining {
            bootstrap: bootstrap.to_vec(),
            reached,
        };
        let contacts = self
            .ask(|reply| Command::Join(joining, reply))
            .await
            .map_err(|_| JoinError::Closed)?;
        for failure in &failed {
            tracing::warn!(peer = %failure.target, cause = %failure.cause, "bootstrap peer not reached");
        }
        if node_ids.is_empty() && !bootstrap.is_empty() {
            return Err(JoinError::NoneReached { failures: failed });
        }
        tracing::info!(bootstrap = node_ids.len(), contacts, "joined");
        Ok(JoinReport {
            reached: node_ids,
            failed,
            contacts,
        })
    }

    /// Dials all at once; the outcomes are in the order of the targets.
    async fn dial_all(&self, targets: &[DialTarget]) -> (Vec<Contact>, Vec<JoinFailure>) {
        let mut dials = JoinSet::new();
        for (position, target) in targets.iter().cloned().enumerate() {
            let endpoint = self.endpoint.clone();
            let dial = async move { (position, endpoint.connect(&target).await) };
            dials.spawn_on(dial, self.endpoint.runtime().handle());
        }
        let mut outcomes = vec![Err(JoinFailureCause::Dial(DialError::Closed)); targets.len()];
        while let Some(dialled) = dials.join_next().await {
            if let Ok((position, outcome)) = dialled {
                outcomes[position] = self.usable(outcome);
            }
        }
        let mut contacts = Vec::new();
        let mut failures = Vec::new();
        for (target, outcome) in targets.iter().cloned().zip(outcomes) {
            match outcome {
                Ok(contact) => contacts.push(contact),
                Err(cause) => failures.push(JoinFailure { target, cause }),
            }
        }
        (contacts, failures)
    }

    fn usable(
        &self,
        outcome: Result<macula_transport::Peer, DialError>,
    ) -> Result<Contact, JoinFailureCause> {
        let peer = outcome.map_err(JoinFailureCause::Dial)?;
        if peer.node_id == self.endpoint.node_id() {
            return Err(JoinFailureCause::Itself);
        }
        reached(peer).ok_or(JoinFailureCause::NotServing)
    }
}
