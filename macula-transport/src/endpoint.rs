//! What the layers above use: one per node, over any [`Transport`].
//!
//! The folder, in the order of a connection's life: `dial` and `accept` bring it about, `hello` and
//! `handshake` agree on it, `pool` keeps it as a `link`. What travels on it are frames (`frame`) on a
//! few streams (`lane`): `outbound` asks, by a `call` that has its place among the link's `calls`;
//! `serve` takes in the peer's streams, `inbound` answers with the handlers of `dispatch`, within a
//! `quota`, and `running` knows which of them are at work. `liveness` watches who still answers,
//! `goodbye` takes leave. `probe` and `own_address` find out who can be reached where.

use std::sync::Arc;

use bytes::Bytes;
use macula_core::{Addresses, Contact, DialTarget, NodeId, Realm};
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};

use crate::{CloseCode, DialError, NodeRuntime, RequestError, Transport};

mod accept;
mod attempt;
mod dial;
mod hellos;
mod pace;
mod reject;

mod handshake;
mod hello;

mod link;
mod pool;
mod room;
mod use_order;

mod frame;
mod lane;

mod call;
mod calls;
mod outbound;

mod dispatch;
mod inbound;
mod quota;
mod running;
mod serve;
mod turns;

mod goodbye;
mod liveness;

mod backoff;
mod horizon;
mod own_address;
mod probe;

mod config;
mod node;
mod peer;
mod request;
mod starting;
mod stats;
mod trace;

pub use config::{EndpointConfig, EndpointConfigError};
pub use inbound::MAX_REQUEST_TIMEOUT;
pub use peer::{Peer, PeerConnection, PeerEvent, Role};
pub use request::{
    Begun, Handling, InboundRequest, ProtocolId, ProtocolTaken, Request, RequestHandler,
};
pub use stats::EndpointStats;

use node::Node;

/// A node's connections to its peers, and the requests on them.
///
/// Handles are cheap to clone. Dropping the last one closes the connections and frees the sockets;
/// [`shutdown`](Self::shutdown) does so in good order.
///
/// # Events
/// With `tracing`, one can follow a connection by its number. These names and fields are stable,
/// and so is their target, `macula_transport::endpoint`; the level is `DEBUG`, or what is said.
///
/// | name | fields |
/// |---|---|
/// | `endpoint.started` (`INFO`) | `node`, `realm`, `role` |
/// | `endpoint.shut_down` (`INFO`) | `node` |
/// | `endpoint.drain_overdue` (`WARN`) | `node`, `in_flight` |
/// | `dial.begun` | `dial`, `to` |
/// | `dial.succeeded` | `dial`, `connection`, `peer`, `took` |
/// | `dial.first_use` (`INFO`) | `host`, `peer` |
/// | `dial.failed` | `dial`, `to`, `error`, `took` |
/// | `connection.opened` | `connection`, `peer`, `address`, `outbound`, `role` |
/// | `connection.closed`, by this node | `connection`, `peer`, `reason`, `code`, traffic |
/// | `connection.ended`, by the peer or the network | `connection`, `peer`, `error`, traffic |
/// | `connection.unresponsive` (`WARN`) | `connection`, `peer` |
/// | `connection.keep_alive_unanswered` | `connection`, `peer` |
/// | `connection.rejected` | `peer`, `address`, `reason` |
/// | `reply.stalled`: the peer does not take a long one | `connection`, `peer` |
/// | `reply.broken`: a long one was not sent | `connection`, `peer`, `error` |
/// | `probe.succeeded`, `probe.failed`: dialling back who dialled us | `connection`, `peer`, `address` |
/// | `address.proved` (`INFO`): an address of this node | `address`, `peer` |
///
/// A dial that waits, shakes hands or says hello is one span, `dial`, with the fields `dial` and
/// `to`. Traffic is `bytes_sent`, `bytes_received` and `packets_lost`, where the transport counts.
/// Reasons to close: `evicted`, `displaced`, `unresponsive`, `released`, `shutdown`. Reasons to
/// reject: `wrong_realm`, `wrong_version`, `malformed`, `silent`, `crowded`, `full`, `draining`,
/// `left`.
#[derive(Clone)]
pub struct Endpoint {
    node: Arc<Node>,
}

