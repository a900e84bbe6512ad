//! The requests of this node that wait for their reply on one connection.
//!
//! A request takes a slot, which names it on the wire, and goes into the queue of a lane. The lane
//! takes it from there when it writes, and fills the slot when the reply comes in. Neither costs the
//! caller a task.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::frame::{Burst, CallId, Header, Kind};
use super::horizon::after;
use super::lane::{Ask, Lane};
use super::liveness::Answers;
use super::request::ProtocolId;
use crate::{
    CloseCode, ConnectionError, Executed, Refusal, RequestError, RequestFailure, StreamError,
};

mod lanes;
mod slots;

use lanes::Lanes;
use slots::{Slot, Slots};

/// A request on its way out.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) protocol: ProtocolId,
    pub(super) deadline: Instant,
    pub(super) body: Bytes,
}

impl Outgoing {
    /// A request that the peer's endpoint answers by itself.
    pub(super) fn ping(timeout: Duration) -> Self {
        Self {
            protocol: ProtocolId::CONTROL,
            deadline: after(Instant::now(), timeout),
            body: Bytes::new(),
        }
    }

    /// Whether it is long enough for a stream of its own.
    pub(super) fn travels_alone(&self) -> bool {
        self.body.len() > MAX_LANE_BODY_BYTES
    }
}

/// What became of a request that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Reply(Bytes),
    Refused(Refusal),
    TooLarge,
    OutOfTime,
    /// It was begun, and there will be no reply.
    Aborted(CloseCode),
    /// The peer broke the protocol.
    Malformed,
    /// The way back broke down.
    Lost(StreamError),
    /// The way there broke down before it was sent.
    Unsent(StreamError),
}

/// Why a request cannot begin on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The connection has ended.
    Ended(ConnectionError),
    /// The peer takes no more requests on it.
    Leaving(CloseCode),
}

/// A request that has begun.
pub(super) struct Begun {
    pub(super) call: CallId,
    /// The lane that it takes has to be started.
    pub(super) new_lane: Option<Arc<Lane>>,
}

/// All of them on one connection.
pub(super) struct Calls {
    state: Mutex<State>,
    /// A slot became free while somebody waited for one.
    room: Notify,
    /// The last reply that was waited for came in, or its caller went away.
    settled: Notify,
    /// The peer owes us answers again.
    pub(super) owed: Notify,
}

