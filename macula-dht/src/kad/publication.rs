//! Announcing records and spreading withdrawals: many placements under one operation.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use macula_core::{Contact, Key, NodeId};

use super::lookups::LookupPurpose;
use super::placement::{Placement, Stage};
use super::requests::Purpose;
use super::{Kademlia, OperationId, OperationResult, Work};
use crate::message::{
    LiveClaim, LiveRecord, LiveWithdrawal, MAX_CLAIMS, Request, Response, StoreOutcome,
};
use crate::{AnnounceReport, Announced, DhtError, WithdrawReport};

/// Claims of one announcement or withdrawal.
pub const MAX_PUBLISHED: usize = 16 * 1024;

/// Placements of one publication that are under way at once, so that a node with thousands of
/// services refreshes without a burst. As many as fit one message to a holder that all share.
const MAX_ACTIVE: usize = MAX_CLAIMS;

/// Walks of one publication at once.
const MAX_WALKS: usize = 8;

/// Refresh intervals after which a refresh walks again, to find nodes that came closer since.
const WALK_AGAIN_AFTER: u32 = 3;

/// An announcement or a withdrawal that runs.
///
// Invariant: placements before `settled` are settled, those from `begun` on are `Waiting`.
#[derive(Debug, Clone)]
pub(super) struct Publication {
    kind: Kind,
    placements: Vec<Placement>,
    settled: usize,
    begun: usize,
    reported: bool,
    /// Whether something happened since the placements were last advanced.
    is_due: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Announce,
    Withdraw,
}

impl Kademlia {
    /// Stores this node's own records at the closest nodes to their keys.
    ///
    /// Ends with [`OperationResult::Announced`] once every record has its quorum or nobody is
    /// left to ask; the rest of the holders are told behind. It fails as a whole only when no
    /// record has a holder.
    pub fn announce(&mut self, now: Instant, records: Vec<LiveRecord>) -> OperationId {
        let operation = self.next_operation();
        let without_address = |live: &LiveRecord| live.record.addresses().is_empty();
        let result = if records.iter().any(without_address) {
            Some(Err(DhtError::NoAddress))
        } else if self.is_overloaded(records.len()) {
            Some(Err(DhtError::Overloaded))
        } else if records.is_empty() {
            Some(Ok(AnnounceReport::default()))
        } else {
            None
        };
        if let Some(result) = result {
            self.done(operation, OperationResult::Announced(result));
        } else {
            let claims = records.into_iter().map(LiveClaim::from).collect();
            self.publish(now, operation, Kind::Announce, claims);
        }
        operation
    }

    /// Retracts this node's own records wherever they may be held.
    ///
    /// Ends with [`OperationResult::Withdrawn`] once all remembered holders and the closest nodes
    /// have answered or failed.
    pub fn withdraw(&mut self, now: Instant, withdrawals: Vec<LiveWithdrawal>) -> OperationId {
        let operation = self.next_operation();
        if self.is_overloaded(withdrawals.len()) {
            let result = OperationResult::Withdrawn(Err(DhtError::Overloaded));
            self.done(operation, result);
        } else if withdrawals.is_empty() {
            let result = OperationResult::Withdrawn(Ok(WithdrawReport::default()));
            self.done(operation, result);
        } else {
            let claims = withdrawals.into_iter().map(LiveClaim::from).collect();
            self.publish(now, operation, Kind::Withdraw, claims);
        }
        operation
    }

    fn is_overloaded(&self, claims: usize) -> bool {
        claims > MAX_PUBLISHED || self.operations() >= self.config.max_operations.get()
    }

    fn publish(
        &mut self,
        now: Instant,
        operation: OperationId,
        kind: Kind,
        claims: Vec<LiveClaim>,
    ) {
        let placements = claims
            .into_iter()
            .map(|live| self.placement(now, live))
            .collect();
        let publication = Publication {
            kind,
            placements,
            settled: 0,
            begun: 0,
            reported: false,
            is_due: true,
        };
        self.publications.insert(operation, publication);
        self.queue(Work::Publication(operation));
        self.run(now);
    }

