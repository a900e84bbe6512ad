//! Calls: what a warm one costs, and what becomes of them when providers are slow, full, dead, or
//! all of them gone.

use crate::measurement::Measurement;

pub mod failover_overhead;
mod local;
pub mod outage;
pub mod selection;
mod warm;

/// What is measured of macula-rpc.
pub(super) const MEASUREMENTS: &[&[Measurement]] = &[
    warm::MEASUREMENTS,
    local::MEASUREMENTS,
    failover_overhead::MEASUREMENTS,
    selection::MEASUREMENTS,
    outage::MEASUREMENTS,
];
