//! Every request of one lookup, for whoever wants to see how it went.

use std::time::{Duration, Instant};

use macula_core::NodeId;

use super::candidates::Candidate;
use crate::{Hop, HopOutcome};

/// The requests in the order in which they were sent; no more than candidates.
#[derive(Debug, Clone)]
pub(super) struct Trail {
    began_at: Instant,
    hops: Vec<Hop>,
}

impl Trail {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began_at: now,
            hops: Vec::new(),
        }
    }

    pub(super) fn asked(&mut self, now: Instant, candidate: &Candidate) {
        self.hops.push(Hop {
            peer: candidate.contact.node_id,
            depth: candidate.depth,
            shared_bits: candidate.distance.leading_zeros(),
            sent_after: self.since(now),
            outcome: HopOutcome::Unanswered,
        });
    }

    pub(super) fn answered(
        &mut self,
        now: Instant,
        from: &NodeId,
        (providers, closer): (usize, usize),
    ) {
        let after = self.since(now);
        self.came_to(
            from,
            HopOutcome::Answered {
                after,
                providers,
                closer,
            },
        );
    }

    pub(super) fn failed(&mut self, now: Instant, from: &NodeId) {
        let after = self.since(now);
        self.came_to(from, HopOutcome::Failed { after });
    }

    pub(super) fn hops(&self) -> &[Hop] {
        &self.hops
    }

    fn came_to(&mut self, from: &NodeId, outcome: HopOutcome) {
        if let Some(hop) = self.hops.iter_mut().find(|hop| hop.peer == *from) {
            hop.outcome = outcome;
        }
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began_at)
    }
}
