//! What a handful of paired runs says about a figure.
//!
//! Intervals of medians come from order statistics: the ranks at which the binomial distribution
//! leaves at most [`TAIL`] outside on either side. They assume nothing about the distribution of
//! the samples and draw no random numbers. Intervals of shares are Wilson's. What is read off the
//! samples of all runs together, as a tail is, has an interval by bootstrap: runs are drawn as
//! blocks, for the samples of one depend on each other, and from a fixed seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[cfg(test)]
mod tests;

/// The probability left outside an interval on each side: intervals are of 90 %.
pub const TAIL: f64 = 0.05;

/// The standard normal quantile that leaves [`TAIL`] above it.
const TAIL_QUANTILE: f64 = 1.644_853_626_951_472_6;

/// How often blocks are drawn.
const RESAMPLES: usize = 1000;

/// What is left outside of them on each side: [`TAIL`].
const OUTSIDE: usize = RESAMPLES / 20;

/// With fewer blocks the draws say too little of how they differ.
const MIN_BLOCKS: usize = 5;

const BOOTSTRAP_SEED: u64 = 0xb007;

/// A measured value with the interval that holds the true one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// What was measured.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// The median of samples; `None` for too few of them to bound it, or one that is no number.
    pub fn of_median(samples: &[f64]) -> Option<Self> {
        if samples.iter().any(|sample| !sample.is_finite()) {
            return None;
        }
        let outside = ranks_outside(samples.len())?;
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            value: middle(&sorted),
            low: sorted[outside],
            high: sorted[sorted.len() - 1 - outside],
        })
    }

    /// What a statistic gives for so many blocks together, each of them given by its index; `None`
    /// for too few blocks, or when it gives no number.
    ///
    /// The percentile bootstrap: the ends leave [`TAIL`] of what it gives for as many blocks drawn
    /// at random, with replacement, on either side.
    pub fn bootstrapped(blocks: usize, statistic: impl Fn(&[usize]) -> f64) -> Option<Self> {
        if blocks < MIN_BLOCKS {
            return None;
        }
        let mut drawn: Vec<usize> = (0..blocks).collect();
        let value = statistic(&drawn);
        let mut rng = StdRng::seed_from_u64(BOOTSTRAP_SEED);
        let mut redrawn: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                drawn.fill_with(|| rng.random_range(0..blocks));
                statistic(&drawn)
            })
            .collect();
        if !value.is_finite() || redrawn.iter().any(|drawn| !drawn.is_finite()) {
            return None;
        }
        redrawn.sort_by(f64::total_cmp);
        Some(Self {
            value,
            low: redrawn[OUTSIDE],
            high: redrawn[RESAMPLES - 1 - OUTSIDE],
        })
    }

    /// What comes out the same every time.
    pub fn exact(value: f64) -> Self {
        Self {
            value,
            low: value,
            high: value,
        }
    }

    /// The share of successes; `None` without trials.
    ///
    /// Wilson's score interval, which treats the trials as independent.
    pub fn of_share(successes: u64, trials: u64) -> Option<Self> {
        if trials == 0 || successes > trials {
            return None;
        }
        let (successes, trials) = (as_f64(successes), as_f64(trials));
        let share = successes / trials;
        let z2 = TAIL_QUANTILE * TAIL_QUANTILE;
        let scale = 1.0 + z2 / trials;
        let centre = (share + z2 / (2.0 * trials)) / scale;
        let spread = (share * (1.0 - share) / trials + z2 / (4.0 * trials * trials)).sqrt();
        let half = TAIL_QUANTILE * spread / scale;
        Some(Self {
            value: share,
            low: (centre - half).max(0.0),
            high: (centre + half).min(1.0),
        })
    }
}

/// What a figure has to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// It is there to be looked at.
    None,
}

impl Goal {
    /// Judges an estimate: only an interval that lies on one side of the goal decides.
    pub fn judge(self, estimate: Estimate) -> Verdict {
        let (met, missed) = match self {
            Self::AtLeast(goal) => (estimate.low >= goal, estimate.high < goal),
            Self::AtMost(goal) => (estimate.high <= goal, estimate.low > goal),
            Self::None => return Verdict::Reported,
        };
        match (met, missed) {
            (true, _) => Verdict::Met,
            (_, true) => Verdict::Missed,
            _ => Verdict::Undecided,
        }
    }
}

/// Whether a goal is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval reaches it.
    Met,
    /// No part of the interval reaches it.
    Missed,
    /// The goal lies inside the interval.
    Undecided,
    /// There is no goal.
    Reported,
}

/// How many samples may be cut off at each end of the sorted ones.
fn ranks_outside(samples: usize) -> Option<usize> {
    let mut outside = None;
    let mut below = 0.0;
    // The chance that exactly `rank` samples lie below the true median.
    let mut chance = 0.5_f64.powi(i32::try_from(samples).ok()?);
    for rank in 0..samples / 2 {
        below += chance;
        if below > TAIL {
            break;
        }
        outside = Some(rank);
        chance *= as_f64(samples - rank) / as_f64(rank + 1);
    }
    outside
}

fn middle(sorted: &[f64]) -> f64 {
    let upper = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[upper]
    } else {
        f64::midpoint(sorted[upper - 1], sorted[upper])
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a measurement are far below 2^53"
)]
fn as_f64(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}
