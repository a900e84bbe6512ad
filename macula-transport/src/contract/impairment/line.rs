//! One direction of a path: which datagrams arrive, when, and in which order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use super::{Counters, ImpairedPath, Impairment, count};

/// Holds datagrams from when they were sent until they are due.
pub(super) struct Line {
    impairment: Impairment,
    rng: StdRng,
    /// The soonest due first; of those due together the first one sent.
    held: BinaryHeap<Reverse<Held>>,
    taken: u64,
    /// When all that was taken is through, where the rate is limited.
    free_at: Option<Instant>,
    counters: Arc<Counters>,
}

/// A datagram on its way. Ordered by its first two fields, which differ between any two.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Instant,
    number: u64,
    datagram: Bytes,
}

impl Line {
    pub(super) fn new(impairment: Impairment, seed: u64, counters: Arc<Counters>) -> Self {
        Self {
            impairment,
            rng: StdRng::seed_from_u64(seed),
            held: BinaryHeap::new(),
            taken: 0,
            free_at: None,
            counters,
        }
    }

    /// Takes what was sent now, and decides what becomes of it.
    pub(super) fn take(&mut self, now: Instant, datagram: Bytes) {
        // As many draws for every datagram, so that the fate of one shifts no other's.
        let [loss, duplication, first, second]: [f64; 4] = self.rng.random();
        if loss < self.impairment.loss {
            return count(&self.counters.lost);
        }
        if duplication < self.impairment.duplication {
            count(&self.counters.duplicated);
            self.hold(now, second, datagram.clone());
        }
        self.hold(now, first, datagram);
    }

