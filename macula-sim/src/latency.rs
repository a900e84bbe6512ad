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
    pairs: Pairs,
    jitter: Duration,
}

/// The fixed part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pairs {
    /// The same between any two.
    Constant(Duration),
    /// Between the closest two and the furthest two, evenly.
    Between(Duration, Duration),
    /// By the regions that the two are in.
    Regional,
}

impl Latency {
    /// The same delay between any two nodes: half of their round trip.
    pub fn constant(one_way: Duration) -> Self {
        Self {
            pairs: Pairs::Constant(one_way),
            jitter: Duration::ZERO,
        }
    }

    /// Delays drawn evenly between two limits, one per pair.
    pub fn between(min: Duration, max: Duration) -> Self {
        Self {
            pairs: Pairs::Between(min, max),
            jitter: Duration::ZERO,
        }
    }

    /// Nodes all over the world: each in one of six regions, drawn by seed, and delays as they
    /// are measured between such regions, up to a fifth more or less for each pair.
    pub fn regional() -> Self {
        Self {
            pairs: Pairs::Regional,
            jitter: Duration::from_millis(10),
        }
    }

    /// The same delays with so much at most added by chance to each message.
    #[must_use]
    pub fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    pub(crate) fn check(&self) -> Result<(), SimError> {
        match self.pairs {
            Pairs::Between(min, max) if min > max => Err(SimError::LatencyRange),
            _ => Ok(()),
        }
    }

    /// The delay of one message. The pair's part is computed rather than kept: a table of all
    /// pairs would outgrow everything else.
    pub(crate) fn draw(&self, seed: u64, pair: (usize, usize), rng: &mut StdRng) -> Duration {
        let fixed = match self.pairs {
            Pairs::Constant(one_way) => one_way,
            Pairs::Between(min, max) => min + below(max - min, hash_of(seed, pair)),
            Pairs::Regional => regional(seed, pair),
        };
        if self.jitter.is_zero() {
            return fixed;
        }
        fixed + below(self.jitter, rng.random())
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::regional()
    }
}

fn regional(seed: u64, pair: (usize, usize)) -> Duration {
    let millis = ONE_WAY_MILLIS[region(seed, pair.0)][region(seed, pair.1)];
    let typical = Duration::from_millis(millis);
    typical * 4 / 5 + below(typical * 2 / 5, hash_of(seed, pair))
}

/// In which region a node is.
fn region(seed: u64, node: usize) -> usize {
    let mut left = mix(mix(seed ^ REGIONS_APART) ^ node as u64) % 100;
    SHARES_PERCENT
        .iter()
        .position(|share| {
            let is_here = left < *share;
            left = left.saturating_sub(*share);
            is_here
        })
        .unwrap_or(0)
}

/// The same number for both directions.
fn hash_of(seed: u64, pair: (usize, usize)) -> u64 {
    let (low, high) = (pair.0.min(pair.1) as u64, pair.0.max(pair.1) as u64);
    mix(mix(mix(seed).wrapping_add(low)).wrapping_add(high))
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

/// How many of a hundred nodes are in Europe, eastern and western North America, South America,
/// East Asia and Oceania.
const SHARES_PERCENT: [u64; 6] = [35, 20, 10, 8, 22, 5];

/// One-way delays between those regions in milliseconds: half of the round trips that are usual
/// between data centres there, and a little within each.
const ONE_WAY_MILLIS: [[u64; 6]; 6] = [
    [13, 45, 72, 100, 115, 140],
    [45, 10, 33, 60, 85, 100],
    [72, 33, 10, 88, 55, 72],
    [100, 60, 88, 20, 135, 155],
    [115, 85, 55, 135, 25, 60],
    [140, 100, 72, 155, 60, 12],
];

/// Keeps the regions independent of whatever else the seed decides.
const REGIONS_APART: u64 = 0x7265_6769_6f6e;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    fn pairs() -> impl Iterator<Item = (usize, usize)> {
        (0..40).flat_map(|a| (0..40).map(move |b| (a, b)))
    }

    #[test]
    fn delays_stay_in_range_and_belong_to_the_pair() {
        let (min, max) = (Duration::from_millis(5), Duration::from_millis(120));
        let jitter = Duration::from_millis(10);
        let steady = Latency::between(min, max);
        let mut rng = StdRng::seed_from_u64(1);
        let mut distinct = BTreeSet::new();
        for pair in pairs() {
            let delay = steady.with_jitter(jitter).draw(7, pair, &mut rng);
            assert!(delay >= min && delay <= max + jitter);
            let there = steady.draw(7, pair, &mut rng);
            assert_eq!(there, steady.draw(7, (pair.1, pair.0), &mut rng));
            distinct.insert(there);
        }
        assert!(distinct.len() > 700, "only {} delays", distinct.len());
    }

    #[test]
    fn regions_are_as_full_as_their_shares_and_equally_far_both_ways() {
        let mut population = [0_u64; 6];
        for node in 0..10_000 {
            population[region(3, node)] += 1;
        }
        for (nodes, share) in population.into_iter().zip(SHARES_PERCENT) {
            assert!(nodes.abs_diff(share * 100) < 200, "{nodes} of {share} %");
        }
        assert_eq!(SHARES_PERCENT.iter().sum::<u64>(), 100);
        for (a, b) in (0..6).flat_map(|a| (0..6).map(move |b| (a, b))) {
            assert_eq!(ONE_WAY_MILLIS[a][b], ONE_WAY_MILLIS[b][a]);
        }
        for (a, b) in pairs() {
            assert_eq!(regional(3, (a, b)), regional(3, (b, a)));
        }
    }

    #[test]
    fn constant_latency_is_the_same_for_all() {
        let latency = Latency::constant(Duration::from_millis(40));
        let mut rng = StdRng::seed_from_u64(1);
        let delays: BTreeSet<_> = pairs()
            .map(|pair| latency.draw(7, pair, &mut rng))
            .collect();
        assert_eq!(delays, BTreeSet::from([Duration::from_millis(40)]));
    }
}
