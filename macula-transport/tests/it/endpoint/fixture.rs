//! Endpoints on a wire, and handlers to watch.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use macula_core::{Contact, SecretKey};
#[cfg(feature = "simulation")]
use macula_transport::CloseCode;
use macula_transport::{
    Endpoint, EndpointConfig, Executor, InboundRequest, MemoryNetwork, NodeRuntime, PeerEvent,
    ProtocolId, Refusal, Request, RequestHandler, Role, Transport,
};
#[cfg(feature = "quic")]
use macula_transport::{QuicConfig, QuicTransport};
use tokio::sync::{Semaphore, broadcast, watch};

#[cfg(feature = "simulation")]
use crate::simulated::{Links, Network};

/// A wire, and where the endpoints on it run.
pub(crate) struct Fixture {
    wire: Wire,
    executor: Executor,
    /// The most streams of a connection, where that is a setting.
    #[cfg(feature = "quic")]
    max_streams: u32,
}

enum Wire {
    Memory(Arc<MemoryNetwork>),
    #[cfg(feature = "quic")]
    Quic,
    /// QUIC, each node on a host of its own.
    #[cfg(feature = "simulation")]
    Simulated(Network),
}

/// Where a transport is bound.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Specific,
    Any,
    Nowhere,
}

impl Fixture {
    pub(crate) fn memory(executor: Executor) -> Self {
        Self {
            wire: Wire::Memory(MemoryNetwork::new(7)),
            executor,
            #[cfg(feature = "quic")]
            max_streams: QuicConfig::default().max_streams,
        }
    }

