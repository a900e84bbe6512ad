//! Of two drawn at random, most likely the quicker.

use std::time::Duration;

use rand::RngExt;

use super::draws::Draws;
use super::{ProviderSelector, Selection};
use crate::ProviderHealth;

/// Draws two candidates at random and chooses the one that is likely to answer first.
///
/// What an answer costs is latency × (requests under way + 1), where the latency is the mean of
/// the latest answers, or how long the oldest request has been waiting if that is more; failures
/// weigh heavily. Two, because the best of all would be everybody's choice at the same moment,
/// until it is the worst (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing",
/// 2001). The choice falls by the squares of the costs: who costs twice as much has one in five,
/// who costs twenty times as much one in four hundred. So what differs by chance shares the work,
/// and who was slow is looked at now and then.
#[derive(Debug)]
pub struct LeastLatency {
    draws: Draws,
}

impl LeastLatency {
    /// The same seed draws the same pairs.
    pub fn new(seed: u64) -> Self {
        Self {
            draws: Draws::new(seed),
        }
    }

    /// Two different indices below `count`, which is two at least, and where the choice between
    /// them falls, from 0 to 1.
    fn draw(&self, count: usize) -> (usize, usize, f64) {
        let mut rng = self.draws.next();
        let one = rng.random_range(..count);
        let other = rng.random_range(..count - 1);
        let other = other + usize::from(other >= one);
        (one, other, rng.random_range(0.0..1.0))
    }
}

impl ProviderSelector for LeastLatency {
    fn select(&self, selection: &Selection<'_>) -> Option<usize> {
        let candidates = selection.candidates;
        if candidates.len() <= 1 {
            return candidates.len().checked_sub(1);
        }
        let (one, other, lot) = self.draw(candidates.len());
        let (a, b) = (&candidates[one].health, &candidates[other].health);
        let (cost_of_one, cost_of_other) = (cost(a, b).powi(2), cost(b, a).powi(2));
        Some(match lot * (cost_of_one + cost_of_other) < cost_of_one {
            true => other,
            false => one,
        })
    }
}

/// How long an answer is likely to take. Of whom nothing is known as much is expected as of the
/// other.
fn cost(candidate: &ProviderHealth, other: &ProviderHealth) -> f64 {
    let latency = expected(candidate)
        .or_else(|| expected(other))
        .unwrap_or(UNKNOWN);
    let ahead = candidate.in_flight as f64 + 1.0;
    let failing = candidate.failing * candidate.failing;
    latency.max(LEAST).as_secs_f64() * ahead * (1.0 + FAILURE_WEIGHT * failing)
}

/// A request that waits for longer than usual tells of slowness before its answer does.
fn expected(candidate: &ProviderHealth) -> Option<Duration> {
    candidate.latency.max(candidate.waiting)
}

/// So many times longer an answer is expected to take where everything fails.
const FAILURE_WEIGHT: f64 = 50.0;

/// Whatever is known: what is under way and what fails counts all the same.
const LEAST: Duration = Duration::from_micros(1);

/// What is expected where nothing is known of either.
const UNKNOWN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
