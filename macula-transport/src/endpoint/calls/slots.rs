//! The places of requests under way; a place and how often it was taken make the call id.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Answer, Answered, Outgoing};
use crate::endpoint::frame::CallId;
use crate::endpoint::lane::Lane;

/// All places of one connection.
// Invariant: `free` names exactly the places whose state is `Free`, each once.
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

/// One place.
pub(super) struct Slot {
    generation: u32,
    lane: Option<Arc<Lane>>,
    state: State,
}

enum State {
    Free,
    /// In its lane's queue.
    Queued(Outgoing, Waker),
    /// In its lane's queue, and nobody wants it any more.
    Abandoned,
    Sent(Outgoing, Waker),
    /// Its cancel is in its lane's queue.
    Cancelling,
    Answered(Answered),
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Whether one more call may begin.
    pub(super) fn has_room(&self) -> bool {
        self.len() < MAX_CALLS
    }

    /// The same for this one: pings find room among calls that a dead peer leaves unanswered.
    pub(super) fn has_room_for(&self, request: &Outgoing) -> bool {
        let reserve = if request.is_ping() { PING_RESERVE } else { 0 };
        self.len() < MAX_CALLS + reserve
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a place for a request of the task that is to be woken.
    pub(super) fn take(&mut self, lane: Arc<Lane>, request: Outgoing, waker: Waker) -> CallId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::new());
            // Far fewer than that.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.slots[index as usize];
        slot.lane = Some(lane);
        slot.state = State::Queued(request, waker);
        slot.call(index)
    }

    /// The place of a call that is still under way.
    pub(super) fn get_mut(&mut self, call: CallId) -> Option<&mut Slot> {
        let (index, generation) = parts(call);
        let slot = self.slots.get_mut(index as usize)?;
        (slot.generation == generation && slot.lane.is_some()).then_some(slot)
    }

    pub(super) fn free(&mut self, call: CallId) {
        if let Some(slot) = self.get_mut(call) {
            slot.generation = slot.generation.wrapping_add(1);
            slot.lane = None;
            slot.state = State::Free;
            self.free.push(parts(call).0);
        }
    }

    /// The request that is now to be written; `None` if nobody wants it any more.
    pub(super) fn send(&mut self, call: CallId) -> Option<&Outgoing> {
        self.get_mut(call)?.send()
    }

    /// Those whose answers are waited for.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (&Outgoing, &Waker)> {
        self.slots.iter().filter_map(Slot::awaited)
    }

    /// The calls under way that fit.
    pub(super) fn taken(&self, which: impl Fn(&Slot) -> bool) -> Vec<CallId> {
        let taken = (0..).zip(&self.slots);
        let taken = taken.filter(|(_, slot)| slot.lane.is_some() && which(slot));
        taken.map(|(index, slot)| slot.call(index)).collect()
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let mut free = self.free.clone();
        free.sort_unstable();
        let is_free = |slot: &Slot| matches!(slot.state, State::Free) && slot.lane.is_none();
        let expected = (0..).zip(&self.slots).filter(|(_, slot)| is_free(slot));
        let expected: Vec<u32> = expected.map(|(index, _)| index).collect();
        assert_eq!(free, expected);
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            generation: 0,
            lane: None,
            state: State::Free,
        }
    }

    fn call(&self, index: u32) -> CallId {
        CallId(u64::from(self.generation) << 32 | u64::from(index))
    }

    /// The lane it takes.
    #[expect(
        clippy::expect_used,
        reason = "only places that are taken are handed out"
    )]
    pub(super) fn lane(&self) -> &Arc<Lane> {
        self.lane.as_ref().expect("a taken place has a lane")
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.awaited().is_some()
    }

    fn awaited(&self) -> Option<(&Outgoing, &Waker)> {
        match &self.state {
            State::Queued(request, waker) | State::Sent(request, waker) => Some((request, waker)),
            _ => None,
        }
    }

    pub(super) fn is_sent(&self) -> bool {
        matches!(self.state, State::Sent(..))
    }

    pub(super) fn is_abandoned(&self) -> bool {
        matches!(self.state, State::Abandoned)
    }

    pub(super) fn is_cancelling(&self) -> bool {
        matches!(self.state, State::Cancelling)
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.is_abandoned() || self.is_cancelling()
    }

    /// Whether the peer may have carried it out.
    pub(super) fn may_be_executed(&self) -> bool {
        match &self.state {
            State::Free | State::Queued(..) | State::Abandoned => false,
            State::Sent(..) | State::Cancelling => true,
            State::Answered(Answered { answer, .. }) => {
                !matches!(answer, Answer::Unsent(_) | Answer::Refused(_))
            }
        }
    }

    fn send(&mut self) -> Option<&Outgoing> {
        let state = mem::replace(&mut self.state, State::Free);
        let (state, is_wanted) = match state {
            State::Queued(request, waker) => (State::Sent(request, waker), true),
            other => (other, false),
        };
        self.state = state;
        self.awaited()
            .filter(|_| is_wanted)
            .map(|(request, _)| request)
    }

    /// Fills in the answer; whom to wake.
    pub(super) fn answer(&mut self, answer: Answer) -> Option<Waker> {
        let state = mem::replace(&mut self.state, State::Free);
        let (state, waker) = match state {
            State::Queued(request, waker) | State::Sent(request, waker) => {
                let request = Some(request);
                (State::Answered(Answered { answer, request }), Some(waker))
            }
            other => (other, None),
        };
        self.state = state;
        waker
    }

    /// The answer, which can be taken once.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answered> {
        if let State::Queued(_, waker) | State::Sent(_, waker) = &mut self.state {
            waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(match mem::replace(&mut self.state, State::Free) {
            State::Answered(answered) => answered,
            // Cannot happen: nobody waits for what is given up.
            _ => Answered::malformed(),
        })
    }

    /// Its caller is gone; whether the peer has to be told.
    pub(super) fn give_up(&mut self) -> bool {
        match self.state {
            State::Queued(..) => self.state = State::Abandoned,
            State::Sent(..) => {
                self.state = State::Cancelling;
                return true;
            }
            _ => {}
        }
        false
    }
}

pub(super) fn parts(call: CallId) -> (u32, u32) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the halves are what is wanted"
    )]
    let index = call.0 as u32;
    let generation = u32::try_from(call.0 >> 32).unwrap_or_default();
    (index, generation)
}

/// The most requests under way on one connection; more wait for a place.
pub(super) const MAX_CALLS: usize = 16 * 1024;

/// So many pings beyond that.
pub(super) const PING_RESERVE: usize = 8;
