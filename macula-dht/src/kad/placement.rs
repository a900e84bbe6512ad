//! One claim on its way to its holders.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use macula_core::{Claim, Contact, Key, NodeId};

use crate::message::{LiveRecord, LiveWithdrawal, StoreOutcome};

/// Where a placement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not begun.
    Waiting,
    /// The remembered holders are told; whether a walk is needed shows when they have answered.
    Refreshing,
    /// A walk is due: its own, or one to a neighbour that will do as well.
    NeedsWalk,
    /// A walk is under way.
    Walking,
    /// The closest nodes are known and told; the next closest stand in for those that fail.
    Placing,
}

/// The claim, whom it was told, and what they said.
#[derive(Debug, Clone)]
pub(super) struct Placement {
    pub(super) claim: Claim,
    pub(super) expires_at: Instant,
    pub(super) stage: Stage,
    told: BTreeMap<NodeId, Answer>,
    /// Next to tell, closest first.
    candidates: VecDeque<Contact>,
    /// What our own store did with it, if there is one.
    stored: Option<StoreOutcome>,
    /// Whether we count as one of its holders.
    held_locally: bool,
    /// How many that were told are none of the closest, as a walk has shown.
    strays: usize,
    /// Whether nobody would take it.
    is_unfit: bool,
    /// How many bits a key has to share for it to wait for the walk there; `None` while it does not
    /// wait for neighbours.
    waits_within: Option<usize>,
    /// How many walks that it waited for have ended without showing who is closest to its key.
    waits: u8,
}

/// Walks to neighbours that a placement waits for in vain before it walks whatever others do: where
/// walks prove little, waiting must not take longer than walking.
const MAX_WAITS: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Awaited,
    Outcome(StoreOutcome),
    None,
}

impl Placement {
    pub(super) fn new(claim: Claim, expires_at: Instant, stored: Option<StoreOutcome>) -> Self {
        Self {
            claim,
            expires_at,
            stage: Stage::Waiting,
            stored,
            told: BTreeMap::new(),
            candidates: VecDeque::new(),
            held_locally: false,
            strays: 0,
            is_unfit: false,
            waits_within: None,
            waits: 0,
        }
    }

    /// One that nobody is told, for nobody would take it.
    pub(super) fn unfit(claim: Claim, now: Instant) -> Self {
        Self {
            is_unfit: true,
            ..Self::new(claim, now, None)
        }
    }

