//! A stream that many calls share, or, for a long body, one call alone.
//!
//! Either side opens lanes for its own requests; the replies come back on them. This is the end that
//! others hold: what is to be written goes into its outbox. `task` opens and ends the stream, `run`
//! reads and writes it.

use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::calls::Asks;
use super::dispatch::Hold;
use super::frame::{CallId, Header};
use super::turns::Turn;

mod alone;
mod gathering;
mod leisure;
mod patience;
mod run;
mod task;
mod untaken;

pub(super) use alone::reply_alone;
#[cfg(test)]
pub(super) use patience::{FRAME_PATIENCE, MIN_PROGRESS_BYTES};
pub(super) use task::{accepted, opened};

/// What is to go out on one stream.
// Bounded: an ask holds a place among the calls of its connection, an answer its request's hold.
pub(super) struct Lane {
    is_alone: bool,
    outbox: Mutex<Outbox>,
}

#[derive(Default)]
struct Outbox {
    asks: Asks,
    answers: Vec<Reply>,
    /// Whom to wake when something comes in.
    waker: Option<Waker>,
    /// The stream has ended.
    is_closed: bool,
}

impl Outbox {
    fn wake_later(&mut self, cx: &mut Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

/// What a caller wants to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Request(CallId),
    Cancel(CallId),
}

impl Ask {
    fn is_cancel(&self) -> bool {
        matches!(self, Self::Cancel(_))
    }
}

/// An answer to the peer, with what its request holds until it is written.
pub(super) struct Reply {
    pub(super) header: Header,
    pub(super) body: Bytes,
    pub(super) hold: Option<Hold>,
    /// Of a long one.
    pub(super) turn: Option<Turn>,
}

impl Lane {
    /// One that many calls share.
    pub(super) fn shared() -> Arc<Self> {
        Self::new(false)
    }

    /// One for a single call.
    pub(super) fn alone() -> Arc<Self> {
        Self::new(true)
    }

    fn new(is_alone: bool) -> Arc<Self> {
        Arc::new(Self {
            is_alone,
            outbox: Mutex::default(),
        })
    }

    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Whether both are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    pub(super) fn ask(&self, ask: Ask) {
        self.put(|outbox| outbox.asks.push_back(ask));
    }

    pub(super) fn reply(&self, reply: Reply) {
        self.put(|outbox| outbox.answers.push(reply));
    }

    /// Lets the stream's task look again.
    pub(super) fn wake(&self) {
        self.put(|_| {});
    }

    fn put(&self, put: impl FnOnce(&mut Outbox)) {
        let mut outbox = self.outbox();
        if outbox.is_closed {
            return;
        }
        put(&mut outbox);
        let waker = outbox.waker.take();
        drop(outbox);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves everything out, or notes whom to wake. Whether there was anything.
    pub(super) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        asks: &mut Asks,
        answers: &mut Vec<Reply>,
    ) -> bool {
        let mut outbox = self.outbox();
        if outbox.asks.is_empty() && outbox.answers.is_empty() {
            outbox.wake_later(cx);
            return false;
        }
        match asks.is_empty() {
            true => mem::swap(&mut outbox.asks, asks),
            false => asks.append(&mut outbox.asks),
        }
        match answers.is_empty() {
            true => mem::swap(&mut outbox.answers, answers),
            false => answers.append(&mut outbox.answers),
        }
        true
    }

    /// Waits until the one call of a stream is given up; for ever on a shared lane.
    async fn given_up(&self) {
        poll_fn(|cx| self.poll_given_up(cx)).await;
    }

    fn poll_given_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut outbox = self.outbox();
        if self.is_alone && outbox.asks.iter().any(Ask::is_cancel) {
            return Poll::Ready(());
        }
        outbox.wake_later(cx);
        Poll::Pending
    }

    /// How much is to go out.
    fn waiting(&self) -> usize {
        let outbox = self.outbox();
        outbox.asks.len() + outbox.answers.len()
    }

    /// Takes nothing in any more.
    fn close(&self) {
        let mut outbox = self.outbox();
        outbox.is_closed = true;
        let dropped = (mem::take(&mut outbox.asks), mem::take(&mut outbox.answers));
        drop(outbox);
        drop(dropped);
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
