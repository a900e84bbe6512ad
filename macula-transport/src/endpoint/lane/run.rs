//! The task that owns a lane's stream: writes what the outbox holds, reads and hands on.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Lane, Reply};
use crate::endpoint::calls::{Answer, Asks};
use crate::endpoint::dispatch::{BodyShare, Hold};
use crate::endpoint::frame::{Burst, CallId, Decoded, FrameDecoder, Header, Kind};
use crate::endpoint::inbound::{Arrived, Inbound};
use crate::{CloseCode, Refusal, Stream, StreamError};

/// Opens a stream and runs a lane of our own on it, until it or its connection ends.
pub(in crate::endpoint) async fn opened(lane: Arc<Lane>, inbound: Inbound) {
    let link = Arc::clone(&inbound.link);
    let ending = Ending {
        lane: Arc::clone(&lane),
        inbound: inbound.clone(),
    };
    match link.connection.open().await {
        Ok(stream) => ending.run(LaneTask::new(stream, lane, inbound)).await,
        Err(error) => ending.broken(error.into()),
    }
}

/// Runs a lane on a stream that the peer has opened.
pub(in crate::endpoint) async fn accepted(stream: Stream, inbound: Inbound) {
    let lane = Lane::shared();
    let ending = Ending {
        lane: Arc::clone(&lane),
        inbound: inbound.clone(),
    };
    ending.run(LaneTask::new(stream, lane, inbound)).await;
}

/// How the work on a stream ends.
enum End {
    /// In order.
    Finished,
    /// The only call of its stream is not wanted any more.
    Cancelled,
    /// The peer says goodbye.
    Goaway(CloseCode),
    /// The peer has begun a frame and does not go on.
    Stalled,
    Malformed,
    Broken(StreamError),
}

/// Lets go of a lane however its task ends.
struct Ending {
    lane: Arc<Lane>,
    inbound: Inbound,
}

impl Ending {
    async fn run(&self, mut task: LaneTask) {
        let end = poll_fn(|cx| task.poll(cx)).await;
        let Stream { send, receive } = &mut task.stream;
        match end {
            End::Finished => {
                let _ = send.finish();
            }
            End::Cancelled => send.reset(CloseCode::Cancelled),
            End::Goaway(code) => {
                let link = &self.inbound.link;
                link.calls.stop(code);
                link.calls.settled().await;
                let _ = send.finish();
            }
            End::Stalled | End::Malformed => {
                let counters = &self.inbound.counters;
                match end {
                    End::Stalled => counters.streams_stalled.add(),
                    _ => counters.streams_malformed.add(),
                }
                send.reset(CloseCode::Malformed);
                receive.stop(CloseCode::Malformed);
                self.close(&Answer::Malformed, StreamError::Closed);
            }
            End::Broken(error) => self.broken(error),
        }
    }

    fn broken(&self, error: StreamError) {
        self.close(&Answer::Lost(error), error);
    }

    fn close(&self, answer: &Answer, error: StreamError) {
        let link = &self.inbound.link;
        self.lane.close();
        link.calls.lane_ended(&self.lane, answer, error);
        self.inbound.abort(link.running.take_lane(&self.lane));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // What is still waited for was left by a peer that ended its stream, or by our own end.
        self.close(&Answer::Malformed, StreamError::Closed);
    }
}

/// The task's state.
struct LaneTask {
    stream: Stream,
    lane: Arc<Lane>,
    inbound: Inbound,
    /// The peer sends nothing more.
    is_heard_out: bool,
    /// The one call of this stream has its answer.
    is_done: bool,
    decoder: FrameDecoder,
    /// Memory for the body that is being read.
    body: BodyShare,
    patience: Patience,
    asks: Asks,
    replies: Vec<Reply>,
    burst: Burst,
    /// What the requests hold whose replies are in the burst.
    holds: Vec<Hold>,
    answers: Vec<(CallId, Answer)>,
    wakers: Vec<Waker>,
}

