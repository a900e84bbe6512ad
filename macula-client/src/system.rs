//! What every node answers about itself: `_sys.ping`, `_sys.info`, `_sys.stats`, `_sys.health`.
//!
//! They take no arguments, answer postcard and JSON callers alike, and are listed nowhere: name the
//! node as the call's [`provider`](crate::CallBuilder::provider). If it is not connected, the
//! network is asked where it is. Between nodes of different versions ask in JSON, in which answers
//! may have fields that the asker does not know. In those of `_sys.stats` counters may be missing,
//! which are read as zero, and kinds of failure that the asker does not know are left out.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use macula_core::{Addresses, NameError, NodeId, Realm, ServiceName};
use macula_dht::DhtStats;
use macula_registry::{AdvertiseError, RegistryStats};
use macula_rpc::{
    CalledStats, CallerStats, Handler, HandlerError, PerService, Runs, ServedStats, ServerStats,
    Service, ServiceOptions, typed,
};
use macula_transport::{EndpointStats, Role};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::client::{Node, Parts};

/// The version of these answers: it grows when a field changes its meaning or goes away.
pub const SYSTEM_VERSION: u16 = 1;

/// The answer of `_sys.ping`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// See [`SYSTEM_VERSION`].
    pub version: u16,
    /// Who answers.
    pub node_id: NodeId,
}

/// The answer of `_sys.info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// See [`SYSTEM_VERSION`].
    pub version: u16,
    /// Who answers.
    pub node_id: NodeId,
    /// The namespace it lives in.
    pub realm: Realm,
    /// Where it can be dialled, as far as it knows.
    pub addresses: Addresses,
    /// Whether it listens and serves the DHT.
    pub serves: bool,
    /// The version of this library that it runs.
    pub software: String,
    /// For how long it has been running, in milliseconds.
    pub uptime_millis: u64,
    /// The names that it provides, sorted; at most [`MAX_NAMED_SERVICES`].
    pub services: Vec<ServiceName>,
}

/// Everything that the layers of a node count.
///
/// The answer of `_sys.stats`, which names at most [`MAX_TOLD_SERVICES`] services on either side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeStats {
    /// See [`SYSTEM_VERSION`].
    pub version: u16,
    /// Connections, dials, requests, and what the transport below counts.
    #[serde(default)]
    pub endpoint: EndpointStats,
    /// The DHT; none with one of the user's own.
    pub dht: Option<DhtStats>,
    /// Local services, discovery cache, advertisements.
    #[serde(default)]
    pub registry: RegistryStats,
    /// Calls answered.
    #[serde(default)]
    pub server: ServerStats,
    /// Calls made.
    #[serde(default)]
    pub caller: CallerStats,
    /// Calls made, by service.
    #[serde(default)]
    pub called: PerService<CalledStats>,
    /// Calls answered, by service.
    #[serde(default)]
    pub served: PerService<ServedStats>,
}

/// The answer of `_sys.health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHealth {
    /// See [`SYSTEM_VERSION`].
    pub version: u16,
    /// The whole in a word.
    pub status: HealthStatus,
    /// How many peers it is connected to.
    pub peers: usize,
    /// How many contacts are in its routing table; none with a DHT of the user's own.
    pub contacts: Option<usize>,
    /// Whether it knows an address of its own that others can dial.
    pub is_reachable: bool,
    /// Services whose latest attempt to be published failed.
    pub degraded_services: usize,
}

/// How a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthStatus {
    /// All is well.
    Ok,
    /// It works, and something does not: a service is not published, or nobody can dial a node
    /// that wants to serve.
    Degraded,
    /// It leaves the network: calls that run may end, further ones are, or are about to be, refused.
    Draining,
}

/// Looking at everything that a node has takes its time, and anybody may ask for it.
const MAX_RUNNING: NonZeroUsize = match NonZeroUsize::new(4) {
    Some(running) => running,
    None => NonZeroUsize::MIN,
};

/// The most names that `_sys.info` lists.
pub const MAX_NAMED_SERVICES: usize = 1024;

