//! Where dials wait for a connection to become idle, when there may be no more of them.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, Semaphore};

/// The queue for room in the pool. One waits at its head, the others in order behind; that they
/// are not too many is up to whoever lets them wait.
#[derive(Debug)]
pub(super) struct Room {
    head: Semaphore,
    /// Somebody is at the head: whoever gives a connection free has to say so.
    wanted: AtomicBool,
    vacated: Notify,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            head: Semaphore::new(1),
            wanted: AtomicBool::new(false),
            vacated: Notify::new(),
        }
    }

    /// Whether somebody waits, before whom nobody may be served.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// A connection may have become idle, or have gone. Costs a load unless somebody waits.
    pub(super) fn vacate(&self) {
        if self.is_wanted() {
            self.vacated.notify_one();
        }
    }

    /// Takes room in the order of asking, as soon as `take` finds some.
    pub(super) async fn wait<T>(&self, mut take: impl FnMut() -> Option<T>) -> T {
        // It is never closed.
        let _turn = self.head.acquire().await;
        if let Some(taken) = take() {
            return taken;
        }
        let _wanted = Wanted::new(self);
        loop {
            // Announced before it is tried, so that no vacancy is missed in between.
            if let Some(taken) = take() {
                return taken;
            }
            self.vacated.notified().await;
        }
    }
}

struct Wanted<'a>(&'a Room);

impl<'a> Wanted<'a> {
    fn new(room: &'a Room) -> Self {
        room.wanted.store(true, Ordering::SeqCst);
        Self(room)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.store(false, Ordering::SeqCst);
    }
}
