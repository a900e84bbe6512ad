//! Nodes in one process on tokio's paused clock.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use macula_core::{
    Contact, Delivery, NodeId, Provider, Realm, SecretKey, ServiceName, Timestamp, UnsavedSequence,
    WallClock,
};
use macula_dht::MemoryDht;
use macula_registry::{
    AdvertiseOptions, Advertisement, Identity, Registry, RegistryConfig, ResolveOptions,
};
use macula_rpc::{
    Call, CallError, CallOptions, Caller, CallerConfig, Codec, Handler, HandlerError,
    ProviderSelector, Reply, Selection, Server, ServerConfig, Service, ServiceOptions, typed,
};
use macula_transport::{Endpoint, EndpointConfig, Executor, MemoryNetwork, PeerEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

/// A network and a DHT that all nodes share.
pub(crate) struct Mesh {
    pub(crate) network: Arc<MemoryNetwork>,
    pub(crate) dht: Arc<MemoryDht>,
    clock: WallClock,
}

/// One whole node.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) endpoint: Endpoint,
    pub(crate) registry: Arc<Registry<Service>>,
    pub(crate) server: Arc<Server>,
    pub(crate) caller: Caller,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let started = Instant::now();
        let clock: WallClock = Arc::new(move || {
            Timestamp::from_unix_millis(1_800_000_000_000).saturating_add(started.elapsed())
        });
        let network = MemoryNetwork::new(1);
        network.set_latency(Duration::from_millis(1)..=Duration::from_millis(1));
        Self {
            network,
            dht: MemoryDht::new(clock.clone()),
            clock,
        }
    }

    /// The same network for nodes whose wall clock is ahead. They have a DHT of their own, which
    /// believes their records.
    pub(crate) fn ahead_by(&self, ahead: Duration) -> Self {
        let on_time = self.clock.clone();
        let clock: WallClock = Arc::new(move || on_time().saturating_add(ahead));
        Self {
            network: self.network.clone(),
            dht: MemoryDht::new(clock.clone()),
            clock,
        }
    }

    /// A node with the default settings, which tries providers in the order of their ids' seeds.
    pub(crate) fn node(&self, seed: u8) -> Node {
        self.node_with(seed, Arc::new(BySeed), ServerConfig::default())
    }

    pub(crate) fn node_with(
        &self,
        seed: u8,
        selector: Arc<dyn ProviderSelector>,
        server_config: ServerConfig,
    ) -> Node {
        self.node_on(Executor::Current, seed, selector, server_config)
    }

    /// A node with the default settings, whose handlers run on another runtime.
    pub(crate) fn node_with_handlers_on(&self, handlers: Handle, seed: u8) -> Node {
        let parts = (Arc::new(BySeed) as Arc<dyn ProviderSelector>, handlers);
        self.node_of(Executor::Current, seed, parts, ServerConfig::default())
    }

    pub(crate) fn node_on(
        &self,
        executor: Executor,
        seed: u8,
        selector: Arc<dyn ProviderSelector>,
        server_config: ServerConfig,
    ) -> Node {
        self.node_of(executor, seed, (selector, Handle::current()), server_config)
    }

    fn node_of(
        &self,
        executor: Executor,
        seed: u8,
        (selector, handlers): (Arc<dyn ProviderSelector>, Handle),
        server_config: ServerConfig,
    ) -> Node {
        let secret_key = key(seed);
        let runtime = executor.start().unwrap();
        let transport = self.network.transport(&secret_key);
        let endpoint = Endpoint::start(runtime, transport, EndpointConfig::default()).unwrap();
        let addressed = endpoint.clone();
        let identity = Identity {
            secret_key,
            realm: Realm::default(),
            addresses: Arc::new(move || addressed.addresses()),
            clock: self.clock.clone(),
            sequences: Arc::new(UnsavedSequence),
        };
        let registry =
            Registry::new(identity, self.dht.clone(), RegistryConfig::default()).unwrap();
        let server = Server::start(&endpoint, registry.clone(), handlers, server_config).unwrap();
        let config = CallerConfig {
            seed: Some(u64::from(seed)),
            ..CallerConfig::default()
        };
        let caller = Caller::new(
            endpoint.clone(),
            registry.clone(),
            selector,
            server.clone(),
            config,
        )
        .unwrap();
        Node {
            id: endpoint.node_id(),
            endpoint,
            registry,
            server,
            caller,
        }
    }

    /// Takes a node away, and waits until another has noticed.
    pub(crate) async fn kill(&self, node: &Node, seen_by: &Node) {
        let mut events = seen_by.endpoint.events();
        self.network.kill(node.id);
        self.network.refuse(node.id);
        while within(events.recv()).await != Ok(PeerEvent::Disconnected(node.id)) {}
    }

    /// Lets packets between the two get lost.
    pub(crate) fn cut(&self, a: &Node, b: &Node) {
        self.network.partition(&[a.id], &[b.id]);
    }
}

impl Node {
    pub(crate) async fn serve(&self, service: &str, handler: Arc<dyn Handler>) -> Advertisement {
        self.serve_as(service, Service::new(handler), Delivery::AtLeastOnce)
            .await
    }

