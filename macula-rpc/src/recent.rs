//! How often something happened lately, counted by the second.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How often something happened within the last [`WINDOW`](Self::WINDOW).
///
/// Takes no more memory however often that was, and no lock. Pure: `now` is an argument. Seconds
/// are whole, counted from the first time: what is nine seconds old counts, what is ten does not.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// When its first second began; none before anything happened.
    began: OnceLock<Instant>,
    /// Each is one of the last seconds, whichever it was used for last.
    slots: [Slot; SECONDS],
}

/// Which second is counted, in the upper half, and how often it happened then, in the lower one.
#[derive(Debug, Default)]
struct Slot(AtomicU64);

impl Recent {
    /// How long something is remembered.
    pub(crate) const WINDOW: Duration = Duration::from_secs(10);

    /// It happened.
    pub(crate) fn add(&self, now: Instant) {
        let began = *self.began.get_or_init(|| now);
        let second = second_of(began, now);
        self.slots[second as usize % SECONDS].add(second);
    }

    /// How often it did.
    pub(crate) fn count(&self, now: Instant) -> u64 {
        let Some(began) = self.began.get() else {
            return 0;
        };
        let second = second_of(*began, now);
        self.slots.iter().map(|slot| slot.count_at(second)).sum()
    }
}

impl Slot {
    fn add(&self, second: u32) {
        let mut seen = self.0.load(Ordering::Relaxed);
        // In a later second it begins anew. An earlier one than it has counts as that: time went
        // back, or somebody else was quicker.
        while second_in(seen) < second {
            let first = u64::from(second) << u32::BITS | 1;
            let begun =
                self.0
                    .compare_exchange_weak(seen, first, Ordering::Relaxed, Ordering::Relaxed);
            match begun {
                Ok(_) => return,
                Err(found) => seen = found,
            }
        }
        // Nothing happens four thousand million times a second.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count_at(&self, second: u32) -> u64 {
        let seen = self.0.load(Ordering::Relaxed);
        let age = second.saturating_sub(second_in(seen));
        match (age as usize) < SECONDS {
            true => seen & u64::from(u32::MAX),
            false => 0,
        }
    }
}

fn second_of(began: Instant, now: Instant) -> u32 {
    let seconds = now.saturating_duration_since(began).as_secs();
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn second_in(slot: u64) -> u32 {
    (slot >> u32::BITS) as u32
}

const SECONDS: usize = Recent::WINDOW.as_secs() as usize;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_what_happened_in_the_last_ten_seconds(
            steps in prop::collection::vec(0_u64..4_000, 1..200),
        ) {
            let (mut now, recent, mut all) = (Instant::now(), Recent::default(), Vec::new());
            for millis in steps {
                now += Duration::from_millis(millis);
                recent.add(now);
                all.push(now);
                // Seconds are whole: what is nine seconds old counts, what is ten does not.
                let within = |secs| {
                    let is_within = |at: &&Instant| now.duration_since(**at) < Duration::from_secs(secs);
                    all.iter().filter(is_within).count() as u64
                };
                let counted = recent.count(now);
                prop_assert!(within(9) <= counted && counted <= within(10));
            }
        }
    }

    #[test]
    fn silence_empties_it() {
        let now = Instant::now();
        let recent = Recent::default();
        assert_eq!(recent.count(now), 0);
        recent.add(now);
        assert_eq!(recent.count(now + Duration::from_secs(9)), 1);
        assert_eq!(recent.count(now + Recent::WINDOW), 0);
        let later = now + Duration::from_secs(5_000_000);
        recent.add(later);
        assert_eq!(recent.count(later), 1);
    }

    #[test]
    fn time_that_goes_back_loses_nothing() {
        let now = Instant::now();
        let recent = Recent::default();
        for secs in [0, 100, 99, 0] {
            recent.add(now + Duration::from_secs(secs));
        }
        let first_is_old = 3;
        assert_eq!(recent.count(now + Duration::from_secs(100)), first_is_old);
        assert_eq!(recent.count(now), first_is_old);
    }

    #[test]
    fn threads_that_count_at_once_lose_nothing() {
        let now = Instant::now();
        let recent = Recent::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| recent.add(now)));
            }
        });
        assert_eq!(recent.count(now), 40_000);
    }
}
