//! One iterative search for the nodes closest to a point, or for the providers recorded there.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Instant;

use macula_core::{Claim, Contact, Distance, Key, NodeId, Precedence};

use crate::message::{LiveClaim, Request};
use crate::{FindOutcome, Found, FoundProvider};

/// Candidates that one lookup remembers; beyond it the furthest that was not asked gives way.
pub(super) const MAX_CANDIDATES: usize = 256;

/// Peers that have to name a claim under the key before a lookup may stop early: one alone could
/// be out of date, or lie.
const MIN_WITNESSES: usize = 2;

/// What a lookup is after, and its limits.
#[derive(Debug, Clone)]
pub(super) struct Quest {
    pub(super) local: NodeId,
    pub(super) target: Key,
    /// How many providers are wanted; `None` when only the closest nodes are.
    pub(super) want: Option<NonZeroUsize>,
    /// How many of the closest have to be heard.
    pub(super) k: usize,
    pub(super) alpha: usize,
    /// Among how many of the closest `quorum` have to answer to prove an absence.
    pub(super) replication: usize,
    pub(super) quorum: usize,
    /// Whether contacts in answers are followed.
    pub(super) follows: bool,
    pub(super) deadline: Instant,
}

/// What to do next for a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Send the request to this contact; the slot counts as held.
    Ask(Contact),
    /// Nothing until an answer, a failure, a released slot or the deadline.
    Wait,
    /// It is over.
    Done,
}

/// Kademlia §2.3, with three changes: a slow peer gives its slot back but may still answer,
/// absence is told apart from silence, and every lookup has a deadline.
///
// Invariant: each peer is asked at most once, and `slots` is the number of peers in `Asked`.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    quest: Quest,
    peers: BTreeMap<Distance, Peer>,
    claims: BTreeMap<NodeId, KnownClaim>,
    slots: usize,
    requests: usize,
    witnesses: usize,
    hops: usize,
    /// Whether nothing was left to ask when it ended: the deadline did not cut it short.
    converged: bool,
}

#[derive(Debug, Clone)]
struct Peer {
    contact: Contact,
    state: PeerState,
    /// 1 for a contact we knew, one more for each answer that led to it.
    depth: usize,
}

/// Unasked → Asked → (Slow →) Answered or Failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PeerState {
    Unasked,
    /// Asked, and holding one of the slots.
    Asked,
    /// Asked, without an answer for so long that its slot went to another.
    Slow,
    Answered,
    Failed,
}

#[derive(Debug, Clone)]
struct KnownClaim {
    claim: Claim,
    precedence: Precedence,
    expires_at: Instant,
}

impl Lookup {
    pub(super) fn new(quest: Quest, seeds: Vec<Contact>) -> Self {
        let mut lookup = Self {
            quest,
            peers: BTreeMap::new(),
            claims: BTreeMap::new(),
            slots: 0,
            requests: 0,
            witnesses: 0,
            hops: 0,
            converged: false,
        };
        for contact in seeds {
            lookup.learn(contact, 1);
        }
        lookup
    }

    /// Decides on the next step. After [`Step::Ask`] there may be more.
    pub(super) fn poll(&mut self, now: Instant) -> Step {
        if now >= self.quest.deadline || self.has_enough(now) {
            return Step::Done;
        }
        if let Some(distance) = self.next_unasked() {
            return if self.slots < self.quest.alpha {
                self.ask(distance)
            } else {
                Step::Wait
            };
        }
        if self.awaits_a_close_peer() || !self.may_settle(now) {
            return Step::Wait;
        }
        self.converged = true;
        Step::Done
    }

    /// The request that every peer is asked.
    pub(super) fn request(&self) -> Request {
        let key = self.quest.target;
        self.quest
            .want
            .map_or(Request::FindNode { key }, |want| Request::FindProviders {
                key,
                want,
            })
    }

