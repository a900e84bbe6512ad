//! Lots that many threads draw at once.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Gives every draw a generator of its own; the same seed gives the same ones in the same order.
///
/// Without a lock, which all calls of a node would take: a draw takes a number, and its generator
/// is seeded with that.
#[derive(Debug)]
pub(super) struct Draws(AtomicU64);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        // So that the numbers of neighbouring seeds are far apart.
        Self(AtomicU64::new(SmallRng::seed_from_u64(seed).next_u64()))
    }

    pub(super) fn next(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.0.fetch_add(1, Ordering::Relaxed))
    }
}
