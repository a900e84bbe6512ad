//! One iterative search for the nodes closest to a point, or for the providers recorded there.

use std::num::NonZeroUsize;
use std::time::Instant;

use macula_core::{Claim, Contact, Key, NodeId};

use super::region::{Reach, Region};
use crate::message::{LiveClaim, MAX_CLAIMS, Request};
use crate::{FindOutcome, Found};

mod candidates;
mod claims;
mod trail;

use candidates::{Candidate, Candidates, Place, State};
use claims::Claims;
use trail::Trail;

/// Peers that have to name a claim under the key before a lookup may stop early: one alone could
/// be out of date, or lie.
const MIN_WITNESSES: usize = 2;

/// How many times `alpha` the slots can become.
const WIDEST: usize = 3;

/// What a lookup is after, and its limits.
#[derive(Debug, Clone, Copy)]
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
    /// Whether every request is noted down.
    pub(super) trace: bool,
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

/// Kademlia §2.3, with these changes: a slow peer gives its slot back but may still answer; there
/// are more slots while peers are slow, and towards the end; a search for providers hears fewer
/// when there are some; absence is told apart from silence; every lookup has a deadline.
///
// Invariant: each peer is asked at most once, `slots` is the number of candidates in `Asked` and
// `slow` of those in `Slow`, and neither `slots` nor `alpha` and `extra_slots` are more than the
// widest.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    quest: Quest,
    candidates: Candidates,
    claims: Claims,
    slots: usize,
    /// How many more slots than `alpha` there are because peers are slow.
    extra_slots: usize,
    slow: usize,
    /// Answers since the last that made progress: that named one of the k closest, or the claims
    /// that an early end is waiting for.
    fruitless: usize,
    requests: usize,
    witnesses: usize,
    /// The depth of the request whose answer first held a provider.
    found_at: Option<usize>,
    /// Whether nothing was left to ask when it ended: the deadline did not cut it short.
    converged: bool,
    trail: Option<Trail>,
}

impl Lookup {
    pub(super) fn new(
        now: Instant,
        quest: Quest,
        seeds: impl IntoIterator<Item = Contact>,
    ) -> Self {
        let mut lookup = Self {
            candidates: Candidates::new(quest.target),
            claims: Claims::new(quest.target),
            slots: 0,
            extra_slots: 0,
            slow: 0,
            fruitless: 0,
            requests: 0,
            witnesses: 0,
            found_at: None,
            converged: false,
            trail: quest.trace.then(|| Trail::new(now)),
            quest,
        };
        for contact in seeds {
            lookup.learn(&contact, 1);
        }
        lookup
    }

    /// Decides on the next step. After [`Step::Ask`] there may be more.
    pub(super) fn poll(&mut self, now: Instant) -> Step {
        if now >= self.quest.deadline || self.has_enough(now) {
            return Step::Done;
        }
        let (unasked, awaits_a_close_peer) = self.frontier(now);
        match unasked {
            Some(place) if self.slots < self.width(now) => self.ask(now, place),
            Some(_) => Step::Wait,
            None if awaits_a_close_peer || !self.may_settle(now) => Step::Wait,
            None => {
                self.converged = true;
                Step::Done
            }
        }
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
        closer: &[Contact],
    ) {
        let Some(place) = self.settle(from, State::Answered) else {
            return;
        };
        self.extra_slots = self.extra_slots.saturating_sub(1);
        let depth = self.candidates.at(place).depth;
        self.fruitless += 1;
        let had_provider = self.claims.has(now, 1);
        let providers = self.bear_witness(now, claims);
        if !had_provider && self.claims.has(now, 1) {
            self.found_at = Some(depth);
        }
        let closer = &closer[..closer.len().min(self.quest.k)];
        if self.quest.follows {
            self.follow(closer, depth + 1);
        }
        if self.trail.is_some() {
            let closer = self.count_closer(place, closer);
            if let Some(trail) = &mut self.trail {
                trail.answered(now, from, (providers, closer));
            }
        }
    }

    /// Notes that a peer will not answer.
    pub(super) fn handle_failure(&mut self, now: Instant, from: &NodeId) {
        let settled = self.settle(from, State::Failed);
        if let (Some(_), Some(trail)) = (settled, &mut self.trail) {
            trail.failed(now, from);
        }
    }

    /// Gives a peer's slot to another, and one more to a third: where one is slow others may be.
    /// Its answer is still welcome.
    pub(super) fn release_slot(&mut self, from: &NodeId) {
        let Some(place) = self.candidates.place(from) else {
            return;
        };
        let candidate = self.candidates.at_mut(place);
        if candidate.state == State::Asked {
            candidate.state = State::Slow;
            self.slots -= 1;
            self.slow += 1;
            let extra_slots = self.widest() - self.quest.alpha;
            self.extra_slots = (self.extra_slots + 1).min(extra_slots);
        }
    }