    /// Takes a peer's answer; late ones count too.
    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        from: &NodeId,
        claims: Vec<LiveClaim>,
        closer: Vec<Contact>,
    ) {
        let Some(depth) = self.settle(from, PeerState::Answered) else {
            return;
        };
        let had_provider = self.providers(now) > 0;
        let mut is_witness = false;
        for live in claims {
            is_witness |= self.merge(now, live);
        }
        self.witnesses += usize::from(is_witness);
        if !had_provider && self.providers(now) > 0 {
            self.hops = depth;
        }
        if self.quest.follows {
            for contact in closer.into_iter().take(self.quest.k) {
                self.learn(contact, depth + 1);
            }
        }
    }

    /// Notes that a peer will not answer.
    pub(super) fn handle_failure(&mut self, from: &NodeId) {
        self.settle(from, PeerState::Failed);
    }

    /// Gives a peer's slot to another; its answer is still welcome.
    pub(super) fn release_slot(&mut self, from: &NodeId) {
        let distance = self.distance(from);
        if let Some(peer) = self.peers.get_mut(&distance)
            && peer.state == PeerState::Asked
        {
            peer.state = PeerState::Slow;
            self.slots -= 1;
        }
    }

    /// Merges a claim in order of precedence; whether it is one under the target.
    pub(super) fn merge(&mut self, now: Instant, live: LiveClaim) -> bool {
        if live.claim.key() != self.quest.target {
            return false;
        }
        let Some(expires_at) = now.checked_add(live.life) else {
            return false;
        };
        let new = KnownClaim {
            precedence: live.claim.precedence(),
            claim: live.claim,
            expires_at,
        };
        match self.claims.get_mut(&new.claim.provider()) {
            Some(known) if known.precedence > new.precedence => {}
            Some(known) if known.precedence == new.precedence => {
                known.expires_at = known.expires_at.max(new.expires_at);
            }
            _ => {
                self.claims.insert(new.claim.provider(), new);
            }
        }
        true
    }

    pub(super) fn target(&self) -> Key {
        self.quest.target
    }

    pub(super) fn seeks_providers(&self) -> bool {
        self.quest.want.is_some()
    }

    pub(super) fn deadline(&self) -> Instant {
        self.quest.deadline
    }

    /// The closest that answered, closest first.
    pub(super) fn closest_answered(&self) -> Vec<Contact> {
        self.peers
            .values()
            .filter(|peer| peer.state == PeerState::Answered)
            .take(self.quest.k)
            .map(|peer| peer.contact.clone())
            .collect()
    }

    /// What the search for providers came to; `None` when there was nobody to ask and nothing
    /// was known.
    pub(super) fn found(&self, now: Instant) -> Option<Found> {
        let mut providers: Vec<FoundProvider> = self
            .claims
            .values()
            .filter_map(|known| known.provider(now))
            .collect();
        if providers.is_empty() && self.peers.is_empty() {
            return None;
        }
        providers.sort_by_key(|provider| std::cmp::Reverse(provider.life));
        let outcome = if !providers.is_empty() {
            FindOutcome::Found
        } else if self.converged && self.absence_is_proved() {
            FindOutcome::Absent
        } else {
            FindOutcome::Inconclusive
        };
        Some(Found {
            providers,
            outcome,
            requests: self.requests,
            hops: self.hops,
        })
    }

    fn learn(&mut self, contact: Contact, depth: usize) {
        // Those that a one-hop find is given are connected, so they need no address.
        let cannot_be_dialled = self.quest.follows && contact.addresses.is_empty();
        if contact.node_id == self.quest.local || cannot_be_dialled {
            return;
        }
        let distance = self.distance(&contact.node_id);
        if self.peers.contains_key(&distance) || !self.make_room_for(distance) {
            return;
        }
        let state = PeerState::Unasked;
        self.peers.insert(
            distance,
            Peer {
                contact,
                state,
                depth,
            },
        );
    }

    fn make_room_for(&mut self, distance: Distance) -> bool {
        if self.peers.len() < MAX_CANDIDATES {
            return true;
        }
        let furthest = self
            .peers
            .iter()
            .rev()
            .find(|(_, peer)| peer.state == PeerState::Unasked)
            .map(|(distance, _)| *distance);
        match furthest {
            Some(furthest) if furthest > distance => self.peers.remove(&furthest).is_some(),
            _ => false,
        }
    }

    fn ask(&mut self, distance: Distance) -> Step {
        let Some(peer) = self.peers.get_mut(&distance) else {
            return Step::Wait;
        };
        peer.state = PeerState::Asked;
        self.slots += 1;
        self.requests += 1;
        Step::Ask(peer.contact.clone())
    }

    /// Brings a peer that was asked into its last state; its depth if it was awaited.
    fn settle(&mut self, from: &NodeId, state: PeerState) -> Option<usize> {
        let distance = self.distance(from);
        let peer = self.peers.get_mut(&distance)?;
        match peer.state {
            PeerState::Asked => self.slots -= 1,
            PeerState::Slow => {}
            PeerState::Unasked | PeerState::Answered | PeerState::Failed => return None,
        }
        peer.state = state;
        Some(peer.depth)
    }

    /// The k closest that have not let us down.
    fn closest_hopeful(&self) -> impl Iterator<Item = (&Distance, &Peer)> {
        self.peers
            .iter()
            .filter(|(_, peer)| !matches!(peer.state, PeerState::Failed | PeerState::Slow))
            .take(self.quest.k)
    }

    fn next_unasked(&self) -> Option<Distance> {
        self.closest_hopeful()
            .find(|(_, peer)| peer.state == PeerState::Unasked)
            .map(|(distance, _)| *distance)
    }

    fn awaits_a_close_peer(&self) -> bool {
        self.closest_hopeful()
            .any(|(_, peer)| peer.state == PeerState::Asked)
    }

    /// With nobody left to ask: whether what is known is worth more than a slow peer's answer.
    fn may_settle(&self, now: Instant) -> bool {
        let awaits_slow = self
            .peers
            .values()
            .any(|peer| peer.state == PeerState::Slow);
        !awaits_slow || self.providers(now) > 0 || self.absence_is_proved()
    }

    fn has_enough(&self, now: Instant) -> bool {
        self.quest.want.is_some_and(|want| {
            self.witnesses >= MIN_WITNESSES && self.providers(now) >= want.get()
        })
    }

    fn providers(&self, now: Instant) -> usize {
        self.claims
            .values()
            .filter(|known| known.is_live_record(now))
            .count()
    }

    /// Whether enough of the closest answered, the failed and the slow counted as silent.
    fn absence_is_proved(&self) -> bool {
        let closest = self.peers.len().min(self.quest.replication);
        let needed = closest.min(self.quest.quorum);
        let answered = self
            .peers
            .values()
            .take(closest)
            .filter(|peer| peer.state == PeerState::Answered)
            .count();
        closest > 0 && answered >= needed
    }

    fn distance(&self, node_id: &NodeId) -> Distance {
        Key::of_node(node_id).distance(&self.quest.target)
    }

    pub(super) fn check_invariants(&self) {
        let asked = self
            .peers
            .values()
            .filter(|peer| peer.state == PeerState::Asked)
            .count();
        assert_eq!(self.slots, asked, "slots are off");
        assert!(self.slots <= self.quest.alpha, "more than alpha in flight");
        assert!(self.peers.len() <= MAX_CANDIDATES, "too many candidates");
    }
}

impl KnownClaim {
    fn is_live_record(&self, now: Instant) -> bool {
        matches!(self.claim, Claim::Record(_)) && self.expires_at > now
    }

    fn provider(&self, now: Instant) -> Option<FoundProvider> {
        match &self.claim {
            Claim::Record(record) if self.expires_at > now => Some(FoundProvider {
                record: record.clone(),
                life: self.expires_at.duration_since(now),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