    #[cfg(feature = "quic")]
    pub(crate) fn quic(executor: Executor) -> Self {
        Self {
            wire: Wire::Quic,
            executor,
            max_streams: QuicConfig::default().max_streams,
        }
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(network: Network) -> Self {
        Self {
            wire: Wire::Simulated(network),
            executor: Executor::Current,
            max_streams: QuicConfig::default().max_streams,
        }
    }

    /// The same with at most a hundred streams a connection, which memory has anyway.
    pub(crate) fn with_a_hundred_streams(mut self) -> Self {
        #[cfg(feature = "quic")]
        {
            self.max_streams = 100;
        }
        self
    }

    /// How long at most it takes until a word and the answer to it have come from one node to
    /// another: in virtual time what the links take and the nodes a few ticks, in real time what a
    /// busy machine takes.
    pub(crate) fn round_trip(&self) -> Duration {
        const A_FEW_TICKS: Duration = Duration::from_millis(10);
        match &self.wire {
            Wire::Memory(_) if self.executor == Executor::Current => A_FEW_TICKS,
            #[cfg(feature = "simulation")]
            Wire::Simulated(_) => Links::GOOD.latency.1 * 2 + A_FEW_TICKS,
            _ => Duration::from_secs(10),
        }
    }

    /// An address at which nobody answers, and what keeps it so.
    pub(crate) fn black_hole(&self) -> (SocketAddr, Option<std::net::UdpSocket>) {
        match &self.wire {
            Wire::Memory(_) => (([127, 66, 6, 6], 4433).into(), None),
            #[cfg(feature = "quic")]
            Wire::Quic => {
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                (socket.local_addr().unwrap(), Some(socket))
            }
            #[cfg(feature = "simulation")]
            Wire::Simulated(network) => (network.black_hole(), None),
        }
    }

    /// Whether an address at which the node of a seed listened can be bound again; memory has none
    /// to bind.
    pub(crate) async fn is_free(&self, at: (u8, SocketAddr)) -> bool {
        match &self.wire {
            Wire::Memory(_) => true,
            #[cfg(feature = "quic")]
            Wire::Quic => std::net::UdpSocket::bind(at.1).is_ok(),
            #[cfg(feature = "simulation")]
            Wire::Simulated(network) => {
                let (seed, address) = at;
                let mut config = self.quic_config(address.ip(), Bound::Specific);
                config.listen = vec![address];
                let Ok(bound) = network.try_bind(seed, config).await else {
                    return false;
                };
                bound.close(CloseCode::Done).await;
                true
            }
        }
    }

    pub(crate) async fn transport(
        &self,
        runtime: &NodeRuntime,
        seed: u8,
        bound: Bound,
    ) -> Arc<dyn Transport> {
        let key = SecretKey::from_bytes(&[seed; 32]);
        match &self.wire {
            Wire::Memory(network) => match bound {
                Bound::Specific => network.transport(&key),
                Bound::Any => network.transport_at_any(&key),
                Bound::Nowhere => network.dial_only(&key),
            },
            #[cfg(feature = "quic")]
            Wire::Quic => {
                let config = self.quic_config([127, 0, 0, 1].into(), bound);
                let binding = async move { QuicTransport::bind(&key, config).await };
                runtime.spawn(binding).await.unwrap().unwrap()
            }
            #[cfg(feature = "simulation")]
            Wire::Simulated(network) => {
                let config = self.quic_config(network.ip(seed), bound);
                network.bind(seed, config).await
            }
        }
    }

    /// A node that listens at any IP, and an address that reaches it but that it does not know.
    pub(crate) async fn hidden(&self, seed: u8) -> (Endpoint, SocketAddr) {
        let runtime = self.runtime(seed).await;
        let (transport, address): (Arc<dyn Transport>, _) = match &self.wire {
            Wire::Memory(network) => {
                let key = SecretKey::from_bytes(&[seed; 32]);
                let transport = network.transport_at_any(&key);
                let address = transport.virtual_address();
                (transport, address)
            }
            #[cfg(feature = "quic")]
            Wire::Quic => {
                let transport = self.transport(&runtime, seed, Bound::Any).await;
                let port = transport.local_addresses()[0].port();
                (transport, ([127, 0, 0, 1], port).into())
            }
            #[cfg(feature = "simulation")]
            Wire::Simulated(network) => {
                let transport = self.transport(&runtime, seed, Bound::Any).await;
                let port = transport.local_addresses()[0].port();
                (transport, (network.ip(seed), port).into())
            }
        };
        let endpoint = Endpoint::start(runtime, transport, EndpointConfig::default()).unwrap();
        (endpoint, address)
    }

    /// The runtime of a node.
    pub(crate) async fn runtime(&self, seed: u8) -> NodeRuntime {
        match &self.wire {
            #[cfg(feature = "simulation")]
            Wire::Simulated(network) => network.runtime(seed).await,
            _ => self.executor.start().unwrap(),
        }
    }

    /// A transport without an endpoint, on the runtime of the test or of its host.
    pub(crate) async fn raw(&self, seed: u8) -> Arc<dyn Transport> {
        let runtime = match &self.wire {
            #[cfg(feature = "simulation")]
            Wire::Simulated(_) => self.runtime(seed).await,
            _ => Executor::Current.start().unwrap(),
        };
        self.transport(&runtime, seed, Bound::Specific).await
    }

    /// A node that listens, with other settings than the default.
    pub(crate) async fn server_with(
        &self,
        seed: u8,
        change: impl FnOnce(&mut EndpointConfig),
    ) -> Endpoint {
        self.node(seed, Bound::Specific, change).await
    }

    pub(crate) async fn server(&self, seed: u8) -> Endpoint {
        self.server_with(seed, |_| {}).await
    }

    pub(crate) async fn client(&self, seed: u8) -> Endpoint {
        let client = |config: &mut EndpointConfig| config.role = Role::Client;
        self.node(seed, Bound::Nowhere, client).await
    }

    pub(crate) async fn node(
        &self,
        seed: u8,
        bound: Bound,
        change: impl FnOnce(&mut EndpointConfig),
    ) -> Endpoint {
        let runtime = self.runtime(seed).await;
        let transport = self.transport(&runtime, seed, bound).await;
        let mut config = EndpointConfig::default();
        change(&mut config);
        Endpoint::start(runtime, transport, config).unwrap()
    }

    #[cfg(feature = "quic")]
    fn quic_config(&self, ip: std::net::IpAddr, bound: Bound) -> QuicConfig {
        let listen = match bound {
            Bound::Specific => vec![(ip, 0).into()],
            Bound::Any => vec![([0, 0, 0, 0], 0).into()],
            Bound::Nowhere => Vec::new(),
        };
        QuicConfig {
            listen,
            max_streams: self.max_streams,
            ..QuicConfig::default()
        }
    }
}

/// Answers with what it was asked.
pub(crate) struct Echo;

#[async_trait]
impl RequestHandler for Echo {
    async fn handle(&self, request: InboundRequest) -> Result<Bytes, Refusal> {
        Ok(request.body)
    }
}

/// Holds every request until it is let through.
pub(crate) struct Gate {
    running: watch::Sender<usize>,
    passes: Semaphore,
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            running: watch::Sender::new(0),
            passes: Semaphore::new(0),
        })
    }

    /// Waits until so many requests are held.
    pub(crate) async fn holds(&self, count: usize) {
        let mut running = self.running.subscribe();
        soon(running.wait_for(|running| *running == count))
            .await
            .unwrap();
    }

    /// Waits until it holds nothing, and nobody else holds it.
    pub(crate) async fn is_let_go(self: &Arc<Self>) {
        self.holds(0).await;
        eventually(|| Arc::strong_count(self) == 1).await;
    }

    pub(crate) fn let_through(&self, count: usize) {
        self.passes.add_permits(count);
    }
}

