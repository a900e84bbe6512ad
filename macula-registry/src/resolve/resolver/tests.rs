//! What is found between a miss and its lookup, which no moment from outside hits.

use async_trait::async_trait;
use macula_core::{ProviderRecord, Withdrawal};
use macula_dht::{AnnounceReport, FindOptions, Found, WithdrawReport};

use super::*;

/// Knows nobody.
struct NoDht;

#[async_trait]
impl Dht for NoDht {
    async fn announce(&self, _: Vec<ProviderRecord>) -> Result<AnnounceReport, DhtError> {
        Err(DhtError::Unreachable)
    }

    async fn withdraw(&self, _: Vec<Withdrawal>) -> Result<WithdrawReport, DhtError> {
        Err(DhtError::Unreachable)
    }

    async fn find(&self, _: Key, _: FindOptions) -> Result<Found, DhtError> {
        Err(DhtError::Unreachable)
    }
}

fn resolver() -> (Arc<Resolver>, ServiceName) {
    let config = RegistryConfig::default();
    let (realm, runtime) = (Realm::default(), Handle::current());
    let resolver = Resolver::start(realm, Arc::new(NoDht), config, runtime, Events::new());
    (resolver, "app.echo".parse().unwrap())
}

fn cache_absence(resolver: &Resolver, name: &ServiceName) {
    let fresh = Duration::from_secs(60);
    let stale = Duration::ZERO;
    resolver.insert(name, Vec::new(), Keep { fresh, stale });
}

/// What comes of joining one who finds in the cache that nobody provides the name.
async fn join_one_who_reads_the_cache(options: &ResolveOptions) -> (Answer, u64) {
    let (resolver, name) = resolver();
    let Boarding::Start(flight, _) = resolver.flights.board(&name) else {
        panic!("nobody else is there");
    };
    let first = async {
        tokio::task::yield_now().await;
        cache_absence(&resolver, &name);
        flight.end_in_cache();
    };
    let (answer, ()) = tokio::join!(resolver.discover(&name, options), first);
    (answer, resolver.stats().lookups)
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_the_cache_is_not_answered_from_it_through_another() {
    let forced = ResolveOptions {
        force_refresh: true,
        ..ResolveOptions::default()
    };
    let uncached = ResolveOptions {
        cache_ttl: Some(Duration::ZERO),
        ..ResolveOptions::default()
    };
    let unreachable = Err(ResolveError::Dht(DhtError::Unreachable));
    for options in [forced, uncached] {
        let joined = join_one_who_reads_the_cache(&options).await;
        assert_eq!(joined, (unreachable.clone(), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_the_cache_is_answered_from_it_with_another() {
    let joined = join_one_who_reads_the_cache(&ResolveOptions::default()).await;
    assert_eq!(joined, (Err(ResolveError::NotFound), 0));
}

#[tokio::test(start_paused = true)]
async fn miss_of_what_was_found_meanwhile_is_no_lookup() {
    let (resolver, name) = resolver();
    let options = ResolveOptions::default();
    assert!(resolver.cached(&name, &options).is_none());
    cache_absence(&resolver, &name);
    let found = resolver.discover(&name, &options).await;
    assert_eq!(found, Err(ResolveError::NotFound));
    let stats = resolver.stats();
    assert_eq!((stats.misses, stats.coalesced, stats.lookups), (1, 1, 0));
}