/// The most services that `_sys.stats` names on either side, the busiest; the others are counted
/// together.
pub const MAX_TOLD_SERVICES: usize = 256;

/// Serves the names of the system.
pub(crate) fn serve(node: &Arc<Node>) -> Result<(), AdvertiseError> {
    let services = [
        service(node, "_sys.ping", Runs::Inline, pong)?,
        service(node, "_sys.info", Runs::Spawned, info)?,
        service(node, "_sys.stats", Runs::Spawned, told_stats)?,
        service(node, "_sys.health", Runs::Spawned, health)?,
    ];
    node.parts.server.serve_system(services);
    Ok(())
}

fn service<T: Serialize + Send + 'static>(
    node: &Arc<Node>,
    name: &str,
    runs: Runs,
    answer: fn(&Parts) -> T,
) -> Result<(ServiceName, Service), AdvertiseError> {
    let Ok(name): Result<ServiceName, NameError> = name.parse() else {
        return Err(AdvertiseError::ReservedName);
    };
    let options = ServiceOptions {
        runs,
        max_running: MAX_RUNNING,
        ..ServiceOptions::default()
    };
    let service = Service::with_options(handler(Arc::downgrade(node), answer), options);
    Ok((name, service))
}

/// Weak: the node must not keep itself alive.
fn handler<T: Serialize + Send + 'static>(
    node: Weak<Node>,
    answer: fn(&Parts) -> T,
) -> Arc<dyn Handler> {
    typed(move |(): ()| {
        let node = node.upgrade();
        async move {
            let gone = || HandlerError::new("the node has ended");
            node.map(|node| answer(&node.parts)).ok_or_else(gone)
        }
    })
}

fn pong(parts: &Parts) -> Pong {
    Pong {
        version: SYSTEM_VERSION,
        node_id: parts.endpoint.node_id(),
    }
}

fn info(parts: &Parts) -> NodeInfo {
    let mut services = parts.provided();
    services.truncate(MAX_NAMED_SERVICES);
    NodeInfo {
        version: SYSTEM_VERSION,
        node_id: parts.endpoint.node_id(),
        realm: parts.endpoint.realm().clone(),
        addresses: parts.endpoint.addresses(),
        serves: parts.endpoint.role() == Role::Server,
        software: concat!("macula ", env!("CARGO_PKG_VERSION")).to_owned(),
        uptime_millis: millis(Instant::now().saturating_duration_since(parts.started)),
        services,
    }
}

fn told_stats(parts: &Parts) -> NodeStats {
    let stats = stats(parts);
    NodeStats {
        called: stats.called.busiest(MAX_TOLD_SERVICES),
        served: stats.served.busiest(MAX_TOLD_SERVICES),
        ..stats
    }
}

pub(crate) fn stats(parts: &Parts) -> NodeStats {
    let (called, served) = (parts.caller.service_stats(), parts.server.service_stats());
    NodeStats {
        version: SYSTEM_VERSION,
        endpoint: parts.endpoint.stats(),
        dht: parts.kademlia.as_ref().map(|kademlia| kademlia.stats()),
        registry: parts.registry.stats(),
        server: parts.server.stats_of(&served),
        caller: parts.caller.stats_of(&called),
        called,
        served,
    }
}

fn health(parts: &Parts) -> NodeHealth {
    let degraded_services = parts.registry.stats().publish.degraded;
    let is_reachable = !parts.endpoint.addresses().is_empty();
    let wants_to_serve = parts.endpoint.role() == Role::Server;
    let status = if parts.is_leaving.load(Ordering::Relaxed) {
        HealthStatus::Draining
    } else if degraded_services > 0 || (wants_to_serve && !is_reachable) {
        HealthStatus::Degraded
    } else {
        HealthStatus::Ok
    };
    NodeHealth {
        version: SYSTEM_VERSION,
        status,
        peers: parts.endpoint.peers().len(),
        contacts: parts.kademlia.as_ref().map(|it| it.stats().kad.contacts),
        is_reachable,
        degraded_services,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
