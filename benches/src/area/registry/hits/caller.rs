//! A node that calls as macula-rpc does, but for the requests.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use macula_core::{NodeId, ServiceName};
use macula_registry::{Registry, RegistryConfig, ResolveError, ResolveOptions, Resolved};
use macula_rpc::DEFAULT_MAX_ATTEMPTS;
use tokio::task::JoinSet;
use tokio::time::{Interval, interval, sleep};

use super::ZipfCalls;
use crate::area::registry::EXPONENT;
use crate::fixture::{NetworkSearch, SimulatedMesh, Supply, identity};
use crate::zipf::Zipf;

/// A node of a simulated mesh that provides nothing.
pub(super) struct Caller {
    shared: Arc<Shared>,
    zipf: Zipf,
    tick: Interval,
    /// Calls that wait for the network.
    waiting: JoinSet<()>,
    tally: Tally,
}

/// What every call needs.
struct Shared {
    mesh: Arc<SimulatedMesh>,
    registry: Arc<Registry<()>>,
    names: Vec<ServiceName>,
}

/// Calls of names that have a provider.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) hits: u64,
}

/// A call of one name.
struct Call {
    shared: Arc<Shared>,
    rank: usize,
    /// Who did not serve it.
    tried: Vec<NodeId>,
}

impl Caller {
    /// Starts a mesh, lets its nodes provide the names, and comes into it.
    pub(super) async fn start(calls: &ZipfCalls) -> anyhow::Result<Self> {
        let names = (0..calls.names)
            .map(|n| Ok(format!("bench.hits.name{n}").parse()?))
            .collect::<anyhow::Result<Vec<ServiceName>>>()?;
        let mesh = SimulatedMesh::start(calls.nodes, SEED, Some(calls.churn))?;
        let supply = Supply::new(names.iter().cloned(), SEED);
        mesh.provide(supply.staff(PROVIDERS, calls.nodes, ANNOUNCED_OVER));
        let node = mesh.stayer();
        sleep(2 * ANNOUNCED_OVER).await;
        let ours = identity(mesh.secret_key(node), mesh.addresses(node), mesh.clock());
        let registry = Registry::new(ours, mesh.dht(node), RegistryConfig::default())?;
        Ok(Self {
            shared: Arc::new(Shared {
                mesh,
                registry,
                names,
            }),
            zipf: Zipf::new(calls.names, EXPONENT, SEED),
            tick: interval(TICK),
            waiting: JoinSet::new(),
            tally: Tally::default(),
        })
    }

    /// Makes so many calls a tick, whether or not earlier ones still wait.
    pub(super) async fn call(&mut self, seconds: u32, calls_per_tick: u32) -> anyhow::Result<()> {
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
        let mut call = Call {
            shared: Arc::clone(&self.shared),
            rank,
            tried: Vec::new(),
        };
        let known = call.resolve_now();
        let is_hit = match &known {
            Some(Ok(found)) => call.try_all(found),
            _ => false,
        };
        if self.shared.mesh.is_provided(rank) {
            self.tally.calls += 1;
            self.tally.hits += u64::from(is_hit);
        }
        // That nobody provides it is an answer, too.
        if !is_hit && !matches!(known, Some(Err(_))) {
            self.waiting.spawn(call.go_on(known.is_some()));
        }
    }

    /// What was counted since the last time.
    pub(super) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// The searches of the network since the last time.
    pub(super) fn take_searches(&self) -> Vec<NetworkSearch> {
        self.shared.mesh.take_searches()
    }

    /// How many providers were removed from the cache so far.
    pub(super) fn removed(&self) -> u64 {
        self.shared.registry.stats().cache.repaired
    }
}

impl Call {
    fn name(&self) -> &ServiceName {
        &self.shared.names[self.rank]
    }

    fn resolve_now(&self) -> Option<Result<Resolved<()>, ResolveError>> {
        let options = ResolveOptions::default();
        self.shared.registry.resolve_now(self.name(), &options)
    }

    async fn resolve(&self, force_refresh: bool) -> Result<Resolved<()>, ResolveError> {
        let options = ResolveOptions {
            force_refresh,
            ..ResolveOptions::default()
        };
        self.shared.registry.resolve(self.name(), &options).await
    }

    /// Looks for providers, unless those that were known are used up, and once more when these
    /// are. What the call comes to is not what is counted.
    async fn go_on(mut self, were_known: bool) {
        if !were_known {
            match self.resolve(false).await {
                Ok(found) if !self.try_all(&found) => {}
                _ => return,
            }
        }
        if self.may_try()
            && let Ok(found) = self.resolve(true).await
        {
            self.try_all(&found);
        }
    }

    /// Tries those who were found in turn; whether one serves the call.
    fn try_all(&mut self, found: &Resolved<()>) -> bool {
        let mut providers = found.providers().iter();
        providers.any(|provider| self.try_one(provider.node_id()))
    }

    /// Removes a provider that is dead, or serves the name no more, from the cache. That shows at
    /// once; in truth it takes until a dial fails.
    fn try_one(&mut self, node_id: NodeId) -> bool {
        if !self.tried.contains(&node_id) {
            if !self.may_try() {
                return false;
            }
            if self.shared.mesh.is_served_by(self.rank, &node_id) {
                return true;
            }
            self.tried.push(node_id);
        }
        let registry = &self.shared.registry;
        registry.remove_provider(self.name(), &node_id);
        false
    }

    fn may_try(&self) -> bool {
        self.tried.len() < usize::from(DEFAULT_MAX_ATTEMPTS.get())
    }
}

const SEED: u64 = 1;

/// Nodes that provide each name.
const PROVIDERS: usize = 3;

/// In how much time all providers announce for the first time.
const ANNOUNCED_OVER: Duration = Duration::from_secs(30);

/// How far apart calls are when there is one a tick.
const TICK: Duration = Duration::from_millis(1);
const TICKS_PER_SECOND: u32 = 1_000;

/// A lookup is over within two seconds: as many calls can wait if all of them miss, and more.
const MOST_WAITING: usize = 50_000;
