//! The task that owns a lane's stream: writes what the outbox holds, reads and hands on.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use super::gathering::Gathering;
use super::leisure::Leisure;
use super::patience::Patience;
use super::untaken::Untaken;
use super::{Ask, Lane, Reply};
use crate::endpoint::calls::{Answer, Asks};
use crate::endpoint::dispatch::{BodyShare, Hold};
use crate::endpoint::frame::{Burst, CallId, Decoded, FrameDecoder, Header, Kind};
use crate::endpoint::inbound::{Arrived, Inbound};
use crate::endpoint::starting::Starting;
use crate::endpoint::turns::Turn;
use crate::{CloseCode, Refusal, Stream, StreamError};

/// How the work on a stream ends.
pub(super) enum End {
    /// In order.
    Finished,
    /// The only call of its stream is not wanted any more.
    Cancelled,
    /// The peer says goodbye.
    Goaway(CloseCode),
    /// The peer has begun a frame and does not go on, or does not take its answers.
    Stalled,
    Malformed,
    Broken(StreamError),
}

/// The task's state.
pub(super) struct LaneTask {
    pub(super) stream: Stream,
    lane: Arc<Lane>,
    inbound: Arc<Inbound>,
    /// The peer has opened the stream.
    is_accepted: bool,
    /// The peer sends nothing more.
    is_heard_out: bool,
    /// The one call of this stream has its answer.
    is_done: bool,
    decoder: FrameDecoder,
    /// What has been read and not decoded yet.
    chunk: Bytes,
    /// Memory for a body that comes in pieces.
    body: Option<Box<BodyShare>>,
    reading: Patience,
    asks: Asks,
    replies: Vec<Reply>,
    burst: Burst,
    /// What the requests hold whose replies are in the burst.
    holds: Vec<Hold>,
    writing: Patience,
    untaken: Untaken,
    is_blocked: bool,
    gathering: Gathering,
    leisure: Leisure,
    /// It is no lane of its connection any more: what is left is the end of the peer's side.
    is_retired: bool,
    /// It has had a whole turn, and there was more to do.
    has_more: bool,
    /// Of the long bodies that are under way.
    turns: Vec<Turn>,
    /// Handlers of the requests that were read.
    starting: Starting,
    answers: Vec<(CallId, Answer)>,
    wakers: Vec<Waker>,
}

impl LaneTask {
    /// A lane that the peer has opened.
    pub(super) fn accepted(stream: Stream, lane: Arc<Lane>, inbound: Arc<Inbound>) -> Self {
        let mut task = Self::opened(stream, lane, inbound, None);
        task.is_accepted = true;
        task
    }

    /// A lane that we have opened.
    pub(super) fn opened(
        stream: Stream,
        lane: Arc<Lane>,
        inbound: Arc<Inbound>,
        turn: Option<Turn>,
    ) -> Self {
        let untaken = inbound.link.limits.untaken();
        Self {
            decoder: FrameDecoder::new(inbound.max_body_bytes),
            stream,
            lane,
            inbound,
            is_accepted: false,
            is_heard_out: false,
            is_done: false,
            chunk: Bytes::new(),
            body: None,
            reading: Patience::default(),
            asks: Asks::new(),
            replies: Vec::new(),
            burst: Burst::default(),
            holds: Vec::new(),
            writing: Patience::default(),
            untaken: Untaken::new(untaken),
            is_blocked: false,
            gathering: Gathering::default(),
            leisure: Leisure::default(),
            is_retired: false,
            has_more: false,
            turns: Vec::from_iter(turn),
            starting: Starting::default(),
            answers: Vec::new(),
            wakers: Vec::new(),
        }
    }

