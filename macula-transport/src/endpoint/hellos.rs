//! The connections whose hello is awaited.
//!
//! Anybody can open connections and say nothing. So when too many are awaited it is the one that
//! has had the longest time that goes, and not whoever comes: a peer that says hello at once gets
//! through however many others are silent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

#[derive(Default)]
pub(super) struct Hellos(Mutex<State>);

#[derive(Default)]
struct State {
    next_number: u64,
    /// In the order of coming; dropping an entry displaces it.
    awaited: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One whose hello is awaited, until it is dropped.
pub(super) struct Awaited {
    hellos: Arc<Hellos>,
    number: u64,
    displaced: oneshot::Receiver<()>,
}

impl Hellos {
    /// Awaits one more.
    pub(super) fn enter(self: &Arc<Self>) -> Awaited {
        let (stays, displaced) = oneshot::channel();
        let mut state = self.state();
        if state.awaited.len() == MAX_AWAITED {
            state.awaited.pop_first();
        }
        state.next_number += 1;
        let number = state.next_number;
        state.awaited.insert(number, stays);
        drop(state);
        Awaited {
            hellos: Arc::clone(self),
            number,
            displaced,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.state().awaited.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Awaited {
    /// Does the work of one that is awaited; `None` when it has to make room for another.
    pub(super) async fn unless_displaced<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            _ = &mut self.displaced => None,
            done = work => Some(done),
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.hellos.state().awaited.remove(&self.number);
    }
}

/// The most connections whose hello is awaited at a time.
const MAX_AWAITED: usize = 256;

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn the_one_that_waits_longest_makes_room() {
        let hellos = Arc::new(Hellos::default());
        let mut first = hellos.enter();
        let mut others: Vec<_> = (1..MAX_AWAITED).map(|_| hellos.enter()).collect();
        assert_eq!(first.unless_displaced(ready(())).await, Some(()));
        let mut last = hellos.enter();
        assert_eq!(hellos.len(), MAX_AWAITED);
        assert_eq!(first.unless_displaced(pending::<()>()).await, None);
        for stays in others.iter_mut().chain([&mut last]) {
            assert_eq!(stays.unless_displaced(ready(())).await, Some(()));
        }
        drop((first, others, last));
        assert_eq!(hellos.len(), 0);
    }
}
