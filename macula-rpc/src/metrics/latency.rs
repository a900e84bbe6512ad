//! How long things take: a histogram that many write to at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use histogram::{AtomicHistogram, Config};
use serde::{Deserialize, Serialize};

/// How long something took, each time: in nanoseconds, in buckets none of which is wider than an
/// eighth of what it begins at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Latency {
    /// How many times.
    pub count: u64,
    /// All of them together.
    pub sum_nanos: u64,
    /// The longest.
    pub max_nanos: u64,
    /// Half of them took at most so long; zero while there are none.
    pub p50_nanos: u64,
    /// Nine in ten took at most so long.
    pub p90_nanos: u64,
    /// 99 in a hundred took at most so long.
    pub p99_nanos: u64,
    /// Those that are not empty, the shortest times first.
    pub buckets: Vec<Bucket>,
}

/// How many took longer than those of the bucket before, and at most so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// The longest time that is counted here. That of the last bucket there can be, about two
    /// minutes, stands for all that is longer.
    pub at_most_nanos: u64,
    /// How many.
    pub count: u64,
}

impl Latency {
    fn of(buckets: Vec<Bucket>, sum_nanos: u64, max_nanos: u64) -> Self {
        let mut latency = Self {
            count: buckets.iter().map(|bucket| bucket.count).sum(),
            sum_nanos,
            max_nanos,
            buckets,
            ..Self::default()
        };
        latency.p50_nanos = latency.quantile_nanos(0.50);
        latency.p90_nanos = latency.quantile_nanos(0.90);
        latency.p99_nanos = latency.quantile_nanos(0.99);
        latency
    }

    /// How long that share of them, 0 to 1, took at most: no less than the truth, and by no more
    /// than the width of a bucket. Zero while there are none.
    pub fn quantile_nanos(&self, share: f64) -> u64 {
        let wanted = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut counted = 0;
        let reached = self.buckets.iter().find(|bucket| {
            counted += bucket.count;
            counted >= wanted
        });
        reached.map_or(0, |bucket| bucket.at_most_nanos.min(self.max_nanos))
    }
}

/// Several of them on their way to one.
pub(super) struct Merging {
    /// By the longest time of their bucket.
    counts: BTreeMap<u64, u64>,
    sum_nanos: u64,
    max_nanos: u64,
}

impl Merging {
    pub(super) fn of(first: &Latency) -> Self {
        let mut merging = Self {
            counts: BTreeMap::new(),
            sum_nanos: 0,
            max_nanos: 0,
        };
        merging.add(first);
        merging
    }

    pub(super) fn add(&mut self, other: &Latency) {
        for bucket in &other.buckets {
            *self.counts.entry(bucket.at_most_nanos).or_default() += bucket.count;
        }
        self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos);
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }

    /// All together.
    pub(super) fn merged(self) -> Latency {
        let buckets = self.counts.into_iter().map(Bucket::from);
        Latency::of(buckets.collect(), self.sum_nanos, self.max_nanos)
    }
}

impl From<(u64, u64)> for Bucket {
    fn from((at_most_nanos, count): (u64, u64)) -> Self {
        Self {
            at_most_nanos,
            count,
        }
    }
}

/// Where times are counted.
#[derive(Debug)]
pub(super) struct LatencyMeter {
    buckets: AtomicHistogram,
    sum_nanos: AtomicU64,
    max_nanos: AtomicU64,
}

impl Default for LatencyMeter {
    fn default() -> Self {
        Self {
            buckets: AtomicHistogram::with_config(&CONFIG),
            sum_nanos: AtomicU64::default(),
            max_nanos: AtomicU64::default(),
        }
    }
}

