//! Whether a provider is left alone for a while. A pure machine: `now` is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::vitals::DECAY;
use crate::recent::Recent;

/// Whether a provider may be called, by what became of the latest attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// As usual.
    #[default]
    Closed,
    /// Not before its pause is over.
    Open,
    /// One attempt may find out whether it is well again.
    HalfOpen,
}

/// A circuit breaker.
///
/// Opens after [`CONSECUTIVE_FAILURES`], or when less than [`LEAST_SUCCESS_PERCENT`] of at least
/// [`LEAST_OUTCOMES`] of late ([`Recent`]) succeeded. After a pause, [`FIRST_PAUSE`] doubling up to
/// [`LONGEST_PAUSE`], one probe is admitted; if it succeeds all is as before.
///
/// A call that may run only once makes a bad probe: where it fails, it fails for good. It leaves
/// that to others, but not for longer than [`PATIENCE`], or else a service all of whose calls are
/// such would never see a provider again.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    pause: Option<Pause>,
    consecutive_failures: u32,
    succeeded: Recent,
    failed: Recent,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    length: Duration,
    /// When a probe was admitted that has not ended.
    probing_since: Option<Instant>,
}

/// How an attempt was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Usual,
    /// The one attempt that decides about an open breaker.
    Probe,
    /// Against the breaker, for there is nobody else.
    Forced,
}

impl Breaker {
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match &self.pause {
            None => BreakerState::Closed,
            Some(pause) if pause.admits_probe(now) => BreakerState::HalfOpen,
            Some(_) => BreakerState::Open,
        }
    }

    /// The same, as a call sees it that may run only once.
    pub(super) fn state_for_once(&self, now: Instant) -> BreakerState {
        match &self.pause {
            Some(pause) if now < pause.until + PATIENCE => BreakerState::Open,
            _ => self.state(now),
        }
    }

    /// Admits an attempt; `None` when none may be made now.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Admission> {
        let Some(pause) = &mut self.pause else {
            return Some(Admission::Usual);
        };
        if !pause.admits_probe(now) {
            return None;
        }
        pause.probing_since = Some(now);
        Some(Admission::Probe)
    }

    pub(super) fn succeeded(&mut self, now: Instant, admission: Admission) {
        self.succeeded.add(now);
        match (&self.pause, admission) {
            // Begun before the breaker opened, beside those that failed: nothing new.
            (Some(_), Admission::Usual) => {}
            (Some(_), _) => *self = Self::default(),
            (None, _) => self.consecutive_failures = 0,
        }
    }

    pub(super) fn failed(&mut self, now: Instant, admission: Admission) {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.failed.add(now);
        if let Some(pause) = &mut self.pause {
            // What was begun before the breaker opened tells nothing new.
            if admission == Admission::Probe {
                pause.length = (pause.length * 2).min(LONGEST_PAUSE);
                pause.until = now + pause.length;
                pause.probing_since = None;
            }
        } else if self.has_failed_enough(now) {
            self.pause = Some(Pause {
                until: now + FIRST_PAUSE,
                length: FIRST_PAUSE,
                probing_since: None,
            });
        }
    }

    /// An attempt ended without telling anything, as when its caller has gone.
    pub(super) fn said_nothing(&mut self, admission: Admission) {
        if let (Some(pause), Admission::Probe) = (&mut self.pause, admission) {
            pause.probing_since = None;
        }
    }

    fn has_failed_enough(&self, now: Instant) -> bool {
        let succeeded = self.succeeded.count(now);
        let all = succeeded + self.failed.count(now);
        self.consecutive_failures >= CONSECUTIVE_FAILURES
            || (all >= LEAST_OUTCOMES && succeeded * 100 < LEAST_SUCCESS_PERCENT * all)
    }
}

impl Pause {
    fn admits_probe(&self, now: Instant) -> bool {
        let is_probing = self
            .probing_since
            .is_some_and(|since| now < since + LONGEST_PROBE);
        now >= self.until && !is_probing
    }
}

/// Failures in a row that open a breaker.
const CONSECUTIVE_FAILURES: u32 = 5;

/// A breaker opens when fewer of the latest outcomes were successes.
const LEAST_SUCCESS_PERCENT: u64 = 80;

/// So many outcomes say something about a share.
const LEAST_OUTCOMES: u64 = 10;

/// How long a breaker stays open at first, and at most: a provider that is well again has to be
/// found out early enough to have its share after three decay periods.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = DECAY;

/// A probe that has not ended by then no longer keeps others from trying.
const LONGEST_PROBE: Duration = DECAY;

