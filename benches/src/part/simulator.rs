//! A simulated network and what its lookups cost, in a process whose memory is that of the
//! simulation.

use std::io::{BufRead, Write};
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use anyhow::Context;
use macula_dht::kad::KadConfig;
use macula_sim::{FindFigures, Finds, Scenario, Simulation};
use serde::{Deserialize, Serialize};

use super::{Part, Script};
use crate::cpu;

/// Services that are announced and looked for.
const SERVICES: usize = 200;

/// Providers of each, so that a find that wants three can end early.
const PROVIDERS: usize = 4;

/// How many a find wants.
const WANTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// Virtual time between two lookups.
const PACE: Duration = Duration::from_millis(20);

/// A network to simulate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Simulated {
    /// How many nodes.
    pub nodes: usize,
    /// Where its randomness comes from.
    pub seed: u64,
    /// Exhaustive lookups, and as many finds.
    pub lookups: u32,
}

/// What lookups in it cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Of lookups of a name that nobody provides.
    pub exhaustive: LookupCost,
    /// Of finds of three providers of four.
    pub find: LookupCost,
    /// The most memory that the process had.
    pub peak_bytes: f64,
}

/// What one kind of lookup costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LookupCost {
    /// Requests, mean.
    pub requests: f64,
    /// Requests, 95 %.
    pub requests_p95: f64,
    /// Hops, median.
    pub hops: f64,
    /// Hops, 95 %.
    pub hops_p95: f64,
    /// Milliseconds of virtual time, median.
    pub millis: f64,
    /// Microseconds of processor time, the simulator's own share included.
    pub cpu_us: f64,
}

impl Simulated {
    /// Plays it in a process of its own.
    ///
    /// # Errors
    /// When it cannot be started, or a lookup goes wrong.
    pub fn cost(self) -> anyhow::Result<Cost> {
        let mut player = Part::Simulator.start()?;
        let cost = player.ask(&self)?;
        player.end()?;
        Ok(cost)
    }
}

pub(super) fn play(mut script: Script<impl BufRead, impl Write>) -> anyhow::Result<()> {
    let simulated: Simulated = script.hear()?.context("which network?")?;
    script.say(&cost(simulated)?)
}

fn cost(simulated: Simulated) -> anyhow::Result<Cost> {
    let mut simulation = Simulation::new(&Scenario {
        nodes: simulated.nodes,
        seed: simulated.seed,
        services: SERVICES,
        providers: PROVIDERS,
        withdraw: 0.0,
        // Nothing but the lookups shall take time.
        kad: KadConfig {
            refresh_interval: Duration::from_secs(24 * 60 * 60),
            ..KadConfig::default()
        },
        check_every: NonZeroU64::MAX,
        ..Scenario::default()
    })?;
    simulation.join()?;
    simulation.announce()?;
    let finds = Finds {
        count: simulated.lookups,
        over: PACE * simulated.lookups,
        want: Some(WANTED),
        absent: 0.0,
    };
    let in_vain = Finds {
        absent: 1.0,
        ..finds
    };
    let (exhaustive, cpu_us) = timed(|| simulation.find("in vain", in_vain))?;
    let exhaustive = LookupCost::of(&exhaustive, cpu_us)?;
    let (find, cpu_us) = timed(|| simulation.find("of three", finds))?;
    Ok(Cost {
        exhaustive,
        find: LookupCost::of(&find, cpu_us)?,
        peak_bytes: super::memory_bytes("VmHWM:")?,
    })
}

impl LookupCost {
    fn of(figures: &FindFigures, cpu_us: f64) -> anyhow::Result<Self> {
        anyhow::ensure!(figures.right == figures.finds, "{figures:?}");
        let whole = |number: u64| u32::try_from(number).map(f64::from);
        Ok(Self {
            requests: figures.requests.mean,
            requests_p95: whole(figures.requests.p95)?,
            hops: whole(figures.hops.p50)?,
            hops_p95: whole(figures.hops.p95)?,
            millis: whole(figures.millis.p50)?,
            cpu_us: cpu_us / f64::from(u32::try_from(figures.finds)?),
        })
    }
}

fn timed<T, E: Into<anyhow::Error>>(
    play: impl FnOnce() -> Result<T, E>,
) -> anyhow::Result<(T, f64)> {
    let before = cpu::used();
    let played = play().map_err(Into::into)?;
    let used = cpu::used().saturating_sub(before);
    Ok((played, used.as_secs_f64() * 1e6))
}
