//! Answers from the cache, and fills it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use macula_core::{Key, NodeId, Realm, ServiceName};
use macula_dht::{Dht, DhtError, Scope};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::flight::{Answer, Boarding, Flight, Flights, Landing};
use super::lookup::{Discovery, Lookup};
use super::{Elsewhere, ResolveOptions};
use crate::cache::{Cache, Discovered, Keep, Look};
use crate::event::Events;
use crate::{CacheStats, RegistryConfig, RegistryEvent, ResolveError};

/// The discovery side of a registry.
pub(crate) struct Resolver {
    realm: Realm,
    dht: Arc<dyn Dht>,
    config: RegistryConfig,
    runtime: Handle,
    cache: Cache,
    flights: Arc<Flights>,
    counters: Counters,
    events: Events,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    stale_hits: AtomicU64,
    negative_hits: AtomicU64,
    misses: AtomicU64,
    coalesced: AtomicU64,
    lookups: AtomicU64,
    failed_lookups: AtomicU64,
    refused_lookups: AtomicU64,
    evicted: AtomicU64,
}

impl Resolver {
    /// Starts the task that sweeps the cache; it ends with the resolver.
    pub(crate) fn start(
        realm: Realm,
        dht: Arc<dyn Dht>,
        config: RegistryConfig,
        runtime: Handle,
        events: Events,
    ) -> Arc<Self> {
        let resolver = Arc::new(Self {
            realm,
            dht,
            cache: Cache::new(config.cache_capacity, config.want),
            flights: Flights::new(config.max_lookups),
            config,
            runtime,
            counters: Counters::default(),
            events,
        });
        let sweeper = sweep(Arc::downgrade(&resolver));
        resolver.runtime.spawn(sweeper);
        resolver
    }

    /// The cached answer, if there is one and it is wanted; a stale one starts its refresh.
    pub(crate) fn cached(
        self: &Arc<Self>,
        name: &ServiceName,
        options: &ResolveOptions,
    ) -> Option<Answer> {
        reads_cache(options).then(|| self.look(name, options.cache_ttl))?
    }

    /// The answer of one lookup, shared by all who wait for it; for names that are not cached.
    pub(crate) async fn discover(
        self: &Arc<Self>,
        name: &ServiceName,
        options: &ResolveOptions,
    ) -> Answer {
        count(&self.counters.misses);
        let landing = match self.flights.board(name) {
            Boarding::Join(landing) => {
                count(&self.counters.coalesced);
                landing
            }
            Boarding::Start(flight, landing) => {
                // The lookup that was missed a moment ago may have ended since.
                if reads_cache(options)
                    && let Some(answer) = self.landed(name, options.cache_ttl)
                {
                    count(&self.counters.coalesced);
                    flight.land(answer.clone());
                    return answer;
                }
                self.launch(flight, options, Purpose::Answer);
                landing
            }
            Boarding::Full => return Err(self.refuse(name)),
        };
        self.wait(landing, options.timeout).await
    }

    pub(crate) fn remove_provider(&self, name: &ServiceName, node_id: &NodeId) {
        if self.cache.remove_provider(name, node_id) {
            debug!(service = %name, node = %node_id.short(), "provider removed from the cache");
            self.events.tell(RegistryEvent::ProviderLeft {
                service: name.clone(),
                provider: *node_id,
            });
        }
    }

    pub(crate) fn forget(&self, node_id: &NodeId) {
        let names = self.cache.forget(node_id);
        if names > 0 {
            debug!(node = %node_id.short(), names, "provider has left and the cache with it");
        }
    }

    pub(crate) fn prune_expired(&self) -> usize {
        self.cache.prune(Instant::now())
    }

    pub(crate) fn clear(&self) {
        self.cache.clear();
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        CacheStats {
            entries: self.cache.len(),
            hits: read(&counters.hits),
            stale_hits: read(&counters.stale_hits),
            negative_hits: read(&counters.negative_hits),
            misses: read(&counters.misses),
            coalesced: read(&counters.coalesced),
            lookups: read(&counters.lookups),
            failed_lookups: read(&counters.failed_lookups),
            refused_lookups: read(&counters.refused_lookups),
            evicted: read(&counters.evicted),
        }
    }

    /// What the cache answers, if it does.
    fn look(self: &Arc<Self>, name: &ServiceName, max_age: Option<Duration>) -> Option<Answer> {
        let (counter, answer) = match self.cache.look(Instant::now(), name, max_age) {
            Look::Miss => return None,
            Look::Absent => (&self.counters.negative_hits, Err(ResolveError::NotFound)),
            Look::Fresh(providers) => (&self.counters.hits, Ok(Elsewhere::Fresh(providers))),
            Look::Stale {
                providers,
                refresh_due,
            } => {
                if refresh_due {
                    self.refresh(name, max_age);
                }
                (&self.counters.stale_hits, Ok(Elsewhere::Stale(providers)))
            }
        };
        count(counter);
        Some(answer)
    }

    /// The answer of a lookup that has just ended.
    fn landed(&self, name: &ServiceName, max_age: Option<Duration>) -> Option<Answer> {
        match self.cache.look(Instant::now(), name, max_age) {
            Look::Fresh(providers) => Some(Ok(Elsewhere::Fresh(providers))),
            Look::Absent => Some(Err(ResolveError::NotFound)),
            Look::Stale { .. } | Look::Miss => None,
        }
    }

