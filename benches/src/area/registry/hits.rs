//! How many calls the discovery cache answers, and how often it asks a network of simulated
//! machines for that.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, ensure};
use macula_core::{Key, ServiceName};
use macula_registry::{Registry, RegistryConfig, ResolveOptions};
use macula_sim::Churn;
use tokio::task::JoinSet;
use tokio::time::{Interval, interval, sleep};

use super::{EXPONENT, measured_once, on_paused_clock};
use crate::figure::Unit;
use crate::fixture::{NetworkSearch, SimulatedMesh, Supply, identity};
use crate::measurement::{Clock, Measurement};
use crate::session::Session;
use crate::statistics::{Estimate, Goal};
use crate::zipf::Zipf;

pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "hits, fresh and stale, of Zipf(0.9) calls, 1000/s of 10,000 names, 1000 machines",
        unit: Unit::Share,
        goal: Goal::AtLeast(0.99),
        clock: Clock::Virtual,
        run: rate,
    },
    Measurement {
        name: "the same: lookups of a name that has providers in any minute, the most",
        unit: Unit::Count,
        goal: Goal::AtMost(1.0),
        clock: Clock::Virtual,
        run: most_lookups,
    },
    Measurement {
        name: "the same at 10,000 calls/s",
        unit: Unit::Count,
        goal: Goal::AtMost(1.0),
        clock: Clock::Virtual,
        run: most_lookups_crowded,
    },
];

/// Calls of names by a Zipf distribution, at one node of a mesh whose nodes come and go as they
/// were measured to in public networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZipfCalls {
    /// Machines in the mesh besides the caller's.
    pub nodes: usize,
    /// Names, each provided by three of them.
    pub names: u32,
    /// Seconds of calls before anything is counted: each name's first call has to miss.
    pub warm_up: u32,
    /// Seconds of calls that are counted, 1,000 in each.
    pub counted: u32,
    /// Seconds after that with ten times as many calls.
    pub crowded: u32,
}

/// What was counted of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Calls after the warm-up of names that had a provider.
    pub calls: u64,
    /// Those answered from the cache, fresh or stale.
    pub hits: u64,
    /// The most lookups in any minute of one name that had a provider.
    pub most_lookups: u64,
    /// The same while ten times as many calls were made.
    pub most_lookups_crowded: u64,
}

const SHORT: ZipfCalls = ZipfCalls {
    nodes: 999,
    names: 10_000,
    warm_up: 120,
    counted: 300,
    crowded: 120,
};

const FULL: ZipfCalls = ZipfCalls {
    warm_up: 600,
    counted: 1_800,
    crowded: 600,
    ..SHORT
};

fn rate(session: &Session) -> anyhow::Result<Estimate> {
    let counted = counted(session)?;
    Estimate::of_share(counted.hits, counted.calls).context("no call was counted")
}

fn most_lookups(session: &Session) -> anyhow::Result<Estimate> {
    count(counted(session)?.most_lookups)
}

fn most_lookups_crowded(session: &Session) -> anyhow::Result<Estimate> {
    count(counted(session)?.most_lookups_crowded)
}

fn count(number: u64) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(f64::from(u32::try_from(number)?)))
}

fn counted(session: &Session) -> anyhow::Result<&'static Counted> {
    static COUNTED: OnceLock<Counted> = OnceLock::new();
    let calls = if session.is_full() { FULL } else { SHORT };
    measured_once(&COUNTED, || calls.play())
}

/// The same among a hundred nodes, for a bench that is run again and again.
///
/// # Errors
/// As [`ZipfCalls::play`].
pub fn zipf_hits(names: u32, warm_up_seconds: u32, seconds: u32) -> anyhow::Result<Counted> {
    let calls = ZipfCalls {
        nodes: 99,
        names,
        warm_up: warm_up_seconds,
        counted: seconds,
        crowded: 0,
    };
    calls.play()
}

impl ZipfCalls {
    /// Makes the calls in virtual time; equal numbers count equal hits.
    ///
    /// # Errors
    /// When no mesh can be made of the numbers.
    pub fn play(&self) -> anyhow::Result<Counted> {
        on_paused_clock(async {
            let mut caller = Caller::start(self).await?;
            caller.call(self.warm_up, 1).await?;
            caller.tally = Tally::default();
            caller.call(self.counted, 1).await?;
            let most_lookups = caller.take_most_lookups();
            let Tally { calls, hits } = caller.tally;
            caller.call(self.crowded, CROWDED).await?;
            Ok(Counted {
                calls,
                hits,
                most_lookups,
                most_lookups_crowded: caller.take_most_lookups(),
            })
        })
    }
}

/// A node that only calls.
struct Caller {
    mesh: Arc<SimulatedMesh>,
    registry: Arc<Registry<()>>,
    names: Vec<ServiceName>,
    options: ResolveOptions,
    zipf: Zipf,
    tick: Interval,
    /// Calls that wait for the network.
    waiting: JoinSet<()>,
    tally: Tally,
}