    /// The next datagram that has arrived by now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Bytes> {
        if self.next_due()? > now {
            return None;
        }
        self.held.pop().map(|Reverse(held)| held.datagram)
    }

    /// When the next one arrives.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.peek().map(|Reverse(held)| held.due)
    }

    /// Loses all that is on its way.
    pub(super) fn swallow(&mut self) {
        let swallowed = self.held.len() as u64;
        self.held.clear();
        let counter = &self.counters.black_holed;
        counter.fetch_add(swallowed, Ordering::Relaxed);
    }

    /// When a datagram that comes now has had its turn; `None` if too many wait for theirs.
    fn through(&mut self, now: Instant, len_bytes: usize) -> Option<Instant> {
        let Some(bytes_per_second) = self.impairment.bytes_per_second else {
            return Some(now);
        };
        let turn = self.free_at.map_or(now, |free_at| free_at.max(now));
        if turn > now + ImpairedPath::LONGEST_WAIT {
            return None;
        }
        // Far below where the conversion loses anything.
        let takes = Duration::from_secs_f64(len_bytes as f64 / f64::from(bytes_per_second));
        self.free_at = Some(turn + takes);
        self.free_at
    }

    fn hold(&mut self, now: Instant, late: f64, datagram: Bytes) {
        if self.held.len() == ImpairedPath::MAX_ON_THE_WAY {
            return count(&self.counters.overflowed);
        }
        let Some(through) = self.through(now, datagram.len()) else {
            return count(&self.counters.overflowed);
        };
        let delay = self.impairment.one_way_delay + self.impairment.jitter.mul_f64(late);
        self.taken += 1;
        self.held.push(Reverse(Held {
            due: through + delay,
            number: self.taken,
            datagram,
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::Line;
    use crate::contract::impairment::{ImpairedPath, Impairment, PathStats};

    const DELAY: Duration = Duration::from_millis(10);

    /// The numbers of the datagrams that arrive out of so many sent at once, in their order.
    fn arrivals(impairment: Impairment, seed: u64, sent: u32) -> (Vec<u32>, PathStats) {
        let mut line = Line::new(impairment, seed, Arc::default());
        let now = Instant::now();
        for number in 0..sent {
            line.take(now, Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        let later = now + impairment.one_way_delay + impairment.jitter;
        let arrived = std::iter::from_fn(|| line.next(later))
            .map(|datagram| u32::from_be_bytes(datagram[..].try_into().unwrap()))
            .collect();
        (arrived, line.counters.snapshot())
    }

    fn lossy(loss: f64) -> Impairment {
        Impairment {
            loss,
            ..Impairment::default()
        }
    }

    #[test]
    fn nothing_happens_to_datagrams_by_default() {
        let (arrived, stats) = arrivals(Impairment::default(), 1, 1000);
        assert_eq!(arrived, Vec::from_iter(0..1000));
        assert_eq!(stats, PathStats::default());
    }

    #[test]
    fn loss_is_near_what_was_asked_for() {
        let (arrived, stats) = arrivals(lossy(0.05), 1, 10_000);
        assert!((400..600).contains(&stats.lost), "{}", stats.lost);
        assert_eq!(arrived.len() as u64, 10_000 - stats.lost);
    }

    #[test]
    fn equal_seeds_lose_the_same_datagrams_and_others_do_not() {
        let [one, again, other] = [7, 7, 8].map(|seed| arrivals(lossy(0.1), seed, 1000).0);
        assert_eq!(one, again);
        assert_ne!(one, other);
    }

    #[test]
    fn jitter_does_not_change_which_datagrams_are_lost() {
        let jittery = Impairment {
            jitter: DELAY,
            ..lossy(0.1)
        };
        let (straight, _) = arrivals(lossy(0.1), 7, 1000);
        let (mut mixed, _) = arrivals(jittery, 7, 1000);
        assert_ne!(mixed, straight, "they overtake each other");
        mixed.sort_unstable();
        assert_eq!(mixed, straight);
    }

    #[test]
    fn duplicates_come_beside_their_originals() {
        let impairment = Impairment {
            duplication: 0.5,
            ..Impairment::default()
        };
        let (arrived, stats) = arrivals(impairment, 1, 1000);
        assert_eq!(arrived.len() as u64, 1000 + stats.duplicated);
        assert!((400..600).contains(&stats.duplicated));
    }

    #[test]
    fn nothing_arrives_before_its_time() {
        let impairment = Impairment {
            one_way_delay: DELAY,
            ..Impairment::default()
        };
        let mut line = Line::new(impairment, 1, Arc::default());
        let now = Instant::now();
        line.take(now, Bytes::from_static(b"x"));
        assert_eq!(line.next_due(), Some(now + DELAY));
        assert_eq!(line.next(now + DELAY - Duration::from_nanos(1)), None);
        assert!(line.next(now + DELAY).is_some());
    }

    #[test]
    fn a_slow_line_takes_its_time_for_each_byte_and_drops_what_would_wait_for_too_long() {
        let impairment = Impairment {
            bytes_per_second: Some(1000),
            ..Impairment::default()
        };
        let mut line = Line::new(impairment, 1, Arc::default());
        let now = Instant::now();
        for _ in 0..10 {
            line.take(now, Bytes::from_static(&[0; 100]));
        }
        let due = Duration::from_millis(100);
        assert_eq!(line.next(now + due / 2), None);
        assert!(line.next(now + due).is_some());
        assert_eq!(line.next_due(), Some(now + due * 2));
        let held = std::iter::from_fn(|| line.next(now + due * 20)).count();
        assert_eq!((held, line.counters.snapshot().overflowed), (5, 4));
        line.take(now + due * 20, Bytes::from_static(&[0; 100]));
        assert_eq!(line.next_due(), Some(now + due * 21), "nothing is saved up");
    }

    #[test]
    fn a_full_line_drops_and_counts() {
        let most = u32::try_from(ImpairedPath::MAX_ON_THE_WAY).unwrap();
        let (arrived, stats) = arrivals(Impairment::default(), 1, most + 3);
        assert_eq!(arrived, Vec::from_iter(0..most));
        assert_eq!(stats.overflowed, 3);
    }
}