    /// Looks for a newer answer in the background, unless that is under way.
    fn refresh(self: &Arc<Self>, name: &ServiceName, cache_ttl: Option<Duration>) {
        let options = ResolveOptions {
            cache_ttl,
            ..ResolveOptions::default()
        };
        match self.flights.board(name) {
            Boarding::Join(_) => {}
            Boarding::Start(flight, _) => self.launch(flight, &options, Purpose::Refresh),
            Boarding::Full => drop(self.refuse(name)),
        }
    }

    fn refuse(&self, name: &ServiceName) -> ResolveError {
        count(&self.counters.refused_lookups);
        debug!(service = %name, "lookup refused: too many are under way");
        ResolveError::Dht(DhtError::Overloaded)
    }

    async fn wait(&self, landing: Landing, time: Duration) -> Answer {
        match timeout(time, landing.answer()).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ResolveError::TimedOut),
        }
    }

    /// Runs a lookup as a task of its own, so that nobody who leaves cancels it for the others.
    fn launch(self: &Arc<Self>, flight: Flight, options: &ResolveOptions, purpose: Purpose) {
        count(&self.counters.lookups);
        let (network, direct) = (self.config.lookup_timeout, self.config.direct_timeout);
        let lookup = Lookup {
            dht: Arc::clone(&self.dht),
            key: Key::of_service(&self.realm, flight.name()),
            // Whoever waits longer than most lets the network be searched for longer.
            network_timeout: network.max(options.timeout.saturating_sub(direct)),
            direct_timeout: direct,
        };
        let fresh = options.cache_ttl.unwrap_or(self.config.cache_fresh);
        let resolver = Arc::clone(self);
        self.runtime.spawn(async move {
            let outcome = lookup.run(&resolver.config).await;
            let answer = resolver.keep(flight.name(), outcome, fresh, purpose);
            flight.land(answer);
        });
    }

    /// Fills the cache with a new answer, and only with one.
    fn keep(
        &self,
        name: &ServiceName,
        outcome: Result<Discovery, ResolveError>,
        fresh: Duration,
        purpose: Purpose,
    ) -> Answer {
        match outcome {
            Ok(discovery) => {
                let answer = discovery.answer();
                let (source, count) = (answer.source(), answer.providers().len());
                match purpose {
                    Purpose::Answer => info!(service = %name, ?source, count, "discovered"),
                    Purpose::Refresh => debug!(service = %name, ?source, count, "rediscovered"),
                }
                self.keep_found(name, discovery, fresh);
                Ok(answer)
            }
            Err(ResolveError::NotFound) => {
                debug!(service = %name, "nobody provides it");
                let fresh = fresh.min(self.config.cache_negative);
                let stale = Duration::ZERO;
                self.insert(name, Vec::new(), Keep { fresh, stale });
                Err(ResolveError::NotFound)
            }
            Err(error) => {
                count(&self.counters.failed_lookups);
                debug!(service = %name, %error, "not discovered");
                self.pause_refresh(name);
                Err(error)
            }
        }
    }

    fn keep_found(&self, name: &ServiceName, discovery: Discovery, fresh: Duration) {
        let stale = self.config.cache_stale;
        let fresh = match discovery.scope {
            // Connected peers know less than the network did: better stale than partial.
            Scope::Connected if self.has_providers(name) => return self.pause_refresh(name),
            Scope::Connected => fresh.min(DIRECT_FRESH),
            Scope::Network => fresh,
        };
        if !fresh.is_zero() {
            self.insert(name, discovery.found, Keep { fresh, stale });
        }
    }

    fn has_providers(&self, name: &ServiceName) -> bool {
        let look = self.cache.look(Instant::now(), name, None);
        matches!(look, Look::Fresh(_) | Look::Stale { .. })
    }

    fn pause_refresh(&self, name: &ServiceName) {
        let until = Instant::now() + REFRESH_PAUSE;
        self.cache.defer_refresh(name, until);
    }

    fn insert(&self, name: &ServiceName, found: Discovered, keep: Keep) {
        let evicted = self.cache.insert(Instant::now(), name, found, keep);
        let evicted = u64::try_from(evicted).unwrap_or(u64::MAX);
        self.counters.evicted.fetch_add(evicted, Ordering::Relaxed);
    }
}

fn reads_cache(options: &ResolveOptions) -> bool {
    !options.force_refresh && options.cache_ttl != Some(Duration::ZERO)
}

/// Why a lookup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Somebody waits for it.
    Answer,
    /// A stale answer is served meanwhile.
    Refresh,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

async fn sweep(resolver: Weak<Resolver>) {
    loop {
        sleep(SWEEP_INTERVAL).await;
        let Some(resolver) = resolver.upgrade() else {
            return;
        };
        resolver.prune_expired();
    }
}

/// How long the answer of connected peers is fresh: the network may know more once it is back.
const DIRECT_FRESH: Duration = Duration::from_secs(5);

/// How long after a failed refresh a stale answer is served without another one.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// How often the cache is swept of what has expired.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
