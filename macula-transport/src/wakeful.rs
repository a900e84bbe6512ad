//! Keeps a node's own thread awake for the moments between one packet and the next.
//!
//! Going to sleep and being woken costs as much processor time as looking again for tens of
//! microseconds, and far more latency. So while requests and replies follow each other closely the
//! thread looks again instead, lets every other thread go first, and soon gives up. Where they do
//! not, over longer paths or at leisure, it sleeps at once as ever.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::Instant;

/// What a thread goes by. Everything in it is a hint: nothing depends on its order.
#[derive(Debug)]
pub(crate) struct Wakeful {
    start: Instant,
    /// When something was last sent or received, in nanoseconds since `start`.
    last_nanos: AtomicU64,
    /// How closely it follows, from zero to `MAX_SCORE`.
    score: AtomicU32,
    is_asleep: AtomicBool,
    woken: Notify,
}

impl Wakeful {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            last_nanos: AtomicU64::new(0),
            score: AtomicU32::new(0),
            is_asleep: AtomicBool::new(false),
            woken: Notify::new(),
        }
    }

    /// Something was sent or received.
    pub(crate) fn note(&self) {
        let now_nanos = self.now_nanos();
        let last_nanos = self.last_nanos.swap(now_nanos, Ordering::Relaxed);
        let gap = Duration::from_nanos(now_nanos.saturating_sub(last_nanos));
        let score = next_score(self.score.load(Ordering::Relaxed), gap);
        self.score.store(score, Ordering::Relaxed);
        if score >= MIN_SCORE && self.is_asleep.swap(false, Ordering::Relaxed) {
            self.woken.notify_one();
        }
    }

    /// Keeps the thread that polls this awake where it pays; never returns.
    pub(crate) async fn run(&self) {
        loop {
            self.is_asleep.store(true, Ordering::Relaxed);
            self.woken.notified().await;
            while self.is_worth_it() {
                thread::yield_now();
                yield_now().await;
            }
        }
    }

    fn is_worth_it(&self) -> bool {
        let last_nanos = self.last_nanos.load(Ordering::Relaxed);
        let quiet_nanos = self.now_nanos().saturating_sub(last_nanos);
        Duration::from_nanos(quiet_nanos) < PATIENCE
    }

    fn now_nanos(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Rises while one thing follows the other closely, and falls faster when not.
fn next_score(score: u32, gap: Duration) -> u32 {
    match gap < CLOSE {
        true => (score + 1).min(MAX_SCORE),
        false => score.saturating_sub(4),
    }
}

/// How long the thread looks again before it sleeps.
const PATIENCE: Duration = Duration::from_micros(100);

/// What counts as following closely: the patience, and what sleeping and waking would add.
const CLOSE: Duration = Duration::from_micros(250);

/// With so much score the thread stays awake.
const MIN_SCORE: u32 = 8;

const MAX_SCORE: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// The score after many things that follow each other like this.
    fn score_after(gaps_micros: &[u64]) -> u32 {
        let gaps = gaps_micros.iter().cycle().take(1000);
        gaps.fold(0, |score, gap| {
            next_score(score, Duration::from_micros(*gap))
        })
    }

    #[test]
    fn what_follows_closely_keeps_the_thread_awake() {
        assert!(score_after(&[100]) >= MIN_SCORE);
        assert!(score_after(&[20, 120]) >= MIN_SCORE);
    }

    #[test]
    fn what_comes_at_leisure_lets_it_sleep() {
        assert!(score_after(&[400]) < MIN_SCORE);
        assert!(score_after(&[10, 400]) < MIN_SCORE);
    }

    #[test]
    fn one_pause_is_forgiven() {
        let score = score_after(&[100]);
        assert!(next_score(score, Duration::from_secs(1)) >= MIN_SCORE);
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_awake_for_its_patience_and_no_longer() {
        let wakeful = Wakeful::new();
        for _ in 0..MIN_SCORE {
            wakeful.note();
        }
        assert!(wakeful.is_worth_it());
        tokio::time::advance(PATIENCE).await;
        assert!(!wakeful.is_worth_it());
    }
}
