//! What a hit of the discovery cache costs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use macula_core::{Provider, ServiceName};
use macula_registry::{RegistryConfig, ResolveOptions};
use tokio::time::Instant;

use super::EXPONENT;
use crate::figure::Unit;
use crate::fixture::{Directory, wall_clock};
use crate::measurement::{Clock, Measurement};
use crate::session::Session;
use crate::statistics::{Estimate, Goal};
use crate::zipf::Zipf;

pub(super) const MEASUREMENTS: &[Measurement] = &[Measurement {
    name: "hit of the discovery cache, over DashMap get and clone",
    unit: Unit::Ratio,
    goal: Goal::AtMost(3.0),
    clock: Clock::Real,
    run: hit_time,
}];

/// Names that hits are spread over.
const NAMES: u32 = 10_000;

/// Hits per side of a pair.
const HITS: usize = 100_000;

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
        let directory = Directory::start(NAMES, wall_clock(), config).await?;
        let found = directory.warm().await?;
        let names = directory.names().iter().cloned();
        let mut zipf = Zipf::new(NAMES, EXPONENT, SEED);
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
