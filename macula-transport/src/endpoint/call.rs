//! One request of this node, from the caller's side.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use super::calls::{Answer, Outgoing, Stopped};
use super::frame::CallId;
use super::lane::Lane;
use super::link::Link;
use super::turns::Turn;

/// A request under way: a future of its answer. Dropping it gives the request up; nothing is sent
/// if nothing was sent yet, and a cancel otherwise.
pub(super) struct Call<'a> {
    link: &'a Link,
    id: CallId,
    sent: &'a Sent,
    /// Its answer wakes the task that began it, so that the first poll, in that task, need not look.
    is_new: bool,
    is_over: bool,
}

/// Whether a request that was given up had left this node, and was not refused.
#[derive(Debug, Default)]
pub(super) struct Sent(AtomicBool);

impl Sent {
    pub(super) fn is_sent(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<'a> Call<'a> {
    /// Puts a request on its way; one with a long body waits for its turn first. `start_lane` starts
    /// another lane where one is wanted. The call is to be polled by the same task, at once.
    pub(super) async fn begin(
        link: &'a Link,
        request: &Outgoing,
        sent: &'a Sent,
        start_lane: impl Fn(Arc<Lane>, Option<Turn>),
    ) -> Result<Self, Stopped> {
        let (turn, alone) = match request.travels_alone() {
            true => (link.turns.request().await, Some(Lane::alone())),
            false => (None, None),
        };
        let begun = link.calls.begin(request, alone).await?;
        let call = Self {
            link,
            id: begun.call,
            sent,
            is_new: true,
            is_over: false,
        };
        if let Some(lane) = begun.new_lane {
            start_lane(lane, turn);
        }
        // Second, for to a QUIC peer all streams exist that were opened before one that does.
        if let Some(lane) = begun.first_lane {
            start_lane(lane, None);
        }
        Ok(call)
    }
}

impl Future for Call<'_> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        if mem::take(&mut self.is_new) {
            return Poll::Pending;
        }
        let answer = self.link.calls.poll_answer(self.id, cx);
        self.is_over |= answer.is_ready();
        answer
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_over && self.link.calls.give_up(self.id) {
            self.sent.0.store(true, Ordering::Relaxed);
        }
    }
}