    pub(crate) async fn serve_limited(
        &self,
        service: &str,
        handler: Arc<dyn Handler>,
        max_running: usize,
    ) -> Advertisement {
        let options = ServiceOptions {
            max_running: NonZeroUsize::new(max_running).unwrap(),
            ..ServiceOptions::default()
        };
        let service_of = Service::with_options(handler, options);
        self.serve_as(service, service_of, Delivery::AtLeastOnce)
            .await
    }

    pub(crate) async fn serve_as(
        &self,
        service: &str,
        handler: Service,
        delivery: Delivery,
    ) -> Advertisement {
        let options = AdvertiseOptions {
            delivery,
            ..AdvertiseOptions::default()
        };
        self.registry
            .advertise(name(service), handler, options)
            .await
            .unwrap()
    }

    /// Calls with the default options.
    pub(crate) async fn call<R: DeserializeOwned>(
        &self,
        service: &str,
        arguments: &impl Serialize,
    ) -> Result<R, CallError> {
        let reply = self
            .call_with(service, arguments, CallOptions::default())
            .await?;
        Ok(reply.codec.decode(&reply.body).unwrap())
    }

    pub(crate) async fn call_with(
        &self,
        service: &str,
        arguments: &impl Serialize,
        options: CallOptions,
    ) -> Result<Reply, CallError> {
        let body = Codec::Postcard.encode(arguments).unwrap();
        self.send(service, Codec::Postcard, body, options).await
    }

    pub(crate) async fn send(
        &self,
        service: &str,
        codec: Codec,
        body: Bytes,
        options: CallOptions,
    ) -> Result<Reply, CallError> {
        let call = Call {
            service: name(service),
            codec,
            body,
            options,
        };
        within(self.caller.call(call)).await
    }

    /// Where it is dialled.
    pub(crate) fn contact(&self) -> Contact {
        Contact::new(self.id, self.endpoint.addresses().iter().copied())
    }

    /// Whom the cache knows, in the order of their seeds.
    pub(crate) fn cached(&self, service: &str) -> Vec<NodeId> {
        let options = ResolveOptions {
            skip_local: true,
            ..ResolveOptions::default()
        };
        let known = self.registry.resolve_now(&name(service), &options);
        let Some(Ok(resolved)) = known else {
            return Vec::new();
        };
        let mut ids: Vec<_> = resolved.providers().iter().map(Provider::node_id).collect();
        ids.sort_by_key(seed_of);
        ids
    }
}

/// Chooses the candidate whose key has the lowest seed, so that tests know who is first.
struct BySeed;

impl ProviderSelector for BySeed {
    fn select(&self, selection: &Selection<'_>) -> Option<usize> {
        (0..selection.candidates.len())
            .min_by_key(|index| seed_of(&selection.candidates[*index].provider.node_id()))
    }
}

fn seed_of(node_id: &NodeId) -> u8 {
    (0..=u8::MAX)
        .find(|seed| key(*seed).node_id() == *node_id)
        .unwrap()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; SecretKey::LEN_BYTES])
}

pub(crate) fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

pub(crate) fn at_most_once() -> CallOptions {
    CallOptions {
        delivery: Some(Delivery::AtMostOnce),
        ..CallOptions::default()
    }
}

/// The error without the attempts that led to it.
pub(crate) fn bare(mut error: CallError) -> CallError {
    match &mut error {
        CallError::Handler { attempts, .. }
        | CallError::HandlerPanicked { attempts }
        | CallError::Codec { attempts, .. }
        | CallError::TooLarge { attempts, .. } => attempts.clear(),
        other => panic!("{other}"),
    }
    error
}

/// Fails instead of hanging.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(600), future)
        .await
        .expect("no end within ten minutes")
}

/// Counts what handlers do.
#[derive(Clone, Default)]
pub(crate) struct Counter(Arc<watch::Sender<usize>>);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    pub(crate) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Counts when it is dropped.
    pub(crate) fn on_drop(&self) -> impl Drop + Send + use<> {
        CountDrop(self.clone())
    }

    /// Waits until so many were counted.
    pub(crate) async fn reaches(&self, wanted: usize) {
        let mut counted = self.0.subscribe();
        within(counted.wait_for(|count| *count >= wanted))
            .await
            .unwrap();
    }
}

struct CountDrop(Counter);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Answers with its own number.
pub(crate) fn answers(number: u32) -> Arc<dyn Handler> {
    typed(move |(): ()| async move { Ok(number) })
}

/// Counts the calls, then answers with its own number.
pub(crate) fn counts(counter: &Counter, number: u32) -> Arc<dyn Handler> {
    let counter = counter.clone();
    typed(move |(): ()| {
        counter.add();
        async move { Ok(number) }
    })
}

/// Counts the calls that begin and those that end, and ends none by itself.
pub(crate) fn hangs(begun: &Counter, ended: &Counter) -> Arc<dyn Handler> {
    let (begun, ended) = (begun.clone(), ended.clone());
    typed(move |(): ()| {
        begun.add();
        let ended = ended.on_drop();
        async move {
            std::future::pending::<()>().await;
            drop(ended);
            Ok(0_u32)
        }
    })
}

pub(crate) fn fails(message: &'static str) -> Arc<dyn Handler> {
    typed(move |(): ()| async move { Err::<u32, _>(HandlerError::new(message).with_code(7)) })
}
