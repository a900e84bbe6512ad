//! The discovery cache: what a hit costs, and how many calls hit.

use std::time::Duration;

use anyhow::Context;
use macula_registry::RegistryConfig;
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::figure::Unit;
use crate::fixture::{Directory, virtual_clock};
use crate::measurement::{Clock, Measurement};
use crate::session::Session;
use crate::statistics::{Estimate, Goal};
use crate::zipf::Zipf;

mod hit;

pub use hit::HitBench;

/// What is measured of macula-registry.
pub(super) const MEASUREMENTS: &[&[Measurement]] = &[hit::MEASUREMENTS, HIT_RATE];

const HIT_RATE: &[Measurement] = &[Measurement {
    name: "hits, fresh and stale, among Zipf(0.9) calls at 1000/s (seeded, virtual time)",
    unit: Unit::Share,
    goal: Goal::AtLeast(0.99),
    clock: Clock::Virtual,
    run: hit_rate,
}];

/// Exponent of the calls' distribution over the names.
pub const EXPONENT: f64 = 0.9;

/// Names called when hits are counted.
const NAMES: u32 = 1_000;

/// The same in a full session.
const FULL_NAMES: u32 = 10_000;

/// Virtual seconds of calls before hits are counted: each name's first call has to miss.
const WARM_UP_SECONDS: u32 = 60;

/// Virtual seconds of calls that are counted.
const SECONDS: u32 = 120;

/// The same two in a full session.
const FULL_WARM_UP_SECONDS: u32 = 300;
const FULL_SECONDS: u32 = 600;

const CALLS_PER_SECOND: u32 = 1_000;

const SEED: u64 = 1;

fn hit_rate(session: &Session) -> anyhow::Result<Estimate> {
    let (names, warm_up, seconds) = if session.is_full() {
        (FULL_NAMES, FULL_WARM_UP_SECONDS, FULL_SECONDS)
    } else {
        (NAMES, WARM_UP_SECONDS, SECONDS)
    };
    let counted = zipf_hits(names, warm_up, seconds)?;
    Estimate::of_share(counted.hits, counted.calls).context("no call was made")
}

/// How many calls were counted, and how many of them the cache answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Calls after the warm-up.
    pub calls: u64,
    /// Those answered from the cache, fresh or stale.
    pub hits: u64,
}

/// Calls names by a Zipf distribution in virtual time, and counts the cache's hits.
///
/// # Errors
/// When a name is not found.
pub fn zipf_hits(names: u32, warm_up_seconds: u32, seconds: u32) -> anyhow::Result<Counted> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    runtime.block_on(async {
        let config = RegistryConfig::default();
        let directory = Directory::start(names, virtual_clock(), config).await?;
        let mut zipf = Zipf::new(names, EXPONENT, SEED);
        let mut counted = Counted { calls: 0, hits: 0 };
        let warm_up = u64::from(warm_up_seconds * CALLS_PER_SECOND);
        let all = warm_up + u64::from(seconds * CALLS_PER_SECOND);
        for call in 0..all {
            sleep(Duration::from_secs(1) / CALLS_PER_SECOND).await;
            let hit = directory.hit(zipf.draw()).await?;
            if call >= warm_up {
                counted.calls += 1;
                counted.hits += u64::from(hit);
            }
        }
        Ok(counted)
    })
}

#[cfg(test)]
mod tests {
    use super::zipf_hits;

    #[test]
    fn equal_seeds_count_equal_hits() {
        let one = zipf_hits(50, 5, 10).unwrap();
        assert_eq!(one, zipf_hits(50, 5, 10).unwrap());
        assert_eq!(one.calls, 10_000);
        assert!(one.hits > 9_000, "{one:?}");
    }
}
