//! How long a peer may take to go on with what it has begun, or to take what it is sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Waits for progress. The timer is set anew only when it runs out, so that progress costs little.
#[derive(Default)]
pub(super) struct Patience {
    /// By when the peer has to go on; not at all while nothing is expected of it.
    until: Option<Instant>,
    /// How much it went on since that was set.
    progress_bytes: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Something is expected, and so much of it has come about.
    pub(super) fn went_on(&mut self, now: Instant, len_bytes: usize) {
        self.progress_bytes += len_bytes;
        if self.until.is_none() || self.progress_bytes >= MIN_PROGRESS_BYTES {
            self.progress_bytes = 0;
            self.until = Some(now + FRAME_PATIENCE);
        }
    }

    /// Nothing is expected.
    pub(super) fn rest(&mut self) {
        self.until = None;
        self.progress_bytes = 0;
    }

    /// Ready once the patience is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(until) = self.until else {
                return Poll::Pending;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() < until {
                timer.as_mut().reset(until);
            } else if until.elapsed() < FRAME_PATIENCE {
                return Poll::Ready(());
            } else {
                // We were asleep ourselves: what has arrived meanwhile is not read yet.
                self.until = Some(Instant::now() + FRAME_PATIENCE);
            }
        }
    }
}

/// How long a peer may take for the next piece of what it has begun.
pub(in crate::endpoint) const FRAME_PATIENCE: Duration = Duration::from_secs(5);

/// How much such a piece has to have, unless it is the last.
pub(in crate::endpoint) const MIN_PROGRESS_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{sleep, timeout};

    use super::*;

    /// How long it takes until the patience is over, if every so often there is some progress.
    async fn lasts(every: Duration, progress_bytes: usize) -> Duration {
        let start = Instant::now();
        let mut patience = Patience::default();
        patience.went_on(start, 0);
        while start.elapsed() < FRAME_PATIENCE * 10 {
            let over = poll_fn(|cx| patience.poll(cx));
            if timeout(every, over).await.is_ok() {
                break;
            }
            patience.went_on(Instant::now(), progress_bytes);
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_on_is_waited_for() {
        let every = Duration::from_secs(1);
        assert!(lasts(every, MIN_PROGRESS_BYTES).await >= FRAME_PATIENCE * 10);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_trickles_is_not() {
        let every = Duration::from_secs(1);
        let trickle = MIN_PROGRESS_BYTES / 10;
        assert!(lasts(every, trickle).await <= FRAME_PATIENCE + every);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_between_frames() {
        let mut patience = Patience::default();
        patience.went_on(Instant::now(), 0);
        patience.rest();
        sleep(FRAME_PATIENCE * 2).await;
        let over = poll_fn(|cx| patience.poll(cx));
        assert!(timeout(FRAME_PATIENCE * 2, over).await.is_err());
    }
}
