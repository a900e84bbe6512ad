//! The discovery cache: what a hit costs, and how many calls hit; and what advertising costs.

use crate::measurement::Measurement;

mod hit;
mod hits;
mod refreshes;

pub use hit::HitBench;
pub use hits::{Counted, ZipfCalls, zipf_hits};

/// What is measured of macula-registry.
pub(super) const MEASUREMENTS: &[&[Measurement]] = &[
    hit::MEASUREMENTS,
    hits::MEASUREMENTS,
    refreshes::MEASUREMENTS,
];

/// Exponent of the calls' distribution over the names.
pub const EXPONENT: f64 = 0.9;