impl LaneTask {
    fn new(stream: Stream, lane: Arc<Lane>, inbound: Inbound) -> Self {
        Self {
            decoder: FrameDecoder::new(inbound.max_body_bytes),
            body: inbound.body(),
            patience: Patience::default(),
            stream,
            lane,
            inbound,
            is_heard_out: false,
            is_done: false,
            asks: Asks::new(),
            replies: Vec::new(),
            burst: Burst::default(),
            holds: Vec::new(),
            answers: Vec::new(),
            wakers: Vec::new(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..MAX_ROUNDS {
            let has_read = match self.read(cx) {
                Ok(has_read) => has_read,
                Err(end) => return Poll::Ready(end),
            };
            self.hand_over();
            let has_written = match self.write(cx) {
                Ok(has_written) => has_written,
                Err(end) => return Poll::Ready(end),
            };
            if let Some(end) = self.end() {
                return Poll::Ready(end);
            }
            if !has_read && !has_written {
                return self.rest(cx);
            }
        }
        // Others shall have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nothing can be done for now.
    fn rest(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.is_backlogged() {
            // We do not read, so the peer cannot go on.
            self.patience.rest();
        }
        self.patience.poll(cx)
    }

    fn is_backlogged(&self) -> bool {
        self.burst.len_bytes() >= MAX_BACKLOG_BYTES
    }

    /// Reads what is there, within reason; whether there was anything.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut has_read = false;
        for _ in 0..MAX_CHUNKS {
            if self.is_heard_out || self.is_backlogged() {
                return Ok(has_read);
            }
            match self.stream.receive.poll_receive(cx) {
                Poll::Pending => return Ok(has_read),
                Poll::Ready(Ok(Some(chunk))) => self.decode(chunk)?,
                Poll::Ready(Ok(None)) if self.decoder.is_within_frame() => {
                    return Err(End::Malformed);
                }
                Poll::Ready(Ok(None)) => self.is_heard_out = true,
                Poll::Ready(Err(error)) => return Err(End::Broken(error)),
            }
            has_read = true;
        }
        Ok(has_read)
    }

    fn decode(&mut self, mut chunk: Bytes) -> Result<(), End> {
        let now = Instant::now();
        let len_bytes = chunk.len();
        loop {
            let body = &mut self.body;
            // Replies were asked for: they are bounded by the requests.
            let has_room = |header: &Header, len| header.kind != Kind::Request || body.grow_to(len);
            let decoded = self.decoder.next(now, &mut chunk, has_room);
            match decoded.map_err(|_| End::Malformed)? {
                Some(Decoded::Frame(header, at, body)) => self.take(&header, at, body)?,
                Some(Decoded::TooLarge(header)) => self.leave_out(&header, Refusal::TooLarge),
                Some(Decoded::NoRoom(header)) => self.leave_out(&header, Refusal::Overloaded),
                None => break,
            }
        }
        match self.decoder.is_within_frame() {
            true => self.patience.went_on(now, len_bytes),
            false => self.patience.rest(),
        }
        Ok(())
    }

    /// Hands a frame to whom it concerns.
    fn take(&mut self, header: &Header, at: Instant, body: Bytes) -> Result<(), End> {
        let answer = match header.kind {
            Kind::Request => {
                let arrived = Arrived {
                    header: *header,
                    at,
                    body,
                    share: std::mem::replace(&mut self.body, self.inbound.body()),
                };
                self.replies.extend(self.inbound.take(&self.lane, arrived));
                return Ok(());
            }
            Kind::Cancel => {
                self.inbound.cancel(header.call);
                return Ok(());
            }
            Kind::Goaway => return Err(End::Goaway(CloseCode::from_wire(header.code.into()))),
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
    fn leave_out(&mut self, header: &Header, refusal: Refusal) {
        match header.kind {
            Kind::Request => self.replies.push(self.inbound.refuse(header, refusal)),
            Kind::Reply => self.answers.push((header.call, Answer::TooLarge)),
            _ => {}
        }
        self.body = self.inbound.body();
    }

    fn hand_over(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        self.is_done = true;
        let calls = &self.inbound.link.calls;
        let late = calls.answered(&mut self.answers, &mut self.wakers);
        self.inbound.counters.late_frames.add_many(late);
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Writes as much as is there and the peer takes; whether everything went out.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut has_written = false;
        loop {
            if self.burst.len_bytes() == 0 && !self.fill(cx)? {
                return Ok(has_written);
            }
            match self.burst.poll_send(cx, &mut *self.stream.send) {
                Poll::Pending => return Ok(has_written),
                Poll::Ready(Err(error)) => return Err(End::Broken(error)),
                Poll::Ready(Ok(())) => {
                    self.holds.clear();
                    has_written = true;
                }
            }
        }
    }

    /// Puts the next burst together; whether there is one.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.asks.is_empty() && self.replies.is_empty() {
            self.lane.poll_take(cx, &mut self.asks, &mut self.replies);
        }
        for reply in self.replies.drain(..) {
            self.burst.push(&reply.header, &reply.body);
            self.holds.extend(reply.hold);
        }
        if !self.asks.is_empty() {
            let is_cancelled = self.is_cancelled();
            let calls = &self.inbound.link.calls;
            let requests = calls.write(&self.lane, &mut self.burst, &mut self.asks);
            self.inbound.counters.requests_sent.add_many(requests);
            if self.lane.is_alone() && (is_cancelled || requests == 0) {
                return Err(End::Cancelled);
            }
        }
        Ok(self.burst.len_bytes() > 0)
    }

    fn is_cancelled(&self) -> bool {
        let is_cancel = |ask: &super::Ask| matches!(ask, super::Ask::Cancel(_));
        self.asks.iter().any(is_cancel)
    }

    fn end(&mut self) -> Option<End> {
        if self.lane.is_alone() && self.is_done {
            return Some(End::Finished);
        }
        // In this order: what runs no more has left its answer in the outbox.
        let is_over = self.is_heard_out
            && !self.inbound.link.running.has_any_of(&self.lane)
            && self.lane.is_empty()
            && self.burst.len_bytes() == 0;
        is_over.then_some(End::Finished)
    }
}

/// How long a frame that has begun may take.
#[derive(Default)]
struct Patience {
    /// By when the peer has to go on; not at all between frames.
    until: Option<Instant>,
    /// What came in since that was set.
    received_bytes: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// A frame is not whole; so much has come of it.
    fn went_on(&mut self, now: Instant, len_bytes: usize) {
        self.received_bytes += len_bytes;
        if self.until.is_none() || self.received_bytes >= MIN_PROGRESS_BYTES {
            self.received_bytes = 0;
            self.until = Some(now + FRAME_PATIENCE);
        }
    }

    fn rest(&mut self) {
        self.until = None;
        self.received_bytes = 0;
    }

    /// Ends once the patience does. The timer is set anew only when it runs out.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let Some(until) = self.until else {
                return Poll::Pending;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(until)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if timer.deadline() >= until {
                return Poll::Ready(End::Stalled);
            }
            timer.as_mut().reset(until);
        }
    }
}

/// How often a lane reads and writes in a row before others have their turn.
const MAX_ROUNDS: usize = 4;

/// How many chunks are read in a row before what came of them is written.
const MAX_CHUNKS: usize = 8;

/// With so much left to write nothing more is read: a peer that does not take its answers waits.
const MAX_BACKLOG_BYTES: usize = 256 * 1024;

/// How long a peer may take for the next piece of a frame that it has begun.
const FRAME_PATIENCE: Duration = Duration::from_secs(5);

/// How much such a piece has to have, unless it is the last.
const MIN_PROGRESS_BYTES: usize = 16 * 1024;