/// Calls of names that have a provider.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    calls: u64,
    hits: u64,
}

impl Caller {
    async fn start(calls: &ZipfCalls) -> anyhow::Result<Self> {
        let names = (0..calls.names)
            .map(|n| Ok(format!("bench.hits.name{n}").parse()?))
            .collect::<anyhow::Result<Vec<ServiceName>>>()?;
        let mesh = SimulatedMesh::start(calls.nodes, SEED, Some(Churn::default()))?;
        let supply = Supply::new(names.iter().cloned(), SEED);
        mesh.provide(supply.staff(PROVIDERS, calls.nodes, ANNOUNCED_OVER));
        let node = mesh.stayer();
        sleep(2 * ANNOUNCED_OVER).await;
        let ours = identity(mesh.secret_key(node), mesh.addresses(node), mesh.clock());
        Ok(Self {
            registry: Registry::new(ours, mesh.dht(node), RegistryConfig::default())?,
            mesh,
            names,
            options: ResolveOptions::default(),
            zipf: Zipf::new(calls.names, EXPONENT, SEED),
            tick: interval(TICK),
            waiting: JoinSet::new(),
            tally: Tally::default(),
        })
    }

    /// Makes so many calls a tick, whether or not earlier ones still wait.
    async fn call(&mut self, seconds: u32, calls_per_tick: u32) -> anyhow::Result<()> {
        for _ in 0..seconds * TICKS_PER_SECOND {
            self.tick.tick().await;
            for _ in 0..calls_per_tick {
                self.call_one();
            }
            while self.waiting.try_join_next().is_some() {}
            ensure!(self.waiting.len() < MOST_WAITING, "calls are not answered");
        }
        Ok(())
    }

    fn call_one(&mut self) {
        let rank = self.zipf.draw();
        let name = &self.names[rank];
        let is_hit = matches!(self.registry.resolve_now(name, &self.options), Some(Ok(_)));
        if self.mesh.is_provided(rank) {
            self.tally.calls += 1;
            self.tally.hits += u64::from(is_hit);
        }
        if !is_hit {
            let (registry, name) = (Arc::clone(&self.registry), name.clone());
            self.waiting.spawn(async move {
                // What a name's first caller is told is not what is counted.
                let _ = registry.resolve(&name, &ResolveOptions::default()).await;
            });
        }
    }

    fn take_most_lookups(&self) -> u64 {
        most_in_a_minute(&self.mesh.take_searches())
    }
}

/// The most searches for any key with providers that began within a minute of one another.
fn most_in_a_minute(searches: &[NetworkSearch]) -> u64 {
    let mut times: BTreeMap<Key, Vec<Duration>> = BTreeMap::new();
    for search in searches.iter().filter(|search| search.is_provided) {
        times.entry(search.key).or_default().push(search.at);
    }
    let most = times
        .values()
        .filter_map(|times| most_within(MINUTE, times));
    most.max().unwrap_or(0)
}

/// The most of these times, in order, in any window of so long, its end not included.
fn most_within(window: Duration, times: &[Duration]) -> Option<u64> {
    let in_window = times.iter().enumerate().map(|(first, begin)| {
        let end = times.partition_point(|at| *at < *begin + window);
        u64::try_from(end - first).unwrap_or(u64::MAX)
    });
    in_window.max()
}

const SEED: u64 = 1;

/// Nodes that provide each name.
const PROVIDERS: usize = 3;

/// In how much time all providers announce for the first time.
const ANNOUNCED_OVER: Duration = Duration::from_secs(30);

/// How far apart calls are when there is one a tick.
const TICK: Duration = Duration::from_millis(1);
const TICKS_PER_SECOND: u32 = 1_000;

/// Calls a tick when there are more.
const CROWDED: u32 = 10;

/// A lookup is over within two seconds: as many calls can wait if all of them miss, and more.
const MOST_WAITING: usize = 50_000;

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_count_equal_hits() {
        let calls = ZipfCalls {
            nodes: 60,
            names: 50,
            warm_up: 5,
            counted: 70,
            crowded: 20,
        };
        let one = calls.play().unwrap();
        assert_eq!(one, calls.play().unwrap());
        assert_eq!(one.calls, 70_000);
        assert!(one.hits > 69_900, "{one:?}");
    }

    #[test]
    fn windows_include_their_beginning_and_not_their_end() {
        let times = [0, 10, 59, 60, 69, 200].map(Duration::from_secs);
        assert_eq!(most_within(MINUTE, &times), Some(4));
        assert_eq!(most_within(MINUTE, &times[..2]), Some(2));
        assert_eq!(most_within(MINUTE, &[]), None);
        assert_eq!(most_within(Duration::from_secs(1), &times), Some(1));
    }
}
