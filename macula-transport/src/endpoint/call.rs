//! One request of this node, from the caller's side.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, timeout_at};

use super::calls::{Answer, Answered, Begun, NotBegun, Outgoing};
use super::frame::CallId;
use super::lane::Lane;
use super::link::Link;
use super::stats::Counters;
use super::turns::Turn;
use crate::Executed;

/// A request under way: a future of its answer, which comes by its deadline. Dropping it gives the
/// request up; nothing is sent if nothing was sent yet, and a cancel otherwise.
pub(super) struct Call<'a> {
    link: &'a Link,
    id: CallId,
    deadline: Instant,
    /// Its answer wakes the task that began it, so that the first poll, in that task, need not look.
    is_new: bool,
    is_over: bool,
}

impl<'a> Call<'a> {
    /// Puts a request on its way if nothing has to be waited for; hands it back otherwise. `waker` is
    /// that of the task which is to poll the call.
    pub(super) fn begin_at_once(
        link: &'a Link,
        request: Outgoing,
        waker: Waker,
        start_lane: impl Fn(Arc<Lane>, Option<Turn>),
    ) -> Result<Self, Outgoing> {
        if link.travels_alone(&request.body) {
            return Err(request);
        }
        let deadline = request.deadline;
        match link.calls.try_begin(request, None, waker) {
            Ok(begun) => Ok(Self::begun(link, deadline, begun, None, start_lane)),
            Err(not_begun) => Err(not_begun.request),
        }
    }

    /// Puts a request on its way; one with a long body waits for its turn first. `start_lane` starts
    /// another lane where one is wanted. The call is to be polled by the same task, at once.
    pub(super) async fn begin(
        link: &'a Link,
        request: Outgoing,
        counters: &Counters,
        start_lane: impl Fn(Arc<Lane>, Option<Turn>),
    ) -> Result<Self, NotBegun> {
        let deadline = request.deadline;
        let (turn, alone) = match link.travels_alone(&request.body) {
            true => match timeout_at(deadline, link.turns.request(counters)).await {
                Ok(turn) => (turn, Some(Lane::alone())),
                Err(_) => {
                    let stopped = None;
                    return Err(NotBegun { request, stopped });
                }
            },
            false => (None, None),
        };
        let begun = link.calls.begin(request, alone.as_ref(), counters).await?;
        Ok(Self::begun(link, deadline, begun, turn, start_lane))
    }

    fn begun(
        link: &'a Link,
        deadline: Instant,
        begun: Begun,
        turn: Option<Turn>,
        start_lane: impl Fn(Arc<Lane>, Option<Turn>),
    ) -> Self {
        if let Some(lane) = begun.new_lane {
            start_lane(lane, turn);
        }
        // Second, for to a QUIC peer all streams exist that were opened before one that does.
        if let Some(lane) = begun.first_lane {
            start_lane(lane, None);
        }
        Self {
            link,
            id: begun.call,
            deadline,
            is_new: true,
            is_over: false,
        }
    }

    /// The connection that it goes over.
    pub(super) fn link(&self) -> &'a Link {
        self.link
    }

    /// Gives it up because its time is over.
    fn overdue(&mut self) -> Answered {
        self.is_over = true;
        let executed = match self.link.calls.give_up(self.id) {
            true => Executed::Unknown,
            false => Executed::No,
        };
        Answered {
            answer: Answer::Overdue(executed),
            request: None,
        }
    }
}

impl Future for Call<'_> {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        if mem::take(&mut self.is_new) {
            return Poll::Pending;
        }
        let Poll::Ready(answered) = self.link.calls.poll_answer(self.id, cx) else {
            // Whoever watches over the deadlines wakes those whose time is over.
            return match Instant::now() >= self.deadline {
                true => Poll::Ready(self.overdue()),
                false => Poll::Pending,
            };
        };
        self.is_over = true;
        Poll::Ready(answered)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.link.calls.give_up(self.id);
        }
    }
}