    /// Whether nobody else is told: nobody would take it, or we know already that it is no longer
    /// the provider's last word.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_unfit || self.is_outdated()
    }

    pub(super) fn is_unfit(&self) -> bool {
        self.is_unfit
    }

    fn is_outdated(&self) -> bool {
        self.stored == Some(StoreOutcome::Outdated)
    }

    /// Whether it may wait for the walk of a neighbour.
    pub(super) fn may_wait(&self) -> bool {
        self.waits < MAX_WAITS
    }

    /// Notes whether it waits for the walks of neighbours, keys that share so many bits.
    pub(super) fn wait(&mut self, within: Option<usize>) {
        self.waits_within = within;
    }

    /// Whether it waits for the walk to a key.
    pub(super) fn waits_for(&self, target: &Key) -> bool {
        let shared = self.key().distance(target).leading_zeros();
        self.waits_within.is_some_and(|within| shared >= within)
    }

    /// Notes that a walk it waited for has not shown who is closest to its key.
    pub(super) fn waited_in_vain(&mut self) {
        self.waits = self.waits.saturating_add(1);
    }

    pub(super) fn key(&self) -> Key {
        self.claim.key()
    }

    /// The claim with what is left of its life, if it is a record.
    pub(super) fn record(&self, now: Instant) -> Option<LiveRecord> {
        let life = self.expires_at.saturating_duration_since(now);
        match &self.claim {
            Claim::Record(record) => Some(LiveRecord {
                record: record.clone(),
                life,
            }),
            Claim::Withdrawal(_) => None,
        }
    }

    /// The claim with what is left of its life, if it is a withdrawal.
    pub(super) fn withdrawal(&self, now: Instant) -> Option<LiveWithdrawal> {
        let life = self.expires_at.saturating_duration_since(now);
        match &self.claim {
            Claim::Record(_) => None,
            Claim::Withdrawal(withdrawal) => Some(LiveWithdrawal {
                withdrawal: withdrawal.clone(),
                life,
            }),
        }
    }

    /// Names those to tell next, closest first, of whom the first `closest` should hold the claim,
    /// and whether we are one of those; whoever was told already is passed over.
    pub(super) fn offer(&mut self, candidates: Vec<Contact>, closest: usize, with_local: bool) {
        if self.is_given_up() {
            return;
        }
        self.held_locally = with_local && self.stored == Some(StoreOutcome::Stored);
        let is_stray = |(node_id, answer): &(&NodeId, &Answer)| {
            let mut closest = candidates.iter().take(closest);
            answer.may_hold() && closest.all(|close| close.node_id != **node_id)
        };
        self.strays = self.told.iter().filter(is_stray).count();
        self.candidates = candidates
            .into_iter()
            .filter(|contact| !self.told.contains_key(&contact.node_id))
            .collect();
    }

    /// Names some to tell while the walk still runs; whether anybody of them was not told yet.
    pub(super) fn offer_early(&mut self, candidates: Vec<Contact>) -> bool {
        if self.stage != Stage::Walking || self.is_given_up() {
            return false;
        }
        self.candidates = candidates
            .into_iter()
            .filter(|contact| !self.told.contains_key(&contact.node_id))
            .collect();
        !self.candidates.is_empty()
    }

    /// Whom to tell now, so that `target` of the closest hold the claim if all acknowledge.
    pub(super) fn take_targets(&mut self, target: usize) -> Vec<Contact> {
        let mut targets = Vec::new();
        let target = target.saturating_add(self.strays);
        while self.holders() + self.awaited() < target {
            let Some(contact) = self.candidates.pop_front() else {
                break;
            };
            self.told.insert(contact.node_id, Answer::Awaited);
            targets.push(contact);
        }
        targets
    }

    /// Whether `target` of the closest hold the claim.
    pub(super) fn has_target(&self, target: usize) -> bool {
        self.holders() >= target + self.strays
    }

    /// Whether everybody who was told holds the claim.
    pub(super) fn all_acknowledged(&self) -> bool {
        self.count(Answer::Outcome(StoreOutcome::Stored)) == self.told.len()
    }

    /// Whether a claim of the same provider to the same service takes precedence.
    pub(super) fn is_beaten_by(&self, other: &Claim) -> bool {
        self.key() == other.key()
            && self.claim.provider() == other.provider()
            && self.claim.precedence() < other.precedence()
    }

    /// Tells nobody else: the provider has said something newer.
    pub(super) fn give_up(&mut self) {
        self.stored = Some(StoreOutcome::Outdated);
        self.candidates.clear();
    }

    /// Takes the answer of a node that was told, `None` when it failed.
    pub(super) fn answered(&mut self, from: &NodeId, outcome: Option<StoreOutcome>) {
        if let Some(answer) = self.told.get_mut(from) {
            *answer = outcome.map_or(Answer::None, Answer::Outcome);
        }
    }

    /// How many nodes hold the claim, this one included if it is one of the closest.
    pub(super) fn holders(&self) -> usize {
        self.count(Answer::Outcome(StoreOutcome::Stored)) + usize::from(self.held_locally)
    }

    pub(super) fn full(&self) -> usize {
        self.count(Answer::Outcome(StoreOutcome::Full))
    }

    /// How many nodes do not hold the claim for a reason of their own, this one included.
    pub(super) fn refused(&self) -> usize {
        self.full()
            + self.count(Answer::Outcome(StoreOutcome::Refused))
            + self.count(Answer::Outcome(StoreOutcome::Outdated))
            + usize::from(self.is_outdated())
    }

    pub(super) fn awaited(&self) -> usize {
        self.count(Answer::Awaited)
    }

    /// Whether nothing more will come of it.
    pub(super) fn is_settled(&self) -> bool {
        self.stage == Stage::Placing && self.awaited() == 0 && self.candidates.is_empty()
    }

    /// Forgets the stand-ins: there are holders enough.
    pub(super) fn drop_candidates(&mut self) {
        self.candidates.clear();
    }

    fn count(&self, answer: Answer) -> usize {
        let answers = self.told.values();
        answers.filter(|given| **given == answer).count()
    }
}

impl Answer {
    /// Whether the node holds the claim, or will.
    fn may_hold(self) -> bool {
        matches!(self, Self::Awaited | Self::Outcome(StoreOutcome::Stored))
    }
}
