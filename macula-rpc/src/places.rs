//! How many handlers run and may run, and the wait for the last of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Places for running handlers, until they are closed. Taking one and giving it back is one atomic
/// operation each; who waits for the last one costs the others nothing before.
#[derive(Debug)]
pub(crate) struct Places {
    limit: usize,
    /// How many are taken; [`CLOSED`] is added once no more are given.
    taken: AtomicUsize,
    /// Touched only once they are closed.
    emptied: Notify,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All are taken.
    Full,
    /// No more are given.
    Closed,
}

impl Places {
    /// So many, but no more than can be counted.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.min(CLOSED - 1),
            taken: AtomicUsize::new(0),
            emptied: Notify::new(),
        }
    }

    /// Takes one, which is to be given back.
    pub(crate) fn take(&self) -> Result<(), NoPlace> {
        // One that is closed is beyond every limit.
        let one_more = |taken| (taken < self.limit).then(|| taken + 1);
        let taken = self
            .taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        match taken {
            Ok(_) => Ok(()),
            Err(taken) if taken & CLOSED == 0 => Err(NoPlace::Full),
            Err(_) => Err(NoPlace::Closed),
        }
    }

    /// Gives one back.
    pub(crate) fn give_back(&self) {
        let before = self.taken.fetch_sub(1, Ordering::SeqCst);
        if before == CLOSED + 1 {
            self.emptied.notify_waiters();
        }
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst) & !CLOSED
    }

    /// Gives no more, for good.
    pub(crate) fn close(&self) {
        self.taken.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// Whether no more are given.
    pub(crate) fn is_closed(&self) -> bool {
        self.taken.load(Ordering::SeqCst) & CLOSED != 0
    }

    /// Waits until none is taken; only once they are closed.
    pub(crate) async fn emptied(&self) {
        loop {
            // Made before the look: what is given back after it wakes this.
            let emptied = self.emptied.notified();
            if self.taken() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

const CLOSED: usize = 1 << (usize::BITS - 1);

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::thread;

    use super::*;

    #[test]
    fn no_more_are_given_than_there_are_and_each_can_be_taken_again() {
        let places = Places::new(2);
        assert_eq!((places.take(), places.take()), (Ok(()), Ok(())));
        assert_eq!((places.take(), places.taken()), (Err(NoPlace::Full), 2));
        places.give_back();
        assert_eq!(places.taken(), 1);
        assert_eq!(places.take(), Ok(()));
    }

    #[test]
    fn closed_places_are_counted_and_not_given() {
        let places = Places::new(2);
        places.take().unwrap();
        places.close();
        assert_eq!((places.take(), places.taken()), (Err(NoPlace::Closed), 1));
        places.give_back();
        assert_eq!((places.take(), places.taken()), (Err(NoPlace::Closed), 0));
    }

    #[test]
    fn the_last_one_wakes_everybody_who_waits() {
        let places = Places::new(2);
        places.take().unwrap();
        places.take().unwrap();
        places.close();
        let (mut one, mut other) = (pin!(places.emptied()), pin!(places.emptied()));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert!(one.as_mut().poll(&mut cx).is_pending());
            assert!(other.as_mut().poll(&mut cx).is_pending());
            places.give_back();
        }
        assert!(one.as_mut().poll(&mut cx).is_ready());
        assert!(other.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn the_limit_holds_under_threads() {
        const LIMIT: usize = 3;
        let places = Places::new(LIMIT);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if places.take().is_ok() {
                            assert!(places.taken() <= LIMIT);
                            places.give_back();
                        }
                    }
                });
            }
        });
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn a_limit_beyond_what_can_be_counted_is_no_end() {
        let places = Places::new(usize::MAX);
        assert_eq!(places.take(), Ok(()));
        places.close();
        assert_eq!(places.take(), Err(NoPlace::Closed));
    }
}
