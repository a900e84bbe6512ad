//! Announcing records and withdrawing them: the verbs, and what a publication waits for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use macula_core::{Contact, NodeId};

use super::lookups::LookupPurpose;
use super::placement::{Placement, Stage};
use super::publication::{Kind, MAX_PUBLISHED, Publication};
use super::requests::Purpose;
use super::{Kademlia, OperationId, OperationResult, Work};
use crate::message::{LiveClaim, LiveRecord, LiveWithdrawal, MAX_CLAIMS, Response, StoreOutcome};
use crate::{AnnounceReport, DhtError, WithdrawReport};

/// Refresh intervals after which a refresh walks again, to find nodes that came closer since.
///
/// Until then newcomers may stand between the key and the holders. A lookup asks the `k` closest,
/// so it still meets a holder unless about `k` nodes came closer in that time. The records of a
/// batch were placed together, so they are due together and share the walks: it costs a batch less
/// than the refresh itself, and a record alone three times as much.
const WALK_AGAIN_AFTER: u32 = 3;

impl Kademlia {
    /// Stores this node's own records at the closest nodes to their keys.
    ///
    /// Ends with [`OperationResult::Announced`] once every record has its quorum or nobody is
    /// left to ask; the rest of the holders are told behind. It fails as a whole only when no
    /// record has a holder: one without an address or without life left has none, and harms no
    /// other.
    ///
    /// Records whose keys are close to each other cost few messages: one walk shows who is closest
    /// to many, and a holder is told up to [`MAX_CLAIMS`] at once.
    ///
    /// An announcement of older records that still runs tells nobody else of those.
    pub fn announce(&mut self, now: Instant, records: Vec<LiveRecord>) -> OperationId {
        let operation = self.next_operation();
        let all_unfit = records.iter().map(unfit).reduce(Option::and).flatten();
        let result = if self.is_overloaded(records.len()) {
            Some(Err(DhtError::Overloaded))
        } else if records.is_empty() {
            Some(Ok(AnnounceReport::default()))
        } else {
            all_unfit.map(Err)
        };
        if let Some(result) = result {
            self.done(operation, OperationResult::Announced(result));
        } else {
            let placements = records.into_iter().map(|live| match unfit(&live) {
                Some(_) => Placement::unfit(live.record.into(), now),
                None => self.placement(now, live.into()),
            });
            let placements = placements.collect();
            self.publish(now, operation, Publication::new(Kind::Announce, placements));
        }
        operation
    }

    /// Retracts this node's own records wherever they may be held.
    ///
    /// Ends with [`OperationResult::Withdrawn`] once all remembered holders and the closest nodes
    /// have answered or failed. Nobody is told of one that has no life left, and it counts as done.
    /// It fails as a whole only when nobody could be told of any.
    pub fn withdraw(&mut self, now: Instant, withdrawals: Vec<LiveWithdrawal>) -> OperationId {
        let operation = self.next_operation();
        if self.is_overloaded(withdrawals.len()) {
            let result = OperationResult::Withdrawn(Err(DhtError::Overloaded));
            self.done(operation, result);
        } else if withdrawals.is_empty() {
            let result = OperationResult::Withdrawn(Ok(WithdrawReport::default()));
            self.done(operation, result);
        } else {
            let placements = withdrawals.into_iter().map(|live| {
                if live.life.is_zero() {
                    Placement::unfit(live.withdrawal.into(), now)
                } else {
                    self.placement(now, live.into())
                }
            });
            let placements = placements.collect();
            self.publish(now, operation, Publication::new(Kind::Withdraw, placements));
        }
        operation
    }

    fn is_overloaded(&self, claims: usize) -> bool {
        claims > MAX_PUBLISHED || self.operations() >= self.config.max_operations.get()
    }

