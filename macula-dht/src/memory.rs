//! A whole DHT in one process, on tokio's clock: for tests and for nodes that need no network.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use macula_core::{Contact, Key, NodeId, ProviderRecord, WallClock, Withdrawal};
use tokio::time::Instant;

mod claims;

use crate::memory::claims::{Claims, Held, Put};
use crate::{
    AnnounceReport, Announced, Dht, DhtError, FindOptions, FindOutcome, Found, FoundProvider,
    Scope, WithdrawReport, Withdrawn,
};

/// A [`Dht`] held in memory; one shared instance serves any number of nodes.
///
/// It is a network of one holder that everybody reaches, so it answers [`Scope::Connected`] like
/// [`Scope::Network`], never has more than one holder of a record, and counts no requests and no
/// hops. A find returns all the providers it knows, even beyond what is wanted. Records live on
/// tokio's clock, which tests can pause; the wall clock decides only whether a record is accepted.
///
/// Tests of the layers above take it out of reach, slow it down and read its counters.
pub struct MemoryDht {
    clock: WallClock,
    state: Mutex<State>,
}

/// How much a [`MemoryDht`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryDhtConfig {
    /// Live providers per key. A provider more is refused.
    pub max_providers_per_key: usize,
    /// Live records in all. A record more is refused.
    pub max_records: usize,
    /// Withdrawals and expired records remembered against replay. One more, and the one that
    /// would be forgotten next is forgotten now.
    pub max_remembered: usize,
}

/// What a [`MemoryDht`] holds and has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryDhtStats {
    /// Live records.
    pub records: usize,
    /// Withdrawals and expired records remembered against replay.
    pub remembered: usize,
    /// Calls of [`Dht::announce`], whatever came of them.
    pub announces: u64,
    /// Calls of [`Dht::withdraw`], whatever came of them.
    pub withdraws: u64,
    /// Calls of [`Dht::find`], whatever came of them.
    pub finds: u64,
    /// Calls of [`Dht::locate`], whatever came of them.
    pub locates: u64,
    /// Records refused because their key or the whole was full.
    pub full: u64,
    /// Records and withdrawals refused because they are out of their time or superseded.
    pub refused: u64,
    /// Claims forgotten before their time because too many are remembered.
    pub forgotten_early: u64,
}

struct State {
    claims: Claims,
    network_reachable: bool,
    connected_reachable: bool,
    closed: bool,
    latency: Duration,
    stats: MemoryDhtStats,
}

impl MemoryDht {
    /// An empty DHT with the default bounds.
    pub fn new(clock: WallClock) -> Arc<Self> {
        Self::with_config(clock, MemoryDhtConfig::default())
    }

    /// An empty DHT with bounds of one's own.
    pub fn with_config(clock: WallClock, config: MemoryDhtConfig) -> Arc<Self> {
        let state = State {
            claims: Claims::new(config),
            network_reachable: true,
            connected_reachable: true,
            closed: false,
            latency: Duration::ZERO,
            stats: MemoryDhtStats::default(),
        };
        Arc::new(Self {
            clock,
            state: Mutex::new(state),
        })
    }

    /// Takes the DHT out of everybody's reach, or back: while it is out of reach every operation
    /// fails with [`DhtError::Unreachable`].
    pub fn set_reachable(&self, reachable: bool) {
        let mut state = self.state();
        state.network_reachable = reachable;
        state.connected_reachable = reachable;
    }

    /// The same for finds of one scope; [`Scope::Network`] includes announces and withdrawals.
    pub fn set_scope_reachable(&self, scope: Scope, reachable: bool) {
        let mut state = self.state();
        match scope {
            Scope::Network => state.network_reachable = reachable,
            Scope::Connected => state.connected_reachable = reachable,
        }
    }