impl Endpoint {
    /// Starts accepting connections, on `runtime`.
    ///
    /// A request that comes before its protocol has a handler is refused. Where peers may connect at
    /// once, [`prepare`](Self::prepare) lets handlers be registered first.
    ///
    /// # Errors
    /// [`EndpointConfigError`] for settings that cannot work.
    pub fn start(
        runtime: NodeRuntime,
        transport: Arc<dyn Transport>,
        config: EndpointConfig,
    ) -> Result<Self, EndpointConfigError> {
        let endpoint = Self::prepare(runtime, transport, config)?;
        endpoint.begin_accepting();
        Ok(endpoint)
    }

    /// The same, but lets nobody in until [`begin_accepting`](Self::begin_accepting): handlers that
    /// are registered by then miss no request.
    ///
    /// Who connects meanwhile waits, and what they send is kept, within the bounds of the transport.
    /// Only a peer that this node dials itself may ask at once.
    ///
    /// # Errors
    /// [`EndpointConfigError`] for settings that cannot work.
    // Ownership is what is meant: the endpoint closes the transport.
    pub fn prepare(
        runtime: NodeRuntime,
        transport: Arc<dyn Transport>,
        config: EndpointConfig,
    ) -> Result<Self, EndpointConfigError> {
        config.check(!transport.local_addresses().is_empty())?;
        let node = Node::new(runtime, transport, config);
        trace::started(&node);
        Ok(Self { node })
    }

    /// Accepts connections from now on. Doing it twice is harmless.
    pub fn begin_accepting(&self) {
        self.node.begin_accepting();
    }

    /// Who this node is.
    pub fn node_id(&self) -> NodeId {
        self.node.transport.node_id()
    }

    /// The realm whose nodes it talks to.
    pub fn realm(&self) -> &Realm {
        &self.node.config.realm
    }

    /// What this node is to the network.
    pub fn role(&self) -> Role {
        self.node.config.role
    }

    /// Where its tasks run.
    pub fn runtime(&self) -> &NodeRuntime {
        &self.node.runtime
    }

    /// Where others can dial this node; empty while that is unknown, and for a `Client`.
    ///
    /// In this order: the configured addresses; the bound ones that are specific; those that peers
    /// have proved by dialling them.
    pub fn addresses(&self) -> Addresses {
        self.node.own_addresses.current()
    }

