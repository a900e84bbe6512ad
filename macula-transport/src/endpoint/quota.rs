//! How much of something there may be at a time, and who holds how much of it.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// A limit and what is used of it. Taking is a few atomic operations and never waits.
pub(super) struct Quota {
    limit: usize,
    used: AtomicUsize,
    /// Somebody waits for it to be given back.
    is_awaited: AtomicBool,
    emptied: Notify,
}

/// What one holder has taken; dropping it gives it back.
pub(super) struct Share {
    quota: Arc<Quota>,
    held: usize,
    /// How far beyond the limit it may grow.
    reserve: usize,
}

impl Quota {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            is_awaited: AtomicBool::new(false),
            emptied: Notify::new(),
        })
    }

    /// The same limit, of which nothing is used.
    pub(super) fn anew(&self) -> Arc<Self> {
        Self::new(self.limit)
    }

    /// A share of nothing yet.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        self.share_beyond(0)
    }

    /// The same, of so much more than the limit: what is in reserve for some of the holders.
    pub(super) fn share_beyond(self: &Arc<Self>, reserve: usize) -> Share {
        Share {
            quota: Arc::clone(self),
            held: 0,
            reserve,
        }
    }

    /// Takes so much, up to the limit and so much in reserve beyond it; whether there was as much.
    /// Whoever takes it [gives it back](Self::give_back).
    pub(super) fn take(&self, amount: usize, reserve: usize) -> bool {
        let before = self.used.fetch_add(amount, Ordering::SeqCst);
        let has_room = before.saturating_add(amount) <= self.limit.saturating_add(reserve);
        if !has_room {
            self.give_back(amount);
        }
        has_room
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Waits until nothing is used.
    pub(super) async fn emptied(&self) {
        self.is_awaited.store(true, Ordering::SeqCst);
        loop {
            let emptied = self.emptied.notified();
            if self.used() == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub(super) fn give_back(&self, amount: usize) {
        let is_empty = self.used.fetch_sub(amount, Ordering::SeqCst) == amount;
        if is_empty && self.is_awaited.load(Ordering::SeqCst) {
            self.emptied.notify_waiters();
        }
    }
}

impl Share {
    /// Takes more, up to so much in all; whether there was as much.
    pub(super) fn grow_to(&mut self, amount: usize) -> bool {
        let more = amount.saturating_sub(self.held);
        let is_taken = more == 0 || self.quota.take(more, self.reserve);
        if is_taken {
            self.held += more;
        }
        is_taken
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Leaves what it has taken to somebody else to give back.
    pub(super) fn leave(&mut self) -> usize {
        mem::take(&mut self.held)
    }

    /// Gives back what is more than so much.
    pub(super) fn shrink_to(&mut self, amount: usize) {
        let less = self.held.saturating_sub(amount);
        if less > 0 {
            self.held -= less;
            self.quota.give_back(less);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.held > 0 {
            self.quota.give_back(self.held);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    /// Of so much, if there is as much left.
    fn share(quota: &Arc<Quota>, amount: usize) -> Option<Share> {
        let mut share = quota.share();
        share.grow_to(amount).then_some(share)
    }

    #[test]
    fn no_more_is_taken_than_there_is_and_all_comes_back() {
        let quota = Quota::new(3);
        let (first, second) = (share(&quota, 1), share(&quota, 2));
        assert!(first.is_some() && second.is_some());
        assert!(share(&quota, 1).is_none());
        assert_eq!(quota.used(), 3);
        drop(second);
        assert!(share(&quota, 2).is_some());
        drop(first);
        assert_eq!(quota.used(), 0);
    }

    #[test]
    fn a_share_that_cannot_grow_keeps_what_it_has() {
        let quota = Quota::new(10);
        let mut share = quota.share();
        assert!(share.grow_to(6) && share.grow_to(4));
        assert!(!share.grow_to(11));
        assert_eq!(quota.used(), 6);
    }

    #[test]
    fn a_reserve_is_for_those_who_may_go_beyond_the_limit() {
        let quota = Quota::new(10);
        let (mut one, mut other) = (quota.share(), quota.share_beyond(5));
        assert!(one.grow_to(8) && other.grow_to(7));
        assert!(!one.grow_to(9) && !other.grow_to(8));
        drop(one);
        assert!(other.grow_to(15) && share(&quota, 1).is_none());
    }

    #[test]
    fn the_last_to_give_back_wakes_who_waits() {
        let quota = Quota::new(10);
        let (first, second) = (share(&quota, 1), share(&quota, 1));
        let mut emptied = pin!(quota.emptied());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(emptied.as_mut().poll(&mut cx).is_pending());
        drop(first);
        assert!(emptied.as_mut().poll(&mut cx).is_pending());
        drop(second);
        assert!(emptied.as_mut().poll(&mut cx).is_ready());
    }
}
