//! One announcement or withdrawal that runs: many placements under one operation.

use std::collections::BTreeMap;
use std::time::Instant;

use macula_core::{Claim, Key};

use super::OperationResult;
use super::placement::{Placement, Stage};
use crate::message::{MAX_CLAIMS, Request};
use crate::{AnnounceReport, Announced, DhtError, WithdrawReport, Withdrawn};

/// Claims of one announcement or withdrawal.
pub const MAX_PUBLISHED: usize = 16 * 1024;

/// Placements of one publication that are under way at once, so that a node with thousands of
/// services refreshes without a burst. As many as fit one message to a holder that all share.
const MAX_ACTIVE: usize = MAX_CLAIMS;

/// Places in the window that are opened together, unless they are the last: placements that settle
/// one after the other shall not be followed by a message each.
const OPENED_AT_ONCE: usize = MAX_ACTIVE / 2;

/// Walks of one publication at once.
const MAX_WALKS: usize = 8;

/// An announcement or a withdrawal that runs.
///
// Invariant: placements before `settled` are settled, those from `begun` on are `Waiting`.
#[derive(Debug, Clone)]
pub(super) struct Publication {
    pub(super) kind: Kind,
    pub(super) placements: Vec<Placement>,
    pub(super) settled: usize,
    pub(super) begun: usize,
    pub(super) reported: bool,
    /// Whether something happened since the placements were last advanced.
    pub(super) is_due: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Announce,
    Withdraw,
}

impl Publication {
    pub(super) fn new(kind: Kind, placements: Vec<Placement>) -> Self {
        Self {
            kind,
            placements,
            settled: 0,
            begun: 0,
            reported: false,
            is_due: true,
        }
    }

    /// The newest claim to each key of those that anybody would take.
    pub(super) fn newest(&self) -> BTreeMap<Key, &Claim> {
        let mut newest = BTreeMap::new();
        for placement in self.placements.iter().filter(|it| !it.is_unfit()) {
            let claim = newest.entry(placement.key()).or_insert(&placement.claim);
            if placement.claim.precedence() > claim.precedence() {
                *claim = &placement.claim;
            }
        }
        newest
    }

    /// Tells nobody else what newer claims of the same provider retract or replace; whether that is
    /// anything.
    pub(super) fn give_way(&mut self, newer: &BTreeMap<Key, &Claim>) -> bool {
        let mut gives_way = false;
        if self.kind == Kind::Withdraw {
            return gives_way;
        }
        for placement in &mut self.placements[self.settled..] {
            if newer
                .get(&placement.key())
                .is_some_and(|claim| placement.is_beaten_by(claim))
            {
                placement.give_up();
                gives_way = true;
            }
        }
        self.is_due |= gives_way;
        gives_way
    }

    /// Whether its claims share walks with neighbours. One alone does not: it tells those it meets
    /// while it walks, and is as quick as it can be without relying on what another saw.
    pub(super) fn is_batch(&self) -> bool {
        self.placements.len() > 1
    }

    /// Opens the window over further placements; whether there is anything to advance in it.
    pub(super) fn begin_more(&mut self) -> bool {
        let active = self.active().count();
        let left = self.placements.len() - self.begun;
        let room = MAX_ACTIVE.saturating_sub(active).min(left);
        let begun = if room >= OPENED_AT_ONCE.min(left) {
            self.begun + room
        } else {
            self.begun
        };
        let is_due = std::mem::replace(&mut self.is_due, false);
        let opened = std::mem::replace(&mut self.begun, begun) < begun;
        is_due || opened
    }

    pub(super) fn skip_settled(&mut self) {
        while self.settled < self.begun && self.placements[self.settled].is_settled() {
            self.settled += 1;
        }
    }

    fn active(&self) -> impl Iterator<Item = &Placement> {
        self.unsettled().map(|(_, placement)| placement)
    }

