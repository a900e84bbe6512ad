//! The requests of this node that wait for their reply on one connection.
//!
//! A request takes a slot, which names it on the wire, and goes into the queue of a lane. The lane
//! takes it from there when it writes, and fills the slot when the reply comes in. Neither costs the
//! caller a task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::frame::{Burst, CallId, Header, Kind};
use super::lane::{Ask, Lane};
use super::liveness::Answers;
use super::stats::Counters;
use crate::{CloseCode, ConnectionError, StreamError};

mod answer;
mod deadlines;
mod lanes;
mod slots;

pub(super) use answer::{Answer, Answered, NotBegun, Outgoing, Stopped};
use deadlines::Deadlines;
use lanes::Lanes;
pub(super) use lanes::{MAX_LANE_BODY_BYTES, MAX_LANES};
use slots::{Slot, Slots};

/// All of them on one connection.
pub(super) struct Calls {
    state: Mutex<State>,
    /// Whether nothing but pings begins any more; the reason is in `state`.
    is_stopped: AtomicBool,
    /// A slot became free while somebody waited for one.
    room: Notify,
    /// The last reply that was waited for came in, or its caller went away.
    settled: Notify,
    /// The peer owes us answers again.
    owed: Notify,
    /// A request has begun whose time is over before that of all others.
    sooner: Notify,
    /// How many callers have lately had their answers together and not asked again yet. A hint.
    coming: AtomicUsize,
}

struct State {
    slots: Slots,
    lanes: Lanes,
    answers: Answers,
    deadlines: Deadlines,
    stopped: Option<Stopped>,
    room_wanted: bool,
    settling_awaited: bool,
}

/// A request that has begun.
pub(super) struct Begun {
    pub(super) call: CallId,
    /// A lane that has to be started.
    pub(super) new_lane: Option<Arc<Lane>>,
    /// Another one, which is not for this request.
    pub(super) first_lane: Option<Arc<Lane>>,
}

/// What a lane has yet to write.
pub(super) type Asks = VecDeque<Ask>;

