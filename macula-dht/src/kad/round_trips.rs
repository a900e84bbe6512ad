//! How long answers take lately, to tell a slow peer from a usual one.

use std::collections::VecDeque;
use std::time::Duration;

/// Round trips of recent answers, whoever gave them.
///
// Invariant: `sorted` holds what `recent` holds.
#[derive(Debug, Clone)]
pub(super) struct RoundTrips {
    /// In microseconds, the oldest first.
    recent: VecDeque<u32>,
    /// In microseconds, the shortest first: kept in order, for it is read at every request.
    sorted: Vec<u32>,
    ceiling: Duration,
}

impl RoundTrips {
    /// `ceiling` is the request timeout: no slot is held longer than half of it.
    pub(super) fn new(ceiling: Duration) -> Self {
        Self {
            recent: VecDeque::new(),
            sorted: Vec::new(),
            ceiling: ceiling / 2,
        }
    }

    pub(super) fn record(&mut self, round_trip: Duration) {
        let micros = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX);
        if self.recent.len() == REMEMBERED
            && let Some(oldest) = self.recent.pop_front()
            && let Ok(position) = self.sorted.binary_search(&oldest)
        {
            self.sorted.remove(position);
        }
        self.recent.push_back(micros);
        let position = self.sorted.partition_point(|known| *known < micros);
        self.sorted.insert(position, micros);
    }

    /// How long a request to a peer may hold its slot: twice the peer's own round trip if that is
    /// known, else the 95th percentile of recent answers and half as much again.
    pub(super) fn slot_timeout(&self, own: Option<Duration>) -> Duration {
        let timeout = match (own, self.p95()) {
            (Some(own), _) => own.saturating_mul(2),
            (None, Some(p95)) => p95 + p95 / 2,
            (None, None) => self.ceiling / 2,
        };
        timeout.max(MIN_SLOT_TIMEOUT).min(self.ceiling)
    }

    fn p95(&self) -> Option<Duration> {
        if self.sorted.len() < MIN_SAMPLES {
            return None;
        }
        let position = (self.sorted.len() - 1) * 95 / 100;
        let micros = self.sorted.get(position)?;
        Some(Duration::from_micros(u64::from(*micros)))
    }
}

/// Answers that the estimate is made from.
const REMEMBERED: usize = 64;

/// Answers before there is an estimate.
const MIN_SAMPLES: usize = 8;

/// Scheduling hiccups on a fast network must not pass for slow peers.
const MIN_SLOT_TIMEOUT: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: Duration = Duration::from_secs(2);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn of(samples: impl IntoIterator<Item = u64>) -> RoundTrips {
        let mut round_trips = RoundTrips::new(CEILING);
        for sample in samples {
            round_trips.record(millis(sample));
        }
        round_trips
    }

    #[test]
    fn without_answers_a_slot_is_held_for_a_quarter_of_the_timeout() {
        assert_eq!(of([]).slot_timeout(None), CEILING / 4);
        assert_eq!(of([100; 7]).slot_timeout(None), CEILING / 4);
    }

    #[test]
    fn a_peer_unknown_is_given_the_95th_percentile_of_recent_answers_and_half_as_much_again() {
        assert_eq!(of([100; 8]).slot_timeout(None), millis(150));
        assert_eq!(of((1..=64).rev()).slot_timeout(None), millis(90));
        // What is too long ago counts no more.
        let recovered = of((0..64).map(|_| 500).chain((0..64).map(|_| 100)));
        assert_eq!(recovered.slot_timeout(None), millis(150));
        assert_eq!(recovered.sorted.len(), REMEMBERED);
    }

    #[test]
    fn a_peer_whose_round_trip_is_known_is_given_twice_that() {
        let round_trips = of([500; 64]);
        assert_eq!(round_trips.slot_timeout(Some(millis(80))), millis(160));
    }

    #[test]
    fn no_slot_is_held_for_less_than_the_floor_or_more_than_half_the_timeout() {
        let round_trips = of([1; 64]);
        assert_eq!(round_trips.slot_timeout(None), MIN_SLOT_TIMEOUT);
        assert_eq!(round_trips.slot_timeout(Some(CEILING)), CEILING / 2);
        let hasty = RoundTrips::new(millis(20));
        assert_eq!(hasty.slot_timeout(None), millis(10));
    }
}
