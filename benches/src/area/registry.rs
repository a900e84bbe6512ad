//! The discovery cache: what a hit costs, and how many calls hit; and what advertising costs.

use tokio::runtime::Builder;

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

/// Runs a future where time passes only while everybody waits.
fn on_paused_clock<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    runtime.block_on(future)
}
