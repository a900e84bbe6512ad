//! What a hit of the discovery cache costs, beside the maps that it could stand on.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use dashmap::DashMap;
use macula_core::{Provider, ServiceName};
use macula_registry::{RegistryConfig, ResolveOptions};
use moka::sync::Cache;
use papaya::HashMap;
use tokio::time::Instant;

use super::EXPONENT;
use crate::area::counted_by;
use crate::figure::Unit;
use crate::fixture::{Directory, wall_clock};
use crate::measurement::{Clock, Measurement};
use crate::session::Session;
use crate::statistics::{Estimate, Goal};
use crate::zipf::Zipf;

pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement::ratio(
        "hit of the discovery cache over DashMap get and clone, one thread",
        Goal::AtMost(3.0),
        |session| over_dashmap(session, 1, HitBench::hit),
    ),
    Measurement::ratio("the same, two threads", Goal::AtMost(3.0), |session| {
        over_dashmap(session, 2, HitBench::hit)
    }),
    Measurement {
        name: "allocations in 100,000 hits of the discovery cache",
        unit: Unit::Count,
        goal: Goal::AtMost(0.0),
        clock: Clock::Virtual,
        run: counted_allocations,
    },
    Measurement::ratio(
        "lookup of a local service over DashMap get and clone, one thread",
        Goal::AtMost(3.0),
        |session| over_dashmap(session, 1, HitBench::local_hit),
    ),
    Measurement::ratio(
        "lookup of a local service over DashMap get and clone, two threads",
        Goal::AtMost(3.0),
        |session| over_dashmap(session, 2, HitBench::local_hit),
    ),
    Measurement::ratio(
        "moka get over DashMap get and clone, one thread",
        Goal::None,
        |session| over_dashmap(session, 1, HitBench::moka_hit),
    ),
    Measurement::ratio("the same, two threads", Goal::None, |session| {
        over_dashmap(session, 2, HitBench::moka_hit)
    }),
    Measurement::ratio(
        "papaya get and clone over DashMap get and clone, one thread",
        Goal::None,
        |session| over_dashmap(session, 1, HitBench::papaya_hit),
    ),
    Measurement::ratio("the same, two threads", Goal::None, |session| {
        over_dashmap(session, 2, HitBench::papaya_hit)
    }),
];

/// Names that hits are spread over.
const NAMES: u32 = 10_000;

/// Hits per thread and side of a pair.
const HITS: usize = 100_000;

/// How long an answer counts, here and in moka: longer than anybody measures.
const FRESH: Duration = Duration::from_secs(60 * 60);

const SEED: u64 = 1;

type Found = Arc<[Provider]>;

/// Names that are cached for as long as anybody measures, and the order in which they are hit.
pub struct HitBench {
    directory: Directory,
    dashmap: DashMap<ServiceName, Found>,
    moka: Cache<ServiceName, Found>,
    papaya: HashMap<ServiceName, Found, foldhash::fast::RandomState>,
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
            cache_fresh: FRESH,
            ..RegistryConfig::default()
        };
        let capacity = u64::try_from(config.cache_capacity.get())?;
        let directory = Directory::start(NAMES, wall_clock(), config).await?;
        let found = directory.warm().await?;
        let all = || directory.names().iter().cloned().zip(found.iter().cloned());
        let moka = Cache::builder().max_capacity(capacity).time_to_live(FRESH);
        let moka = moka.build();
        all().for_each(|(name, found)| moka.insert(name, found));
        let mut zipf = Zipf::new(NAMES, EXPONENT, SEED);
        Ok(Self {
            dashmap: all().collect(),
            moka,
            papaya: all().collect(),
            ranks: (0..HITS).map(|_| zipf.draw()).collect(),
            options: ResolveOptions::default(),
            directory,
        })
    }

    /// The order in which the names are hit.
    pub fn ranks(&self) -> &[usize] {
        &self.ranks
    }

    /// One hit of the discovery cache, as a call makes it; says whether it was one.
    pub fn hit(&self, rank: usize) -> bool {
        let consumer = self.directory.consumer();
        let resolved = black_box(consumer.resolve_now(self.name(rank), &self.options));
        matches!(resolved, Some(Ok(_)))
    }

    /// One lookup of a local service, as an inbound call makes it; says whether it is one.
    pub fn local_hit(&self, rank: usize) -> bool {
        black_box(self.directory.provider().local(self.name(rank))).is_some()
    }

    /// What a hit gives, from a `DashMap`.
    pub fn dashmap_hit(&self, rank: usize) -> bool {
        let found = self.dashmap.get(self.name(rank));
        black_box(found.map(|found| Arc::clone(&found))).is_some()
    }

    /// What a hit gives, from moka's cache.
    pub fn moka_hit(&self, rank: usize) -> bool {
        black_box(self.moka.get(self.name(rank))).is_some()
    }

    /// What a hit gives, from a map of papaya's.
    pub fn papaya_hit(&self, rank: usize) -> bool {
        let found = self.papaya.pin().get(self.name(rank)).cloned();
        black_box(found).is_some()
    }

    /// Hits all names in their order on each of so many threads; answers how long that took.
    ///
    /// # Errors
    /// When a hit was none.
    pub fn time(
        &self,
        threads: usize,
        hit: impl Fn(&Self, usize) -> bool + Sync,
    ) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let hits: usize = thread::scope(|scope| {
            let run = |thread: usize| {
                let hit = &hit;
                // Not in step, or all threads would hit the same name at once.
                let (before, after) = self.ranks.split_at(thread * HITS / threads);
                let ranks = after.iter().chain(before);
                scope.spawn(move || ranks.filter(|rank| hit(self, **rank)).count())
            };
            let running: Vec<_> = (0..threads).map(run).collect();
            let hits = running.into_iter().map(|thread| thread.join().ok());
            hits.map(Option::unwrap_or_default).sum()
        });
        ensure!(hits == threads * HITS, "a name is not cached any more");
        Ok(started.elapsed())
    }

    fn name(&self, rank: usize) -> &ServiceName {
        &self.directory.names()[rank]
    }
}

fn over_dashmap(
    session: &Session,
    threads: usize,
    hit: fn(&HitBench, usize) -> bool,
) -> anyhow::Result<Estimate> {
    let bench = session.block_on(HitBench::start())?;
    let time = |hit: fn(&HitBench, usize) -> bool| Ok(bench.time(threads, hit)?.as_secs_f64());
    let pairs = session.paired(|| time(hit), || time(HitBench::dashmap_hit))?;
    pairs.ratio()
}

fn counted_allocations(_session: &Session) -> anyhow::Result<Estimate> {
    let counted = counted_by("hit_allocations")?;
    Ok(Estimate::exact(counted.trim().parse()?))
}