    /// Holds a claim ourselves, if we serve, and plans to place it elsewhere.
    fn placement(&mut self, now: Instant, live: LiveClaim) -> Placement {
        let (key, provider) = (live.claim.key(), live.claim.provider());
        let expires_at = now + live.life.min(LONGEST_LIFE);
        if !self.local.serves {
            return Placement::new(live.claim, expires_at, None);
        }
        let outcome = self.store.put(now, self.local.node_id, live.clone());
        // Announced again unchanged, it goes on with the life it has.
        let held_until = self
            .store
            .expires_at(&key, &provider)
            .filter(|_| outcome == StoreOutcome::Stored);
        let expires_at = held_until.unwrap_or(expires_at);
        Placement::new(live.claim, expires_at, Some(outcome))
    }

    /// Takes a holder's answer to the placements it was told about, `None` when it failed.
    pub(super) fn handle_placed(
        &mut self,
        from: &NodeId,
        (operation, placements): (OperationId, Vec<usize>),
        response: Option<Response>,
    ) {
        let Some(publication) = self.publications.get_mut(&operation) else {
            return;
        };
        let outcomes = match response {
            Some(Response::Stored { outcomes }) => Some(outcomes),
            _ => None,
        };
        for (position, index) in placements.into_iter().enumerate() {
            let placement = &mut publication.placements[index];
            let outcome = outcomes
                .as_ref()
                .map(|outcomes| outcomes.get(position).copied())
                .map(|outcome| outcome.unwrap_or(StoreOutcome::Refused));
            let (key, expires_at) = (placement.key(), placement.expires_at);
            let contact = placement.answered(from, outcome);
            match (outcome, contact) {
                (Some(StoreOutcome::Stored), Some(contact)) => {
                    self.holders.acknowledged(&key, &contact, expires_at);
                }
                _ => self.holders.not_acknowledged(&key, from),
            }
        }
        publication.is_due = true;
        self.queue(Work::Publication(operation));
    }

    /// Takes the end of a walk: the closest that answered.
    pub(super) fn handle_walked(
        &mut self,
        now: Instant,
        (operation, index): (OperationId, usize),
        mut closest: Vec<Contact>,
    ) {
        let Some(publication) = self.publications.get_mut(&operation) else {
            return;
        };
        if publication.kind == Kind::Withdraw {
            // Nobody stands in for a node that cannot be told: who may hold a record is told.
            closest.truncate(self.config.replication.get());
        }
        let placement = &mut publication.placements[index];
        let key = placement.key();
        let is_close = is_among_closest(
            &self.local_key,
            &key,
            &closest,
            self.config.replication.get(),
        );
        // With somebody to tell and nobody reached, holding it alone is no success.
        let knows_others = !self.table.is_empty() || self.maintenance.has_bootstrap();
        let is_cut_off = closest.is_empty() && knows_others;
        let with_local = is_close && !is_cut_off;
        placement.stage = Stage::Placing;
        placement.offer(closest, with_local);
        publication.is_due = true;
        self.holders.walked(now, key, with_local);
        self.queue(Work::Publication(operation));
    }

    /// Begins, continues and ends placements until everything waits for an answer.
    pub(super) fn advance_publication(&mut self, now: Instant, operation: OperationId) {
        let Some(mut publication) = self.publications.remove(&operation) else {
            return;
        };
        while publication.begin_more() {
            self.advance_placements(now, operation, &mut publication);
            publication.skip_settled();
        }
        if !publication.reported && publication.is_reportable(self.config.quorum.get()) {
            publication.reported = true;
            self.done(operation, publication.report());
        }
        if publication.settled < publication.placements.len() {
            self.publications.insert(operation, publication);
        }
    }

    fn advance_placements(
        &mut self,
        now: Instant,
        operation: OperationId,
        publication: &mut Publication,
    ) {
        let mut telling = BTreeMap::new();
        let mut walks = publication.walks();
        for index in publication.settled..publication.begun {
            let placement = &mut publication.placements[index];
            self.advance_placement(now, publication.kind, placement);
            if placement.stage == Stage::NeedsWalk && walks < MAX_WALKS {
                placement.stage = Stage::Walking;
                walks += 1;
                self.begin_walk(
                    now,
                    placement.key(),
                    LookupPurpose::Walk { operation, index },
                );
            }
            for contact in self.targets(publication.kind, placement) {
                let (_, indices): &mut (Contact, Vec<usize>) = telling
                    .entry(contact.node_id)
                    .or_insert_with(|| (contact, Vec::new()));
                indices.push(index);
            }
        }
        for (contact, indices) in telling.into_values() {
            for placements in indices.chunks(MAX_CLAIMS) {
                let request = publication.request(now, placements);
                let placements = placements.to_vec();
                let purpose = Purpose::Place {
                    operation,
                    placements,
                };
                self.send(now, contact.clone(), request, purpose);
            }
        }
    }