    /// Works until the lane ends.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let end = match self.work(cx) {
            Ok(Poll::Pending) => {
                self.retire_at_leisure(cx);
                self.poll_patience(cx)
            }
            Ok(Poll::Ready(end)) | Err(end) => Poll::Ready(end),
        };
        if let Poll::Ready(end) = &end {
            self.give_up_reply(end);
            self.hand_over();
        }
        end
    }

    fn work(&mut self, cx: &mut Context<'_>) -> Result<Poll<End>, End> {
        let mut frames_left = match mem::take(&mut self.has_more) {
            false => MAX_FRAMES,
            true => MAX_MORE_FRAMES,
        };
        while frames_left > 0 {
            let has_read = self.read(cx, &mut frames_left)?;
            self.hand_over();
            let has_written = !self.gathers(cx) && self.write(cx)?;
            if let Some(end) = self.end() {
                return Ok(Poll::Ready(end));
            }
            if !has_read && !has_written {
                return Ok(Poll::Pending);
            }
            self.inbound.note();
            self.leisure.used();
            frames_left = frames_left.saturating_sub(1);
        }
        // Others shall have their turn.
        self.has_more = true;
        cx.waker().wake_by_ref();
        Ok(Poll::Pending)
    }

    /// Reads what is there, within reason; whether there was anything.
    fn read(&mut self, cx: &mut Context<'_>, frames_left: &mut usize) -> Result<bool, End> {
        let mut has_read = false;
        while *frames_left > 0 {
            if self.is_heard_out || self.is_backlogged() || self.untaken.is_waiting() {
                // We do not read, so the peer cannot go on.
                self.reading.rest();
                return Ok(has_read);
            }
            if self.chunk.is_empty() {
                match self.stream.receive.poll_receive(cx) {
                    Poll::Pending => {
                        self.await_rest();
                        return Ok(has_read);
                    }
                    Poll::Ready(Ok(Some(chunk))) => self.chunk = chunk,
                    Poll::Ready(Ok(None)) => self.hear_out()?,
                    Poll::Ready(Err(error)) => return Err(End::Broken(error)),
                }
            }
            has_read = true;
            self.decode(frames_left)?;
        }
        Ok(has_read)
    }

    /// A frame that has begun is waited for, even if its last piece was read a while ago.
    fn await_rest(&mut self) {
        if self.decoder.is_within_frame() {
            self.reading.went_on(Instant::now(), 0);
        }
    }

    fn hear_out(&mut self) -> Result<(), End> {
        self.is_heard_out = true;
        match self.decoder.is_within_frame() {
            true => Err(End::Malformed),
            false => Ok(()),
        }
    }

    fn decode(&mut self, frames_left: &mut usize) -> Result<(), End> {
        let before = *frames_left;
        let decoded = self.decode_frames(frames_left);
        let frames = before - *frames_left;
        self.inbound
            .counters
            .frames_received
            .add_many(frames as u64);
        decoded
    }

    fn decode_frames(&mut self, frames_left: &mut usize) -> Result<(), End> {
        let now = Instant::now();
        let before = self.chunk.len();
        while *frames_left > 0 {
            let (body, inbound) = (&mut self.body, &self.inbound);
            let has_room = |header: &Header, len| inbound.has_room(header, len, body);
            let decoded = self.decoder.next(now, &mut self.chunk, has_room);
            let Some(decoded) = decoded.map_err(|_| End::Malformed)? else {
                break;
            };
            *frames_left -= 1;
            match decoded {
                Decoded::Frame(header, at, body) => self.take(&header, (at, now), body)?,
                Decoded::TooLarge(header) => {
                    self.leave_out(&header, Refusal::TooLarge, Answer::TooLarge);
                }
                Decoded::NoRoom(header) => self.find_no_room(&header),
            }
            // The next frame has its own time.
            self.reading.rest();
        }
        if !self.decoder.is_within_frame() {
            self.reading.rest();
        } else if self.chunk.is_empty() {
            self.reading.went_on(now, before);
            self.inbound.link.calls.heard();
        }
        Ok(())
    }

    /// Hands a frame to whom it concerns.
    fn take(
        &mut self,
        header: &Header,
        (at, now): (Instant, Instant),
        body: Bytes,
    ) -> Result<(), End> {
        let share = self.body.take();
        let answer = match header.kind {
            Kind::Request => {
                let arrived = Arrived {
                    header: *header,
                    at,
                    now,
                    body,
                    share,
                };
                let (lane, starting) = (&self.lane, &mut self.starting);
                self.replies
                    .extend(self.inbound.take(lane, arrived, starting));
                return Ok(());
            }
            Kind::Cancel => {
                self.inbound.cancel(header.call);
                return Ok(());
            }
            Kind::Goaway if self.is_accepted => {
                return Err(End::Goaway(CloseCode::from_wire(header.code.into())));
            }
            Kind::Goaway => return Err(End::Malformed),
            Kind::Reply => Answer::Reply(body),
            Kind::Refusal => Answer::Refused(Refusal::from_wire(header.code)),
            Kind::ReplyTooLarge => Answer::TooLarge,
            Kind::OutOfTime => Answer::OutOfTime,
            Kind::Aborted => Answer::Aborted(CloseCode::from_wire(header.code.into())),
        };
        self.answers.push((header.call, answer));
        Ok(())
    }

    /// A frame whose body is not taken in.
    fn leave_out(&mut self, header: &Header, refusal: Refusal, answer: Answer) {
        self.body = None;
        match header.kind {
            Kind::Request => self.replies.push(self.inbound.refuse(header, refusal)),
            _ => self.answers.push((header.call, answer)),
        }
    }

    fn find_no_room(&mut self, header: &Header) {
        let counters = &self.inbound.counters;
        if header.kind == Kind::Request {
            counters.overloaded_bodies.add();
        } else if self.inbound.link.calls.awaits(header.call) {
            counters.replies_without_room.add();
        }
        let answer = Answer::Aborted(CloseCode::Overloaded);
        self.leave_out(header, Refusal::Overloaded, answer);
    }

    /// A reply of which some has come fails with its stream, which need not be its call's.
    fn give_up_reply(&mut self, end: &End) {
        let answer = match end {
            End::Broken(error) => Answer::Lost(*error),
            End::Stalled | End::Malformed => Answer::Malformed,
            _ => return,
        };
        if let Some(header) = self.decoder.within()
            && header.kind == Kind::Reply
        {
            self.answers.push((header.call, answer));
        }
    }

    /// Hands over what was read: requests to their handlers, answers to their callers.
    fn hand_over(&mut self) {
        self.starting.start();
        if self.answers.is_empty() {
            return;
        }
        self.is_done = true;
        let calls = &self.inbound.link.calls;
        let late = calls.answered(&mut self.answers, &mut self.wakers);
        self.inbound.counters.late_frames.add_many(late);
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Whether what is to go out waits a moment for more, which is looked for in the next turn.
    fn gathers(&mut self, cx: &mut Context<'_>) -> bool {
        // What was read in this turn has its answers here already.
        let has_begun = self.burst.len_bytes() > 0;
        let has_more = !self.asks.is_empty() || !self.replies.is_empty();
        if has_begun || has_more || self.lane.is_alone() {
            return false;
        }
        let waiting = self.lane.waiting();
        if waiting == 0 {
            return false;
        }
        let link = &self.inbound.link;
        let coming = match self.is_accepted {
            true => link.running.count(),
            false => link.calls.coming(),
        };
        let gathers = self.gathering.looks_again(waiting, coming);
        if gathers {
            cx.waker().wake_by_ref();
        }
        gathers
    }

    /// Writes as much as is there and the peer takes; whether anything went out.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut has_written = false;
        while self.burst.len_bytes() > 0 || self.fill(cx)? {
            let before = self.burst.len_bytes();
            if !self.has_room(cx) {
                self.held_back(cx, 0)?;
                return Ok(has_written);
            }
            let sent = self.burst.poll_send(cx, &mut *self.stream.send);
            self.untaken.wrote(before - self.burst.len_bytes());
            self.set_blocked(sent.is_pending());
            match sent {
                Poll::Pending => {
                    self.held_back(cx, before - self.burst.len_bytes())?;
                    return Ok(has_written);
                }
                Poll::Ready(Err(error)) => return Err(End::Broken(error)),
                Poll::Ready(Ok(())) => has_written = true,
            }
            self.holds.clear();
            if !self.is_accepted {
                self.turns.clear();
            }
            self.writing.rest();
        }
        Ok(has_written)
    }

    /// Whether the peer has taken enough of what it was answered for more to be written.
    fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_accepted {
            return true;
        }
        let was_waiting = self.untaken.is_waiting();
        let len_bytes = self.burst.len_bytes();
        let has_room = self.untaken.has_room(cx, len_bytes, &mut *self.stream.send);
        if !has_room && !was_waiting {
            self.inbound.counters.replies_delayed.add();
        }
        has_room
    }

    /// The peer has all its answers, as far as they count.
    pub(super) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.untaken.poll_taken(cx, &mut *self.stream.send)
    }

    /// The peer does not take more for now.
    fn held_back(&mut self, cx: &mut Context<'_>, sent_bytes: usize) -> Result<(), End> {
        if self.is_accepted {
            // Others may need what the requests hold whose replies wait, here or behind.
            self.writing.went_on(Instant::now(), sent_bytes);
        }
        if self.lane.is_alone() {
            self.lane.poll_take(cx, &mut self.asks, &mut self.replies);
            self.check_wanted()?;
        }
        Ok(())
    }

    fn set_blocked(&mut self, is_blocked: bool) {
        let has_changed = mem::replace(&mut self.is_blocked, is_blocked) != is_blocked;
        if has_changed && !self.is_accepted {
            let calls = &self.inbound.link.calls;
            calls.lane_blocked(&self.lane, is_blocked);
        }
    }

    /// Puts the next burst together; whether there is one. When there is none, whoever puts
    /// something into the outbox wakes us.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        loop {
            let is_empty = self.asks.is_empty() && self.replies.is_empty();
            if is_empty && !self.lane.poll_take(cx, &mut self.asks, &mut self.replies) {
                return Ok(false);
            }
            self.check_wanted()?;
            for reply in self.replies.drain(..) {
                self.burst.push(&reply.header, &reply.body);
                self.holds.extend(reply.hold);
                self.turns.extend(reply.turn);
            }
            if !self.asks.is_empty() {
                let link = &self.inbound.link;
                let rtt = link.connection.rtt();
                let (burst, asks) = (&mut self.burst, &mut self.asks);
                let requests = link.calls.write(&self.lane, rtt, burst, asks);
                self.inbound.counters.requests_sent.add_many(requests);
            }
            // What was asked may have been given up since.
            if self.burst.len_bytes() > 0 {
                let frames = self.burst.take_frames();
                self.inbound.counters.frames_sent.add_many(frames);
                return Ok(true);
            }
        }
    }

    /// A stream of its own ends with its call.
    fn check_wanted(&self) -> Result<(), End> {
        match self.lane.is_alone() && self.asks.iter().any(Ask::is_cancel) {
            true => Err(End::Cancelled),
            false => Ok(()),
        }
    }

    fn end(&mut self) -> Option<End> {
        if self.lane.is_alone() && self.is_done {
            // The peer may have answered before it had heard all.
            return Some(match self.burst.len_bytes() {
                0 => End::Finished,
                _ => End::Cancelled,
            });
        }
        // In this order: what runs no more has left its answer in the outbox.
        let is_over = self.is_heard_out
            && !self.inbound.link.running.has_any_of(&self.lane)
            && self.lane.waiting() == 0
            && self.replies.is_empty()
            && self.burst.len_bytes() == 0;
        is_over.then_some(End::Finished)
    }

    /// Too much is left to write for more to be read: a peer that does not take its answers waits.
    /// What comes in on a stream of our own is the answer to what is being written.
    fn is_backlogged(&self) -> bool {
        if self.lane.is_alone() {
            return false;
        }
        let waiting_bytes = self.replies.len() * size_of::<Reply>();
        self.burst.len_bytes() + waiting_bytes >= MAX_BACKLOG_BYTES
    }

    /// Ends a lane of our own that nobody uses: the peer ends its side when it hears of it.
    fn retire_at_leisure(&mut self, cx: &mut Context<'_>) {
        if self.is_accepted || self.lane.is_alone() || self.is_retired {
            return;
        }
        let has_leisure = self.leisure.poll(cx).is_ready() && self.burst.len_bytes() == 0;
        if has_leisure && self.inbound.link.calls.retire_lane(&self.lane) {
            self.is_retired = true;
            // One that is broken is found so by whoever reads it.
            let _ = self.stream.send.finish();
        }
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self
            .untaken
            .poll_look(cx, &mut *self.stream.send)
            .is_ready()
        {
            cx.waker().wake_by_ref();
        }
        let is_over = self.reading.poll(cx).is_ready() || self.writing.poll(cx).is_ready();
        match is_over {
            true => Poll::Ready(End::Stalled),
            false => Poll::Pending,
        }
    }
}

/// How many frames a lane reads, and how often it writes, before others have their turn.
const MAX_FRAMES: usize = 64;

/// How many in the turns that follow a whole one: who sends without end keeps the packets of all
/// others waiting for this long, and who sends a burst is served at once.
const MAX_MORE_FRAMES: usize = 8;

/// With so much left to write nothing more is read.
const MAX_BACKLOG_BYTES: usize = 256 * 1024;