/// For how long a call that may run only once waits for another to be the probe.
const PATIENCE: Duration = DECAY;

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..CONSECUTIVE_FAILURES {
            assert_eq!(breaker.state(now), BreakerState::Closed);
            breaker.failed(now, Admission::Usual);
        }
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        assert_eq!(opened(now).state(now), BreakerState::Open);
        let mut breaker = Breaker::default();
        for at in 0..100 {
            // Every fifth fails, once a second: never ten outcomes and below the share.
            let now = now + Duration::from_secs(at);
            match at % 5 {
                0 => breaker.failed(now, Admission::Usual),
                _ => breaker.succeeded(now, Admission::Usual),
            }
            assert_eq!(breaker.state(now), BreakerState::Closed);
        }
    }

    #[test]
    fn opens_when_too_small_a_share_succeeds() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        let mut outcomes = 0;
        while breaker.state(now) == BreakerState::Closed {
            outcomes += 1;
            match outcomes % 3 {
                0 => breaker.failed(now, Admission::Usual),
                _ => breaker.succeeded(now, Admission::Usual),
            }
        }
        assert_eq!(outcomes, 12, "the first failure after ten outcomes");
    }

    #[test]
    fn a_hundred_callers_get_one_probe_whose_failure_doubles_the_pause() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut pause = FIRST_PAUSE;
        for _ in 0..10 {
            assert_eq!(breaker.admit(now + pause - Duration::from_nanos(1)), None);
            now += pause;
            assert_eq!(breaker.state(now), BreakerState::HalfOpen);
            let admitted: Vec<_> = (0..100).filter_map(|_| breaker.admit(now)).collect();
            assert_eq!(admitted, [Admission::Probe]);
            assert_eq!(breaker.state(now), BreakerState::Open);
            breaker.failed(now, Admission::Probe);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        assert_eq!(pause, LONGEST_PAUSE);
    }

    #[test]
    fn a_call_that_may_run_once_leaves_the_probe_to_others_for_a_while() {
        let now = Instant::now();
        let breaker = opened(now);
        let half_open = now + FIRST_PAUSE;
        assert_eq!(breaker.state(half_open), BreakerState::HalfOpen);
        for wait in [Duration::ZERO, PATIENCE - Duration::from_nanos(1)] {
            let state = breaker.state_for_once(half_open + wait);
            assert_eq!(state, BreakerState::Open);
        }
        let state = breaker.state_for_once(half_open + PATIENCE);
        assert_eq!(state, BreakerState::HalfOpen);
        let closed = Breaker::default();
        assert_eq!(closed.state_for_once(now), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_succeeds_makes_all_as_before() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.admit(later), Some(Admission::Probe));
        breaker.succeeded(later, Admission::Probe);
        assert_eq!(breaker.state(later), BreakerState::Closed);
        for _ in 0..CONSECUTIVE_FAILURES - 1 {
            breaker.failed(later, Admission::Usual);
            assert_eq!(breaker.state(later), BreakerState::Closed);
        }
    }

    #[test]
    fn what_was_begun_before_it_opened_neither_lengthens_the_pause_nor_ends_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        for _ in 0..50 {
            breaker.failed(now, Admission::Usual);
            breaker.succeeded(now, Admission::Usual);
        }
        assert_eq!(breaker.state(now), BreakerState::Open);
        assert_eq!(breaker.state(now + FIRST_PAUSE), BreakerState::HalfOpen);
    }

    #[test]
    fn a_probe_that_says_nothing_leaves_the_next_one_to_another() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + FIRST_PAUSE;
        let admission = breaker.admit(later).unwrap();
        breaker.said_nothing(admission);
        assert_eq!(breaker.admit(later), Some(Admission::Probe));
        assert_eq!(breaker.admit(later + LONGEST_PROBE / 2), None);
        assert_eq!(breaker.admit(later + LONGEST_PROBE), Some(Admission::Probe));
    }

    #[test]
    fn two_months_idle_or_time_going_back_wedge_nothing() {
        let now = Instant::now() + Duration::from_secs(60 * 24 * 60 * 60);
        let mut breaker = opened(now);
        let back = now - Duration::from_secs(60 * 24 * 60 * 60);
        assert_eq!(breaker.state(back), BreakerState::Open);
        breaker.failed(back, Admission::Usual);
        breaker.succeeded(back, Admission::Forced);
        assert_eq!(breaker.state(back), BreakerState::Closed);
        let far = now + Duration::from_secs(60 * 24 * 60 * 60);
        for _ in 0..CONSECUTIVE_FAILURES {
            breaker.failed(far, Admission::Usual);
        }
        assert_eq!(breaker.state(far + FIRST_PAUSE), BreakerState::HalfOpen);
    }
}
