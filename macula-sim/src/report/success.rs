//! How often something went right, and how sure that is.

use std::fmt;

use serde::Serialize;

use crate::FindFigures;

/// A share of cases, and the interval that the true share is in with 95 % confidence (Wilson).
/// With no case at all nothing is known: the share is zero, the interval everything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Success {
    /// Cases.
    pub cases: usize,
    /// The share of them that went right: 0 to 1.
    pub ratio: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Success {
    pub(crate) fn of(right: usize, cases: usize) -> Self {
        if cases == 0 {
            return Self::default();
        }
        let (right, n) = (right as f64, cases as f64);
        let ratio = right / n;
        let z2 = Z * Z;
        let centre = (ratio + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let spread = Z / (1.0 + z2 / n) * (ratio * (1.0 - ratio) / n + z2 / (4.0 * n * n)).sqrt();
        Self {
            cases,
            ratio,
            low: (centre - spread).max(0.0),
            high: (centre + spread).min(1.0),
        }
    }

    pub(crate) fn of_all(phases: &[FindFigures]) -> Self {
        let right = phases.iter().map(|phase| phase.right).sum();
        Self::of(right, phases.iter().map(|phase| phase.finds).sum())
    }
}

impl Default for Success {
    fn default() -> Self {
        Self {
            cases: 0,
            ratio: 0.0,
            low: 0.0,
            high: 1.0,
        }
    }
}

impl fmt::Display for Success {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ratio, low, high, ..
        } = self;
        let [ratio, low, high] = [ratio, low, high].map(|share| share * 100.0);
        write!(f, "{ratio:.2} % ({low:.2}–{high:.2} %)")
    }
}

/// Standard deviations on either side that 95 % of a normal distribution are within.
const Z: f64 = 1.959_963_985;

#[cfg(test)]
mod tests {
    use super::Success;

    #[test]
    fn interval_is_that_of_wilson() {
        // By hand, and as statistics packages give it.
        for (right, cases, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (0, 10, 0.0, 0.2775),
            (10, 10, 0.7225, 1.0),
            (19_990, 20_000, 0.999_08, 0.999_73),
        ] {
            let success = Success::of(right, cases);
            assert!((success.low - low).abs() < 1e-4, "{success:?}");
            assert!((success.high - high).abs() < 1e-4, "{success:?}");
        }
        assert_eq!(Success::of(0, 0), Success::default());
    }
}