    /// Merges claims that this node knows itself, in order of precedence.
    pub(super) fn merge_all(&mut self, now: Instant, claims: Vec<LiveClaim>) {
        for live in claims {
            self.claims.merge(now, live);
        }
    }

    /// Whether so many providers are known, and from peers enough to end before all have answered.
    pub(super) fn has(&self, now: Instant, want: NonZeroUsize) -> bool {
        self.witnesses >= MIN_WITNESSES && self.claims.has(now, want.get())
    }

    pub(super) fn target(&self) -> Key {
        self.quest.target
    }

    pub(super) fn want(&self) -> Option<NonZeroUsize> {
        self.quest.want
    }

    pub(super) fn traces(&self) -> bool {
        self.trail.is_some()
    }

    pub(super) fn deadline(&self) -> Instant {
        self.quest.deadline
    }

    /// Lets it go on until then, if that is later.
    pub(super) fn extend(&mut self, deadline: Instant) {
        self.quest.deadline = self.quest.deadline.max(deadline);
    }

    /// The closest that answered, closest first.
    pub(super) fn closest_answered(&self) -> Vec<Contact> {
        self.answered().map(|peer| peer.contact.clone()).collect()
    }

    /// A peer that it has heard of.
    pub(super) fn contact(&self, node_id: &NodeId) -> Option<&Contact> {
        let place = self.candidates.place(node_id)?;
        Some(&self.candidates.at(place).contact)
    }

    pub(super) fn was_answered_by(&self, node_id: &NodeId) -> bool {
        let place = self.candidates.place(node_id);
        place.is_some_and(|place| self.candidates.at(place).state == State::Answered)
    }

    /// Whether there was nobody to ask.
    pub(super) fn knew_nobody(&self) -> bool {
        self.candidates.is_empty()
    }

    /// What it has proved about the neighbourhood of its target; `None` when it was cut short.
    pub(super) fn region(&self, now: Instant) -> Option<Region> {
        if !self.converged {
            return None;
        }
        let mut heard_of = self.candidates.iter();
        let reach = match heard_of.nth(self.quest.k - 1) {
            Some(last) => Reach::Within(last.distance),
            None if self.answered().count() == self.candidates.len() => Reach::Everybody,
            None => Reach::Audible,
        };
        let answered = self.answered();
        let answered = answered.map(|peer| (peer.distance, peer.contact.clone()));
        Some(Region::new(
            self.quest.target,
            now,
            reach,
            answered.collect(),
        ))
    }

    /// The closest, up to `count`, as far as they have answered with nobody closer still to be
    /// heard; the failed and the slow are passed over.
    pub(super) fn settled(&self, count: usize) -> Vec<Contact> {
        self.candidates
            .iter()
            .filter(|peer| !matches!(peer.state, State::Failed | State::Slow))
            .take_while(|peer| peer.state == State::Answered)
            .take(count)
            .map(|peer| peer.contact.clone())
            .collect()
    }

    /// What the search for providers has come to; `None` when there was nobody to ask and nothing
    /// was known.
    pub(super) fn found(&self, now: Instant) -> Option<Found> {
        let providers = self.claims.providers(now);
        if providers.is_empty() && self.candidates.is_empty() {
            return None;
        }
        let outcome = if !providers.is_empty() {
            FindOutcome::Found
        } else if self.converged && self.absence_is_proved() {
            FindOutcome::Absent
        } else {
            FindOutcome::Inconclusive
        };
        let hops = match self.found_at {
            Some(depth) => depth,
            None if providers.is_empty() => self.hops_to_the_closest(),
            None => 0,
        };
        let trail = self.trail.as_ref();
        Some(Found {
            providers,
            outcome,
            requests: self.requests,
            hops,
            trace: trail.map_or_else(Vec::new, |trail| trail.hops().to_vec()),
        })
    }

    /// Merges what a peer claims; how many records of providers that are.
    fn bear_witness(&mut self, now: Instant, claims: Vec<LiveClaim>) -> usize {
        let mut records = 0;
        let mut is_witness = false;
        for live in claims {
            let is_record = matches!(live.claim, Claim::Record(_));
            let fits = self.claims.merge(now, live);
            is_witness |= fits;
            records += usize::from(fits && is_record);
        }
        if is_witness {
            self.witnesses += 1;
        }
        if is_witness && self.witnesses <= MIN_WITNESSES {
            self.fruitless = 0;
        }
        records
    }

    /// Learns contacts from an answer. It makes progress if any of them is among the k closest.
    fn follow(&mut self, contacts: &[Contact], depth: usize) {
        for contact in contacts {
            let closer = self.learn(contact, depth);
            if closer.is_some_and(|closer| closer < self.quest.k) {
                self.fruitless = 0;
            }
        }
    }