struct State {
    slots: Slots,
    lanes: Lanes,
    answers: Answers,
    stopped: Option<Stopped>,
    room_wanted: bool,
    settling_awaited: bool,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                slots: Slots::new(),
                lanes: Lanes::new(),
                answers: Answers::new(),
                stopped: None,
                room_wanted: false,
                settling_awaited: false,
            }),
            room: Notify::new(),
            settled: Notify::new(),
            owed: Notify::new(),
        }
    }

    /// Begins a request, on a lane or on the stream that is to be its own.
    pub(super) async fn begin(
        &self,
        request: &Outgoing,
        alone: Option<Arc<Lane>>,
    ) -> Result<Begun, Stopped> {
        loop {
            if let Some(begun) = self.try_begin(request, alone.as_ref())? {
                return Ok(begun);
            }
            self.room.notified().await;
        }
    }

    fn try_begin(
        &self,
        request: &Outgoing,
        alone: Option<&Arc<Lane>>,
    ) -> Result<Option<Begun>, Stopped> {
        let mut state = self.state();
        if let Some(stopped) = state.stopped {
            return Err(stopped);
        }
        if state.slots.is_full() {
            state.room_wanted = true;
            return Ok(None);
        }
        let (lane, is_new) = match alone {
            Some(lane) => (Arc::clone(lane), true),
            None => state.lanes.choose(),
        };
        let call = state.slots.take(Arc::clone(&lane), request.clone());
        let is_owed_again = state.answers.begin(Instant::now());
        drop(state);
        if is_owed_again {
            self.owed.notify_one();
        }
        // A lane that has ended in between has failed the call already.
        lane.ask(Ask::Request(call));
        Ok(Some(Begun {
            call,
            new_lane: is_new.then_some(lane),
        }))
    }

    /// Waits for the answer, which can be taken once.
    pub(super) fn poll_answer(&self, call: CallId, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.state();
        let State { slots, .. } = &mut *state;
        let answer = match slots.get_mut(call) {
            Some(slot) => match slot.poll_answer(cx) {
                Poll::Ready(answer) => answer,
                Poll::Pending => return Poll::Pending,
            },
            // Cannot happen: a slot is its caller's until the answer is taken.
            None => Answer::Malformed,
        };
        slots.free(call);
        self.after_free(state);
        Poll::Ready(answer)
    }

    /// Lets go of a request whose answer was not taken; whether it was sent.
    pub(super) fn give_up(&self, call: CallId) -> bool {
        let mut state = self.state();
        let Some(slot) = state.slots.get_mut(call) else {
            return false;
        };
        let (was_awaited, was_sent) = (slot.is_awaited(), slot.is_sent());
        let lane = Arc::clone(slot.lane());
        let to_cancel = slot.give_up();
        if was_awaited {
            state.lanes.finished(&lane);
            state.answers.end();
        } else {
            state.slots.free(call);
        }
        self.after_free(state);
        if to_cancel {
            lane.ask(Ask::Cancel(call));
        }
        was_sent
    }

    /// Writes what a lane was asked to send, as far as `burst` should grow. Returns how many
    /// requests are among it.
    pub(super) fn write(&self, lane: &Lane, burst: &mut Burst, asks: &mut Asks) -> u64 {
        let now = Instant::now();
        let mut state = self.state();
        state.lanes.written(lane);
        let mut requests = 0;
        while burst.len_bytes() < MAX_BURST_BYTES {
            let Some(ask) = asks.pop_front() else { break };
            match ask {
                Ask::Request(call) => {
                    if let Some(request) = state.slots.send(call) {
                        requests += 1;
                        let header = header(&request, call, lane.is_alone(), now);
                        burst.push(&header, &request.body);
                    }
                }
                Ask::Cancel(call) => {
                    if state.slots.cancel(call) {
                        burst.push(&Header::new(Kind::Cancel, call, 0), &Bytes::new());
                    }
                }
            }
        }
        self.after_free(state);
        requests
    }

    /// Hands over what a lane has read; returns how many of the answers nobody waited for.
    pub(super) fn answered(
        &self,
        answers: &mut Vec<(CallId, Answer)>,
        wakers: &mut Vec<Waker>,
    ) -> u64 {
        let mut late = 0;
        let mut state = self.state();
        for (call, answer) in answers.drain(..) {
            let slot = state.slots.get_mut(call).filter(|slot| slot.is_sent());
            let Some(slot) = slot else {
                late += 1;
                continue;
            };
            let lane = Arc::clone(slot.lane());
            wakers.extend(slot.answer(answer));
            state.lanes.finished(&lane);
            state.answers.end();
        }
        state.answers.heard(Instant::now());
        self.after_free(state);
        late
    }

    /// A lane has ended: what it carried fails, what was not sent yet as not executed.
    pub(super) fn lane_ended(&self, lane: &Lane, answer: &Answer, error: StreamError) {
        let mut state = self.state();
        state.lanes.remove(lane);
        let wakers = state.fail(|slot| lane.is(slot.lane()), answer, error);
        self.after_free(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The connection has ended: everything fails, and nothing begins any more.
    pub(super) fn end(&self, error: ConnectionError) {
        let mut state = self.state();
        state.stopped = Some(Stopped::Ended(error));
        let error = StreamError::Connection(error);
        let wakers = state.fail(|_| true, &Answer::Lost(error), error);
        state.room_wanted = true;
        self.after_free(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The peer takes no more requests: what is under way goes on.
    pub(super) fn stop(&self, code: CloseCode) {
        let mut state = self.state();
        state.stopped.get_or_insert(Stopped::Leaving(code));
        state.room_wanted = true;
        self.after_free(state);
    }

    /// Why no request can begin, if that is so.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.state().stopped
    }

    /// Waits until no reply is waited for.
    pub(super) async fn settled(&self) {
        loop {
            {
                let mut state = self.state();
                if state.answers.awaited() == 0 {
                    return;
                }
                state.settling_awaited = true;
            }
            self.settled.notified().await;
        }
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
    fn after_free(&self, mut state: MutexGuard<'_, State>) {
        let has_room = state.room_wanted && !state.slots.is_full();
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

/// What a lane has yet to write.
pub(super) type Asks = VecDeque<Ask>;

impl State {
    fn fail(
        &mut self,
        which: impl Fn(&Slot) -> bool,
        answer: &Answer,
        unsent: StreamError,
    ) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let (slots, lanes, answers) = (&mut self.slots, &mut self.lanes, &mut self.answers);
        slots.for_each(|slot| {
            if !which(slot) {
                return;
            }
            if slot.is_awaited() {
                lanes.finished(slot.lane());
                answers.end();
                let answer = match slot.is_sent() {
                    true => answer.clone(),
                    false => Answer::Unsent(unsent),
                };
                wakers.extend(slot.answer(answer));
            }
        });
        self.slots.free_unanswered(which);
        wakers
    }
}

impl Answer {
    /// Whether the peer has said it itself.
    pub(super) fn is_heard(&self) -> bool {
        !matches!(self, Self::Lost(_) | Self::Unsent(_))
    }

    /// As the caller of a request sees it.
    pub(super) fn into_result(
        self,
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<Bytes, RequestError> {
        let (failure, executed) = match self {
            Self::Reply(body) => return Ok(body),
            Self::Refused(refusal) => (RequestFailure::Refused(refusal), Executed::No),
            Self::TooLarge => (RequestFailure::TooLarge { limit_bytes }, Executed::Yes),
            Self::OutOfTime => (RequestFailure::Timeout(timeout), Executed::Unknown),
            Self::Aborted(code) => {
                let reset = StreamError::Reset(code);
                (RequestFailure::Interrupted(reset), Executed::Unknown)
            }
            Self::Malformed => (RequestFailure::Malformed, Executed::Unknown),
            Self::Lost(error) => (RequestFailure::Interrupted(error), Executed::Unknown),
            Self::Unsent(error) => (RequestFailure::Interrupted(error), Executed::No),
        };
        Err(RequestError { failure, executed })
    }
}

fn header(request: &Outgoing, call: CallId, alone: bool, now: Instant) -> Header {
    // A body has passed the limit, which fits.
    let body_len = u32::try_from(request.body.len()).unwrap_or(u32::MAX);
    Header {
        code: request.protocol.0,
        alone,
        remaining: request.deadline.saturating_duration_since(now),
        ..Header::new(Kind::Request, call, body_len)
    }
}

/// Longer bodies travel alone, so that they hold nobody up.
pub(super) const MAX_LANE_BODY_BYTES: usize = 64 * 1024;

/// A burst that has grown to this goes out first.
const MAX_BURST_BYTES: usize = 64 * 1024;