    fn advance_placement(&self, now: Instant, kind: Kind, placement: &mut Placement) {
        match (placement.stage, kind) {
            // Nobody is told what we know to be outdated.
            (Stage::Waiting, _) if placement.is_outdated() => placement.stage = Stage::Placing,
            (Stage::Waiting, Kind::Announce) => self.begin_refresh(now, placement),
            (Stage::Waiting, Kind::Withdraw) => {
                placement.offer(self.holders.all(&placement.key()), false);
                placement.stage = Stage::NeedsWalk;
            }
            (Stage::Refreshing, Kind::Announce) if placement.awaited() == 0 => {
                placement.stage = if placement.holders() >= self.needed() {
                    Stage::Placing
                } else {
                    Stage::NeedsWalk
                };
            }
            (Stage::Placing, Kind::Announce)
                if placement.holders() >= self.config.replication.get() =>
            {
                placement.drop_candidates();
            }
            _ => {}
        }
    }

    fn begin_refresh(&self, now: Instant, placement: &mut Placement) {
        let walked_since = now.checked_sub(
            self.config
                .refresh_interval
                .saturating_mul(WALK_AGAIN_AFTER),
        );
        let current = self.holders.current(&placement.key(), walked_since);
        placement.stage = Stage::NeedsWalk;
        if let Some((holders, with_local)) = current
            && !holders.is_empty()
            && holders.len() + usize::from(with_local) >= self.needed()
        {
            placement.offer(holders, with_local);
            placement.stage = Stage::Refreshing;
        }
    }

    /// The quorum, or all there are.
    fn needed(&self) -> usize {
        let there_are = self.table.len() + usize::from(self.local.serves);
        self.config.quorum.get().min(there_are.max(1))
    }

    fn targets(&self, kind: Kind, placement: &mut Placement) -> Vec<Contact> {
        match (placement.stage, kind) {
            (Stage::Placing, Kind::Announce) => {
                placement.take_targets(self.config.replication.get())
            }
            _ => placement.take_targets(usize::MAX),
        }
    }
}

impl Publication {
    /// Opens the window over further placements; whether there is anything to advance in it.
    fn begin_more(&mut self) -> bool {
        let active = self.active().count();
        let room = MAX_ACTIVE.saturating_sub(active);
        let begun = (self.begun + room).min(self.placements.len());
        let is_due = std::mem::replace(&mut self.is_due, false);
        let opened = std::mem::replace(&mut self.begun, begun) < begun;
        is_due || opened
    }

    fn skip_settled(&mut self) {
        while self.settled < self.begun && self.placements[self.settled].is_settled() {
            self.settled += 1;
        }
    }

    fn active(&self) -> impl Iterator<Item = &Placement> {
        self.placements[self.settled..self.begun]
            .iter()
            .filter(|placement| !placement.is_settled())
    }

    fn walks(&self) -> usize {
        self.active()
            .filter(|placement| placement.stage == Stage::Walking)
            .count()
    }

    fn is_reportable(&self, quorum: usize) -> bool {
        self.begun == self.placements.len()
            && self
                .active()
                .all(|placement| self.kind == Kind::Announce && placement.holders() >= quorum)
    }

    fn report(&self) -> OperationResult {
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
        let acknowledged = self.placements.iter().map(Placement::holders).sum();
        let refused: usize = self.placements.iter().map(Placement::refused).sum();
        if acknowledged + refused == 0 {
            return Err(DhtError::Unreachable);
        }
        Ok(WithdrawReport { acknowledged })
    }

    fn request(&self, now: Instant, placements: &[usize]) -> Request {
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

/// Whether a point is among the `count` closest to a key, the `others` being sorted.
fn is_among_closest(point: &Key, key: &Key, others: &[Contact], count: usize) -> bool {
    others
        .get(count - 1)
        .is_none_or(|last| point.distance(key) < Key::of_node(&last.node_id).distance(key))
}

/// No life is longer than what the core admits; this only keeps instants from overflowing.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