    /// Takes a contact that is new and may be asked; how many known ones are closer.
    fn learn(&mut self, contact: &Contact, depth: usize) -> Option<usize> {
        // Those that a one-hop find is given are connected, so they need no address.
        let cannot_be_dialled = self.quest.follows && contact.addresses.is_empty();
        if contact.node_id == self.quest.local || cannot_be_dialled {
            return None;
        }
        if let Some(place) = self.candidates.place(&contact.node_id) {
            self.candidates.at_mut(place).also_at(&contact.addresses);
            return None;
        }
        self.candidates.insert(contact, depth)
    }

    /// How many slots there are now: as many as there may be when whoever is left has to be asked
    /// anyway.
    fn width(&self, now: Instant) -> usize {
        if self.fruitless >= self.quest.alpha || self.is_found(now) {
            self.widest()
        } else {
            self.quest.alpha + self.extra_slots
        }
    }

    fn widest(&self) -> usize {
        WIDEST * self.quest.alpha
    }

    fn ask(&mut self, now: Instant, place: Place) -> Step {
        let candidate = self.candidates.at_mut(place);
        candidate.state = State::Asked;
        self.slots += 1;
        self.requests += 1;
        if let Some(trail) = &mut self.trail {
            trail.asked(now, candidate);
        }
        Step::Ask(candidate.contact.clone())
    }

    /// Brings a peer that was asked into its last state; its place if it was awaited.
    fn settle(&mut self, from: &NodeId, state: State) -> Option<Place> {
        let place = self.candidates.place(from)?;
        let candidate = self.candidates.at_mut(place);
        match candidate.state {
            State::Asked => self.slots -= 1,
            State::Slow => self.slow -= 1,
            State::Unasked | State::Answered | State::Failed => return None,
        }
        candidate.state = state;
        Some(place)
    }

    /// Of the closest that have to be heard and have not let us down: the closest that was not
    /// asked, and whether any still holds a slot.
    fn frontier(&self, now: Instant) -> (Option<Place>, bool) {
        let hopeful = self.candidates.places().filter(|place| {
            let state = self.candidates.at(*place).state;
            !matches!(state, State::Failed | State::Slow)
        });
        let mut awaits = false;
        for place in hopeful.take(self.breadth(now)) {
            match self.candidates.at(place).state {
                State::Unasked => return (Some(place), awaits),
                state => awaits |= state == State::Asked,
            }
        }
        (None, awaits)
    }

    /// Whether there are providers, and from peers enough to rely on that.
    fn is_found(&self, now: Instant) -> bool {
        self.has(now, NonZeroUsize::MIN)
    }

    /// How many of the closest have to be heard: when there are providers only those who should be
    /// their holders, unless all providers are wanted; all k are there to prove that there is
    /// nobody.
    fn breadth(&self, now: Instant) -> usize {
        let wants_all = self.quest.want.is_none_or(|want| want.get() > MAX_CLAIMS);
        if self.is_found(now) && !wants_all {
            self.quest.replication.min(self.quest.k)
        } else {
            self.quest.k
        }
    }

    /// With nobody left to ask: whether what is known is worth more than a slow peer's answer.
    fn may_settle(&self, now: Instant) -> bool {
        self.slow == 0 || self.claims.has(now, 1) || self.absence_is_proved()
    }

    fn has_enough(&self, now: Instant) -> bool {
        self.quest.want.is_some_and(|want| self.has(now, want))
    }

    /// Whether enough of the closest answered, the failed and the slow counted as silent.
    fn absence_is_proved(&self) -> bool {
        let closest = self.candidates.len().min(self.quest.replication);
        let needed = closest.min(self.quest.quorum);
        let closest_peers = self.candidates.iter().take(closest);
        let answered = closest_peers
            .filter(|peer| peer.state == State::Answered)
            .count();
        closest > 0 && answered >= needed
    }

    fn answered(&self) -> impl Iterator<Item = &Candidate> {
        let all = self.candidates.iter();
        all.filter(|peer| peer.state == State::Answered)
            .take(self.quest.k)
    }

    /// The depth of the request whose answer first named the last of the closest that answered.
    fn hops_to_the_closest(&self) -> usize {
        self.answered().last().map_or(0, |peer| peer.depth - 1)
    }

    /// How many of these contacts are closer to the target than the candidate at a place.
    fn count_closer(&self, place: Place, contacts: &[Contact]) -> usize {
        let target = self.candidates.target();
        let own = self.candidates.at(place).distance;
        let distances = contacts
            .iter()
            .map(|contact| Key::of_node(&contact.node_id).distance(&target));
        distances.filter(|distance| *distance < own).count()
    }

    pub(super) fn check_invariants(&self) {
        self.candidates.check_invariants();
        let count = |state| {
            let all = self.candidates.iter();
            all.filter(|peer| peer.state == state).count()
        };
        assert_eq!(self.slots, count(State::Asked), "slots are off");
        assert_eq!(self.slow, count(State::Slow), "slow peers are miscounted");
        let width = self.quest.alpha + self.extra_slots;
        assert!(width <= self.widest(), "{width} slots");
        assert!(self.slots <= self.widest(), "too many in flight");
    }
}

#[cfg(test)]
mod tests;
