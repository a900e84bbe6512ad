//! Answers calls: those of peers, and those of this node to its own services.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use macula_core::{Realm, ServiceName};
use macula_registry::{Ending, LocalService, Registry, UnadvertiseError};
use macula_transport::{Endpoint, ProtocolId};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::{PerService, ServedStats, ServerConfig, ServerError, Service};

mod admission;
mod begin;
mod inbound;
mod local;
mod stats;
mod work;

use admission::Ledger;
use inbound::Inbound;

pub(crate) use begin::Incoming;
pub(crate) use local::Serving;
pub use stats::ServerStats;

/// Runs the handlers of a node's services, each call in a task of its own.
pub struct Server {
    realm: Realm,
    registry: Arc<Registry<Service>>,
    /// What this node answers by itself.
    system: OnceLock<BTreeMap<ServiceName, Service>>,
    /// Where handlers run.
    handlers: Handle,
    /// Where those go on that were begun where calls come in.
    node: Handle,
    config: ServerConfig,
    ledger: Arc<Ledger>,
}

impl Server {
    /// Answers the calls that reach an endpoint with the services of a registry.
    ///
    /// Handlers run on the runtime `handlers`, or on the endpoint's if their service is
    /// [inline](crate::Runs::Inline). Once nobody holds the server any more, the endpoint refuses
    /// calls. A service that is unregistered, or replaced, admits no further call; those that run
    /// may end within [`ServerConfig::retire_timeout`], after which they are aborted.
    ///
    /// # Errors
    /// [`ServerError::AlreadyServing`] when the endpoint has a server.
    pub fn start(
        endpoint: &Endpoint,
        registry: Arc<Registry<Service>>,
        handlers: Handle,
        config: ServerConfig,
    ) -> Result<Arc<Self>, ServerError> {
        let node = endpoint.runtime().handle().clone();
        let server = Arc::new(Self {
            realm: endpoint.realm().clone(),
            registry,
            system: OnceLock::new(),
            handlers,
            node: node.clone(),
            ledger: Arc::new(Ledger::new(config.max_running)),
            config,
        });
        endpoint
            .register_inline(ProtocolId::RPC, Arc::new(Inbound::of(&server)))
            .map_err(ServerError::AlreadyServing)?;
        let patience = server.config.retire_timeout;
        server
            .registry
            .on_unregistered(move |service| retire(&node, service, patience));
        Ok(server)
    }

    /// Answers these names too, unless a service of the registry does. What the node tells of
    /// itself is no service of its user's: it is announced and listed nowhere, takes no place among
    /// the handlers that may run, goes on during a [`drain`](Self::drain) and until the endpoint
    /// closes, and is counted as [`ServerStats::system_calls`] only.
    ///
    /// Only the first call of this counts; says whether it is.
    pub fn serve_system(&self, services: impl IntoIterator<Item = (ServiceName, Service)>) -> bool {
        self.system.set(services.into_iter().collect()).is_ok()
    }

    /// Whether it answers a name beside the registry.
    pub(crate) fn serves_system(&self, name: &str) -> bool {
        let system = self.system.get();
        system.is_some_and(|services| services.contains_key(name))
    }

    /// Takes a service back: no handler of it runs any more when this returns.
    ///
    /// The handler is gone first, so that callers are told so; then the record is withdrawn, while
    /// running calls may end within [`ServerConfig::retire_timeout`], after which they are
    /// aborted. Says whether the service was there.
    ///
    /// # Errors
    /// Those of [`Registry::unadvertise`]; the handlers have ended all the same.
    ///
    /// # Cancel safety
    /// All of it goes on in the background.
    pub async fn unadvertise(&self, name: &ServiceName) -> Result<bool, UnadvertiseError> {
        self.registry.unadvertise(name).await
    }

    /// Refuses every further call, with a reply that says that this node shuts down.
    pub fn stop_admitting(&self) {
        self.ledger.places.close();
    }

    /// Stops admitting, then waits for the running handlers, at most for
    /// [`ServerConfig::drain_timeout`]. Says whether all have ended. Twice is harmless.
    ///
    /// # Cancel safety
    /// The server admits nothing any more; running handlers go on.
    pub async fn drain(&self) -> bool {
        self.stop_admitting();
        timeout(self.config.drain_timeout, self.ledger.places.emptied())
            .await
            .is_ok()
    }

    /// What was counted so far.
    pub fn stats(&self) -> ServerStats {
        self.stats_of(&self.service_stats())
    }

    /// The same, from a snapshot of [`service_stats`](Self::service_stats): so that both agree.
    pub fn stats_of(&self, services: &PerService<ServedStats>) -> ServerStats {
        let running = self.ledger.places.taken();
        self.ledger.counters.snapshot(running, &services.total())
    }

    /// What the calls of each service have come to.
    pub fn service_stats(&self) -> PerService<ServedStats> {
        self.ledger.meters.stats()
    }
}

/// Ends a service that is not registered any more, in the background.
fn retire(runtime: &Handle, local: LocalService<Service>, patience: Duration) -> Ending {
    let service = local.handler();
    service.places().close();
    if service.running() == 0 {
        return Box::pin(std::future::ready(()));
    }
    let retiring = runtime.spawn(async move {
        if !local.handler().retire(patience).await {
            let service = local.name();
            tracing::warn!(%service, "a handler blocks its thread and cannot be stopped");
        }
    });
    Box::pin(async move {
        // An error means that the runtime has ended, and with it the node.
        let _ = retiring.await;
    })
}