impl LatencyMeter {
    pub(super) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.add(nanos, 1);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
        // Rarely a new one: reading costs less than writing.
        if nanos > self.max_nanos.load(Ordering::Relaxed) {
            self.max_nanos.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// Takes over what another one has counted.
    pub(super) fn absorb(&self, other: &Self) {
        let other = other.stats();
        for bucket in &other.buckets {
            self.add(bucket.at_most_nanos, bucket.count);
        }
        self.sum_nanos.fetch_add(other.sum_nanos, Ordering::Relaxed);
        self.max_nanos.fetch_max(other.max_nanos, Ordering::Relaxed);
    }

    fn add(&self, nanos: u64, count: u64) {
        // It fails for values that have no bucket, and all up to this one have.
        let _ = self.buckets.add(nanos.min(MAX_NANOS), count);
    }

    pub(super) fn stats(&self) -> Latency {
        let loaded = self.buckets.load();
        let buckets = loaded.into_iter().filter(|bucket| bucket.count() > 0);
        let buckets = buckets.map(|bucket| Bucket::from((bucket.end(), bucket.count())));
        let sum_nanos = self.sum_nanos.load(Ordering::Relaxed);
        let max_nanos = self.max_nanos.load(Ordering::Relaxed);
        Latency::of(buckets.collect(), sum_nanos, max_nanos)
    }
}

/// Each power of two has two to the power of so many buckets.
const GROUPING_POWER: u8 = 3;

/// Two to the power of so many nanoseconds is the end of the last bucket: 137 s.
const MAX_VALUE_POWER: u8 = 37;

const MAX_NANOS: u64 = (1 << MAX_VALUE_POWER) - 1;

const CONFIG: Config = match Config::new(GROUPING_POWER, MAX_VALUE_POWER) {
    Ok(config) => config,
    Err(_) => panic!("there is no such histogram"),
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meter(nanos: &[u64]) -> LatencyMeter {
        let meter = LatencyMeter::default();
        for nanos in nanos {
            meter.record(Duration::from_nanos(*nanos));
        }
        meter
    }

    #[test]
    fn nothing_takes_no_time() {
        assert_eq!(meter(&[]).stats(), Latency::default());
    }

    #[test]
    fn what_takes_longer_than_the_last_bucket_is_counted_there() {
        let hour = Duration::from_secs(60 * 60);
        let meter = LatencyMeter::default();
        meter.record(hour);
        meter.record(Duration::MAX);
        let stats = meter.stats();
        assert_eq!(stats.count, 2);
        assert_eq!(stats.buckets, [Bucket::from((MAX_NANOS, 2))]);
        assert_eq!(stats.max_nanos, u64::MAX);
    }

    #[test]
    fn a_histogram_takes_less_than_three_kibibytes() {
        assert!(CONFIG.total_buckets() * size_of::<u64>() < 3 * 1024);
    }

    /// Times of all magnitudes.
    fn times() -> impl Strategy<Value = Vec<u64>> {
        let time = (0_u32..37, any::<u64>()).prop_map(|(bits, any)| any >> (63 - bits));
        prop::collection::vec(time, 1..200)
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_times_to_an_eighth(
            mut nanos in times(), share in 0.0..=1.0_f64,
        ) {
            let stats = meter(&nanos).stats();
            nanos.sort_unstable();
            prop_assert_eq!(stats.count, nanos.len() as u64);
            prop_assert_eq!(stats.sum_nanos, nanos.iter().sum::<u64>());
            prop_assert_eq!(stats.max_nanos, nanos[nanos.len() - 1]);
            let rank = (share * nanos.len() as f64).ceil().max(1.0) as usize;
            let exact = nanos[rank - 1];
            let told = stats.quantile_nanos(share);
            prop_assert!(told >= exact, "{told} for {exact}");
            prop_assert!(told <= exact + exact / 8, "{told} for {exact}");
        }

        #[test]
        fn what_is_absorbed_or_merged_is_as_if_it_had_been_counted_here(
            one in times(), other in times(),
        ) {
            let all = meter(&[&one[..], &other[..]].concat()).stats();
            let (one, other) = (meter(&one), meter(&other));
            let mut merging = Merging::of(&one.stats());
            merging.add(&other.stats());
            prop_assert_eq!(&merging.merged(), &all);
            one.absorb(&other);
            prop_assert_eq!(one.stats(), all);
        }
    }
}
