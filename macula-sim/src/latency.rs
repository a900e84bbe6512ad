//! How long a message takes.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::SimError;

/// One-way delays: a fixed one per pair of nodes, and jitter per message.
///
/// Messages may overtake each other by as much as the jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The delay between the two nodes closest to each other.
    pub min: Duration,
    /// The delay between the two furthest apart.
    pub max: Duration,
    /// The most that chance adds to one message.
    pub jitter: Duration,
}

impl Latency {
    pub(crate) fn check(&self) -> Result<(), SimError> {
        if self.min > self.max {
            return Err(SimError::LatencyRange);
        }
        Ok(())
    }

    /// The delay of one message. The pair's part is computed rather than kept: a table of all
    /// pairs would outgrow everything else.
    pub(crate) fn draw(&self, seed: u64, pair: (usize, usize), rng: &mut StdRng) -> Duration {
        let (low, high) = (pair.0.min(pair.1) as u64, pair.0.max(pair.1) as u64);
        let hash = mix(mix(mix(seed).wrapping_add(low)).wrapping_add(high));
        self.min + below(self.max - self.min, hash) + below(self.jitter, rng.random())
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(5),
            max: Duration::from_millis(120),
            jitter: Duration::from_millis(10),
        }
    }
}

/// A duration up to `limit`, from a number that may be any.
fn below(limit: Duration, number: u64) -> Duration {
    let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(match nanos.checked_add(1) {
        Some(values) => number % values,
        None => number,
    })
}

/// The finaliser of SplitMix64: equal inputs give equal outputs, similar ones do not.
pub(crate) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn delays_stay_in_range_and_belong_to_the_pair() {
        let latency = Latency::default();
        let steady = Latency {
            jitter: Duration::ZERO,
            ..latency
        };
        let mut rng = StdRng::seed_from_u64(1);
        let mut distinct = std::collections::BTreeSet::new();
        for pair in (0..40).flat_map(|a| (0..40).map(move |b| (a, b))) {
            let delay = latency.draw(7, pair, &mut rng);
            assert!(delay >= latency.min && delay <= latency.max + latency.jitter);
            let there = steady.draw(7, pair, &mut rng);
            assert_eq!(there, steady.draw(7, (pair.1, pair.0), &mut rng));
            distinct.insert(there);
        }
        assert!(distinct.len() > 700, "only {} delays", distinct.len());
    }
}