    fn publish(&mut self, now: Instant, operation: OperationId, publication: Publication) {
        let newer = publication.newest();
        for (announcement, older) in &mut self.publications {
            if older.give_way(&newer) {
                self.work.push_back(Work::Publication(*announcement));
            }
        }
        drop(newer);
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
            placement.answered(from, outcome);
            let key = placement.key();
            let seq = placement.claim.seq();
            let is_stored = outcome == Some(StoreOutcome::Stored);
            match publication.kind {
                Kind::Announce => self.holders.answered(&key, from, (seq, is_stored)),
                Kind::Withdraw if is_stored => self.holders.withdrawn(&key, from, seq),
                Kind::Withdraw => {}
            }
        }
        publication.is_due = true;
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
        let mut telling = Telling::new();
        let (kind, is_batch) = (publication.kind, publication.is_batch());
        for index in publication.settled..publication.begun {
            let may_walk = publication.may_walk();
            let placement = &mut publication.placements[index];
            self.advance_placement(now, kind, placement);
            self.plan((kind, index), placement, &mut telling);
            if placement.stage != Stage::NeedsWalk {
                continue;
            }
            if is_batch && self.place_without_walk(now, kind, placement) {
                // Those who hold it already may be enough.
                self.advance_placement(now, kind, placement);
                self.plan((kind, index), placement, &mut telling);
            } else if !(is_batch && self.wait_for_neighbour(placement)) && may_walk {
                placement.stage = Stage::Walking;
                let purpose = LookupPurpose::Walk { operation, index };
                self.begin_walk(now, placement.key(), purpose);
            }
        }
        self.tell_holders(now, operation, publication, telling);
    }

    /// Notes whom a placement wants told now.
    fn plan(
        &mut self,
        (kind, index): (Kind, usize),
        placement: &mut Placement,
        telling: &mut Telling,
    ) {
        for contact in self.targets(kind, placement) {
            if kind == Kind::Announce {
                let told = (placement.claim.seq(), placement.expires_at);
                self.holders.told(placement.key(), &contact, told);
            }
            let (_, indices) = telling
                .entry(contact.node_id)
                .or_insert_with(|| (contact, Vec::new()));
            indices.push(index);
        }
    }

    /// Tells each node everything that is for it, with as few messages as can carry it.
    fn tell_holders(
        &mut self,
        now: Instant,
        operation: OperationId,
        publication: &Publication,
        telling: Telling,
    ) {
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
            (Stage::Waiting | Stage::NeedsWalk, _) if placement.is_given_up() => {
                placement.stage = Stage::Placing;
            }
            (Stage::Waiting, Kind::Announce) => self.begin_refresh(now, placement),
            (Stage::Waiting, Kind::Withdraw) => {
                let may_hold = self.holders.all(now, &placement.key());
                placement.offer(may_hold, usize::MAX, false);
                placement.stage = Stage::NeedsWalk;
            }
            // A holder that is lost is replaced, even while the rest are a quorum.
            (Stage::Refreshing, Kind::Announce) if placement.awaited() == 0 => {
                placement.stage = if placement.all_acknowledged() || placement.is_given_up() {
                    Stage::Placing
                } else {
                    Stage::NeedsWalk
                };
            }
            (Stage::Placing, Kind::Announce)
                if placement.has_target(self.config.replication.get()) =>
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
            placement.offer(holders, usize::MAX, with_local);
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
            (Stage::Walking | Stage::Placing, Kind::Announce) => {
                placement.take_targets(self.config.replication.get())
            }
            _ => placement.take_targets(usize::MAX),
        }
    }
}

/// Why nobody would take a record.
fn unfit(live: &LiveRecord) -> Option<DhtError> {
    if live.record.addresses().is_empty() {
        Some(DhtError::NoAddress)
    } else if live.life.is_zero() {
        Some(DhtError::Rejected)
    } else {
        None
    }
}

/// Who is to be told, and about which placements.
type Telling = BTreeMap<NodeId, (Contact, Vec<usize>)>;

/// No life is longer than what the core admits; this only keeps instants from overflowing.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