    /// The placements that are begun and not settled, each with its index.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = (usize, &Placement)> {
        let begun = self.placements.iter().enumerate().take(self.begun);
        begun
            .skip(self.settled)
            .filter(|(_, placement)| !placement.is_settled())
    }

    /// Whether another walk may begin.
    pub(super) fn may_walk(&self) -> bool {
        self.walks() < MAX_WALKS
    }

    fn walks(&self) -> usize {
        self.active()
            .filter(|placement| placement.stage == Stage::Walking)
            .count()
    }

    /// The placements for which a walk is due.
    pub(super) fn needing_walks(&mut self) -> impl Iterator<Item = &mut Placement> {
        self.placements[self.settled..self.begun]
            .iter_mut()
            .filter(|placement| placement.stage == Stage::NeedsWalk)
    }

    /// Whether others wait for the walk of a placement.
    pub(super) fn has_waiting_neighbours(&self, index: usize) -> bool {
        let key = self.placements[index].key();
        self.active()
            .any(|other| other.stage == Stage::NeedsWalk && other.waits_for(&key))
    }

    pub(super) fn is_reportable(&self, quorum: usize) -> bool {
        self.begun == self.placements.len()
            && self
                .active()
                .all(|placement| self.kind == Kind::Announce && placement.holders() >= quorum)
    }

    pub(super) fn report(&self) -> OperationResult {
        match self.kind {
            Kind::Announce => OperationResult::Announced(self.announced()),
            Kind::Withdraw => OperationResult::Withdrawn(self.withdrawn()),
        }
    }

    fn announced(&self) -> Result<AnnounceReport, DhtError> {
        if self
            .placements
            .iter()
            .all(|placement| placement.holders() == 0)
        {
            let refused = self
                .placements
                .iter()
                .any(|placement| placement.refused() > 0);
            return Err(if refused {
                DhtError::Rejected
            } else {
                DhtError::Unreachable
            });
        }
        let records = self.placements.iter().map(|placement| Announced {
            key: placement.key(),
            holders: placement.holders(),
            full: placement.full(),
        });
        Ok(AnnounceReport {
            records: records.collect(),
        })
    }

    fn withdrawn(&self) -> Result<WithdrawReport, DhtError> {
        let withdrawals = self.placements.iter().map(|placement| Withdrawn {
            key: placement.key(),
            acknowledged: placement.holders(),
            declined: placement.refused() + usize::from(placement.is_unfit()),
        });
        let withdrawals: Vec<_> = withdrawals.collect();
        if withdrawals.iter().any(Withdrawn::is_told) {
            Ok(WithdrawReport { withdrawals })
        } else {
            Err(DhtError::Unreachable)
        }
    }

    pub(super) fn request(&self, now: Instant, placements: &[usize]) -> Request {
        let placements = placements.iter().map(|index| &self.placements[*index]);
        match self.kind {
            Kind::Announce => Request::Store {
                records: placements
                    .filter_map(|placement| placement.record(now))
                    .collect(),
            },
            Kind::Withdraw => Request::Withdraw {
                withdrawals: placements
                    .filter_map(|placement| placement.withdrawal(now))
                    .collect(),
            },
        }
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.settled <= self.begun && self.begun <= self.placements.len());
        assert!(
            self.active().count() <= MAX_ACTIVE,
            "too many placements at once"
        );
        assert!(self.walks() <= MAX_WALKS, "too many walks at once");
        for placement in &self.placements[..self.settled] {
            assert!(placement.is_settled(), "placement left behind");
        }
        for placement in &self.placements[self.begun..] {
            assert_eq!(placement.stage, Stage::Waiting, "placement begun early");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use macula_core::{Contact, NodeId, Realm, SecretKey, Timestamp, Withdrawal, WithdrawalDraft};

    use super::*;
    use crate::message::StoreOutcome;

    fn withdrawal(service: &str) -> Claim {
        let draft = WithdrawalDraft {
            realm: Realm::default(),
            service: service.parse().unwrap(),
            seq: 1,
            until: Timestamp::default(),
        };
        let secret_key = SecretKey::from_bytes(&[1; 32]);
        Withdrawal::sign(&secret_key, draft).unwrap().into()
    }

    /// What a withdrawal comes to whose holders give these answers.
    fn withdrawn(answers: &[Option<StoreOutcome>]) -> Placement {
        let now = tokio::time::Instant::now().into_std();
        let expires_at = now + Duration::from_secs(60);
        let mut placement = Placement::new(withdrawal("a.service"), expires_at, None);
        let contacts = (0..).take(answers.len()).map(|index| {
            let address = "10.0.0.1:4433".parse().unwrap();
            Contact::new(NodeId::from_bytes([index; 32]), [address])
        });
        placement.offer(contacts.collect(), usize::MAX, false);
        let told = placement.take_targets(usize::MAX);
        for (contact, answer) in told.iter().zip(answers) {
            placement.answered(&contact.node_id, *answer);
        }
        placement
    }

    #[test]
    fn withdrawal_that_nobody_was_told_is_told_apart_from_the_rest_of_its_batch() {
        let stored = Some(StoreOutcome::Stored);
        let outdated = Some(StoreOutcome::Outdated);
        let now = tokio::time::Instant::now().into_std();
        let publication = Publication::new(
            Kind::Withdraw,
            vec![
                withdrawn(&[stored, None, stored]),
                withdrawn(&[None, None]),
                withdrawn(&[None, outdated]),
                Placement::unfit(withdrawal("a.service"), now),
                withdrawn(&[]),
            ],
        );
        let report = publication.withdrawn().unwrap();
        let told = report.withdrawals.iter().map(Withdrawn::is_told);
        assert_eq!(told.collect::<Vec<_>>(), [true, false, true, true, false]);
        assert_eq!(report.acknowledged(), 2);
        let unheard = vec![withdrawn(&[None]), withdrawn(&[])];
        let unheard = Publication::new(Kind::Withdraw, unheard).withdrawn();
        assert_eq!(unheard, Err(DhtError::Unreachable));
    }
}