    /// Lets every operation take so long before it has its effect.
    pub fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Shuts it down: from now on every operation fails with [`DhtError::Closed`].
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// What it holds and has done so far.
    pub fn stats(&self) -> MemoryDhtStats {
        let mut state = self.state();
        state.claims.sweep(now());
        MemoryDhtStats {
            records: state.claims.live(),
            remembered: state.claims.remembered(),
            forgotten_early: state.claims.forgotten_early(),
            ..state.stats
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the operation and waits as long as it is to take.
    async fn arrive(&self, count: impl FnOnce(&mut MemoryDhtStats)) {
        let latency = {
            let mut state = self.state();
            count(&mut state.stats);
            state.latency
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    fn put_record(&self, state: &mut State, record: &ProviderRecord) -> Announced {
        let put = match record.admit((self.clock)(), record.ttl()) {
            // Nobody could use it.
            _ if record.addresses().is_empty() => Put::Superseded,
            Ok(life) => {
                let window = record.issued_at().saturating_add(record.ttl());
                let memory = claims::replay_window(window, (self.clock)()).max(life);
                state
                    .claims
                    .put(now(), Held::record(record, now(), life, memory))
            }
            Err(_) => Put::Superseded,
        };
        match put {
            Put::Held => {}
            Put::Full => state.stats.full += 1,
            Put::Superseded => state.stats.refused += 1,
        }
        Announced {
            key: record.key(),
            holders: usize::from(put == Put::Held),
            full: usize::from(put == Put::Full),
        }
    }

    fn put_withdrawal(&self, state: &mut State, withdrawal: &Withdrawal) -> Withdrawn {
        let put = match withdrawal.admit((self.clock)()) {
            Ok(life) => state
                .claims
                .put(now(), Held::withdrawal(withdrawal, now(), life)),
            Err(_) => Put::Superseded,
        };
        let is_held = put == Put::Held;
        state.stats.refused += u64::from(!is_held);
        Withdrawn {
            key: withdrawal.key(),
            acknowledged: usize::from(is_held),
            declined: usize::from(!is_held),
        }
    }
}

#[async_trait]
impl Dht for MemoryDht {
    async fn announce(&self, records: Vec<ProviderRecord>) -> Result<AnnounceReport, DhtError> {
        self.arrive(|stats| stats.announces += 1).await;
        let mut state = self.state();
        state.check(Scope::Network)?;
        let has_no_address = |record: &ProviderRecord| record.addresses().is_empty();
        if !records.is_empty() && records.iter().all(has_no_address) {
            return Err(DhtError::NoAddress);
        }
        let records: Vec<_> = records
            .iter()
            .map(|record| self.put_record(&mut state, record))
            .collect();
        if !records.is_empty() && records.iter().all(|announced| announced.holders == 0) {
            return Err(DhtError::Rejected);
        }
        Ok(AnnounceReport { records })
    }

    async fn withdraw(&self, withdrawals: Vec<Withdrawal>) -> Result<WithdrawReport, DhtError> {
        self.arrive(|stats| stats.withdraws += 1).await;
        let mut state = self.state();
        state.check(Scope::Network)?;
        let withdrawals = withdrawals
            .iter()
            .map(|withdrawal| self.put_withdrawal(&mut state, withdrawal));
        Ok(WithdrawReport {
            withdrawals: withdrawals.collect(),
        })
    }

    async fn find(&self, key: Key, options: FindOptions) -> Result<Found, DhtError> {
        let arrival = self.arrive(|stats| stats.finds += 1);
        let in_time = tokio::time::timeout(options.timeout, arrival).await.is_ok();
        let mut state = self.state();
        state.check(options.scope)?;
        if !in_time {
            return Ok(found(Vec::new(), FindOutcome::Inconclusive));
        }
        let mut providers: Vec<_> = state
            .claims
            .providers(now(), &key)
            .map(|(record, life)| FoundProvider { record, life })
            .collect();
        providers.sort_by(|a, b| {
            let by_life = b.life.cmp(&a.life);
            by_life.then_with(|| a.record.provider().cmp(&b.record.provider()))
        });
        let outcome = if providers.is_empty() {
            FindOutcome::Absent
        } else {
            FindOutcome::Found
        };
        Ok(found(providers, outcome))
    }

    /// A node is known while it provides something.
    async fn locate(
        &self,
        node_id: NodeId,
        timeout: Duration,
    ) -> Result<Option<Contact>, DhtError> {
        let arrival = self.arrive(|stats| stats.locates += 1);
        let in_time = tokio::time::timeout(timeout, arrival).await.is_ok();
        let mut state = self.state();
        state.check(Scope::Network)?;
        let addresses = in_time.then(|| state.claims.addresses(now(), &node_id));
        Ok(addresses
            .flatten()
            .map(|addresses| Contact { node_id, addresses }))
    }
}

impl State {
    fn check(&self, scope: Scope) -> Result<(), DhtError> {
        let reachable = match scope {
            Scope::Network => self.network_reachable,
            Scope::Connected => self.connected_reachable,
        };
        if self.closed {
            Err(DhtError::Closed)
        } else if reachable {
            Ok(())
        } else {
            Err(DhtError::Unreachable)
        }
    }
}

impl Default for MemoryDhtConfig {
    fn default() -> Self {
        Self {
            max_providers_per_key: 256,
            max_records: 100_000,
            max_remembered: 100_000,
        }
    }
}

fn found(providers: Vec<FoundProvider>, outcome: FindOutcome) -> Found {
    Found {
        providers,
        outcome,
        requests: 0,
        hops: 0,
        trace: Vec::new(),
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
