//! A node for tests: a registry with its identity, on a DHT that is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use macula_core::{
    Addresses, Metadata, NodeId, Provider, Realm, SecretKey, ServiceName, Timestamp,
    UnsavedSequence, WallClock,
};
use macula_dht::Dht;
use macula_registry::{
    AdvertiseOptions, Advertisement, AdvertisementState, Identity, Registry, RegistryConfig,
    ResolveError, ResolveOptions,
};
use tokio::time::Instant;

/// What answers calls in these tests.
pub(crate) type Handler = &'static str;

/// What a name comes to in these tests.
pub(crate) type Resolved = macula_registry::Resolved<Handler>;

/// A registry and what it stands on.
pub(crate) struct Node {
    pub(crate) registry: Arc<Registry<Handler>>,
    pub(crate) node_id: NodeId,
    pub(crate) clock: TestClock,
}

/// Wall-clock time that goes with tokio's clock and can be made to jump.
#[derive(Clone)]
pub(crate) struct TestClock {
    started_at: Instant,
    offset_millis: Arc<AtomicI64>,
}

impl TestClock {
    pub(crate) fn new() -> Self {
        Self {
            started_at: Instant::now(),
            offset_millis: Arc::new(AtomicI64::new(1_800_000_000_000)),
        }
    }

    pub(crate) fn jump(&self, millis: i64) {
        self.offset_millis.fetch_add(millis, Ordering::Relaxed);
    }

    pub(crate) fn wall_clock(&self) -> WallClock {
        let clock = self.clone();
        Arc::new(move || {
            let elapsed = i64::try_from(clock.started_at.elapsed().as_millis()).unwrap();
            let millis = clock.offset_millis.load(Ordering::Relaxed) + elapsed;
            Timestamp::from_unix_millis(u64::try_from(millis).unwrap())
        })
    }
}

impl Node {
    pub(crate) fn new(index: u8, dht: Arc<dyn Dht>) -> Self {
        Self::with(index, dht, TestClock::new(), RegistryConfig::default())
    }

    pub(crate) fn with_config(index: u8, dht: Arc<dyn Dht>, config: RegistryConfig) -> Self {
        Self::with(index, dht, TestClock::new(), config)
    }

    pub(crate) fn with(
        index: u8,
        dht: Arc<dyn Dht>,
        clock: TestClock,
        config: RegistryConfig,
    ) -> Self {
        Self::at(index, dht, clock, config, move || address(index))
    }

    pub(crate) fn at(
        index: u8,
        dht: Arc<dyn Dht>,
        clock: TestClock,
        config: RegistryConfig,
        addresses: impl Fn() -> Addresses + Send + Sync + 'static,
    ) -> Self {
        let identity = identity(index, &clock, addresses);
        let node_id = identity.node_id();
        let registry = Registry::new(identity, dht, config).unwrap();
        Self {
            registry,
            node_id,
            clock,
        }
    }

    pub(crate) async fn advertise(&self, service: &str) -> Advertisement {
        self.advertise_with(service, AdvertiseOptions::default())
            .await
    }

    pub(crate) async fn advertise_with(
        &self,
        service: &str,
        options: AdvertiseOptions,
    ) -> Advertisement {
        let advertised = self.registry.advertise(name(service), "handler", options);
        in_time(advertised).await.unwrap()
    }

    pub(crate) async fn unadvertise(&self, service: &str) -> bool {
        in_time(self.registry.unadvertise(&name(service)))
            .await
            .unwrap()
    }

    pub(crate) fn cached(&self, service: &str) -> Option<Resolved> {
        let options = ResolveOptions::default();
        self.registry.resolve_now(&name(service), &options)?.ok()
    }

    pub(crate) async fn resolve(&self, service: &str) -> Result<Resolved, ResolveError> {
        self.resolve_with(service, ResolveOptions::default()).await
    }

    pub(crate) async fn resolve_with(
        &self,
        service: &str,
        options: ResolveOptions,
    ) -> Result<Resolved, ResolveError> {
        in_time(self.registry.resolve(&name(service), &options)).await
    }

    pub(crate) async fn resolve_anew(&self, service: &str) -> Result<Resolved, ResolveError> {
        let options = ResolveOptions {
            force_refresh: true,
            ..ResolveOptions::default()
        };
        self.resolve_with(service, options).await
    }
}

pub(crate) fn identity(
    index: u8,
    clock: &TestClock,
    addresses: impl Fn() -> Addresses + Send + Sync + 'static,
) -> Identity {
    Identity {
        secret_key: SecretKey::from_bytes(&[index; 32]),
        realm: Realm::default(),
        addresses: Arc::new(addresses),
        clock: clock.wall_clock(),
        sequences: Arc::new(UnsavedSequence),
    }
}

pub(crate) fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

pub(crate) fn address(port: u8) -> Addresses {
    let addr = format!("10.0.0.1:{}", 1000 + u16::from(port));
    Addresses::from_iter([addr.parse().unwrap()])
}

pub(crate) fn metadata(key: &str, value: &str) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert(key, value).unwrap();
    metadata
}

pub(crate) fn ttl(secs: u64) -> AdvertiseOptions {
    AdvertiseOptions {
        ttl: Duration::from_secs(secs),
        ..AdvertiseOptions::default()
    }
}

pub(crate) fn nodes_of(resolved: &Resolved) -> Vec<NodeId> {
    resolved.providers().iter().map(Provider::node_id).collect()
}

/// Lets time pass, with everything that is due in it.
pub(crate) async fn pass(secs: u64) {
    pass_millis(1000 * secs).await;
}

/// The same, for less than a second.
pub(crate) async fn pass_millis(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    settle().await;
}

/// Lets everything that is ready run, while time stands still.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Lets time pass, 10 ms at a time, until something has happened; what never does fails the test.
pub(crate) async fn pass_until(has_happened: impl Fn() -> bool) {
    let waiting = async {
        while !has_happened() {
            pass_millis(10).await;
        }
    };
    in_time(waiting).await;
}

/// Waits for a state; a state that never comes fails the test.
pub(crate) async fn until(
    advertisement: &mut Advertisement,
    reached: impl Fn(AdvertisementState) -> bool,
) -> AdvertisementState {
    let waiting = async {
        let mut state = advertisement.state();
        while !reached(state) {
            state = advertisement.changed().await;
        }
        state
    };
    in_time(waiting).await
}

/// A future that has to end, and does so long before anybody loses patience.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3600), future)
        .await
        .expect("ends in time")
}
