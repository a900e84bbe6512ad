//! How numbers are spread.

use std::fmt;

use serde::Serialize;

/// How a number is spread over many cases; zeros when there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: u64,
    /// 95 % are not greater.
    pub p95: u64,
    /// 99 % are not greater.
    pub p99: u64,
    /// The greatest.
    pub max: u64,
}

impl Spread {
    pub(crate) fn of(mut numbers: Vec<u64>) -> Self {
        numbers.sort_unstable();
        let (Some(&min), Some(&max)) = (numbers.first(), numbers.last()) else {
            return Self::default();
        };
        let percentile = |percent: usize| {
            let rank = (numbers.len() * percent).div_ceil(100);
            numbers[rank.saturating_sub(1)]
        };
        Self {
            min,
            mean: numbers.iter().sum::<u64>() as f64 / numbers.len() as f64,
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            max,
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            mean,
            p50,
            p95,
            max,
            ..
        } = self;
        write!(f, "{mean:.1} (p50 {p50}, p95 {p95}, max {max})")
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let spread = Spread::of((1..=200).rev().collect());
        let expected = Spread {
            min: 1,
            mean: 100.5,
            p50: 100,
            p95: 190,
            p99: 198,
            max: 200,
        };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of(vec![7]).p99, 7);
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }
}