    /// Waits until [`addresses`](Self::addresses) is not empty, for ever if need be.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn reachable(&self) -> Addresses {
        let mut current = self.node.own_addresses.watch();
        let known = current.wait_for(|addresses| !addresses.is_empty()).await;
        known.map(|addresses| addresses.clone()).unwrap_or_default()
    }

    /// Lets a handler answer the requests of a protocol, each in a task of its own.
    ///
    /// The tasks run on the runtime that this is called on, whose timers have to be enabled, or on
    /// the endpoint's own when it is called outside of any. Once that runtime has ended, requests are
    /// answered as aborted. The endpoint holds the handler until [`shutdown`](Self::shutdown): a handler that holds an
    /// `Endpoint` in turn keeps it alive until then.
    ///
    /// # Errors
    /// [`ProtocolTaken`] when the protocol has a handler.
    pub fn register(
        &self,
        protocol: ProtocolId,
        handler: Arc<dyn RequestHandler>,
    ) -> Result<(), ProtocolTaken> {
        let runtime = Handle::try_current();
        let runtime = runtime.unwrap_or_else(|_| self.node.runtime.handle().clone());
        self.node
            .dispatch
            .register(protocol, handler, Some(runtime))
    }

    /// The same for a handler that is short and never blocks: it runs at once on the endpoint's own
    /// runtime, between reading a request and writing its reply, and moves to a task only if it has
    /// to wait. That is several times as fast; whoever is slow here holds up all requests.
    ///
    /// # Errors
    /// [`ProtocolTaken`] when the protocol has a handler.
    pub fn register_inline(
        &self,
        protocol: ProtocolId,
        handler: Arc<dyn RequestHandler>,
    ) -> Result<(), ProtocolTaken> {
        self.node.dispatch.register(protocol, handler, None)
    }

    /// Connects to a node, or takes the connection that there is, in either direction.
    ///
    /// However many wait for a node, it is dialled once. A `Client` keeps the connections it asks for
    /// here from growing idle.
    ///
    /// # Errors
    /// [`DialError`].
    ///
    /// # Cancel safety
    /// The dial goes on in the background for whoever comes next.
    pub async fn connect(&self, target: &DialTarget) -> Result<Peer, DialError> {
        outbound::connect(&self.node, target).await
    }

    /// Sends a request and waits for the reply, dialling if there is no connection.
    ///
    /// The addresses of `to` may be empty if the node is connected already, in either direction.
    ///
    /// # Errors
    /// [`RequestError`], which says whether the peer may have carried it out.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request at the peer. What it had done by then is done.
    pub fn request(
        &self,
        to: &Contact,
        request: Request,
    ) -> impl Future<Output = Result<Bytes, RequestError>> + Send {
        outbound::request(&self.node, to, request)
    }

    /// The connected peers, by node id.
    pub fn peers(&self) -> Vec<Peer> {
        self.node.pool.peers()
    }

    /// A connected peer.
    pub fn peer(&self, node_id: &NodeId) -> Option<Peer> {
        self.node.peer(node_id)
    }

    /// Every connection, by peer; there may be several with one.
    pub fn connections(&self) -> Vec<PeerConnection> {
        self.node.pool.connections()
    }

    /// Whether there is a connection to a node, in either direction.
    pub fn is_connected(&self, node_id: &NodeId) -> bool {
        self.node.pool.is_connected(node_id)
    }

    /// What happens between this node and its peers from now on. Whoever lags too far behind loses
    /// some of it and is told so.
    pub fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.node.events.subscribe()
    }

    /// What it has counted.
    pub fn stats(&self) -> EndpointStats {
        let mut stats = EndpointStats {
            transport: self.node.transport.stats(),
            dials_running: self.node.dials.running(),
            hellos_awaited: self.node.hellos.len(),
            inbound_in_flight: self.node.dispatch.in_flight(),
            inbound_body_bytes: self.node.dispatch.body_bytes(),
            claims_forgotten: self.node.own_addresses.forgotten(),
            ..self.node.counters.snapshot()
        };
        self.node.pool.count(&mut stats);
        stats
    }

    /// Refuses new requests and connections of peers, and waits for the requests that are being
    /// handled and for their replies to arrive, for at most the configured `drain_timeout` and a
    /// second for the last replies. Whoever is silent for a second is not waited for.
    ///
    /// # Cancel safety
    /// The refusing goes on when the future is dropped.
    pub async fn drain(&self) {
        let begun = Instant::now();
        let dispatch = &self.node.dispatch;
        dispatch.start_draining();
        let mut farewells = self.node.say_goodbye(CloseCode::ShuttingDown);
        let limit = self.node.config.drain_timeout;
        if timeout(limit, dispatch.idle()).await.is_err() {
            trace::drain_overdue(&self.node);
        }
        let left = limit.saturating_sub(begun.elapsed());
        let _ = timeout(left.max(goodbye::LINGER), async {
            while farewells.join_next().await.is_some() {}
        })
        .await;
    }

    /// Drains, tells the peers, closes every connection and frees the sockets. Doing it twice is
    /// harmless.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it undone from that point on; it can be called again.
    pub async fn shutdown(&self) {
        self.drain().await;
        let is_first = !self.node.is_closing();
        self.node.close(CloseCode::ShuttingDown).await;
        if is_first {
            trace::shut_down(&self.node);
        }
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("node_id", &self.node_id())
            .field("role", &self.role())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
