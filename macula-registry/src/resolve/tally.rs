//! Counts of what happens on many threads at once.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a resolve came to before anybody had to wait. Each is exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// This node provides the service.
    Local,
    /// From a fresh entry.
    Hit,
    /// From a stale entry.
    StaleHit,
    /// "Nobody", from the cache.
    NegativeHit,
    /// The network has to be asked.
    Miss,
}

/// Counts each kind. Threads count in different cache lines, so that no hit waits for another's.
#[derive(Debug, Default)]
pub(super) struct Tally {
    stripes: [Stripe; STRIPES],
}

/// As wide as the pair of cache lines that processors fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; KINDS]);

impl Tally {
    pub(super) fn count(&self, kind: Kind) {
        self.stripes[stripe()].0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn of(&self, kind: Kind) -> u64 {
        let counts = self.stripes.iter().map(|stripe| &stripe.0[kind as usize]);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// Where the current thread counts.
fn stripe() -> usize {
    STRIPE.with(|stripe| {
        if stripe.get() == UNKNOWN {
            stripe.set(NEXT_STRIPE.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        stripe.get()
    })
}

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(UNKNOWN) };
}

static NEXT_STRIPE: AtomicUsize = AtomicUsize::new(0);

const UNKNOWN: usize = usize::MAX;

/// More threads than this share stripes in turn.
const STRIPES: usize = 16;

const KINDS: usize = Kind::Miss as usize + 1;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let tally = Tally::default();
        thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| (0..1000).for_each(|_| tally.count(Kind::Hit)));
            }
        });
        tally.count(Kind::Miss);
        assert_eq!(tally.of(Kind::Hit), 2 * 1000 * STRIPES as u64);
        assert_eq!((tally.of(Kind::Miss), tally.of(Kind::Local)), (1, 0));
    }
}
