//! The requests of a connection whose time is over.
//!
//! Nearly all are answered long before, so none has a timer of its own: one watch sleeps until the
//! earliest deadline there was when it last looked.

use std::task::Waker;

use tokio::time::{Instant, sleep_until};

use super::Calls;
use super::slots::Slots;

/// When the watch looks next.
pub(super) struct Deadlines {
    next: Option<Instant>,
}

impl Deadlines {
    pub(super) fn new() -> Self {
        Self { next: None }
    }

    /// A request begins; whether the watch would look too late for it.
    pub(super) fn begin(&mut self, deadline: Instant) -> bool {
        let is_sooner = self.next.is_none_or(|next| deadline < next);
        if is_sooner {
            self.next = Some(deadline);
        }
        is_sooner
    }

    /// Looks: those whose time is over by now.
    fn overdue(&mut self, slots: &Slots, now: Instant) -> Vec<Waker> {
        self.next = None;
        let mut overdue = Vec::new();
        for (request, waker) in slots.awaited() {
            match request.deadline > now {
                true => drop(self.begin(request.deadline)),
                false => overdue.push(waker.clone()),
            }
        }
        overdue
    }
}

impl Calls {
    /// Wakes the callers whose time is over; never returns.
    pub(in crate::endpoint) async fn watch_deadlines(&self) {
        loop {
            let next = self.state().deadlines.next;
            let look = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.sooner.notified() => {}
                () = look => self.wake_overdue(),
            }
        }
    }

    fn wake_overdue(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        let overdue = state.deadlines.overdue(&state.slots, Instant::now());
        drop(guard);
        overdue.into_iter().for_each(Waker::wake);
    }
}
