//! The places of requests under way; a place and how often it was taken make the call id.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Answer, Outgoing};
use crate::endpoint::frame::CallId;
use crate::endpoint::lane::Lane;

/// All places of one connection.
// Invariant: `free` names exactly the places whose state is `Free`.
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
    Queued(Outgoing, Option<Waker>),
    /// In its lane's queue, and nobody wants it any more.
    Abandoned,
    Sent(Option<Waker>),
    /// Its cancel is in its lane's queue.
    Cancelling,
    Answered(Answer),
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= MAX_CALLS
    }

    /// Takes a place; only while there is one.
    pub(super) fn take(&mut self, lane: Arc<Lane>, request: Outgoing) -> CallId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::new());
            // At most `MAX_CALLS`.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.slots[index as usize];
        slot.lane = Some(lane);
        slot.state = State::Queued(request, None);
        CallId(u64::from(slot.generation) << 32 | u64::from(index))
    }

    /// The place of a call that is still under way.
    pub(super) fn get_mut(&mut self, call: CallId) -> Option<&mut Slot> {
        let (index, generation) = parts(call);
        let slot = self.slots.get_mut(index as usize)?;
        (slot.generation == generation && slot.lane.is_some()).then_some(slot)
    }

    pub(super) fn free(&mut self, call: CallId) {
        if let Some(slot) = self.get_mut(call) {
            slot.clear();
            self.free.push(parts(call).0);
        }
    }

    /// Takes a request out to be written; `None` if nobody wants it any more.
    pub(super) fn send(&mut self, call: CallId) -> Option<Outgoing> {
        let slot = self.get_mut(call)?;
        if matches!(slot.state, State::Abandoned) {
            self.free(call);
            return None;
        }
        slot.send()
    }

    /// Whether a call is to be cancelled at the peer, which ends it here.
    pub(super) fn cancel(&mut self, call: CallId) -> bool {
        let slot = self.get_mut(call);
        let is_cancelling = slot.is_some_and(|slot| matches!(slot.state, State::Cancelling));
        if is_cancelling {
            self.free(call);
        }
        is_cancelling
    }

    /// Visits every place that is taken.
    pub(super) fn for_each(&mut self, visit: impl FnMut(&mut Slot)) {
        let taken = self.slots.iter_mut().filter(|slot| slot.lane.is_some());
        taken.for_each(visit);
    }

    /// Frees the places that wait only for their lane, which has ended.
    pub(super) fn free_unanswered(&mut self, which: impl Fn(&Slot) -> bool) {
        for (index, slot) in (0..).zip(&mut self.slots) {
            let is_left = matches!(slot.state, State::Abandoned | State::Cancelling);
            if is_left && which(slot) {
                slot.clear();
                self.free.push(index);
            }
        }
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

    fn clear(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.lane = None;
        self.state = State::Free;
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
        matches!(self.state, State::Queued(..) | State::Sent(_))
    }

    pub(super) fn is_sent(&self) -> bool {
        matches!(self.state, State::Sent(_))
    }

    fn send(&mut self) -> Option<Outgoing> {
        match std::mem::replace(&mut self.state, State::Free) {
            State::Queued(request, waker) => {
                self.state = State::Sent(waker);
                Some(request)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Fills in the answer; whom to wake.
    pub(super) fn answer(&mut self, answer: Answer) -> Option<Waker> {
        match std::mem::replace(&mut self.state, State::Answered(answer)) {
            State::Queued(_, waker) | State::Sent(waker) => waker,
            _ => None,
        }
    }

    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        match &mut self.state {
            State::Answered(answer) => {
                let answer = std::mem::replace(answer, Answer::Malformed);
                return Poll::Ready(answer);
            }
            State::Queued(_, waker) | State::Sent(waker) => match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            },
            State::Free | State::Abandoned | State::Cancelling => {}
        }
        Poll::Pending
    }

    /// Its caller is gone; whether the peer has to be told.
    pub(super) fn give_up(&mut self) -> bool {
        match self.state {
            State::Queued(..) => self.state = State::Abandoned,
            State::Sent(_) => {
                self.state = State::Cancelling;
                return true;
            }
            _ => {}
        }
        false
    }
}

fn parts(call: CallId) -> (u32, u32) {
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
