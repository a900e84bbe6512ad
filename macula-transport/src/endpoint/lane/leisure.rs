//! How long a lane of our own has had nothing to do.
//!
//! An open stream and what works on it need more memory than a connection may at rest, and a new one
//! costs no round trip. So a lane that nobody uses ends.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Measures it. The timer is set anew only when it runs out, so that use costs nothing.
#[derive(Default)]
pub(super) struct Leisure {
    /// Whether there was something to do since the timer was set.
    was_used: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Leisure {
    /// There was something to do.
    pub(super) fn used(&mut self) {
        self.was_used = true;
    }

    /// Ready once there was nothing to do for the whole of [`LANE_LEISURE`], and again after every
    /// further one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let set = || Box::pin(sleep(LANE_LEISURE));
            let timer = self.timer.get_or_insert_with(set);
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
            if !mem::take(&mut self.was_used) {
                return Poll::Ready(());
            }
        }
    }
}

/// A lane that has had nothing to do for so long ends, at the latest after twice as long.
pub(in crate::endpoint) const LANE_LEISURE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_who_was_not_used_for_a_whole_period_has_leisure() {
        let start = Instant::now();
        let mut leisure = Leisure::default();
        leisure.used();
        poll_fn(|cx| leisure.poll(cx)).await;
        assert!(start.elapsed() >= 2 * LANE_LEISURE, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_used_over_and_over_has_none() {
        let mut leisure = Leisure::default();
        for _ in 0..10 {
            leisure.used();
            let polled = poll_fn(|cx| Poll::Ready(leisure.poll(cx))).await;
            assert!(polled.is_pending());
            advance(LANE_LEISURE / 2).await;
        }
    }
}
