//! Answers from the cache, and fills it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use macula_core::{Contact, Key, NodeId, Realm, ServiceName};
use macula_dht::{Dht, DhtError, Scope};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::flight::{Answer, Boarding, Flight, Flights, Landed};
use super::lookup::{Discovery, Lookup};
use super::search::{Purpose, Search};
use super::tally::{Kind, Tally};
use super::{Elsewhere, MAX_WANTED, ResolveOptions};
use crate::cache::{Cache, Discovered, Keep, Look};
use crate::event::Events;
use crate::{CacheStats, RegistryConfig, ResolveError};

/// The discovery side of a registry.
pub(crate) struct Resolver {
    realm: Realm,
    dht: Arc<dyn Dht>,
    config: RegistryConfig,
    runtime: Handle,
    cache: Cache,
    flights: Arc<Flights>,
    tally: Tally,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    coalesced: AtomicU64,
    lookups: AtomicU64,
    dht_answers: AtomicU64,
    direct_answers: AtomicU64,
    absent_answers: AtomicU64,
    failed_lookups: AtomicU64,
    refused_lookups: AtomicU64,
    evicted: AtomicU64,
    expired: AtomicU64,
    repaired: AtomicU64,
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
            cache: Cache::new(config.cache_capacity, events),
            flights: Flights::new(config.max_lookups),
            config,
            runtime,
            tally: Tally::default(),
            counters: Counters::default(),
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
        self.tally.count(Kind::Miss);
        match timeout(options.timeout, self.board(name, options)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ResolveError::TimedOut),
        }
    }

    /// Where a node can be dialled.
    pub(crate) async fn locate(
        &self,
        node_id: NodeId,
        patience: Duration,
    ) -> Result<Contact, ResolveError> {
        // It has a moment less, so that what it has heard by then is not lost.
        let search = self.dht.locate(node_id, patience - patience / 16);
        let located = timeout(patience, search).await;
        let located = located.map_err(|_elapsed| ResolveError::TimedOut)??;
        located.ok_or(ResolveError::NotFound)
    }

    /// Waits for lookups until one ends with an answer that these options allow.
    async fn board(self: &Arc<Self>, name: &ServiceName, options: &ResolveOptions) -> Answer {
        loop {
            let landing = match self.flights.board(name) {
                Boarding::Join(landing) => {
                    count(&self.counters.coalesced);
                    landing
                }
                Boarding::Start(flight, landing) => {
                    // The lookup that was missed a moment ago may have ended since.
                    if let Some(answer) = self.landed(name, options) {
                        count(&self.counters.coalesced);
                        flight.end_in_cache();
                        return answer;
                    }
                    self.launch(flight, options, Purpose::Answer);
                    landing
                }
                Boarding::Full => return Err(self.refuse(name)),
            };
            if let Landed::Answered(answer) = landing.landed().await {
                return answer;
            }
            if let Some(answer) = self.landed(name, options) {
                return answer;
            }
        }
    }

    /// Counts a resolve that this node itself answered.
    pub(crate) fn answered_locally(&self) {
        self.tally.count(Kind::Local);
    }

    /// How many resolves this node itself answered.
    pub(crate) fn local_answers(&self) -> u64 {
        self.tally.of(Kind::Local)
    }

    /// Removes the record that the cache has, or none and whichever a lookup under way may find.
    pub(crate) fn remove_provider(&self, name: &ServiceName, node_id: &NodeId) {
        let seq = self.cache.seq_of(name, node_id).unwrap_or(u64::MAX);
        self.remove_record(name, node_id, seq);
    }

    pub(crate) fn forget(&self, node_id: &NodeId) {
        // In this order: see `remove_record`.
        self.flights.note_left(node_id);
        let records = self.cache.forget(node_id);
        if records.is_empty() {
            return;
        }
        add(&self.counters.repaired, records.len());
        debug!(node = %node_id.short(), names = records.len(), "provider has left and the cache with it");
    }

    /// Removes a record from the cache, and from the answer of a lookup that is under way.
    ///
    /// In this order: a lookup that fills the cache before it has heard of the removal does so
    /// before the removal.
    pub(crate) fn remove_record(&self, name: &ServiceName, node_id: &NodeId, seq: u64) {
        self.flights.note_removed(name, node_id, seq);
        if self.cache.remove_provider(name, node_id, seq) {
            count(&self.counters.repaired);
            debug!(service = %name, node = %node_id.short(), "provider removed from the cache");
        }
    }

    pub(crate) fn prune_expired(&self) -> usize {
        let pruned = self.cache.prune(Instant::now());
        add(&self.counters.expired, pruned);
        pruned
    }

    /// A lookup under way fills the cache again: its answer is newer than what was cleared.
    pub(crate) fn clear(&self) {
        self.cache.clear();
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        CacheStats {
            entries: self.cache.len(),
            hits: self.tally.of(Kind::Hit),
            stale_hits: self.tally.of(Kind::StaleHit),
            negative_hits: self.tally.of(Kind::NegativeHit),
            misses: self.tally.of(Kind::Miss),
            coalesced: read(&counters.coalesced),
            lookups: read(&counters.lookups),
            dht_answers: read(&counters.dht_answers),
            direct_answers: read(&counters.direct_answers),
            absent_answers: read(&counters.absent_answers),
            failed_lookups: read(&counters.failed_lookups),
            refused_lookups: read(&counters.refused_lookups),
            evicted: read(&counters.evicted),
            expired: read(&counters.expired),
            repaired: read(&counters.repaired),
        }
    }

    /// What the cache answers, if it does.
    fn look(self: &Arc<Self>, name: &ServiceName, max_age: Option<Duration>) -> Option<Answer> {
        let (kind, answer) = match self.cache.look(Instant::now(), name, max_age) {
            Look::Miss => return None,
            Look::Absent => (Kind::NegativeHit, Err(ResolveError::NotFound)),
            Look::Fresh(providers) => (Kind::Hit, Ok(Elsewhere::Fresh(providers))),
            Look::Stale {
                providers,
                refresh_due,
            } => {
                if refresh_due {
                    self.refresh(name, max_age);
                }
                (Kind::StaleHit, Ok(Elsewhere::Stale(providers)))
            }
        };
        self.tally.count(kind);
        Some(answer)
    }

    /// The answer of a lookup that has just ended, for those who read the cache.
    fn landed(&self, name: &ServiceName, options: &ResolveOptions) -> Option<Answer> {
        if !reads_cache(options) {
            return None;
        }
        match self.cache.look(Instant::now(), name, options.cache_ttl) {
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

    /// Runs a lookup as a task of its own, so that nobody who leaves cancels it for the others.
    fn launch(self: &Arc<Self>, flight: Flight, options: &ResolveOptions, purpose: Purpose) {
        count(&self.counters.lookups);
        let (network, direct) = (self.config.lookup_timeout, self.config.direct_timeout);
        let patience = options.timeout.min(LONGEST_SEARCH);
        let lookup = Lookup {
            dht: Arc::clone(&self.dht),
            key: Key::of_service(&self.realm, flight.name()),
            want: options
                .want
                .map_or(self.config.want, |want| want.min(MAX_WANTED)),
            // Whoever waits longer than most lets the network be searched for longer.
            network_timeout: network.max(patience.saturating_sub(direct)),
            direct_timeout: direct,
        };
        let fresh = options.cache_ttl.unwrap_or(self.config.cache_fresh);
        let search = Search::new(self, flight);
        self.runtime.spawn(async move {
            let outcome = lookup.run().await;
            search.end(|resolver, flight| resolver.keep(flight, outcome, fresh, purpose));
        });
    }

    /// Fills the cache with a new answer, and only with one.
    fn keep(
        &self,
        flight: &Flight,
        outcome: Result<Discovery, ResolveError>,
        fresh: Duration,
        purpose: Purpose,
    ) -> Answer {
        let name = flight.name();
        match outcome {
            Ok(discovery) => {
                count(self.counters.answers(discovery.scope));
                let (source, count) = (discovery.scope, discovery.found.len());
                match purpose {
                    Purpose::Answer => info!(service = %name, ?source, count, "discovered"),
                    Purpose::Refresh => debug!(service = %name, ?source, count, "rediscovered"),
                }
                Ok(self.keep_alive(flight, discovery, fresh))
            }
            Err(ResolveError::NotFound) => {
                count(&self.counters.absent_answers);
                debug!(service = %name, "nobody provides it");
                let fresh = fresh.min(self.config.cache_negative);
                let stale = Duration::ZERO;
                self.insert(name, Vec::new(), Keep { fresh, stale });
                Err(ResolveError::NotFound)
            }
            Err(error) => self.failed(name, error),
        }
    }

    /// Leaves the cache as it is, and its refresh for later.
    pub(super) fn failed(&self, name: &ServiceName, error: ResolveError) -> Answer {
        count(&self.counters.failed_lookups);
        debug!(service = %name, %error, "not discovered");
        self.defer_refresh(name);
        Err(error)
    }

    /// Keeps and answers what was found, but for the records that proved dead meanwhile.
    ///
    /// When nothing else was found nothing is kept, and those who wait may try them once more.
    fn keep_alive(&self, flight: &Flight, mut discovery: Discovery, fresh: Duration) -> Elsewhere {
        let removed = flight.removed();
        if !removed.is_empty() && !discovery.leave_out(&removed) {
            return discovery.answer();
        }
        let answer = discovery.answer();
        self.keep_found(flight.name(), discovery, fresh);
        // Those who heard of a removal only now could not leave it out.
        for (node_id, seq) in flight.removed() {
            if self.cache.remove_provider(flight.name(), &node_id, seq) {
                count(&self.counters.repaired);
            }
        }
        answer
    }

    fn keep_found(&self, name: &ServiceName, discovery: Discovery, fresh: Duration) {
        let stale = self.config.cache_stale;
        let fresh = match discovery.scope {
            // Connected peers know less than the network did: better stale than partial.
            Scope::Connected if self.cache.has_providers(Instant::now(), name) => {
                return self.defer_refresh(name);
            }
            Scope::Connected => fresh.min(DIRECT_FRESH),
            Scope::Network => fresh,
        };
        if !fresh.is_zero() {
            self.insert(name, discovery.found, Keep { fresh, stale });
        }
    }

    fn defer_refresh(&self, name: &ServiceName) {
        let longest = self.config.cache_fresh;
        self.cache.defer_refresh(Instant::now(), name, longest);
    }

    fn insert(&self, name: &ServiceName, found: Discovered, keep: Keep) {
        let removed = self.cache.insert(Instant::now(), name, found, keep);
        add(&self.counters.evicted, removed.evicted);
        add(&self.counters.expired, removed.expired);
    }
}

impl Counters {
    fn answers(&self, scope: Scope) -> &AtomicU64 {
        match scope {
            Scope::Network => &self.dht_answers,
            Scope::Connected => &self.direct_answers,
        }
    }
}

fn reads_cache(options: &ResolveOptions) -> bool {
    !options.force_refresh && options.cache_ttl != Some(Duration::ZERO)
}

fn count(counter: &AtomicU64) {
    add(counter, 1);
}

fn add(counter: &AtomicU64, many: usize) {
    let many = u64::try_from(many).unwrap_or(u64::MAX);
    counter.fetch_add(many, Ordering::Relaxed);
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

/// The longest that one who waits has the network searched for, beyond what the config says: who
/// joins a lookup is bound to it.
const LONGEST_SEARCH: Duration = Duration::from_secs(30);

/// How often the cache is swept of what has expired.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