#[async_trait]
impl RequestHandler for Gate {
    async fn handle(&self, request: InboundRequest) -> Result<Bytes, Refusal> {
        let _guard = Running::new(&self.running);
        self.passes.acquire().await.unwrap().forget();
        Ok(request.body)
    }
}

struct Running<'a>(&'a watch::Sender<usize>);

impl<'a> Running<'a> {
    fn new(running: &'a watch::Sender<usize>) -> Self {
        running.send_modify(|running| *running += 1);
        Self(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

pub(crate) const ECHO: ProtocolId = ProtocolId(100);
pub(crate) const GATE: ProtocolId = ProtocolId(101);

/// Lets an endpoint echo.
pub(crate) fn echoing(endpoint: Endpoint) -> Endpoint {
    endpoint.register(ECHO, Arc::new(Echo)).unwrap();
    endpoint
}

/// Lets an endpoint hold requests at a gate.
pub(crate) fn gated(endpoint: &Endpoint) -> Arc<Gate> {
    let gate = Gate::new();
    endpoint
        .register(GATE, Arc::clone(&gate) as Arc<_>)
        .unwrap();
    gate
}

pub(crate) fn request(protocol: ProtocolId, body: &'static [u8]) -> Request {
    Request {
        protocol,
        timeout: Duration::from_secs(30),
        body: Bytes::from_static(body),
    }
}

pub(crate) fn contact(endpoint: &Endpoint) -> Contact {
    Contact::new(endpoint.node_id(), endpoint.addresses().iter().copied())
}

/// Only who, not where: for peers that are connected.
pub(crate) fn known(endpoint: &Endpoint) -> Contact {
    Contact::new(endpoint.node_id(), [])
}

/// Waits for an event.
pub(crate) async fn event(
    events: &mut broadcast::Receiver<PeerEvent>,
    is_it: impl Fn(&PeerEvent) -> bool,
) -> PeerEvent {
    soon(async {
        loop {
            let event = events.recv().await.unwrap();
            if is_it(&event) {
                return event;
            }
        }
    })
    .await
}

/// Waits until something holds that no event tells.
pub(crate) async fn eventually(holds: impl Fn() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Waits until something changes no more.
pub(crate) async fn settled<T: PartialEq>(value: impl Fn() -> T) {
    soon(async {
        loop {
            let before = value();
            tokio::time::sleep(Duration::from_millis(200)).await;
            if value() == before {
                return;
            }
        }
    })
    .await;
}

/// Waits for something that has to happen.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("progress")
}
