//! When to publish next: a pure machine without clock, task or global randomness.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

/// The due times of one advertisement.
///
/// After a success the next attempt is due max([`MIN_REFRESH`], ttl − [`REFRESH_MARGIN`]) after
/// the start of the one that succeeded, less up to a [`REFRESH_JITTER`]th. For the shortest time
/// to live that a record may have, 15 s, that is two thirds of it, so every record is refreshed
/// before it expires. After a failure the wait doubles up to a maximum, never beyond the refresh
/// interval, less up to half of it.
#[derive(Debug)]
pub(crate) struct Schedule {
    refresh: Duration,
    retry_first: Duration,
    retry_max: Duration,
    failures: u32,
    rng: StdRng,
}

/// One attempt to publish.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) started_at: Instant,
    pub(crate) ended_at: Instant,
    pub(crate) succeeded: bool,
}

impl Schedule {
    pub(crate) fn new(ttl: Duration, retry: (Duration, Duration), seed: u64) -> Self {
        let refresh = refresh_interval(ttl);
        let (retry_first, retry_max) = retry;
        Self {
            refresh,
            retry_first,
            retry_max: retry_max.min(refresh),
            failures: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// How many attempts failed since the last one that succeeded.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next attempt is due, never before `ended_at`.
    pub(crate) fn after(&mut self, attempt: Attempt) -> Instant {
        if attempt.succeeded {
            self.failures = 0;
            let due =
                attempt.started_at + self.refresh - self.jitter(self.refresh / REFRESH_JITTER);
            due.max(attempt.ended_at)
        } else {
            let wait = back_off(self.retry_first, self.retry_max, self.failures);
            self.failures = self.failures.saturating_add(1);
            attempt.ended_at + wait - self.jitter(wait / 2)
        }
    }

    fn jitter(&mut self, most: Duration) -> Duration {
        self.rng.random_range(Duration::ZERO..=most)
    }
}

/// The longest time from one publishing to the next.
fn refresh_interval(ttl: Duration) -> Duration {
    ttl.saturating_sub(REFRESH_MARGIN).max(MIN_REFRESH)
}

/// The wait after so many earlier failures: doubles from `first`, up to `max`.
pub(crate) fn back_off(first: Duration, max: Duration, failures: u32) -> Duration {
    let factor = 1u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(max)
}

/// How long before its record expires a refresh is due at the latest, if the record lives so long.
const REFRESH_MARGIN: Duration = Duration::from_secs(60);

/// The shortest interval between refreshes, jitter aside.
const MIN_REFRESH: Duration = Duration::from_secs(10);

/// Refreshes come earlier by up to one part in so many of their interval.
const REFRESH_JITTER: u32 = 10;

#[cfg(test)]
mod tests {
    use macula_core::{MAX_TTL, MIN_TTL};
    use proptest::prelude::*;

    use super::*;

    const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

    fn attempt(started_at: Instant, took: Duration, succeeded: bool) -> Attempt {
        Attempt {
            started_at,
            ended_at: started_at + took,
            succeeded,
        }
    }

    #[test]
    fn default_record_is_refreshed_within_its_fourth_minute() {
        let now = Instant::now();
        let mut schedule = Schedule::new(crate::DEFAULT_TTL, RETRY, 1);
        let due = schedule.after(attempt(now, Duration::ZERO, true)) - now;
        assert!(due >= Duration::from_secs(216) && due <= Duration::from_secs(240));
    }

    #[test]
    fn waits_double_up_to_the_maximum() {
        let waits = (0..8).map(|failures| back_off(RETRY.0, RETRY.1, failures).as_secs());
        assert_eq!(waits.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(back_off(RETRY.0, RETRY.1, u32::MAX), RETRY.1);
    }

    proptest! {
        #[test]
        fn refresh_comes_by_its_interval_and_before_the_record_expires(
            ttl_millis in MIN_TTL.as_millis() as u64..=MAX_TTL.as_millis() as u64,
            seed: u64,
        ) {
            let now = Instant::now();
            let ttl = Duration::from_millis(ttl_millis);
            let longest = MIN_REFRESH.max(ttl.saturating_sub(REFRESH_MARGIN));
            let mut schedule = Schedule::new(ttl, RETRY, seed);
            for _ in 0..20 {
                let due = schedule.after(attempt(now, Duration::ZERO, true)) - now;
                prop_assert!(due <= longest && due >= longest * 9 / 10);
                prop_assert!(due + Duration::from_secs(5) <= ttl);
            }
        }

        #[test]
        fn attempts_are_never_due_in_the_past_and_retries_stay_between_half_and_whole(
            ttl_secs in prop_oneof![15u64..=80, 15u64..=86_400],
            outcomes in prop::collection::vec((any::<bool>(), 0u64..20_000), 1..60),
            seed: u64,
        ) {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(Duration::from_secs(ttl_secs), RETRY, seed);
            let mut twin = Schedule::new(Duration::from_secs(ttl_secs), RETRY, seed);
            let mut failures = 0;
            for (succeeded, took_millis) in outcomes {
                let attempt = attempt(now, Duration::from_millis(took_millis), succeeded);
                let due = schedule.after(attempt);
                prop_assert_eq!(due, twin.after(attempt));
                prop_assert!(due >= attempt.ended_at);
                if succeeded {
                    failures = 0;
                } else {
                    let whole = (1u64 << failures.min(10)).min(30);
                    let whole = Duration::from_secs(whole).min(refresh_interval(Duration::from_secs(ttl_secs)));
                    let wait = due - attempt.ended_at;
                    prop_assert!(wait <= whole && wait >= whole / 2);
                    failures += 1;
                }
                prop_assert_eq!(schedule.failures(), failures);
                now = due;
            }
        }
    }
}
