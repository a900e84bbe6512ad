//! How many dials may be in their handshake at a time, so that a burst of them leaves the requests
//! that are under way their share of the node's thread.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until};

/// Turns for handshakes, given in the order of asking.
#[derive(Debug)]
pub(super) struct Pace {
    turns: Semaphore,
    /// The least time between the beginnings of two.
    share: Duration,
    /// When the next may begin, for the sake of those that are over already.
    next_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(max_handshakes: NonZeroUsize) -> Self {
        let turns = max_handshakes.get().min(Semaphore::MAX_PERMITS);
        Self {
            turns: Semaphore::new(turns),
            share: HANDSHAKE_SHARE.div_f64(turns as f64),
            next_at: Mutex::default(),
        }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // An error would say that it is closed, which it never is.
        let permit = self.turns.acquire().await.ok();
        let next_at = *self.lock();
        if let Some(next_at) = next_at {
            sleep_until(next_at).await;
        }
        Turn { pace: self, permit }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.next_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave for one handshake.
pub(super) struct Turn<'a> {
    pace: &'a Pace,
    permit: Option<SemaphorePermit<'a>>,
}

impl Turn<'_> {
    /// Does the work of a handshake. The turn ends with it, or when it must be waiting for the
    /// network: peers that do not answer hold up nobody's dial. One that was short leaves the rest
    /// of its share to what else there is to do.
    pub(super) async fn spend<T>(self, handshake: impl Future<Output = T>) -> T {
        *self.pace.lock() = Some(Instant::now() + self.pace.share);
        tokio::pin!(handshake);
        tokio::select! {
            biased;
            done = &mut handshake => return done,
            () = sleep(HANDSHAKE_SHARE) => drop(self.permit),
        }
        handshake.await
    }
}

/// How long a handshake counts as work: a few times what it computes. The turns divided by this are
/// how many dials begin in a second at most.
const HANDSHAKE_SHARE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_do_not_answer_hold_up_nobody() {
        let pace = Pace::new(NonZeroUsize::MIN);
        let start = Instant::now();
        let dead = async || {
            let turn = pace.turn().await;
            let _ = timeout(Duration::from_secs(3), turn.spend(pending::<()>())).await;
        };
        let live = async {
            pace.turn().await.spend(async {}).await;
            start.elapsed()
        };
        let (_, _, _, begun) = tokio::join!(dead(), dead(), dead(), live);
        assert_eq!(begun, 3 * HANDSHAKE_SHARE);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_short_handshake_there_is_time_for_other_work() {
        let pace = Pace::new(NonZeroUsize::MIN);
        let start = Instant::now();
        for _ in 0..10 {
            pace.turn().await.spend(async {}).await;
        }
        assert_eq!(start.elapsed(), 9 * HANDSHAKE_SHARE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_not_spent_comes_back() {
        let pace = Pace::new(NonZeroUsize::MIN);
        drop(pace.turn().await);
        assert!(timeout(HANDSHAKE_SHARE, pace.turn()).await.is_ok());
    }
}
