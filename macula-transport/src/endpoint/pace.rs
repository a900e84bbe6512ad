//! How many dials may be in their handshake at a time, so that a burst of them leaves the requests
//! that are under way their share of the node's thread.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Turns for handshakes, given in the order of asking.
#[derive(Debug)]
pub(super) struct Pace(Semaphore);

impl Pace {
    pub(super) fn new(max_handshakes: NonZeroUsize) -> Self {
        Self(Semaphore::new(
            max_handshakes.get().min(Semaphore::MAX_PERMITS),
        ))
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // An error would say that it is closed, which it never is.
        Turn(self.0.acquire().await.ok())
    }
}

/// Leave for one handshake.
pub(super) struct Turn<'a>(Option<tokio::sync::SemaphorePermit<'a>>);

impl Turn<'_> {
    /// Does the work of a handshake. The turn ends with it, or when it must be waiting for the
    /// network: peers that do not answer hold up nobody's dial.
    pub(super) async fn spend<T>(self, handshake: impl Future<Output = T>) -> T {
        tokio::pin!(handshake);
        tokio::select! {
            biased;
            done = &mut handshake => return done,
            () = sleep(HANDSHAKE_SHARE) => drop(self.0),
        }
        handshake.await
    }
}

/// How long a handshake counts as work: a few times what it computes. The turns divided by this are
/// how many dials begin in a second when nobody answers.
const HANDSHAKE_SHARE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, timeout};

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
    async fn a_turn_that_is_not_spent_comes_back() {
        let pace = Pace::new(NonZeroUsize::MIN);
        drop(pace.turn().await);
        assert!(timeout(HANDSHAKE_SHARE, pace.turn()).await.is_ok());
    }
}
