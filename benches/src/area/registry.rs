//! The discovery cache: what a hit costs, and how many calls hit.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use dashmap::DashMap;
use macula_core::{Provider, ServiceName};
use macula_registry::{RegistryConfig, ResolveOptions};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

use crate::figure::Unit;
use crate::fixture::{Directory, virtual_clock, wall_clock};
use crate::measurement::{Clock, Measurement};
use crate::session::Session;
use crate::statistics::{Estimate, Goal};
use crate::zipf::Zipf;

/// What is measured of macula-registry.
pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "hit of the discovery cache, over DashMap get and clone",
        unit: Unit::Ratio,
        goal: Goal::AtMost(3.0),
        clock: Clock::Real,
        run: hit_time,
    },
    Measurement {
        name: "hits, fresh and stale, among Zipf(0.9) calls at 1000/s (seeded, virtual time)",
        unit: Unit::Share,
        goal: Goal::AtLeast(0.99),
        clock: Clock::Virtual,
        run: hit_rate,
    },
];

/// Exponent of the calls' distribution over the names.
pub const EXPONENT: f64 = 0.9;

/// Names that hits are spread over.
const HIT_NAMES: u32 = 10_000;

/// Hits per side of a pair.
const HITS: usize = 100_000;

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

/// Names that are cached for as long as anybody measures, and the order in which they are hit.
pub struct HitBench {
    directory: Directory,
    plain: DashMap<ServiceName, Arc<[Provider]>>,
    ranks: Vec<usize>,
    options: ResolveOptions,
}

impl HitBench {
    /// Advertises and resolves the names.
    ///
    /// # Errors
    /// When one cannot be advertised or resolved.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws what was advertised.
    pub async fn start() -> anyhow::Result<Self> {
        let config = RegistryConfig {
            cache_fresh: Duration::from_secs(60 * 60),
            ..RegistryConfig::default()
        };
        let directory = Directory::start(HIT_NAMES, wall_clock(), config).await?;
        let found = directory.warm().await?;
        let names = directory.names().iter().cloned();
        let mut zipf = Zipf::new(HIT_NAMES, EXPONENT, SEED);
        Ok(Self {
            plain: names.zip(found).collect(),
            ranks: (0..HITS).map(|_| zipf.draw()).collect(),
            options: ResolveOptions::default(),
            directory,
        })
    }

    /// The order in which the names are hit.
    pub fn ranks(&self) -> &[usize] {
        &self.ranks
    }

    /// One hit of the discovery cache; says whether it was one.
    pub fn hit(&self, rank: usize) -> bool {
        let name = &self.directory.names()[rank];
        let consumer = self.directory.consumer();
        black_box(consumer.resolve_now(name, &self.options)).is_some()
    }

    /// The same of a plain map.
    pub fn plain_hit(&self, rank: usize) -> bool {
        let name = &self.directory.names()[rank];
        let found = self.plain.get(name).map(|entry| Arc::clone(&entry));
        black_box(found).is_some()
    }

    fn time(&self, hit: impl Fn(&Self, usize) -> bool) -> anyhow::Result<f64> {
        let started = Instant::now();
        let hits = self.ranks.iter().filter(|rank| hit(self, **rank)).count();
        let elapsed = started.elapsed().as_secs_f64();
        anyhow::ensure!(hits == self.ranks.len(), "a name is not cached any more");
        Ok(elapsed)
    }
}

fn hit_time(session: &Session) -> anyhow::Result<Estimate> {
    let bench = session.block_on(HitBench::start())?;
    // Inside the runtime, in which a stale hit would start its refresh.
    session.block_on(async {
        session
            .paired(
                || bench.time(HitBench::hit),
                || bench.time(HitBench::plain_hit),
            )?
            .ratio()
    })
}

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