impl Calls {
    pub(super) fn new(max_lanes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                slots: Slots::new(),
                lanes: Lanes::new(max_lanes),
                answers: Answers::new(),
                deadlines: Deadlines::new(),
                stopped: None,
                room_wanted: false,
                settling_awaited: false,
            }),
            is_stopped: AtomicBool::new(false),
            room: Notify::new(),
            settled: Notify::new(),
            owed: Notify::new(),
            sooner: Notify::new(),
            coming: AtomicUsize::new(0),
        }
    }

    /// How many requests are likely to follow soon: whoever has many answers often asks again.
    pub(super) fn coming(&self) -> usize {
        self.coming.load(Ordering::Relaxed)
    }

    /// Begins a request, on a lane or on the stream that is to be its own. The answer wakes the task
    /// that this is polled in.
    pub(super) async fn begin(
        &self,
        mut request: Outgoing,
        alone: Option<&Arc<Lane>>,
        counters: &Counters,
    ) -> Result<Begun, NotBegun> {
        let mut waits = None;
        loop {
            // Before it is tried, so that no room is missed in between.
            let room = self.room.notified();
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            let untaken = match self.try_begin(request, alone, waker) {
                Ok(begun) => return Ok(begun),
                Err(untaken) => untaken,
            };
            if untaken.stopped.is_some() {
                return Err(untaken);
            }
            waits.get_or_insert_with(|| counters.request_waits());
            if timeout_at(untaken.request.deadline, room).await.is_err() {
                return Err(untaken);
            }
            request = untaken.request;
        }
    }

    /// Begins it if there is room at once; the answer wakes the `waker`.
    pub(super) fn try_begin(
        &self,
        request: Outgoing,
        alone: Option<&Arc<Lane>>,
        waker: Waker,
    ) -> Result<Begun, NotBegun> {
        let mut state = self.state();
        if let Err(stopped) = state.admit(&request) {
            return Err(NotBegun { request, stopped });
        }
        // Long requests can take all streams that the peer allows, and hold them for as long as it
        // works on them: pings and short requests have to have a lane by then.
        let first_lane = alone.and_then(|_| state.lanes.first());
        let (lane, new_lane) = match alone {
            Some(lane) => (Arc::clone(lane), Some(Arc::clone(lane))),
            None => state.lanes.choose(),
        };
        let is_sooner = state.deadlines.begin(request.deadline);
        let call = state.slots.take(Arc::clone(&lane), request, waker);
        self.coming
            .store(self.coming().saturating_sub(1), Ordering::Relaxed);
        let is_owed_again = state.answers.begin();
        drop(state);
        if is_owed_again {
            self.owed.notify_one();
        }
        if is_sooner {
            self.sooner.notify_one();
        }
        // A lane that has ended in between has failed the call already.
        lane.ask(Ask::Request(call));
        Ok(Begun {
            call,
            new_lane,
            first_lane,
        })
    }

    /// Waits for the answer, which can be taken once.
    pub(super) fn poll_answer(&self, call: CallId, cx: &mut Context<'_>) -> Poll<Answered> {
        let mut state = self.state();
        let answered = match state.slots.get_mut(call).map(|slot| slot.poll_answer(cx)) {
            Some(Poll::Ready(answered)) => answered,
            Some(Poll::Pending) => return Poll::Pending,
            // Cannot happen: a slot is its caller's until the answer is taken.
            None => Answered::malformed(),
        };
        state.slots.free(call);
        self.after(state);
        Poll::Ready(answered)
    }

    /// Lets go of a request whose answer was not taken; whether the peer may have carried it out.
    pub(super) fn give_up(&self, call: CallId) -> bool {
        let mut state = self.state();
        let Some(slot) = state.slots.get_mut(call) else {
            return false;
        };
        let (is_awaited, may_be_executed) = (slot.is_awaited(), slot.may_be_executed());
        let lane = Arc::clone(slot.lane());
        let to_cancel = slot.give_up();
        match is_awaited {
            true => state.answers.end(),
            false => state.slots.free(call),
        }
        self.after(state);
        // A stream of its own has nothing else to wait for.
        if to_cancel || (is_awaited && lane.is_alone()) {
            lane.ask(Ask::Cancel(call));
        }
        may_be_executed
    }

    /// Writes what a lane was asked to send, as far as `burst` should grow. Returns how many
    /// requests are among it.
    pub(super) fn write(
        &self,
        lane: &Lane,
        rtt: Duration,
        burst: &mut Burst,
        asks: &mut Asks,
    ) -> u64 {
        let now = Instant::now();
        let mut state = self.state();
        state.lanes.written(lane, rtt);
        let mut requests = 0;
        while burst.len_bytes() < MAX_BURST_BYTES {
            let Some(ask) = asks.pop_front() else { break };
            requests += u64::from(state.write(lane, ask, now, burst));
        }
        self.after(state);
        requests
    }

    /// The stream of a lane is open.
    pub(super) fn lane_opened(&self, lane: &Lane) {
        self.state().lanes.opened(lane);
    }

    /// Whether the peer holds a lane back for now.
    pub(super) fn lane_blocked(&self, lane: &Lane, is_blocked: bool) {
        self.state().lanes.blocked(lane, is_blocked);
    }

    /// Hands over what a lane has read; returns how many of the answers nobody waited for.
    pub(super) fn answered(
        &self,
        answers: &mut Vec<(CallId, Answer)>,
        wakers: &mut Vec<Waker>,
    ) -> u64 {
        let now = Instant::now();
        let mut late = 0;
        let mut state = self.state();
        for (call, answer) in answers.drain(..) {
            match state.answer(call, answer) {
                Ok(waker) => wakers.extend(waker),
                Err(NotAwaited) => late += 1,
            }
        }
        state.answers.heard(now);
        self.coming.store(wakers.len(), Ordering::Relaxed);
        self.after(state);
        late
    }

    /// A part of an answer has come in.
    pub(super) fn heard(&self) {
        self.state().answers.heard(Instant::now());
    }

    /// Whether the reply to a call is waited for.
    pub(super) fn awaits(&self, call: CallId) -> bool {
        let mut state = self.state();
        state.slots.get_mut(call).is_some_and(|slot| slot.is_sent())
    }

    /// Takes a lane out of use if it carries nothing, and says whether it did.
    pub(super) fn retire_lane(&self, lane: &Lane) -> bool {
        self.state().lanes.retire(lane)
    }

    /// A lane has ended: what it carried fails, what was not sent yet as not executed.
    pub(super) fn lane_ended(&self, lane: &Lane, answer: &Answer, error: StreamError) {
        let mut state = self.state();
        let wakers = state.fail(|slot| lane.is(slot.lane()), answer, error);
        state.lanes.remove(lane);
        self.after(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The connection has ended: everything fails, and nothing begins any more.
    pub(super) fn end(&self, error: ConnectionError) {
        let mut state = self.state();
        state.stopped = Some(Stopped::Ended(error));
        let error = StreamError::Connection(error);
        let wakers = state.fail(|_| true, &Answer::Lost(error), error);
        self.stopped_in(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The peer takes no more requests, pings aside: what is under way goes on.
    pub(super) fn stop(&self, code: CloseCode) {
        let mut state = self.state();
        state.stopped.get_or_insert(Stopped::Leaving(code));
        self.stopped_in(state);
    }

    fn stopped_in(&self, state: MutexGuard<'_, State>) {
        self.is_stopped.store(true, Ordering::Release);
        self.after(state);
        // Whoever waits for a slot waits in vain.
        self.room.notify_waiters();
    }

    /// Whether no request can begin any more, pings aside.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Why no request can begin, if that is so.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.state().stopped
    }

    /// How many replies are waited for.
    pub(super) fn in_flight(&self) -> usize {
        self.state().answers.awaited()
    }

    /// Waits until no reply is waited for.
    pub(super) async fn settled(&self) {
        loop {
            // Before it is asked for, so that it is not missed.
            let settled = self.settled.notified();
            if self.is_settled() {
                return;
            }
            settled.await;
        }
    }

    fn is_settled(&self) -> bool {
        let mut state = self.state();
        state.settling_awaited = state.answers.awaited() > 0;
        !state.settling_awaited
    }

    /// How long the peer has left everything unanswered; `None` while it owes nothing.
    pub(super) fn quiet_for(&self) -> Option<Duration> {
        self.state().answers.quiet_for()
    }

    /// Waits until the peer owes an answer.
    pub(super) async fn owed(&self) {
        while !self.state().answers.is_owed() {
            self.owed.notified().await;
        }
    }

    /// Wakes who waits for what may have come about.
    fn after(&self, mut state: MutexGuard<'_, State>) {
        let has_room = state.room_wanted && state.slots.has_room();
        let is_settled = state.settling_awaited && state.answers.awaited() == 0;
        state.room_wanted &= !has_room;
        state.settling_awaited &= !is_settled;
        drop(state);
        if has_room {
            self.room.notify_waiters();
        }
        if is_settled {
            self.settled.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct NotAwaited;

impl State {
    /// Whether a request can begin; if not, why, or nothing when there is no room for now.
    fn admit(&mut self, request: &Outgoing) -> Result<(), Option<Stopped>> {
        match self.stopped {
            // Whether it still lives is asked until everything is answered.
            Some(Stopped::Leaving(_)) if request.is_ping() => {}
            Some(stopped) => return Err(Some(stopped)),
            None => {}
        }
        if !self.slots.has_room_for(request) {
            self.room_wanted = true;
            return Err(None);
        }
        Ok(())
    }

    /// Writes one thing; whether it was a request.
    fn write(&mut self, lane: &Lane, ask: Ask, now: Instant, burst: &mut Burst) -> bool {
        match ask {
            Ask::Request(call) => {
                if let Some(request) = self.slots.send(call) {
                    burst.push(&request.header(call, lane.is_alone(), now), &request.body);
                    return true;
                }
                self.free_unwanted(call, Slot::is_abandoned)
            }
            Ask::Cancel(call) => {
                if self.free_unwanted(call, Slot::is_cancelling) {
                    burst.push(&Header::new(Kind::Cancel, call, 0), &Bytes::new());
                }
                return false;
            }
        };
        false
    }

    /// Frees the slot of a call that its caller has given up, and that its lane has done with.
    fn free_unwanted(&mut self, call: CallId, is_it: fn(&Slot) -> bool) -> bool {
        let slot = self.slots.get_mut(call).filter(|slot| is_it(slot));
        let Some(lane) = slot.map(|slot| Arc::clone(slot.lane())) else {
            return false;
        };
        self.lanes.finished(&lane);
        self.slots.free(call);
        true
    }

    fn answer(&mut self, call: CallId, answer: Answer) -> Result<Option<Waker>, NotAwaited> {
        let slot = self.slots.get_mut(call).filter(|slot| slot.is_sent());
        let slot = slot.ok_or(NotAwaited)?;
        let lane = Arc::clone(slot.lane());
        let waker = slot.answer(answer);
        self.lanes.finished(&lane);
        self.answers.end();
        Ok(waker)
    }

    /// Fails what waits, and frees what nobody waits for.
    fn fail(
        &mut self,
        which: impl Fn(&Slot) -> bool,
        answer: &Answer,
        unsent: StreamError,
    ) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for call in self.slots.taken(which) {
            let Some(slot) = self.slots.get_mut(call) else {
                continue;
            };
            if slot.is_awaited() {
                let answer = match slot.is_sent() {
                    true => answer.clone(),
                    false => Answer::Unsent(unsent),
                };
                let lane = Arc::clone(slot.lane());
                wakers.extend(slot.answer(answer));
                self.lanes.finished(&lane);
                self.answers.end();
            } else {
                self.free_unwanted(call, Slot::is_given_up);
            }
        }
        wakers
    }
}

/// A burst that has grown to this goes out first.
const MAX_BURST_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
